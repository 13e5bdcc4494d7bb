package pep

import (
	"context"
	"sync"

	"sabir/engine/lru"
	engine "sabir/engine/pubsub"
	"sabir/engine/vcard"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// avatars remembers which picture accounts have.
type avatars struct {
	mu sync.Mutex
	m  *lru.Cache[jid.JID, avatar]
	// changes counts what was forgotten, so that what was read before is not put there after.
	changes int
}

// avatar is the picture that presence tells of: none is known, there is none (hash ""), or this one (XEP-0153#bizrules-presence).
type avatar struct {
	known bool
	hash  string
}

// rememberedAvatars bounds the accounts whose avatar is remembered.
const rememberedAvatars = 50_000

func newAvatars() *avatars {
	return &avatars{m: lru.New[jid.JID, avatar](rememberedAvatars)}
}

func (a *avatars) forget(account jid.JID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes++
	a.m.Delete(account)
}

// avatar returns the picture of an account.
func (p *pep) avatar(ctx context.Context, account jid.JID) (avatar, error) {
	if a, ok := p.avatars.m.Get(account); ok {
		return a, nil
	}
	p.avatars.mu.Lock()
	before := p.avatars.changes
	p.avatars.mu.Unlock()
	a, err := p.readAvatar(ctx, account)
	if err != nil {
		return avatar{}, err
	}
	p.avatars.mu.Lock()
	defer p.avatars.mu.Unlock()
	if p.avatars.changes == before {
		p.avatars.m.Put(account, a)
	}
	return a, nil
}

// readAvatar reads it from the nodes. A picture that is not there, or is not the one that its id says (XEP-0398#pep2vcard), is not
// known.
func (p *pep) readAvatar(ctx context.Context, account jid.JID) (avatar, error) {
	item, meta, err := p.s.Item(ctx, account, vcard.AvatarMetadata, "")
	if item == "" || err != nil {
		return avatar{}, err
	}
	if meta.First() == nil {
		return avatar{known: true}, nil // XEP-0084#pub-disable
	}
	id, typ := vcard.Current(meta)
	_, data, err := p.s.Item(ctx, account, vcard.AvatarData, id)
	if a := vcard.Held(id, typ, data); a != nil {
		return avatar{true, a.ID()}, err
	}
	return avatar{}, err
}

// stamp puts the hash of the avatar into available presence, broadcast or directed, where the client does not say that there is
// none (XEP-0398#presence).
func (p *pep) stamp(ctx context.Context, pass *mod.Pass) error {
	st := pass.Stanza
	if st.Type != stanza.TypeAvailable || st.From.Local() == "" || !p.s.Has(vcardConversion) {
		return nil
	}
	x := st.Child(vcard.NSUpdate, "x")
	photo := x.Child(vcard.NSUpdate, "photo")
	if photo != nil && photo.Text() == "" {
		return nil
	}
	a, err := p.avatar(ctx, pass.Account)
	if err != nil {
		p.h.Log().Error("an avatar cannot be read", "error", err) // presence does not wait for it
		return nil
	}
	if !a.known || photo != nil && photo.Text() == a.hash {
		return nil
	}
	c := st.Clone()
	c.RemoveNamed(vcard.NSUpdate, "x", func(*xmlstream.Element) bool { return true })
	content := xmlstream.El(vcard.NSUpdate, "photo")
	if a.hash != "" {
		content.Add(a.hash)
	}
	pass.Stanza = c.Add(xmlstream.El(vcard.NSUpdate, "x", content))
	return nil
}

// followAvatar forgets what is remembered when one of the two nodes changes, and tells of the new picture.
func (p *pep) followAvatar(account jid.JID, node string) engine.Followed {
	return engine.Followed{Done: func() {
		p.avatars.forget(account)
		if node == vcard.AvatarMetadata && len(p.h.Sessions(account)) > 0 {
			p.later("presence with the new avatar", account, func(ctx context.Context) error { return p.announceAvatar(ctx, account) })
		}
	}}
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
	var list []*stanza.Stanza
	for _, c := range contacts {
		if c.Subscription&mod.SubFrom != 0 {
			list = append(list, st.WithTo(c.JID))
		}
	}
	for _, t := range p.h.Sessions(account) {
		if t.Presence() != nil {
			list = append(list, st.WithTo(t.JID()))
		}
	}
	p.h.RouteAll(ctx, list)
}
