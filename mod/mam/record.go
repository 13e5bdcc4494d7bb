package mam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sabir/engine/archive"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// strip removes the marks that somebody else made in the name of the account (XEP-0359#rules), on its way out as well: what
// the other devices of the sender get as a copy is marked by us alone.
func (m *archives) strip(_ context.Context, p *mod.Pass) error {
	p.Stanza = sid.Strip(p.Stanza, p.Account)
	return nil
}

// settle tells where the message is archived: on side In all who get it, on side Out the other devices of the sender
// (XEP-0313#archives_id).
func (m *archives) settle(ctx context.Context, p *mod.Pass) {
	if p.Archived == nil || p.Archived.ID == "" || p.Archived.By != p.Account || sid.Of(p.Stanza, p.Account) != "" {
		return
	}
	if m.c.Tombstones && p.Stanza.Has(nsRetract, "retract") {
		m.late(ctx, p)
	}
	p.Stanza = p.Stanza.Clone().Add(sid.Element(p.Account, p.Archived.ID))
}

// record archives a message for one side.
func (m *archives) record(ctx context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
	s := p.Stanza
	if p.Account.Local() == "" || p.Account.DomainJID() != m.h.Domain() {
		return nil, nil // of the server itself, or of a room
	}
	if id := sid.Of(s, p.Account); id != "" { // ours, behind strip: it comes a second time, since a session has ended before it was written
		p.Archived = &mod.Archived{By: p.Account, ID: id}
		m.spare(p)
		return nil, nil
	}
	peer := peerOf(p)
	if p.Side == mod.Out && peer.Bare() == p.Account {
		return nil, nil // the other side of the same archive does it: each message once (XEP-0313#business-storeret-user-archives)
	}
	if s.Type == stanza.TypeError {
		return m.recordError(ctx, p, peer)
	}
	v, ok := archivable(s)
	if !ok {
		return nil, nil
	}
	if ok, err := m.wanted(ctx, p.Account, peer); !ok || err != nil {
		return nil, err
	}
	a, err := m.log.Archive(ctx, p.Account.String())
	if err != nil {
		return nil, err
	}
	e := entry{archive: a, peer: peer, m: archive.Message{Wire: string(s.Append(nil, stanza.NSClient))}}
	if m.c.Search {
		e.m.Text = s.Body()
	}
	if v.said && !v.retract && s.ID != "" {
		e.m.Ref = ref(s.From, s.ID)
	}
	if v.retract && m.c.Tombstones {
		if r := m.retracts(a, peer, s); r != nil {
			if e.bury, err = m.bury(ctx, r); err != nil {
				return nil, err
			}
		}
	}
	p.Archived = &mod.Archived{By: p.Account}
	m.spare(p)
	return m.write(ctx, e, p.Archived), nil
}

// peerOf returns whom a message is exchanged with.
func peerOf(p *mod.Pass) jid.JID {
	switch {
	case p.Side == mod.In:
		return p.Stanza.From
	case p.Stanza.To.IsZero(): // RFC 6120 §10.3.1
		return p.Account
	}
	return p.Stanza.To
}

// ref is what a message is referred to by in a conversation: who sent it, from whichever device, and what they called it.
func ref(from jid.JID, id string) string { return from.Bare().String() + "\x00" + id }

// spare keeps a message from being bounced that nobody is there to take and that an archive has, where RFC 6121 §8.5 lets it
// wait for the account.
func (m *archives) spare(p *mod.Pass) {
	if p.Side == mod.In && len(p.Targets) == 0 && (p.Stanza.Type == stanza.TypeChat || p.Stanza.To.IsBare() || p.Stanza.To.IsZero()) {
		p.Stored = true
	}
}

// entry is what a write puts into an archive.
type entry struct {
	archive archive.Archive
	peer    jid.JID
	m       archive.Message
	bury    func(mod.Tx) error // what it takes back; may be nil
}

// write returns the write of an entry, which tells the place to at.
func (m *archives) write(ctx context.Context, e entry, at *mod.Archived) func(mod.Tx) error {
	return func(tx mod.Tx) error {
		if e.bury != nil {
			if err := e.bury(tx); err != nil {
				return err
			}
		}
		places, err := m.log.Append(ctx, tx, e.m, archive.Row{Archive: e.archive, Peer: e.peer})
		if err != nil {
			return err
		}
		at.ID = places[0].ID
		return nil
	}
}

// recordError archives an error that answers a message which the archive has, so that every device learns that it did not
// arrive.
func (m *archives) recordError(ctx context.Context, p *mod.Pass, peer jid.JID) (func(mod.Tx) error, error) {
	s := p.Stanza
	if p.Side != mod.In || s.ID == "" {
		return nil, nil
	}
	a, err := m.log.Lookup(ctx, p.Account.String())
	if errors.Is(err, archive.ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		_, err = m.log.Refer(ctx, a, peer, ref(p.Account, s.ID))
	}
	if errors.Is(err, archive.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if ok, err := m.wanted(ctx, p.Account, peer); !ok || err != nil {
		return nil, err
	}
	p.Archived = &mod.Archived{By: p.Account}
	if len(p.Targets) == 0 {
		p.Stored = true
	}
	e := entry{archive: a, peer: peer, m: archive.Message{Wire: string(s.Append(nil, stanza.NSClient))}}
	return m.write(ctx, e, p.Archived), nil
}

// retraction is what takes a message back.
type retraction struct {
	archive archive.Archive
	peer    jid.JID
	ref     string // of the message
	id      string // of the retraction
	at      time.Time
}

// retracts returns what s takes back. It is nil where s does not say which message, or has no id to which the tombstone
// could refer.
func (m *archives) retracts(a archive.Archive, peer jid.JID, s *stanza.Stanza) *retraction {
	id := s.Child(nsRetract, "retract").Attr("id")
	if id == "" || s.ID == "" {
		return nil
	}
	return &retraction{archive: a, peer: peer, ref: ref(s.From, id), id: s.ID, at: m.h.Clock().Now()}
}

// bury returns the write that puts a tombstone in the place of the message that is taken back (XEP-0424#tombstones): one of
// the same sender, and of nobody else (XEP-0424#rules). It is nil where there is no such message.
func (m *archives) bury(ctx context.Context, r *retraction) (func(mod.Tx) error, error) {
	i, err := m.log.Refer(ctx, r.archive, r.peer, r.ref)
	if errors.Is(err, archive.ErrNotFound) || err == nil && i.Tombstone {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stone, err := tombstone(i.Wire, r)
	if err != nil {
		return nil, err
	}
	return func(tx mod.Tx) error {
		err := m.log.Replace(ctx, tx, r.archive, i.ID, stone)
		if errors.Is(err, archive.ErrNotFound) { // it has gone meanwhile
			return nil
		}
		return err
	}, nil
}

// late buries a message that came with its retraction, so that it was not in the archive yet when that was looked at. The
// retraction is archived by now, and what it says holds without a tombstone.
func (m *archives) late(ctx context.Context, p *mod.Pass) {
	a, err := m.log.Lookup(ctx, p.Account.String())
	if err == nil {
		err = m.buryNow(ctx, m.retracts(a, peerOf(p), p.Stanza))
	}
	if err != nil {
		m.h.Log().Error("a retracted message stays in an archive", "error", err)
	}
}

func (m *archives) buryNow(ctx context.Context, r *retraction) error {
	if r == nil {
		return nil
	}
	write, err := m.bury(ctx, r)
	if err != nil || write == nil {
		return err
	}
	return m.h.DB().Write(ctx, write)
}

// limits bound what is read back: it was accepted within the limits of a stream.
var limits = xmlstream.Limits{Bytes: 64 << 20, Depth: 1000, Attrs: 1000, Children: 1 << 20, Name: 1 << 16}

// tombstone is what is left of a message: its addresses, its type and what it was called.
func tombstone(wire string, r *retraction) (string, error) {
	f, err := xmlstream.ParseFrame(wire, limits)
	if err != nil {
		return "", fmt.Errorf("an archived message: %w", err)
	}
	was, bad := stanza.FromFrame(f)
	if was == nil || bad != nil {
		return "", fmt.Errorf("an archived message is none: %v", bad)
	}
	s := stanza.New(stanza.Message, was.Type, xmlstream.El(nsRetract, "retracted", xmlstream.A("id", r.id), xmlstream.A("stamp", datetime.Format(r.at))))
	s.ID, s.From, s.To = was.ID, was.From, was.To
	return string(s.Append(nil, stanza.NSClient)), nil
}
