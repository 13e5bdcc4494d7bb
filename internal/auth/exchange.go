package auth

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"net/netip"
	"strings"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// Conn describes the stream on which somebody logs in.
type Conn struct {
	// TLS is the state of the TLS connection after its handshake, nil on a stream that is not encrypted.
	TLS *tls.ConnectionState
	// Leaf is the certificate that the server has shown in that handshake, for the channel binding tls-server-end-point
	// (RFC 5929 §4); nil where it is not known.
	Leaf *x509.Certificate
	// Secured says that a stream without TLS is encrypted by other means, such as a proxy that has taken TLS off.
	Secured bool
	// Remote is the address of the client.
	Remote netip.Addr

	bound []sasl.ChannelBinding // what Prepared has computed
	ready bool
}

// Prepared returns c with its channel bindings computed, for a stream that asks for them several times.
func (c Conn) Prepared() Conn {
	c.bound, c.ready = c.bindings(), true
	return c
}

// encrypted tells whether passwords may be shown on the stream.
func (c *Conn) encrypted() bool { return c.TLS != nil || c.Secured }

// bindings computes the channel bindings of the stream, the better first.
func (c *Conn) bindings() []sasl.ChannelBinding {
	if c.ready {
		return c.bound
	}
	if c.TLS == nil {
		return nil
	}
	var bs []sasl.ChannelBinding
	// A binding that the connection does not have is no error: there is one way less to log in.
	if b, err := sasl.ExporterBinding(c.TLS); err == nil {
		bs = append(bs, b)
	}
	if c.Leaf != nil {
		if b, err := sasl.EndPointBinding(c.Leaf); err == nil {
			bs = append(bs, b)
		}
	}
	return bs
}

// Exchange is one SASL handshake on one stream. It is used by one goroutine.
type Exchange struct {
	h      *Host
	s      *settings
	conn   Conn
	server sasl.Server
	local  string // the localpart that the client has named, once it is known
	look   look   // what its account was like when its verifier was read
	req    Request
	began  uint64 // the last change of an account
	held   []held // the tokens that fit, with SASL2 by a token
}

// Mechanisms returns the SASL mechanisms to offer on a stream, the strongest first (RFC 6120 §6.3.3). It is empty on a stream that must be
// encrypted first.
func (h *Host) Mechanisms(c Conn) []string {
	cfg := h.newExchange(c).config()
	if cfg == nil {
		return nil
	}
	return cfg.Mechanisms()
}

// Bindings returns the types of channel binding to announce on a stream (XEP-0440).
func (h *Host) Bindings(c Conn) []string {
	cfg := h.newExchange(c).config()
	if cfg == nil {
		return nil
	}
	return cfg.BindingTypes()
}

// Offer tells streams apart to which something else is offered: those with the same get the same answers from Mechanisms, Bindings,
// TokenMechanisms and Upgrades.
type Offer struct {
	s                               *settings
	anonymous, encrypted, certified bool
	bindings                        [2]string // their types
}

// Offer returns what is offered to a stream, for who keeps the answers.
func (h *Host) Offer(c Conn) Offer {
	x := h.newExchange(c)
	o := Offer{s: x.s, anonymous: h.anonymous.Load(), encrypted: c.encrypted(), certified: len(x.certified()) > 0}
	for i, b := range c.bindings() {
		o.bindings[i] = b.Type
	}
	return o
}

// Start begins an exchange by a mechanism. The error is a *sasl.Failure: invalid-mechanism for one that Mechanisms does not return,
// encryption-required where only TLS is missing.
func (h *Host) Start(mechanism string, c Conn) (*Exchange, error) {
	return h.Start2(mechanism, c, Request{})
}

// Start2 begins an exchange of SASL2 (XEP-0388), in which a client tells more of itself. With r.FAST the mechanism is one of
// TokenMechanisms.
func (h *Host) Start2(mechanism string, c Conn, r Request) (*Exchange, error) {
	x := h.newExchange(c)
	x.req = r
	if r.FAST != nil {
		return x.startToken(mechanism)
	}
	cfg := x.config()
	if cfg == nil {
		return nil, &sasl.Failure{Condition: sasl.EncryptionRequired}
	}
	server, err := sasl.NewServer(mechanism, cfg)
	if err != nil {
		return nil, err
	}
	x.server = server
	return x, nil
}

// Mechanism returns the mechanism of the exchange.
func (x *Exchange) Mechanism() string { return x.server.Mechanism() }

// Next takes the client's response, nil where <auth/> came without an initial response (as opposed to "=", which is empty). It returns
// the next challenge with p == nil; or, once the exchange has succeeded, p and the additional data for <success/>, which may be nil;
// or a *sasl.Failure, after which the exchange is over. The text of the failure may be shown to the client, its cause may not.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, p *Principal, err error) {
	challenge, done, err := x.server.Next(ctx, response)
	if err != nil {
		f := asFailure(err)
		if f.Condition == sasl.NotAuthorized && x.local != "" {
			x.h.a.failures.add(x.failure(), time.Duration(x.s.FailureWindow), x.h.a.clock.Now())
		}
		x.h.a.metrics.Login(x.server.Mechanism(), string(f.Condition))
		return nil, nil, f
	}
	if !done {
		return challenge, nil, nil
	}
	bare, err := jid.New(x.server.Identity().Username, x.h.domain, "")
	if err != nil {
		return nil, nil, &sasl.Failure{Condition: sasl.TemporaryAuthFailure, Err: err}
	}
	x.h.a.metrics.Login(x.server.Mechanism(), "success")
	if x.local != "" {
		x.h.a.failures.clear(x.failure())
	}
	return challenge, x.principal(bare), nil
}

func (x *Exchange) principal(bare jid.JID) *Principal {
	m := x.server.Mechanism()
	p := &Principal{bare: bare, mechanism: m, anonymous: m == sasl.Anonymous, client: x.newClient(bare.Local()), began: x.began}
	if x.req.FAST != nil {
		p.token = &x.held[0]
	}
	p.password = p.token == nil && m != sasl.Anonymous && m != sasl.External
	return p
}

// asFailure gives any error of a handshake its condition.
func asFailure(err error) *sasl.Failure {
	var f *sasl.Failure
	if errors.As(err, &f) {
		return f
	}
	return &sasl.Failure{Condition: sasl.TemporaryAuthFailure, Err: err}
}

func (h *Host) newExchange(c Conn) *Exchange {
	return &Exchange{h: h, s: h.a.settings.Load(), conn: c, began: h.changes.now()}
}

func (x *Exchange) failure() failureKey { return failureOf(x.local+"@"+x.h.domain, x.conn.Remote) }

// config says which mechanisms the stream has and how they check credentials; nil where the stream must be encrypted first
// (RFC 6120 §13.8.1).
func (x *Exchange) config() *sasl.ServerConfig {
	if !x.conn.encrypted() && !x.s.insecure {
		return nil
	}
	c := &sasl.ServerConfig{
		Allowed:          []string{},
		Encrypted:        x.conn.encrypted(),
		PlainUnencrypted: x.s.insecure,
		Bindings:         x.conn.bindings(),
		Prepare:          x.prepare,
		Credentials:      x,
		Passwords:        x,
		Decoy:            sasl.Decoy{Secret: x.h.a.secret, Iterations: x.s.Iterations, SaltLen: saltLen},
		Authorize:        x.authorize,
	}
	certified := x.certified()
	for _, m := range x.s.Mechanisms {
		switch m {
		case sasl.ScramSHA1, sasl.ScramSHA1Plus:
			if !x.s.SCRAMSHA1 {
				continue
			}
		case sasl.Plain:
			if !x.s.Plain {
				continue
			}
		case sasl.Anonymous:
			if !x.h.anonymous.Load() {
				continue
			}
			c.Anonymous = x.anonymous
		case sasl.External:
			if len(certified) == 0 {
				continue
			}
			c.External = func(ctx context.Context, authzid string) (string, error) { return x.external(ctx, authzid, certified) }
		}
		c.Allowed = append(c.Allowed, m)
	}
	if x.s.Downgrade {
		c.FirstAttributes = func(hash sasl.Hash) []sasl.Attribute { return protect(hash, c, &x.conn) }
	}
	return c
}

// protect returns the attributes of SCRAM that let the client check what it was offered (XEP-0474#hash), the same list in SASL and in SASL2,
// and which version of TLS this end of the connection has.
func protect(hash sasl.Hash, c *sasl.ServerConfig, conn *Conn) []sasl.Attribute {
	as := []sasl.Attribute{sasl.DowngradeHash(hash, c.Mechanisms(), c.BindingTypes())}
	if conn.TLS != nil {
		as = append(as, sasl.TLSVersion(conn.TLS.Version)) // XEP-0515#hex
	}
	return as
}

// prepare makes the localpart of a user name, and refuses what cannot be one.
func (x *Exchange) prepare(username string) (string, error) {
	return jid.PrepareLocal(username)
}

// admit notes whose password is tried, and refuses that after too many failures.
func (x *Exchange) admit(local string) error {
	x.local = strings.Clone(local)
	if x.h.a.failures.exceeded(x.failure(), x.s.Failures, x.h.a.clock.Now()) {
		return &sasl.Failure{Condition: sasl.TemporaryAuthFailure, Text: "too many failures, try again later"}
	}
	return nil
}

// Verifier implements sasl.Credentials.
func (x *Exchange) Verifier(ctx context.Context, local string, hash sasl.Hash) (sasl.Verifier, bool, error) {
	if err := x.admit(local); err != nil {
		return sasl.Verifier{}, false, err
	}
	v, l, ok, err := x.h.verifier(ctx, x.s, local, hash)
	if ok {
		l.local = x.local // what admit has kept; the other may be a part of the client's bytes
		x.look = l
	}
	return v, ok, err
}

// CheckPassword implements sasl.Passwords: it derives the keys of the password, for an unknown user as well, and only as many at a time
// as leave the processor to others.
func (x *Exchange) CheckPassword(ctx context.Context, local, password string) (bool, error) {
	if err := x.admit(local); err != nil {
		return false, err
	}
	return x.h.checkPassword(ctx, x.s, local, password)
}

// authorize decides whether somebody whose password was right may log in, and as whom: RFC 6120 §6.3.8 has the authorization
// identity be the bare JID, and nobody acts as another.
func (x *Exchange) authorize(ctx context.Context, local, authzid string) error {
	if authzid != "" {
		as, err := jid.Parse(authzid)
		if err != nil || as.IsFull() || as.Local() != local || as.Domain() != x.h.domain {
			return &sasl.Failure{Condition: sasl.InvalidAuthzid}
		}
		if !x.req.From.IsZero() && x.req.From.Bare() != as { // XEP-0388#initiation
			return &sasl.Failure{Condition: sasl.InvalidAuthzid}
		}
	}
	disabled, ok, err := x.look.disabled, true, error(nil)
	if x.h.current(x.look, local) {
		x.h.known.put(x.look.local, true, x.look.epoch)
	} else {
		disabled, ok, err = x.h.disabled(ctx, local)
	}
	switch {
	case err != nil:
		return err
	case !ok: // it was deleted since the exchange began
		return &sasl.Failure{Condition: sasl.NotAuthorized}
	case disabled:
		return &sasl.Failure{Condition: sasl.AccountDisabled}
	}
	return nil
}

// The form of the localparts of anonymous users.
const (
	anonPrefix = "anon-"
	anonLen    = len(anonPrefix) + 26 // base32 of 16 bytes
)

// anonymous makes a temporary identity (XEP-0175): 128 random bits, so that it meets no account and no other.
func (x *Exchange) anonymous(ctx context.Context, _ string) (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	local := anonPrefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
	exists, err := x.h.Exists(ctx, local)
	if err == nil && exists {
		err = errors.New("a random localpart is that of an account")
	}
	return local, err
}
