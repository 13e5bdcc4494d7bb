package vcard

import (
	"context"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "vcard-temp"

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "vcard",
	Specs:  []string{"XEP-0054 1.3.0"},
	Doc:    "Keeps the vCards of users, with name, picture and addresses, for all to read.",
	Config: func() any { return &Config{Bytes: 200 << 10, Photo: 128 << 10} },
	Schema: schema,
	New:    newVCard,
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

// parse bounds what is read back: it was accepted within the limits of a stream.
var parse = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

type vcard struct {
	db mod.DB
	c  *Config
}

func newVCard(h mod.Host, cfg any) (*mod.Hooks, error) {
	v := &vcard{h.DB(), cfg.(*Config)}
	return &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtAccount, Space: ns, Local: "vCard", Type: stanza.TypeGet, Func: v.get},
			{At: mod.AtOwn, Space: ns, Local: "vCard", Type: stanza.TypeSet, Func: v.set},
			{At: mod.AtHost | mod.AtAccount, Space: ns, Local: "vCard", Type: stanza.TypeSet, Quiet: true, Unknown: true, Func: forbid},
		},
		Features: []mod.Feature{{At: mod.AtHost, Var: ns}}, // XEP-0054#support
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			_, err := tx.Exec(ctx, `DELETE FROM vcard WHERE account = ?`, account.String())
			return err
		},
	}, nil
}

// forbid refuses to change somebody else's vCard (XEP-0054#usecases).
func forbid(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return nil, stanza.Err(stanza.Forbidden, "a vCard is changed by its owner")
}

// get returns a vCard. Without one the owner gets item-not-found, and others the error of an account that does not exist
// (XEP-0054#usecases).
func (v *vcard) get(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	var content string
	err := v.db.QueryRow(ctx, `SELECT content FROM vcard WHERE account = ?`, r.Account.String()).Scan(&content)
	switch {
	case err == nil:
		return xmlstream.Parse(content, parse)
	case !errors.Is(err, mod.ErrNoRows):
		return nil, err
	case r.From.Bare() == r.Account:
		return nil, stanza.Err(stanza.ItemNotFound, "")
	}
	return nil, stanza.Err(stanza.ServiceUnavailable, "")
}

// set replaces the own vCard. An empty one deletes it.
func (v *vcard) set(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if err := v.check(r.Payload); err != nil {
		return nil, err
	}
	account, xml := r.Account.String(), r.Payload.String()
	if len(xml) > v.c.Bytes {
		return nil, stanza.Errf(stanza.PolicyViolation, "a vCard has up to %d bytes", v.c.Bytes)
	}
	if r.Payload.First() == nil {
		return nil, v.db.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM vcard WHERE account = ?`, account)
			return err
		})
	}
	return nil, v.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO vcard (account, content) VALUES (?, ?)
			ON CONFLICT (account) DO UPDATE SET content = excluded.content`, account, xml)
		return err
	})
}

// check obeys XEP-0054#impl as far as a server may without losing what clients keep there: the elements of vcard-temp are
// in capital letters, and pictures and sounds are within their limit and, where they are inside, well-formed Base64.
func (v *vcard) check(x *xmlstream.Element) error {
	for k := range x.Elements() {
		if k.Name.Space != ns {
			continue // clients add their own, which the DTD does not know
		}
		if k.Name.Local != strings.ToUpper(k.Name.Local) {
			return stanza.Errf(stanza.NotAcceptable, "the element %.40s is not in capital letters", k.Name.Local)
		}
		bin := k.Child(ns, "BINVAL")
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
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, text)
	if base64.StdEncoding.DecodedLen(len(text)) > v.c.Photo+2 {
		return stanza.Errf(stanza.PolicyViolation, "%.10s has up to %d bytes", name, v.c.Photo)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return stanza.Errf(stanza.NotAcceptable, "%.10s is no Base64", name)
	}
	if len(b) > v.c.Photo {
		return stanza.Errf(stanza.PolicyViolation, "%.10s has up to %d bytes", name, v.c.Photo)
	}
	return nil
}
