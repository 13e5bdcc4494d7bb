// Package disco owns the wire forms of service discovery (XEP-0030) with its extension by forms (XEP-0128), and the
// hashes over them that entity capabilities exchange (XEP-0115, XEP-0390).
package disco

import (
	"errors"
	"fmt"
	"slices"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/xmlstream"
)

// The namespaces of service discovery.
const (
	NSInfo  = "http://jabber.org/protocol/disco#info"
	NSItems = "http://jabber.org/protocol/disco#items"
)

// Identity tells what an entity is (XEP-0030#info-basic).
type Identity struct {
	Category, Type, Lang, Name string
}

// Info is what an entity says about itself.
type Info struct {
	Node       string
	Identities []Identity
	Features   []string
	Forms      []*xmlstream.Element // forms of type result (XEP-0128)
	// Lang is the language in force around the identities, which XEP-0390 counts for those without their own.
	Lang string

	foreign bool // a child that is none of these: see Hash
}

// Element returns the <query/> of disco#info.
func (i *Info) Element() *xmlstream.Element {
	q := xmlstream.El(NSInfo, "query")
	if i.Node != "" {
		q.Add(xmlstream.A("node", i.Node))
	}
	for _, id := range i.Identities {
		x := xmlstream.El(NSInfo, "identity", xmlstream.A("category", id.Category), xmlstream.A("type", id.Type))
		if id.Name != "" {
			x.Add(xmlstream.A("name", id.Name))
		}
		if id.Lang != "" {
			x.Add(xmlstream.Attr{Name: xmlstream.Name{Space: xmlstream.NSXML, Local: "lang"}, Value: id.Lang})
		}
		q.Add(x)
	}
	for _, f := range i.Features {
		q.Add(xmlstream.El(NSInfo, "feature", xmlstream.A("var", f)))
	}
	return q.Add(i.Forms)
}

// Has tells whether a feature is listed.
func (i *Info) Has(feature string) bool { return slices.Contains(i.Features, feature) }

// ErrIllFormed says that an answer breaks the rules, so that nothing may be concluded from it.
var ErrIllFormed = errors.New("disco: ill-formed")

// ParseInfo reads the <query/> of disco#info. lang is the language that is in force around it. An identity without
// category or type and a feature without var are errors, which are ErrIllFormed.
func ParseInfo(q *xmlstream.Element, lang string) (*Info, error) {
	if !q.Is(NSInfo, "query") {
		return nil, fmt.Errorf("%w: not a <query/> of %s", ErrIllFormed, NSInfo)
	}
	i := &Info{Node: q.Attr("node"), Lang: langOf(q, lang)}
	for k := range q.Elements() {
		switch {
		case k.Is(NSInfo, "identity"):
			id := Identity{k.Attr("category"), k.Attr("type"), langOf(k, ""), k.Attr("name")}
			if id.Category == "" || id.Type == "" {
				return nil, fmt.Errorf("%w: an identity lacks its category or type", ErrIllFormed)
			}
			i.Identities = append(i.Identities, id)
		case k.Is(NSInfo, "feature"):
			f := k.Attr("var")
			if f == "" {
				return nil, fmt.Errorf("%w: a feature lacks its var", ErrIllFormed)
			}
			i.Features = append(i.Features, f)
		case k.Is(dataform.NS, "x"):
			i.Forms = append(i.Forms, k)
		default:
			i.foreign = true
		}
	}
	return i, nil
}

func langOf(x *xmlstream.Element, around string) string {
	if l, ok := x.LookupAttr(xmlstream.Name{Space: xmlstream.NSXML, Local: "lang"}); ok {
		return l
	}
	return around
}

// Item is an entity that is associated with another (XEP-0030#items-basic).
type Item struct {
	JID        jid.JID
	Node, Name string
	Form       *xmlstream.Element // what a node tells of itself (XEP-0499), or nil
}

// Items is a list of items.
type Items struct {
	Node  string
	Items []Item
	Page  *xmlstream.Element // <set/> of XEP-0059, or nil
}

// Element returns the <query/> of disco#items.
func (i *Items) Element() *xmlstream.Element {
	q := xmlstream.El(NSItems, "query")
	if i.Node != "" {
		q.Add(xmlstream.A("node", i.Node))
	}
	for _, it := range i.Items {
		x := xmlstream.El(NSItems, "item", xmlstream.A("jid", it.JID.String()))
		if it.Node != "" {
			x.Add(xmlstream.A("node", it.Node))
		}
		if it.Name != "" {
			x.Add(xmlstream.A("name", it.Name))
		}
		q.Add(x.Add(it.Form))
	}
	return q.Add(i.Page)
}

// ParseItems reads the <query/> of disco#items.
func ParseItems(q *xmlstream.Element) (*Items, error) {
	if !q.Is(NSItems, "query") {
		return nil, fmt.Errorf("%w: not a <query/> of %s", ErrIllFormed, NSItems)
	}
	i := &Items{Node: q.Attr("node")}
	for k := range q.Elements() {
		if !k.Is(NSItems, "item") {
			continue
		}
		j, err := jid.Parse(k.Attr("jid"))
		if err != nil {
			return nil, fmt.Errorf("%w: an item: %w", ErrIllFormed, err)
		}
		i.Items = append(i.Items, Item{JID: j, Node: k.Attr("node"), Name: k.Attr("name"), Form: k.First()})
	}
	return i, nil
}
