package pep

import (
	"cmp"
	"context"
	"sync"

	engine "sabir/engine/pubsub"
	"sabir/engine/vcard"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// shown is the flag of a session with the hash that its presence has: noPicture stands for that there is none.
const (
	shown     = "pep.avatar"
	noPicture = "-"
)

// avatars guards the flags: what was read before a picture changed is not put there after.
type avatars struct {
	mu      sync.Mutex
	changes int
}

// hash returns what presence says of the picture of an account. Each session reads it once.
func (p *pep) hash(ctx context.Context, account jid.JID, t mod.Session) (vcard.Hash, error) {
	if t != nil {
		switch v := t.Flag(shown); v {
		case "":
		case noPicture:
			return "", nil
		default:
			return vcard.Hash(v), nil
		}
	}
	p.avatars.mu.Lock()
	before := p.avatars.changes
	p.avatars.mu.Unlock()
	h, err := p.stored(ctx, account)
	if err != nil {
		return vcard.HashUnknown, err
	}
	p.avatars.mu.Lock()
	defer p.avatars.mu.Unlock()
	if t != nil && p.avatars.changes == before {
		t.SetFlag(shown, cmp.Or(string(h), noPicture))
	}
	return h, nil
}

// stored returns the hash that is stored, or finds it out. Where the account has no node of pictures nothing is known, whatever is stored:
// most have none, and what was found out of an account that was removed meanwhile is not the next one's of its name.
func (p *pep) stored(ctx context.Context, account jid.JID) (vcard.Hash, error) {
	if there, err := p.s.Exists(ctx, account, vcard.AvatarMetadata); !there || err != nil {
		return vcard.HashUnknown, err
	}
	h, rev, ok, err := vcard.GetHash(ctx, p.h.DB(), account)
	if ok || err != nil {
		return h, err
	}
	return p.findHash(ctx, account, rev)
}

// findHash finds the hash out from the nodes, which takes reading and decoding the picture, and has it stored in its own time. That they
// are empty is found out again as quickly as it is read.
func (p *pep) findHash(ctx context.Context, account jid.JID, rev int64) (vcard.Hash, error) {
	h, there, err := p.readHash(ctx, account)
	if err == nil && there {
		p.later("storing the hash of an avatar", account, func(ctx context.Context) error {
			return p.h.DB().Write(ctx, func(tx mod.Tx) error { return vcard.PutHash(ctx, tx, account, rev, h) })
		})
	}
	return h, err
}

// readHash reads the picture from the nodes. One that is not there, or is not the one that its id says (XEP-0398#pep2vcard), is not
// known; there tells whether the nodes say anything at all.
func (p *pep) readHash(ctx context.Context, account jid.JID) (h vcard.Hash, there bool, err error) {
	item, meta, err := p.s.Item(ctx, account, vcard.AvatarMetadata, "")
	if item == "" || err != nil {
		return vcard.HashUnknown, false, err
	}
	if meta.First() == nil {
		return "", true, nil // XEP-0084#pub-disable
	}
	id, typ := vcard.Current(meta)
	_, data, err := p.s.Item(ctx, account, vcard.AvatarData, id)
	if a := vcard.Held(id, typ, data); a != nil {
		return vcard.Hash(a.ID()), true, err
	}
	return vcard.HashUnknown, true, err
}

// stamp puts the hash of the avatar into available presence, broadcast or directed, where the client does not say that there is
// none (XEP-0398#presence).
func (p *pep) stamp(ctx context.Context, pass *mod.Pass) error {
	st := pass.Stanza
	if st.Type != stanza.TypeAvailable || st.From.Local() == "" || !p.s.Has(vcardConversion) {
		return nil
	}
	photo := st.Child(vcard.NSUpdate, "x").Child(vcard.NSUpdate, "photo")
	if photo != nil && photo.Text() == "" {
		return nil
	}
	t := pass.Session
	if t == nil { // we send it again ourselves
		t = p.h.Session(st.From)
	}
	h, err := p.hash(ctx, pass.Account, t)
	if err != nil {
		p.h.Log().Error("an avatar cannot be read", "error", err) // presence does not wait for it
		return nil
	}
	if h == vcard.HashUnknown || photo != nil && photo.Text() == string(h) {
		return nil
	}
	c := st.Clone()
	c.RemoveNamed(vcard.NSUpdate, "x", func(*xmlstream.Element) bool { return true })
	content := xmlstream.El(vcard.NSUpdate, "photo")
	if h != "" {
		content.Add(string(h))
	}
	pass.Stanza = c.Add(xmlstream.El(vcard.NSUpdate, "x", content))
	return nil
}

// followAvatar forgets the hash when one of the two nodes changes, and tells of the new picture.
func (p *pep) followAvatar(ctx context.Context, account jid.JID, node string) engine.Followed {
	return engine.Followed{
		Write: func(tx mod.Tx) error { return vcard.ForgetHash(ctx, tx, account) },
		Done: func() {
			p.forget(account)
			if node == vcard.AvatarMetadata && len(p.h.Sessions(account)) > 0 {
				p.later("sending presence with the new avatar", account, func(ctx context.Context) error { return p.announceAvatar(ctx, account) })
			}
		},
	}
}

// lapsed forgets the hash where a picture is gone although nobody deleted it.
func (p *pep) lapsed(ctx context.Context, account jid.JID, node string) {
	if node != vcard.AvatarData && node != vcard.AvatarMetadata {
		return
	}
	if err := p.h.DB().Write(ctx, func(tx mod.Tx) error { return vcard.ForgetHash(ctx, tx, account) }); err != nil {
		p.h.Log().Error("the hash of an avatar is not up to date", "account", account.String(), "error", err)
	}
	p.forget(account)
}

// forget has the sessions of an account read the hash anew.
func (p *pep) forget(account jid.JID) {
	p.avatars.mu.Lock()
	defer p.avatars.mu.Unlock()
	p.avatars.changes++
	for _, t := range p.h.Sessions(account) {
		t.SetFlag(shown, "")
	}
}

// announceAvatar sends the presence of an account's available resources again, so that contacts which know avatars from vCards
// alone see the new one. stamp puts the hash in.
func (p *pep) announceAvatar(ctx context.Context, account jid.JID) error {
	contacts, err := p.h.Roster().Contacts(ctx, account)
	if err != nil {
		return err
	}
	for _, t := range p.h.Sessions(account) {
		// What the client sends meanwhile may be overtaken by what we send: then the newer comes once more.
		for sent, now := (*stanza.Stanza)(nil), t.Presence(); now != sent; now = p.presence(t) {
			sent = now
			if now == nil {
				now = stanza.New(stanza.Presence, stanza.TypeUnavailable)
				now.From = t.JID()
			}
			p.send(ctx, now, account, contacts)
		}
	}
	return nil
}

// presence returns the presence of a session, nil where it has ended.
func (p *pep) presence(t mod.Session) *stanza.Stanza {
	if now := p.h.Session(t.JID()); now != nil {
		return now.Presence()
	}
	return nil
}

// send sends a presence to all who see it.
func (p *pep) send(ctx context.Context, st *stanza.Stanza, account jid.JID, contacts []mod.Contact) {
	var to []jid.JID
	for _, c := range contacts {
		if c.Subscription&mod.SubFrom != 0 {
			to = append(to, c.JID)
		}
	}
	for _, t := range p.h.Sessions(account) {
		if t.Presence() != nil {
			to = append(to, t.JID())
		}
	}
	p.h.RouteAll(ctx, []mod.Fan{{Stanza: st, To: to}})
}
