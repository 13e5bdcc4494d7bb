package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stream"
)

// hostAccounts are the accounts of one host, with what their removal means to the extensions and sessions.
type hostAccounts struct {
	s      *Server
	domain jid.JID
}

var _ mod.Accounts = (*hostAccounts)(nil)

func (a *hostAccounts) Exists(ctx context.Context, local string) (bool, error) {
	return a.s.accounts(a.domain).Exists(ctx, local)
}

func (a *hostAccounts) Create(ctx context.Context, local, password string) error {
	return a.s.accounts(a.domain).Create(ctx, local, password)
}

// SetPassword replaces a password and ends the sessions that were opened by the old one. See mod.Accounts.
func (a *hostAccounts) SetPassword(ctx context.Context, local, password string, by mod.Session) error {
	h := a.s.accounts(a.domain)
	if err := h.SetPassword(ctx, local, password, by); err != nil || h.PasswordPolicy() == "none" {
		return err
	}
	return a.end(local, "the password was changed", func(s *session.Session) bool { return by == nil || s.JID() != by.JID() })
}

// end closes sessions of an account: that its clients do not come back by themselves is up to the condition.
func (a *hostAccounts) end(local, why string, which func(s *session.Session) bool) error {
	account, err := jid.New(local, a.domain.Domain(), "")
	if err != nil {
		return err
	}
	for _, s := range a.s.dir.Sessions(account) {
		if which(s) {
			s.Close(string(stream.NotAuthorized), why)
		}
	}
	return nil
}

// Devices returns the clients of an account. See mod.Accounts.
func (a *hostAccounts) Devices(ctx context.Context, local string) ([]mod.Device, error) {
	account, err := jid.New(local, a.domain.Domain(), "")
	if err != nil {
		return nil, err
	}
	known, err := a.s.accounts(a.domain).Devices(ctx, local)
	if err != nil {
		return nil, err
	}
	var connected, rest []mod.Device
	sessions := a.s.dir.Sessions(account)
	for _, d := range known {
		i := slices.IndexFunc(sessions, func(s *session.Session) bool { return s.Client().ID == d.ID })
		if i < 0 {
			rest = append(rest, d)
			continue
		}
		d.Connected, d.LastSeen = true, later(d.LastSeen, sessions[i].LastActive())
		connected = append(connected, d)
	}
	for _, s := range sessions {
		c := s.Client()
		if slices.ContainsFunc(known, func(d mod.Device) bool { return d.ID == c.ID }) {
			continue
		}
		connected = append(connected, mod.Device{
			ID: sessionID(s), Software: c.Software, Device: c.Device, FirstSeen: s.Since, LastSeen: s.LastActive(),
			Connected: true, Password: c.Mechanism != sasl.External && c.Mechanism != sasl.Anonymous,
		})
	}
	return append(connected, rest...), nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sessionID names a client that has not told which it is by its session.
func sessionID(s *session.Session) string {
	if id := s.Client().ID; id != "" {
		return id
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", s.JID(), s.Since.UnixNano()))
	return "session-" + base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Revoke takes the access of a client away. See mod.Accounts.
func (a *hostAccounts) Revoke(ctx context.Context, local, id string, force bool) error {
	err := a.s.accounts(a.domain).Revoke(ctx, local, id, force)
	if errors.Is(err, mod.ErrNoRows) { // it may be there without being known
		all, derr := a.Devices(ctx, local)
		i := slices.IndexFunc(all, func(d mod.Device) bool { return d.ID == id })
		switch {
		case derr != nil:
			return derr
		case i < 0:
			return err
		case all[i].Password && !force:
			return mod.ErrPasswordKnown
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return a.end(local, "the access of this client was revoked", func(s *session.Session) bool { return sessionID(s) == id })
}

// Delete removes an account. See mod.Accounts.
func (a *hostAccounts) Delete(ctx context.Context, local string, done ...func()) error {
	account, err := jid.New(local, a.domain.Domain(), "")
	if err != nil {
		return err
	}
	h := a.s.router.Host(a.domain)
	if h != nil {
		if err := h.BeforeAccountRemoved(ctx, account); err != nil {
			return err
		}
	}
	err = a.s.accounts(a.domain).Delete(ctx, local, func(ctx context.Context, tx mod.Tx) error {
		if h == nil {
			return nil
		}
		return h.AccountRemoved(ctx, tx, account)
	})
	if err != nil {
		return err
	}
	for _, f := range done {
		f()
	}
	for _, t := range a.s.dir.Sessions(account) {
		t.Close(string(stream.NotAuthorized), "the account was removed")
	}
	return nil
}
