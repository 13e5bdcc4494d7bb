package last

import (
	"context"
	"embed"
	"errors"
	"strconv"
	"time"

	"sabir/engine/lazy"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	ns = "jabber:iq:last"
	// maxStatus bounds the bytes of a kept status; a longer one is not kept.
	maxStatus = 1024
	// lastStatus is the flag of a session with the status of its last unavailable presence.
	lastStatus = "last.status"
)

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "last",
	Specs:  []string{"XEP-0012 2.0"},
	Doc:    "Tells contacts how long ago a user was last online, and everybody how long the server runs.",
	Schema: schema,
	New:    newLast,
}

type last struct {
	h     mod.Host
	since time.Time
	later *lazy.Writer
}

func newLast(h mod.Host, _ any) (*mod.Hooks, error) {
	l := &last{h: h, since: h.Clock().Now(), later: lazy.New(h)}
	return &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtHost, Space: ns, Local: "query", Type: stanza.TypeGet, Func: l.uptime},
			{At: mod.AtAccount, Space: ns, Local: "query", Type: stanza.TypeGet, Unknown: true, Func: l.account},
		},
		Admit: []mod.AdmitHook{
			{When: mod.When{Side: mod.In, Kinds: mod.IQs}, Func: l.admit},
		},
		Rewrite: []mod.RewriteHook{
			{When: mod.When{Side: mod.Out, Kinds: mod.Presences}, Func: l.noteStatus},
		},
		Unbound: l.unbound,
		Start:   l.later.Start, Stop: l.later.Stop,
		BeforeAccountRemoved: func(ctx context.Context, _ jid.JID) error { return l.later.Flush(ctx) },
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			l.later.Drop(account.String())
			_, err := tx.Exec(ctx, `DELETE FROM last_activity WHERE account = ?`, account.String())
			return err
		},
	}, nil
}

func answer(seconds time.Duration, status string) *xmlstream.Element {
	n := max(int64(seconds/time.Second), 0)
	return xmlstream.El(ns, "query", xmlstream.A("seconds", strconv.FormatInt(n, 10)), status)
}

// uptime answers for the host (XEP-0012#server).
func (l *last) uptime(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return answer(l.h.Clock().Now().Sub(l.since), ""), nil
}

// account answers for an account: how long ago it was online, or 0 where it is (XEP-0012#offline).
func (l *last) account(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if err := l.authorize(ctx, r.Account, r.From); err != nil {
		return nil, err
	}
	if len(l.h.Sessions(r.Account)) > 0 {
		return answer(0, ""), nil
	}
	if err := l.later.Flush(ctx); err != nil {
		return nil, err
	}
	var at time.Time
	var status string
	err := l.h.DB().QueryRow(ctx, `SELECT at, status FROM last_activity WHERE account = ?`, r.Account.String()).Scan(&at, &status)
	if errors.Is(err, mod.ErrNoRows) {
		return nil, stanza.Err(stanza.ItemNotFound, "the user was never online")
	}
	if err != nil {
		return nil, err
	}
	return answer(l.h.Clock().Now().Sub(at), status), nil
}

// authorize returns forbidden for those who may not see the presence of account, whether it exists or not
// (XEP-0012#offline, XEP-0012#security).
func (l *last) authorize(ctx context.Context, account, who jid.JID) error {
	ok, err := mod.SeesPresence(ctx, l.h.Roster(), account, who)
	if err == nil && !ok {
		err = stanza.Err(stanza.Forbidden, "")
	}
	return err
}

// admit keeps requests of strangers from resources (XEP-0012#online).
func (l *last) admit(ctx context.Context, p *mod.Pass) error {
	s := p.Stanza
	if s.Type != stanza.TypeGet || !s.To.IsFull() || s.To.Local() == "" || s.PayloadName() != (xmlstream.Name{Space: ns, Local: "query"}) {
		return nil
	}
	return l.authorize(ctx, p.Account, s.From)
}

// noteStatus keeps the status of a session that becomes unavailable, for the time after it.
func (l *last) noteStatus(_ context.Context, p *mod.Pass) error {
	s := p.Stanza
	if p.Session == nil || !s.To.IsZero() {
		return nil
	}
	status := ""
	if s.Type == stanza.TypeUnavailable {
		if status = s.Child(stanza.NSClient, "status").Text(); len(status) > maxStatus {
			status = ""
		}
	}
	if status != "" || p.Session.Flag(lastStatus) != "" {
		p.Session.SetFlag(lastStatus, status)
	}
	return nil
}

// unbound keeps the time at which the last session of an account ended.
func (l *last) unbound(ctx context.Context, s mod.Session, _ *stanza.Stanza) {
	account := s.JID().Bare()
	if len(l.h.Sessions(account)) > 0 {
		return
	}
	// A removed account leaves nothing behind: its sessions end after its data.
	if ok, err := l.h.Accounts().Exists(ctx, account.Local()); err != nil || !ok {
		if err != nil {
			l.h.Log().Error("last activity not kept", "error", err)
		}
		return
	}
	now, status := l.h.Clock().Now(), s.Flag(lastStatus)
	l.later.Put(account.String(), func(tx mod.Tx) error {
		_, err := tx.Exec(context.Background(), `INSERT INTO last_activity (account, at, status) VALUES (?, ?, ?)
			ON CONFLICT (account) DO UPDATE SET at = excluded.at, status = excluded.status`, account.String(), now, status)
		return err
	})
}
