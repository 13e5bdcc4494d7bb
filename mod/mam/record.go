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
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// strip removes the marks that somebody else made in the name of the account (XEP-0359#rules), on its way out as well: what
// the other devices of the sender get as a copy is marked by us alone.
func (m *archives) strip(_ context.Context, p *mod.Pass) error {
	forged := false
	for x := range p.Stanza.ChildrenNamed(nsStanzaID, "stanza-id") { // that of a room, as a rule
		forged = forged || marks(x, p.Account)
	}
	if !forged {
		return nil
	}
	p.Stanza = p.Stanza.Clone()
	p.Stanza.RemoveNamed(nsStanzaID, "stanza-id", func(x *xmlstream.Element) bool { return marks(x, p.Account) })
	return nil
}

// marks tells whether x is a stanza-id of this account, in whatever spelling.
func marks(x *xmlstream.Element, account jid.JID) bool {
	if !x.Is(nsStanzaID, "stanza-id") {
		return false
	}
	by, err := jid.Parse(x.Attr("by"))
	return err == nil && by == account
}

// marked returns the id that a message has in the archive of an account, or "". Behind strip it is ours.
func marked(s *stanza.Stanza, account jid.JID) string {
	for x := range s.ChildrenNamed(nsStanzaID, "stanza-id") {
		if marks(x, account) {
			return x.Attr("id")
		}
	}
	return ""
}

// settle tells where the message is archived: on side In all who get it, on side Out the other devices of the sender
// (XEP-0313#archives_id).
func (m *archives) settle(_ context.Context, p *mod.Pass) {
	if p.Archived == nil || p.Archived.ID == "" || p.Archived.By != p.Account || marked(p.Stanza, p.Account) != "" {
		return
	}
	p.Stanza = p.Stanza.Clone().Add(xmlstream.El(nsStanzaID, "stanza-id", xmlstream.A("by", p.Account.String()), xmlstream.A("id", p.Archived.ID)))
}

// record archives a message for one side.
func (m *archives) record(ctx context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
	s := p.Stanza
	if p.Account.Local() == "" || p.Account.DomainJID() != m.h.Domain() {
		return nil, nil // of the server itself, or of a room
	}
	if id := marked(s, p.Account); id != "" { // it comes a second time: a session has ended before it was written
		p.Archived = &mod.Archived{By: p.Account, ID: id}
		m.spare(p)
		return nil, nil
	}
	peer := s.From
	if p.Side == mod.Out {
		if peer = s.To; peer.IsZero() { // RFC 6120 §10.3.1
			peer = p.Account
		}
		if peer.Bare() == p.Account {
			return nil, nil // the other side of the same archive does it: each message once (XEP-0313#business-storeret-user-archives)
		}
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
		if e.gone, err = m.retracted(ctx, a, peer, s); err != nil {
			return nil, err
		}
	}
	p.Archived = &mod.Archived{By: p.Account}
	m.spare(p)
	return m.write(ctx, e, p.Archived), nil
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
	gone    *retraction
}

// write returns the write of an entry, which tells the place to at.
func (m *archives) write(ctx context.Context, e entry, at *mod.Archived) func(mod.Tx) error {
	return func(tx mod.Tx) error {
		if e.gone != nil {
			if err := m.bury(ctx, tx, e); err != nil {
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
		_, err = m.log.Refer(ctx, m.h.DB(), a, peer, ref(p.Account, s.ID), time.Time{})
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
	ref  string // of the message
	id   string // of the retraction
	at   time.Time
	item *archive.Item // the message, where it was found before the write
}

// justNow is for how long a message may be on its way to the disk.
const justNow = time.Minute

// retracted looks for the message that s takes back. Only its own sender can (XEP-0424#rules). It is nil where s does not
// say which one, or has no id to which the tombstone could refer.
func (m *archives) retracted(ctx context.Context, a archive.Archive, peer jid.JID, s *stanza.Stanza) (*retraction, error) {
	id := s.Child(nsRetract, "retract").Attr("id")
	if id == "" || s.ID == "" {
		return nil, nil
	}
	r := &retraction{ref: ref(s.From, id), id: s.ID, at: m.h.Clock().Now()}
	i, err := m.log.Refer(ctx, m.h.DB(), a, peer, r.ref, time.Time{})
	switch {
	case err == nil:
		r.item = &i
	case !errors.Is(err, archive.ErrNotFound):
		return nil, err
	}
	return r, nil
}

// bury puts a tombstone in the place of a message (XEP-0424#tombstones). A message that is in the same batch as its
// retraction was not found before.
func (m *archives) bury(ctx context.Context, tx mod.Tx, e entry) error {
	g := e.gone
	i := g.item
	if i == nil {
		found, err := m.log.Refer(ctx, tx, e.archive, e.peer, g.ref, g.at.Add(-justNow))
		if errors.Is(err, archive.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		i = &found
	}
	if i.Tombstone {
		return nil
	}
	stone, err := tombstone(i.Wire, g)
	if err != nil {
		return err
	}
	err = m.log.Replace(ctx, tx, e.archive, i.ID, stone)
	if errors.Is(err, archive.ErrNotFound) { // it has gone meanwhile
		return nil
	}
	return err
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
