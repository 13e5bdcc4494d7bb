package vcard

import (
	"slices"
	"strings"

	"sabir/xmpp/xmlstream"
)

// The node of a vCard4 and the namespace of what it holds (XEP-0292#self-iq).
const (
	Node4 = "urn:xmpp:vcard4"
	NS4   = "urn:ietf:params:xml:ns:vcard-4.0"
)

// property is one that both forms have (XEP-0292#mapping), under the names temp and four. It is of one of three shapes: one value,
// which vcard-temp has in fields, "" for its own text; parts, which have names in both forms; or a list, of which vcard-temp has
// the first value in another element than the rest.
type property struct {
	temp, four string
	typed      bool // for home or for work, and such: see types

	fields []string
	as     code

	parts []pair

	first, rest string
}

// pair is the name of a part in both forms.
type pair struct{ temp, four string }

// code says how the fields of vcard-temp are one value of vCard4, and back. typ is the type of the value, and the name of its
// element. A value without text and fields that are nil say nothing.
type code struct {
	to   func(fields []string) (typ, value string)
	from func(typ, value string) (fields []string)
}

var (
	itself = []string{""}
	media  = []string{"TYPE", "BINVAL", "EXTVAL"}

	names = []pair{{"FAMILY", "surname"}, {"GIVEN", "given"}, {"MIDDLE", "additional"}, {"PREFIX", "prefix"}, {"SUFFIX", "suffix"}}

	address = []pair{{"POBOX", "pobox"}, {"EXTADD", "ext"}, {"STREET", "street"}, {"LOCALITY", "locality"}, {"REGION", "region"},
		{"PCODE", "code"}, {"CTRY", "country"}}
)

// properties are those that are converted, in the order in which they are written. Of two of the same name in the other form
// the first is meant. The picture is not among them: it is the avatar.
var properties = []property{
	{temp: "FN", four: "fn", fields: itself, as: plain("text")},
	{temp: "N", four: "n", parts: names, typed: true},
	{temp: "NICKNAME", four: "nickname", fields: itself, as: plain("text")},
	{temp: "BDAY", four: "bday", fields: itself, as: code{birthday, text}},
	{temp: "ADR", four: "adr", parts: address, typed: true},
	{temp: "TEL", four: "tel", fields: []string{"NUMBER"}, as: code{phone, number}, typed: true},
	{temp: "EMAIL", four: "email", fields: []string{"USERID"}, as: plain("text"), typed: true},
	{temp: "JABBERID", four: "impp", fields: itself, as: code{uri, jabber}},
	{temp: "TZ", four: "tz", fields: itself, as: plain("text")},
	{temp: "GEO", four: "geo", fields: []string{"LAT", "LON"}, as: code{geo, position}},
	{temp: "TITLE", four: "title", fields: itself, as: plain("text")},
	{temp: "ROLE", four: "role", fields: itself, as: plain("text")},
	{temp: "LOGO", four: "logo", fields: media, as: code{data, content}},
	{temp: "ORG", four: "org", first: "ORGNAME", rest: "ORGUNIT"},
	{temp: "CATEGORIES", four: "categories", first: "KEYWORD", rest: "KEYWORD"},
	{temp: "DESC", four: "note", fields: itself, as: plain("text")},
	{temp: "NOTE", four: "note", fields: itself, as: plain("text")},
	{temp: "PRODID", four: "prodid", fields: itself, as: plain("text")},
	{temp: "REV", four: "rev", fields: itself, as: plain("timestamp")},
	{temp: "SOUND", four: "sound", fields: media, as: code{data, content}},
	{temp: "UID", four: "uid", fields: itself, as: plain("uri")},
	{temp: "URL", four: "url", fields: itself, as: plain("uri")},
	{temp: "KEY", four: "key", fields: []string{"CRED"}, as: code{plain("text").to, key}},
}

// To4 returns a vCard of the form vcard-temp as vCard4, or nil where nothing of it can be said so.
func To4(card *xmlstream.Element) *xmlstream.Element {
	out := xmlstream.El(NS4, "vcard")
	for k := range card.Elements() {
		if i := slices.IndexFunc(properties, func(p property) bool { return k.Is(NS, p.temp) }); i >= 0 {
			out.Add(properties[i].to4(k))
		}
	}
	return orNil(out)
}

// From4 returns a vCard4 in the form vcard-temp, or nil where nothing of it can be said so.
func From4(card *xmlstream.Element) *xmlstream.Element {
	out := xmlstream.El(NS, "vCard")
	for k := range card.Elements() {
		if i := slices.IndexFunc(properties, func(p property) bool { return k.Is(NS4, p.four) }); i >= 0 {
			out.Add(properties[i].from4(k))
		}
	}
	return orNil(out)
}

// to4 returns a property of vcard-temp as one of vCard4, and from4 the other way; nil where it says nothing.
func (p *property) to4(x *xmlstream.Element) *xmlstream.Element {
	var values []*xmlstream.Element
	switch {
	case p.parts != nil:
		for _, k := range p.parts {
			values = append(values, leaf(NS4, k.four, x.ChildText(NS, k.temp)))
		}
	case p.first != "":
		for k := range x.Elements() {
			if k.Is(NS, p.first) || k.Is(NS, p.rest) {
				values = append(values, leaf(NS4, "text", k.Text()))
			}
		}
	default:
		var fields []string
		for _, f := range p.fields {
			fields = append(fields, strings.TrimSpace(field(x, f)))
		}
		typ, v := p.as.to(fields)
		values = append(values, leaf(NS4, typ, v))
	}
	out := xmlstream.El(NS4, p.four)
	if p.typed {
		out.Add(types4(x))
	}
	return around(out, values)
}

// from4 is documented beside to4.
func (p *property) from4(x *xmlstream.Element) *xmlstream.Element {
	var values []*xmlstream.Element
	switch {
	case p.parts != nil:
		for _, k := range p.parts {
			values = append(values, leaf(NS, k.temp, x.ChildText(NS4, k.four)))
		}
	case p.first != "":
		name := p.first
		for k := range x.Elements() {
			if k.Is(NS4, "text") {
				values = append(values, leaf(NS, name, k.Text()))
				name = p.rest
			}
		}
	default:
		fields := p.as.from(first4(x))
		if len(fields) > 0 && p.fields[0] == "" {
			return leaf(NS, p.temp, fields[0])
		}
		for i, v := range fields {
			values = append(values, leaf(NS, p.fields[i], v))
		}
	}
	out := xmlstream.El(NS, p.temp)
	if p.typed {
		out.Add(typesOf(x))
	}
	return around(out, values)
}

// around adds the values that are not nil to a property, which is nil where there are none.
func around(out *xmlstream.Element, values []*xmlstream.Element) *xmlstream.Element {
	values = slices.DeleteFunc(values, func(v *xmlstream.Element) bool { return v == nil })
	if len(values) == 0 {
		return nil
	}
	return out.Add(values)
}

func orNil(x *xmlstream.Element) *xmlstream.Element {
	if x.First() == nil {
		return nil
	}
	return x
}

// leaf returns an element with text, or nil without.
func leaf(space, local, text string) *xmlstream.Element {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	return xmlstream.El(space, local, text)
}

// field returns the text of a property of vcard-temp, or of a field of it.
func field(x *xmlstream.Element, name string) string {
	if name == "" {
		return x.Text()
	}
	return x.ChildText(NS, name)
}

// first4 returns the first value of a property of vCard4, and its type.
func first4(x *xmlstream.Element) (typ, value string) {
	for k := range x.Elements() {
		if !k.Is(NS4, "parameters") {
			return k.Name.Local, strings.TrimSpace(k.Text())
		}
	}
	return "", ""
}

// types are those that both forms have; cell is text in lower case in vCard4, an empty element in capitals in vcard-temp.
var types = []string{"HOME", "WORK", "VOICE", "FAX", "PAGER", "CELL", "VIDEO"}

// types4 returns the types of a property of vcard-temp as parameters of vCard4, or nil.
func types4(x *xmlstream.Element) *xmlstream.Element {
	typ, all := xmlstream.El(NS4, "type"), xmlstream.El(NS4, "parameters")
	for _, t := range types {
		if x.Child(NS, t) != nil {
			typ.Add(xmlstream.El(NS4, "text", strings.ToLower(t)))
		}
	}
	all.Add(orNil(typ))
	if x.Child(NS, "PREF") != nil {
		all.Add(xmlstream.El(NS4, "pref", xmlstream.El(NS4, "integer", "1")))
	}
	return orNil(all)
}

// typesOf is types4 the other way.
func typesOf(x *xmlstream.Element) (out []*xmlstream.Element) {
	p := x.Child(NS4, "parameters")
	var seen []string
	for t := range p.Child(NS4, "type").Elements() {
		if n := strings.ToUpper(strings.TrimSpace(t.Text())); slices.Contains(types, n) && !slices.Contains(seen, n) {
			seen = append(seen, n)
			out = append(out, xmlstream.El(NS, n))
		}
	}
	if p.Child(NS4, "pref") != nil {
		out = append(out, xmlstream.El(NS, "PREF"))
	}
	return out
}
