package mam

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sabir/mod"
	"sabir/xmpp/jid"
	wire "sabir/xmpp/payload/mam"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// maxListed bounds the addresses of each list.
const maxListed = 1000

// wanted tells whether the owner of an archive wants the messages with an address in it (XEP-0441#match).
func (m *archives) wanted(ctx context.Context, account, peer jid.JID) (bool, error) {
	p, err := m.prefsOf(ctx, account)
	if err != nil {
		return false, err
	}
	if archive, known := p.Match(peer); known {
		return archive, nil
	}
	switch p.Default {
	case wire.Always:
		return true, nil
	case wire.Never:
		return false, nil
	}
	_, ok, err := m.h.Roster().Contact(ctx, account, peer.Bare())
	return ok, err
}

// prefsOf returns the preferences of an account: its own, or the configured ones.
func (m *archives) prefsOf(ctx context.Context, account jid.JID) (wire.Prefs, error) {
	if !m.c.Prefs {
		return wire.Prefs{Default: m.c.Default}, nil
	}
	p, at, ok := m.prefs.get(account)
	if ok {
		return p, nil
	}
	p.Default = m.c.Default
	var def, always, never string
	err := m.h.DB().QueryRow(ctx, `SELECT def, always, never FROM mam_prefs WHERE account = ?`, account.String()).Scan(&def, &always, &never)
	switch {
	case errors.Is(err, mod.ErrNoRows):
	case err != nil:
		return p, err
	default:
		p.Default = def
		if p.Always, err = lines(always); err == nil {
			p.Never, err = lines(never)
		}
		if err != nil {
			return p, fmt.Errorf("preferences: %w", err)
		}
	}
	m.prefs.put(account, p, at)
	return p, nil
}

func lines(s string) (all []jid.JID, err error) {
	for l := range strings.Lines(s) {
		j, err := jid.Parse(strings.TrimSuffix(l, "\n"))
		if err != nil {
			return nil, err
		}
		all = append(all, j)
	}
	return all, nil
}

func join(all []jid.JID) string {
	var b strings.Builder
	for _, j := range all {
		b.WriteString(j.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func (m *archives) getPrefs(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	p, err := m.prefsOf(ctx, r.Account)
	if err != nil {
		return nil, err
	}
	return p.Element(), nil
}

// setPrefs replaces the preferences and answers with what is in force (XEP-0441#config).
func (m *archives) setPrefs(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if !m.c.Prefs {
		return nil, stanza.Err(stanza.NotAllowed, "this server decides what is archived")
	}
	p, err := wire.ParsePrefs(r.Payload)
	switch {
	case err != nil:
		return nil, stanza.Err(stanza.BadRequest, err.Error())
	case len(p.Always) > maxListed || len(p.Never) > maxListed:
		return nil, stanza.Errf(stanza.PolicyViolation, "a list has at most %d addresses", maxListed)
	}
	err = m.h.DB().Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO mam_prefs (account, def, always, never) VALUES (?, ?, ?, ?)
			ON CONFLICT (account) DO UPDATE SET def = excluded.def, always = excluded.always, never = excluded.never`,
			r.Account.String(), p.Default, join(p.Always), join(p.Never))
		return err
	})
	m.prefs.changed(r.Account) // whatever has become of it, the next message looks it up
	if err != nil {
		return nil, err
	}
	return p.Element(), nil
}
