package vcard

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	engine "sabir/engine/vcard"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Info describes the extension.
var Info = mod.Info{
	Name:    "vcard",
	Specs:   []string{"XEP-0054 1.3.0", "XEP-0292 0.12.0", "XEP-0398 1.0.0"},
	Doc:     "Keeps the vCards of users, with name, picture and addresses, for all to read.",
	Config:  func() any { return &Config{Bytes: 200 << 10, Photo: 128 << 10} },
	Engines: []mod.Engine{{Name: engine.Module, Schema: engine.Schema}},
	New:     newVCard,
}

// Config is the section [mod.vcard].
type Config struct {
	Bytes int `toml:"bytes" doc:"Bytes of a vCard, pictures included in their encoded form."`
	Photo int `toml:"photo" doc:"Bytes of a picture."`
}

// Validate checks that the limits are positive.
func (c *Config) Validate() error {
	if c.Bytes < 1 || c.Photo < 1 {
		return fmt.Errorf("bytes and photo are at least 1")
	}
	return nil
}

type vcard struct {
	h mod.Host
	c *Config
}

func newVCard(h mod.Host, cfg any) (*mod.Hooks, error) {
	v := &vcard{h, cfg.(*Config)}
	return &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtAccount, Space: engine.NS, Local: "vCard", Type: stanza.TypeGet, Func: v.get},
			{At: mod.AtOwn, Space: engine.NS, Local: "vCard", Type: stanza.TypeSet, Func: v.set},
			{At: mod.AtHost | mod.AtAccount, Space: engine.NS, Local: "vCard", Type: stanza.TypeSet, Quiet: true, Unknown: true, Func: forbid},
		},
		Features: []mod.Feature{{At: mod.AtHost, Var: engine.NS}}, // XEP-0054#support
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			return engine.Put(ctx, tx, account, nil)
		},
	}, nil
}

// forbid refuses to change somebody else's vCard (XEP-0054#usecases).
func forbid(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return nil, stanza.Err(stanza.Forbidden, "a vCard is changed by its owner")
}

// get returns a vCard, with the avatar as far as who asks may read its nodes. Without one the owner gets item-not-found, and
// others the error of an account that does not exist (XEP-0054#usecases).
func (v *vcard) get(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	card, err := engine.Get(ctx, v.h.DB(), r.Account)
	if err == nil {
		card, err = v.composed(ctx, card, r)
	}
	switch {
	case err != nil:
		return nil, err
	case card != nil:
		return card, nil
	case r.From.Bare() == r.Account:
		return nil, stanza.Err(stanza.ItemNotFound, "")
	}
	return nil, stanza.Err(stanza.ServiceUnavailable, "")
}

// composed puts the avatar into a vCard, for which there is one owner: the account's nodes (XEP-0398#impl-server). Where
// there are none, the vCard holds the picture itself.
func (v *vcard) composed(ctx context.Context, card *xmlstream.Element, r *mod.Request) (*xmlstream.Element, error) {
	nodes := v.h.AccountNodes()
	if nodes == nil {
		return card, nil
	}
	itemID, meta, err := nodes.Item(ctx, r.Account, engine.AvatarMetadata, "")
	if err != nil {
		return nil, err
	}
	if itemID == "" && (card.Child(engine.NS, "PHOTO") == nil || card.Child(engine.NS, "PHOTO").First() != nil) {
		return card, nil
	}
	id, typ := engine.Current(meta)
	if id == "" {
		return engine.WithPhoto(card, nil), nil
	}
	for _, n := range []string{engine.AvatarMetadata, engine.AvatarData} { // XEP-0398#security
		if ok, err := nodes.MayRead(ctx, r.Account, r.From, n); err != nil || !ok {
			return engine.WithPhoto(card, nil), err
		}
	}
	_, data, err := nodes.Item(ctx, r.Account, engine.AvatarData, id)
	if err != nil {
		return nil, err
	}
	return engine.WithPhoto(card, engine.Held(id, typ, data)), nil
}

// set replaces the own vCard. An empty one deletes it. The picture goes to the nodes of the avatar (XEP-0398#vcard2pep), and
// the rest to that of vCard4.
func (v *vcard) set(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	card := r.Payload
	if err := v.check(card); err != nil {
		return nil, err
	}
	if len(card.String()) > v.c.Bytes {
		return nil, stanza.Errf(stanza.PolicyViolation, "a vCard has up to %d bytes", v.c.Bytes)
	}
	nodes := v.h.AccountNodes()
	if nodes == nil {
		return nil, v.h.DB().Write(ctx, func(tx mod.Tx) error { return engine.Put(ctx, tx, r.Account, card) })
	}
	// What another device publishes meanwhile comes before or after all of it, so that vCard and nodes are in step whichever is the last.
	return nil, nodes.Update(ctx, r.Account, func(ctx context.Context) ([]mod.NodeChange, func(mod.Tx) error, error) {
		changes, card, err := v.avatar(ctx, nodes, r.Account, card)
		if err != nil {
			return nil, nil, err
		}
		four, err := v.four(ctx, nodes, r.Account, card)
		return append(changes, four...), func(tx mod.Tx) error { return engine.Put(ctx, tx, r.Account, card) }, err
	})
}

// avatar returns what a vCard changes of the avatar, and the vCard without what is kept there. A vCard without a picture takes
// the avatar away; one that names a place elsewhere leaves it.
func (v *vcard) avatar(ctx context.Context, nodes mod.AccountNodes, account jid.JID, card *xmlstream.Element) ([]mod.NodeChange, *xmlstream.Element, error) {
	itemID, meta, err := nodes.Item(ctx, account, engine.AvatarMetadata, "")
	if err != nil {
		return nil, nil, err
	}
	id, _ := engine.Current(meta)
	a := engine.PhotoOf(card)
	switch {
	case a != nil && a.ID() == id:
		return nil, engine.Placeholder(card), nil
	case a != nil:
		return []mod.NodeChange{
			{Node: engine.AvatarData, ID: a.ID(), Payload: a.DataElement()},
			{Node: engine.AvatarMetadata, ID: a.ID(), Payload: a.MetadataElement()},
		}, engine.Placeholder(card), nil
	case itemID == "" || meta.First() == nil || card.Child(engine.NS, "PHOTO").ChildText(engine.NS, "EXTVAL") != "":
		return nil, card, nil
	}
	return []mod.NodeChange{{Node: engine.AvatarMetadata, ID: stanza.NewID(), Payload: xmlstream.El(engine.AvatarMetadata, "metadata")}}, card, nil // XEP-0084#pub-disable
}

// four returns the change of the vCard4 that goes with a vCard.
func (v *vcard) four(ctx context.Context, nodes mod.AccountNodes, account jid.JID, card *xmlstream.Element) ([]mod.NodeChange, error) {
	id, was, err := nodes.Item(ctx, account, engine.Node4, "")
	if err != nil {
		return nil, err
	}
	now := engine.To4(card)
	if was.Equal(now) {
		return nil, nil
	}
	if id == "" {
		id = "current"
	}
	return []mod.NodeChange{{Node: engine.Node4, ID: id, Payload: now}}, nil
}

// check obeys XEP-0054#impl as far as a server may without losing what clients keep there: the elements of vcard-temp are
// in capital letters, and pictures and sounds are within their limit and, where they are inside, well-formed Base64.
func (v *vcard) check(x *xmlstream.Element) error {
	for k := range x.Elements() {
		if k.Name.Space != engine.NS {
			continue // clients add their own, which the DTD does not know
		}
		if k.Name.Local != strings.ToUpper(k.Name.Local) {
			return stanza.Errf(stanza.NotAcceptable, "the element %.40s is not in capital letters", k.Name.Local)
		}
		bin := k.Child(engine.NS, "BINVAL")
		if bin == nil {
			continue
		}
		if err := v.checkBinary(k.Name.Local, bin.Text()); err != nil {
			return err
		}
	}
	return nil
}

// checkBinary checks a BINVAL, whose Base64 may be broken into lines.
func (v *vcard) checkBinary(name, text string) error {
	text = strings.Join(strings.Fields(text), "")
	if base64.StdEncoding.DecodedLen(len(text)) > v.c.Photo+2 {
		return stanza.Errf(stanza.PolicyViolation, "%.10s has up to %d bytes", name, v.c.Photo)
	}
	b, err := engine.Base64(text)
	if err != nil {
		return stanza.Errf(stanza.NotAcceptable, "%.10s is no Base64", name)
	}
	if len(b) > v.c.Photo {
		return stanza.Errf(stanza.PolicyViolation, "%.10s has up to %d bytes", name, v.c.Photo)
	}
	return nil
}
