package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"sabir/internal/observe"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// Agent is what a client says of itself (XEP-0388#initiation).
type Agent struct {
	// ID is the UUID of this installation, in lower case; "" where the client did not send one.
	ID               string
	Software, Device string
}

// FAST is what a client says beside its proof to have a token (XEP-0484#fast-auth).
type FAST struct {
	// Count is the number of this attempt, 0 where the client does not count.
	Count int64
	// Invalidate says that the token is not to be used any more.
	Invalidate bool
}

// Request is what a client tells about itself and its login in SASL2.
type Request struct {
	// From is the address in the stream's header, zero where there is none.
	From  jid.JID
	Agent Agent
	// FAST is there where the client logs in by a token.
	FAST *FAST
}

// Token is what a client logs in with the next time (XEP-0484#token-response).
type Token struct {
	Value   observe.Secret
	Expires time.Time
}

// The slots of a client's tokens (XEP-0484#impl-tokens).
const (
	slotCurrent = 0
	slotNew     = 1
)

const nonceLen = 16 // bytes: 128 random bits for each token

// held is a token as the database has it.
type held struct {
	slot      int64
	mechanism string
	nonce     []byte
	created   time.Time
	expires   time.Time
	count     int64
	lastSeen  time.Time // of its client
}

// mac makes a value that only this server makes of others. label parts the uses of a key.
func mac(key []byte, label string, values ...string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(label))
	for _, v := range values {
		h.Write([]byte{0})
		h.Write([]byte(v))
	}
	return h.Sum(nil)
}

// clientID names a client of an account by the id that it has sent, without giving that away.
func (h *Host) clientID(local, agentID string) string {
	return base64.RawURLEncoding.EncodeToString(mac(h.a.secret, "client", h.domain, local, agentID)[:16])
}

// Resource returns the part of a resource that is the same at each login of a client with the same tag, and that tells nothing of its id
// (XEP-0386#identifiers); "" where the client has not said which it is.
func (h *Host) Resource(p *Principal, tag string) string {
	if p.client == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(mac(h.a.secret, "resource", h.domain, p.bare.Local(), p.client, tag)[:9])
}

// token derives a token. It is not kept: who has the database has no tokens, and who has the key has none either.
func (h *Host) token(local, client, mechanism string, nonce []byte) string {
	return base64.RawURLEncoding.EncodeToString(mac(h.a.tokenKey, "token", h.domain, local, client, mechanism, string(nonce)))
}

// TokenMechanisms returns the mechanisms of tokens to offer on a stream, the strongest first (XEP-0484#support): none where the stream
// is not encrypted or tokens are not given.
func (h *Host) TokenMechanisms(c Conn) []string {
	s := h.a.settings.Load()
	if !s.Tokens.Enabled || !c.encrypted() {
		return nil
	}
	return sasl.HTMechanisms(c.bindings())
}

// startToken begins a login by a token.
func (x *Exchange) startToken(mechanism string) (*Exchange, error) {
	if !x.s.Tokens.Enabled || !sasl.IsHT(mechanism) {
		return nil, &sasl.Failure{Condition: sasl.InvalidMechanism}
	}
	if x.req.Agent.ID == "" { // XEP-0484#rules-clients
		return nil, &sasl.Failure{Condition: sasl.MalformedRequest, Text: "a client that uses a token says which client it is"}
	}
	server, err := sasl.NewTokenServer(mechanism, &sasl.ServerConfig{
		Encrypted: x.conn.encrypted(), Bindings: x.conn.bindings(), Prepare: x.prepare, Authorize: x.authorize,
	}, tokens{x})
	if err != nil {
		return nil, err
	}
	x.server = server
	return x, nil
}

// tokens are those of the client of an exchange.
type tokens struct{ x *Exchange }

// Tokens implements sasl.Tokens. The newer comes first.
func (t tokens) Tokens(ctx context.Context, local, mechanism string) ([]string, error) {
	x := t.x
	if err := x.admit(local); err != nil {
		return nil, err
	}
	client := x.h.clientID(local, x.req.Agent.ID)
	all, err := x.h.held(ctx, local, client)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, k := range all {
		if k.mechanism == mechanism { // XEP-0484#fast-auth: a token is for one mechanism
			x.held = append(x.held, k)
			out = append(out, x.h.token(local, client, mechanism, k.nonce))
		}
	}
	return out, nil
}

// Used implements sasl.Tokens.
func (t tokens) Used(_ context.Context, _ string, i int) error {
	x := t.x
	k := x.held[i]
	if !x.h.a.clock.Now().Before(k.expires) { // XEP-0484#rules-servers
		return &sasl.Failure{Condition: sasl.CredentialsExpired}
	}
	if x.req.FAST.Count > 0 && x.req.FAST.Count <= k.count { // XEP-0484#fast-auth: it was here before
		return &sasl.Failure{Condition: sasl.NotAuthorized}
	}
	x.held = []held{k}
	return nil
}

// held returns the tokens of a client, the newer first.
func (h *Host) held(ctx context.Context, local, client string) (all []held, err error) {
	rows, err := h.a.db.Query(ctx, `SELECT t.slot, t.mechanism, t.nonce, t.created, t.expires, t.count, d.last_seen
		FROM auth_token t JOIN auth_device d ON d.host = t.host AND d.local = t.local AND d.id = t.device
		WHERE t.host = ? AND t.local = ? AND t.device = ? ORDER BY t.slot DESC`, h.domain, local, client)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k held
		if err := rows.Scan(&k.slot, &k.mechanism, &k.nonce, &k.created, &k.expires, &k.count, &k.lastSeen); err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, rows.Err()
}

// seenEvery is how often it is written down that a client was there: a login need not cost a write.
const seenEvery = time.Hour

// Settle writes down a login by SASL2 that has succeeded: which client it was, and what that means for its tokens. mechanism is the one for
// which the client asks for a token, or "". The token that it returns is for the client, nil where there is none. After a *sasl.Failure the
// client is not logged in: its token was taken away, or used a second time, since the exchange began.
func (h *Host) Settle(ctx context.Context, p *Principal, r Request, mechanism string) (*Token, error) {
	if p.client == "" || p.anonymous {
		return nil, nil
	}
	l := &settling{h: h, s: h.a.settings.Load(), p: p, r: r, now: h.a.clock.Now(), local: p.bare.Local(), mechanism: mechanism}
	if !l.s.Devices.Names {
		l.r.Agent.Software, l.r.Agent.Device = "", ""
	}
	return l.settle(ctx)
}

// settling is one call of Settle.
type settling struct {
	h         *Host
	s         *settings
	p         *Principal
	r         Request
	now       time.Time
	local     string
	mechanism string // of the token to make, "" for none
}

func (l *settling) settle(ctx context.Context) (*Token, error) {
	due, err := l.due(ctx)
	if err != nil || !due {
		return nil, err
	}
	var token *Token
	var nonce []byte
	if l.mechanism != "" && l.s.Tokens.Enabled {
		nonce = make([]byte, nonceLen)
		if _, err := rand.Read(nonce); err != nil {
			return nil, err
		}
		token = &Token{Value: observe.Secret(l.h.token(l.local, l.p.client, l.mechanism, nonce)), Expires: l.now.Add(time.Duration(l.s.Tokens.Lifetime))}
	}
	err = l.h.a.db.Write(ctx, func(tx mod.Tx) error {
		if l.p.token != nil {
			if err := l.use(ctx, tx); err != nil {
				return err
			}
		} else if err := l.register(ctx, tx); err != nil {
			return err
		}
		if token == nil {
			return nil
		}
		return l.give(ctx, tx, nonce, token.Expires)
	})
	if err != nil {
		return nil, err
	}
	return token, nil
}

// due tells whether there is anything to write, and finds out whether the token is to be replaced.
func (l *settling) due(ctx context.Context) (bool, error) {
	if k := l.p.token; k != nil {
		// XEP-0484#token-rotation, #invalidation: none in place of one that was given back, unless asked for.
		if l.mechanism == "" && !l.r.FAST.Invalidate && l.now.Sub(k.created) >= time.Duration(l.s.Tokens.Rotate) {
			l.mechanism = k.mechanism
		}
		return l.mechanism != "" || l.r.FAST.Invalidate || l.r.FAST.Count > 0 || k.slot == slotNew || l.now.Sub(k.lastSeen) >= seenEvery, nil
	}
	if l.mechanism != "" {
		return true, nil
	}
	var d mod.Device
	var password bool
	err := l.h.a.db.QueryRow(ctx, `SELECT software, device, last_seen, password FROM auth_device WHERE host = ? AND local = ? AND id = ?`,
		l.h.domain, l.local, l.p.client).Scan(&d.Software, &d.Device, &d.LastSeen, &password)
	if errors.Is(err, mod.ErrNoRows) {
		return true, nil
	}
	same := password == l.p.password && d.Software == l.r.Agent.Software && d.Device == l.r.Agent.Device
	return !same || l.now.Sub(d.LastSeen) >= seenEvery, err
}

// register notes the client of a login without a token, and makes room for it.
func (l *settling) register(ctx context.Context, tx mod.Tx) error {
	_, err := tx.Exec(ctx, `INSERT INTO auth_device (host, local, id, software, device, first_seen, last_seen, password) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (host, local, id) DO UPDATE SET software = excluded.software, device = excluded.device, last_seen = excluded.last_seen,
		password = (auth_device.password OR excluded.password)`,
		l.h.domain, l.local, l.p.client, l.r.Agent.Software, l.r.Agent.Device, l.now, l.now, l.p.password)
	if err != nil {
		return err
	}
	// The clients that were not seen for the longest time give way.
	_, err = tx.Exec(ctx, `DELETE FROM auth_device WHERE host = ? AND local = ? AND id IN
		(SELECT id FROM auth_device WHERE host = ? AND local = ? ORDER BY last_seen DESC, id LIMIT 1000000 OFFSET ?)`,
		l.h.domain, l.local, l.h.domain, l.local, l.s.Devices.Max)
	if err != nil {
		return err
	}
	return l.h.dropOrphans(ctx, tx, l.local)
}

// dropOrphans deletes the tokens of clients that are no more.
func (h *Host) dropOrphans(ctx context.Context, tx mod.Tx, local string) error {
	_, err := tx.Exec(ctx, `DELETE FROM auth_token WHERE host = ? AND local = ? AND device NOT IN
		(SELECT id FROM auth_device WHERE host = ? AND local = ?)`, h.domain, local, h.domain, local)
	return err
}

// use notes a login by a token, which must still be there.
func (l *settling) use(ctx context.Context, tx mod.Tx) error {
	k := l.p.token
	r, err := tx.Exec(ctx, `UPDATE auth_token SET count = CASE WHEN count < ? THEN ? ELSE count END
		WHERE host = ? AND local = ? AND device = ? AND slot = ? AND nonce = ? AND (count < ? OR ? = 0)`,
		l.r.FAST.Count, l.r.FAST.Count, l.h.domain, l.local, l.p.client, k.slot, k.nonce, l.r.FAST.Count, l.r.FAST.Count)
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return &sasl.Failure{Condition: sasl.NotAuthorized, Text: "the token was used or taken away meanwhile"}
	}
	switch {
	case l.r.FAST.Invalidate:
		_, err = tx.Exec(ctx, `DELETE FROM auth_token WHERE host = ? AND local = ? AND device = ?`, l.h.domain, l.local, l.p.client)
	case k.slot == slotNew: // XEP-0484#token-rotation: the one before is over
		if _, err = tx.Exec(ctx, `DELETE FROM auth_token WHERE host = ? AND local = ? AND device = ? AND slot = ?`, l.h.domain, l.local, l.p.client, slotCurrent); err == nil {
			_, err = tx.Exec(ctx, `UPDATE auth_token SET slot = ? WHERE host = ? AND local = ? AND device = ? AND slot = ?`, slotCurrent, l.h.domain, l.local, l.p.client, slotNew)
		}
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE auth_device SET last_seen = ?, software = ?, device = ? WHERE host = ? AND local = ? AND id = ?`,
		l.now, l.r.Agent.Software, l.r.Agent.Device, l.h.domain, l.local, l.p.client)
	return err
}

// give puts a token where one that was given and not used has its place (XEP-0484#token-rotation).
func (l *settling) give(ctx context.Context, tx mod.Tx, nonce []byte, expires time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO auth_token (host, local, device, slot, mechanism, nonce, created, expires, count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)
		ON CONFLICT (host, local, device, slot) DO UPDATE SET mechanism = excluded.mechanism, nonce = excluded.nonce, created = excluded.created,
		expires = excluded.expires, count = 0`,
		l.h.domain, l.local, l.p.client, slotNew, l.mechanism, nonce, l.now, expires)
	return err
}

// newClient says which client an exchange was with.
func (x *Exchange) newClient(local string) string {
	if x.req.Agent.ID == "" {
		return ""
	}
	return strings.Clone(x.h.clientID(local, x.req.Agent.ID))
}
