package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
)

const (
	saltLen     = 16   // bytes; RFC 5802 names no number, and 128 random bits never meet
	maxPassword = 1024 // bytes; PBKDF2 hashes longer ones first anyway
)

// Account is an account as administrators see it.
type Account struct {
	JID      jid.JID   `json:"jid"`
	Created  time.Time `json:"created"`
	Disabled bool      `json:"disabled"`
}

// errNoAccount answers what was asked of an account that does not exist.
func errNoAccount(j string) error {
	return stanza.Errf(stanza.ItemNotFound, "there is no account %s", j)
}

// Exists tells whether there is an account of this prepared localpart.
func (h *Host) Exists(ctx context.Context, local string) (bool, error) {
	if exists, ok, _ := h.known.get(local); ok {
		return exists, nil
	}
	_, exists, err := h.disabled(ctx, local)
	return exists, err
}

// disabled tells whether an account exists and whether it is disabled. That it exists is known from then on.
func (h *Host) disabled(ctx context.Context, local string) (disabled, ok bool, err error) {
	_, _, epoch := h.known.get(local)
	defer func() {
		if err == nil {
			h.known.put(strings.Clone(local), ok, epoch)
		}
	}()
	err = h.a.db.QueryRow(ctx, `SELECT disabled FROM auth_account WHERE host = ? AND local = ?`, h.domain, local).Scan(&disabled)
	if errors.Is(err, mod.ErrNoRows) {
		return false, false, nil
	}
	return disabled, err == nil, err
}

// Queries for the verifier of one hash, behind a digit that tells whether the account is disabled. Each returns a row whether the account
// exists or not, so that both take the same way through the database and back: an account without such a verifier counts as none.
const (
	selectSHA1   = `SELECT COALESCE((SELECT CASE WHEN disabled THEN '1' ELSE '0' END || sha1 FROM auth_account WHERE host = ? AND local = ? AND sha1 <> ''), ?)`
	selectSHA256 = `SELECT COALESCE((SELECT CASE WHEN disabled THEN '1' ELSE '0' END || sha256 FROM auth_account WHERE host = ? AND local = ? AND sha256 <> ''), ?)`
	selectSHA512 = `SELECT COALESCE((SELECT CASE WHEN disabled THEN '1' ELSE '0' END || sha512 FROM auth_account WHERE host = ? AND local = ? AND sha512 <> ''), ?)`
)

// look is what was read of an account together with a verifier.
type look struct {
	local    string
	disabled bool
	epoch    uint64
	at       time.Time
}

// lookFor is how long a look may be relied on. What this process changes ends it at once; another process may write to the same database.
const lookFor = time.Second

// current tells whether the account is known to be still as it was looked at. The zero look is of no account.
func (h *Host) current(l look, local string) bool {
	_, _, epoch := h.known.get(local)
	return l.local == local && !l.at.IsZero() && l.epoch == epoch && h.a.clock.Now().Sub(l.at) < lookFor
}

// verifier returns the verifier of an account for a hash, and how the account is otherwise. Where there is none, ok is false and the
// verifier one of the settings' iterations that no password fits.
func (h *Host) verifier(ctx context.Context, s *settings, local string, hash sasl.Hash) (v sasl.Verifier, l look, ok bool, err error) {
	nobody := s.nobody[hash]
	var stored string
	_, _, epoch := h.known.get(local)
	l = look{local: local, epoch: epoch, at: h.a.clock.Now()}
	switch hash {
	case sasl.SHA1:
		err = h.a.db.QueryRow(ctx, selectSHA1, h.domain, local, nobody).Scan(&stored)
	case sasl.SHA256:
		err = h.a.db.QueryRow(ctx, selectSHA256, h.domain, local, nobody).Scan(&stored)
	default:
		err = h.a.db.QueryRow(ctx, selectSHA512, h.domain, local, nobody).Scan(&stored)
	}
	if err != nil {
		return sasl.Verifier{}, look{}, false, err
	}
	if v, err = sasl.ParseVerifier(stored[1:]); err != nil {
		return sasl.Verifier{}, look{}, false, fmt.Errorf("account of %s: %w", h.domain, err)
	}
	l.disabled = stored[0] == '1'
	return v, l, stored != nobody, nil
}

// checkPassword tells whether an account has this password. It takes the same time for one that does not exist.
func (h *Host) checkPassword(ctx context.Context, s *settings, local, password string) (bool, error) {
	v, _, ok, err := h.verifier(ctx, s, local, sasl.SHA256)
	if err != nil {
		return false, err
	}
	select {
	case h.a.derive <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-h.a.derive }()
	return v.Verify(password) && ok, nil
}

// CheckPassword tells whether an account exists and has this password. It is costly.
func (h *Host) CheckPassword(ctx context.Context, local, password string) (bool, error) {
	return h.checkPassword(ctx, h.a.settings.Load(), local, password)
}

// PreparePassword checks whether a password may be set, and returns its prepared form (RFC 8265 §4.2). least is the least number of
// characters. The error is a *stanza.Error with the condition not-acceptable.
func PreparePassword(password string, least int) (string, error) {
	p, err := precis.OpaqueString.String(password)
	switch {
	case password == "":
		return "", stanza.Err(stanza.NotAcceptable, "the password is empty")
	case err != nil:
		return "", stanza.Err(stanza.NotAcceptable, "the password has characters that are not allowed (RFC 8265 §4.2)")
	case len(p) > maxPassword:
		return "", stanza.Errf(stanza.NotAcceptable, "the password has more than %d bytes", maxPassword)
	case utf8.RuneCountInString(p) < least:
		return "", stanza.Errf(stanza.NotAcceptable, "the password has less than %d characters", least)
	}
	return p, nil
}

// secrets are the verifiers of one password, encoded.
type secrets struct{ sha1, sha256, sha512 string }

// deriveSecrets makes the verifiers of a prepared password, each with a salt of its own: one salt for all would tell an existing
// account from the decoy of one that does not exist.
func deriveSecrets(password string, iterations int, withSHA1 bool) (secrets, error) {
	var s secrets
	for hash, to := range map[sasl.Hash]*string{sasl.SHA1: &s.sha1, sasl.SHA256: &s.sha256, sasl.SHA512: &s.sha512} {
		if hash == sasl.SHA1 && !withSHA1 {
			continue
		}
		salt := make([]byte, saltLen)
		if _, err := rand.Read(salt); err != nil {
			return secrets{}, err
		}
		v, err := sasl.NewVerifier(hash, password, salt, iterations)
		if err != nil {
			return secrets{}, err
		}
		*to = v.Encode()
	}
	return s, nil
}

// secrets checks a password for an account and derives its verifiers, when it is its turn.
func (h *Host) secrets(ctx context.Context, local, password string) (secrets, error) {
	s := h.a.settings.Load()
	p, err := PreparePassword(password, s.MinPassword)
	if err != nil {
		return secrets{}, err
	}
	if s.MinPassword > 1 && (strings.EqualFold(p, local) || strings.EqualFold(p, local+"@"+h.domain)) {
		return secrets{}, stanza.Err(stanza.NotAcceptable, "the password is the name of the account")
	}
	select {
	case h.a.derive <- struct{}{}:
	case <-ctx.Done():
		return secrets{}, ctx.Err()
	}
	defer func() { <-h.a.derive }()
	return deriveSecrets(p, s.Iterations, s.SCRAMSHA1)
}

// prepareLocal makes the localpart of a new account.
func prepareLocal(local string) (string, error) {
	p, err := jid.PrepareLocal(local)
	if err != nil {
		return "", stanza.Errf(stanza.NotAcceptable, "this is no name for an account: %v", err)
	}
	if strings.HasPrefix(p, anonPrefix) && len(p) == anonLen {
		return "", stanza.Err(stanza.NotAcceptable, "names of this form are those of anonymous users")
	}
	return strings.Clone(p), nil
}

// Create makes an account; the name is prepared first. It returns a *stanza.Error: conflict where it exists, not-acceptable where name or
// password do not please.
func (h *Host) Create(ctx context.Context, local, password string) error {
	local, err := prepareLocal(local)
	if err != nil {
		return err
	}
	exists, err := h.Exists(ctx, local) // first, since deriving keys is costly
	if err != nil {
		return err
	}
	taken := stanza.Errf(stanza.Conflict, "there is an account %s@%s already", local, h.domain)
	if exists {
		return taken
	}
	s, err := h.secrets(ctx, local, password)
	if err != nil {
		return err
	}
	defer h.known.forget(local)
	return h.a.db.Write(ctx, func(tx mod.Tx) error {
		n, err := h.insert(ctx, tx, local, s, false)
		if err == nil && n == 0 {
			return taken
		}
		return err
	})
}

// insert adds a row, or where replace is set gives an existing one new verifiers, as SetPassword does; otherwise an existing one stays. It returns the
// number of rows that it has written.
func (h *Host) insert(ctx context.Context, tx mod.Tx, local string, s secrets, replace bool) (int64, error) {
	const insert = `INSERT INTO auth_account (host, local, created, disabled, sha1, sha256, sha512) VALUES (?, ?, ?, ?, ?, ?, ?) `
	query := insert + `ON CONFLICT (host, local) DO NOTHING`
	if replace {
		if err := h.passwordChanged(ctx, tx, local, ""); err != nil {
			return 0, err
		}
		query = insert + `ON CONFLICT (host, local) DO UPDATE SET sha1 = excluded.sha1, sha256 = excluded.sha256, sha512 = excluded.sha512`
	}
	r, err := tx.Exec(ctx, query, h.domain, local, h.a.clock.Now(), false, s.sha1, s.sha256, s.sha512)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// SetPassword replaces the password of an account, of a prepared localpart, and takes the access away that other clients had by the old one,
// as the settings say. by is the session that sets it, nil for an administrator. It does not end sessions. It returns a *stanza.Error:
// item-not-found where there is none, not-acceptable where the password does not please.
func (h *Host) SetPassword(ctx context.Context, local, password string, by mod.Session) error {
	s, err := h.secrets(ctx, local, password)
	if err != nil {
		return err
	}
	return h.change(ctx, local, func(tx mod.Tx) (mod.Result, error) {
		keep := ""
		if by != nil {
			keep = by.Client().ID
		}
		if err := h.passwordChanged(ctx, tx, local, keep); err != nil {
			return nil, err
		}
		return tx.Exec(ctx, `UPDATE auth_account SET sha1 = ?, sha256 = ?, sha512 = ? WHERE host = ? AND local = ?`, s.sha1, s.sha256, s.sha512, h.domain, local)
	})
}

// SetDisabled closes an account to logins, or opens it again. It does not end sessions. Errors are as with SetPassword.
func (h *Host) SetDisabled(ctx context.Context, local string, disabled bool) error {
	defer h.known.forget(local) // a login that has begun looks again
	return h.change(ctx, local, func(tx mod.Tx) (mod.Result, error) {
		return tx.Exec(ctx, `UPDATE auth_account SET disabled = ? WHERE host = ? AND local = ?`, disabled, h.domain, local)
	})
}

// Delete removes an account, and in the same transaction calls also, which may be nil, for what others keep of it. It does not end
// sessions. The error is item-not-found where there is none.
func (h *Host) Delete(ctx context.Context, local string, also func(ctx context.Context, tx mod.Tx) error) error {
	defer h.known.forget(local)
	return h.change(ctx, local, func(tx mod.Tx) (mod.Result, error) {
		if also != nil {
			if err := also(ctx, tx); err != nil {
				return nil, err
			}
		}
		if err := h.deleteDevices(ctx, tx, local); err != nil {
			return nil, err
		}
		return tx.Exec(ctx, `DELETE FROM auth_account WHERE host = ? AND local = ?`, h.domain, local)
	})
}

// change runs a write that has an effect on one row, and fails where there is no such row. Logins that are under way learn of it by Stale.
func (h *Host) change(ctx context.Context, local string, f func(tx mod.Tx) (mod.Result, error)) error {
	err := h.a.db.Write(ctx, func(tx mod.Tx) error {
		r, err := f(tx)
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		if err == nil && n == 0 {
			return errNoAccount(local + "@" + h.domain)
		}
		return err
	})
	if err == nil {
		h.changes.note(local)
	}
	return err
}

// List returns at most n accounts in the order of their localparts, those behind the localpart after, "" for the first ones.
func (h *Host) List(ctx context.Context, after string, n int) (accounts []Account, err error) {
	rows, err := h.a.db.Query(ctx, `SELECT local, created, disabled FROM auth_account WHERE host = ? AND local > ? ORDER BY local LIMIT ?`, h.domain, after, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var local string
		var a Account
		if err := rows.Scan(&local, &a.Created, &a.Disabled); err != nil {
			return nil, err
		}
		if a.JID, err = jid.New(local, h.domain, ""); err != nil {
			return nil, err
		}
		accounts = append(accounts, a)
	}
	return accounts, rows.Err()
}

// Count returns the number of accounts.
func (h *Host) Count(ctx context.Context) (n int, err error) {
	err = h.a.db.QueryRow(ctx, `SELECT count(*) FROM auth_account WHERE host = ?`, h.domain).Scan(&n)
	return n, err
}
