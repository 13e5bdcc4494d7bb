package private

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/bookmark"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "jabber:iq:private"

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "private",
	Specs:  []string{"XEP-0049 1.2", "XEP-0411 1.1.0"},
	Doc:    "Keeps settings and bookmarks that clients store on the server for themselves.",
	Config: func() any { return &Config{Elements: 200, Bytes: 1 << 20} },
	Schema: schema,
	New:    newPrivate,
}

// Config is the section [mod.private].
type Config struct {
	Elements int `toml:"elements" doc:"Elements kept for one account."`
	Bytes    int `toml:"bytes" doc:"Bytes kept for one account."`
}

// Validate checks that the limits are positive.
func (c *Config) Validate() error {
	if c.Elements < 1 || c.Bytes < 1 {
		return fmt.Errorf("elements and bytes are at least 1")
	}
	return nil
}

// parse bounds what is read back: it was accepted within the limits of a stream.
var parse = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

// errLimit refuses what would exceed a limit.
var errLimit = stanza.Err(stanza.ResourceConstraint, "the private storage is full").OfType(stanza.Cancel)

type private struct {
	h mod.Host
	c *Config
}

func newPrivate(h mod.Host, cfg any) (*mod.Hooks, error) {
	x := &private{h, cfg.(*Config)}
	return &mod.Hooks{
		IQ: []mod.IQHandler{
			{At: mod.AtOwn, Space: ns, Local: "query", Type: stanza.TypeGet, Func: x.get},
			{At: mod.AtOwn, Space: ns, Local: "query", Type: stanza.TypeSet, Func: x.set},
			// To somebody else's account the preferred error is forbidden, for any account that might exist (XEP-0049 §2.3).
			{At: mod.AtAccount, Space: ns, Local: "query", Type: stanza.TypeGet, Quiet: true, Unknown: true, Func: forbid},
			{At: mod.AtAccount, Space: ns, Local: "query", Type: stanza.TypeSet, Quiet: true, Unknown: true, Func: forbid},
		},
		Features: []mod.Feature{{At: mod.AtHost, Var: ns}},
		Start: func(context.Context) error {
			h.Go("bookmarks", func(ctx context.Context) {
				if err := x.moveAll(ctx); err != nil && ctx.Err() == nil {
					h.Log().Error("bookmarks were not moved to the nodes of accounts", "error", err)
				}
			})
			return nil
		},
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			_, err := tx.Exec(ctx, `DELETE FROM private_xml WHERE account = ?`, account.String())
			return err
		},
	}, nil
}

func forbid(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return nil, stanza.Err(stanza.Forbidden, "private data is for its owner")
}

// elements returns the children of a query after checking their namespaces: there is at least one, each has its own, and
// none is reserved (XEP-0049 §2.3, §3).
func elements(q *xmlstream.Element) (all []*xmlstream.Element, err error) {
	for e := range q.Elements() {
		switch s := e.Name.Space; {
		case s == "", s == ns:
			return nil, stanza.Err(stanza.NotAcceptable, "an element is in a namespace of its own")
		case strings.HasPrefix(s, "jabber:"), strings.HasPrefix(s, "http://jabber.org/"), s == "vcard-temp":
			return nil, stanza.Errf(stanza.NotAcceptable, "the namespace %.100s is reserved", s)
		}
		all = append(all, e)
	}
	return all, nil
}

// get returns the element of this name, or an empty one (XEP-0049 §2.3).
func (x *private) get(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	asked, err := elements(r.Payload)
	switch {
	case err != nil:
		return nil, err
	case len(asked) == 0: // "Bad Format" of XEP-0049 §3: the condition of that code in RFC 6120 is bad-request
		return nil, stanza.Err(stanza.BadRequest, "name the element to get")
	case len(asked) > 1:
		return nil, stanza.Err(stanza.BadRequest, "get one element at a time")
	}
	e := asked[0]
	if at, err := x.atNode(ctx, r.Account, e.Name); at != nil || err != nil {
		return xmlstream.El(ns, "query", at), err
	}
	kept, err := x.kept(ctx, r.Account, e.Name)
	if err != nil {
		return nil, err
	}
	q := xmlstream.El(ns, "query")
	if kept == nil {
		return q.Add(xmlstream.El(e.Name.Space, e.Name.Local)), nil
	}
	for k := range kept.Elements() {
		q.Add(k)
	}
	return q, nil
}

// kept returns what is stored of this name, around the elements that there were, or nil.
func (x *private) kept(ctx context.Context, account jid.JID, name xmlstream.Name) (*xmlstream.Element, error) {
	var content string
	err := x.h.DB().QueryRow(ctx, `SELECT content FROM private_xml WHERE account = ? AND space = ? AND local = ?`,
		account.String(), name.Space, name.Local).Scan(&content)
	if errors.Is(err, mod.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	kept, err := xmlstream.Parse(content, parse)
	if err != nil {
		return nil, fmt.Errorf("private data of %s: %w", name.Space, err)
	}
	return kept, nil
}

// row is what a set writes: all elements of one name, wrapped in one element.
type row struct {
	name xmlstream.Name
	xml  string
}

// rows joins the elements of the same name: a set may hold several (XEP-0049 §2.3).
func rows(all []*xmlstream.Element) []row {
	var order []xmlstream.Name
	by := make(map[xmlstream.Name]*xmlstream.Element)
	for _, e := range all {
		if by[e.Name] == nil {
			by[e.Name] = xmlstream.El("", "private")
			order = append(order, e.Name)
		}
		by[e.Name].Add(e)
	}
	out := make([]row, len(order))
	for i, n := range order {
		out[i] = row{n, by[n].String()}
	}
	return out
}

// set replaces the elements of these names.
func (x *private) set(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	all, err := elements(r.Payload)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, stanza.Err(stanza.NotAcceptable, "there is nothing to keep")
	}
	list := rows(all)
	write := func(tx mod.Tx) error { return x.write(ctx, tx, r.Account, list) }
	var nodes mod.AccountNodes
	at := slices.IndexFunc(list, func(w row) bool { return w.name == bookmarks })
	if at >= 0 {
		nodes = x.nodes()
	}
	if nodes == nil {
		return nil, x.h.DB().Write(ctx, write)
	}
	all = slices.DeleteFunc(all, func(e *xmlstream.Element) bool { return e.Name != list[at].name })
	list = slices.Delete(list, at, at+1)
	change := mod.NodeChange{Node: bookmark.NSList, ID: "current", Payload: joined(all), Private: true}
	return nil, nodes.Change(ctx, r.Account, []mod.NodeChange{change}, func(tx mod.Tx) error {
		if _, err := x.drop(ctx, tx, r.Account); err != nil {
			return err
		}
		return write(tx)
	})
}

// joined returns one element with the content of all.
func joined(all []*xmlstream.Element) *xmlstream.Element {
	out := all[0].Clone()
	for _, e := range all[1:] {
		out.Nodes = append(out.Nodes, e.Nodes...)
	}
	return out
}

func (x *private) write(ctx context.Context, tx mod.Tx, account jid.JID, list []row) error {
	for _, w := range list {
		_, err := tx.Exec(ctx, `INSERT INTO private_xml (account, space, local, size, content) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (account, space, local) DO UPDATE SET size = excluded.size, content = excluded.content`,
			account.String(), w.name.Space, w.name.Local, len(w.xml), w.xml)
		if err != nil {
			return err
		}
	}
	var n, size int
	err := tx.QueryRow(ctx, `SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM private_xml WHERE account = ?`, account.String()).Scan(&n, &size)
	if err != nil {
		return err
	}
	if n > x.c.Elements || size > x.c.Bytes {
		return errLimit
	}
	return nil
}
