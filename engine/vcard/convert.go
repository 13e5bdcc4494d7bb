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

// property is one that both forms have (XEP-0292#mapping): the names, and the way in both directions. A function returns nil
// where the property says nothing.
type property struct {
	temp, four string
	to4, from4 func(p property, x *xmlstream.Element) *xmlstream.Element
}

// properties are those that are converted, in the order in which they are written. Of two of the same name in the other form
// the first is meant. The picture is not among them: it is the avatar.
var properties = []property{
	value("FN", "fn", "text"), parts("N", "n", names), value("NICKNAME", "nickname", "text"), {"BDAY", "bday", birthday4, birthday},
	parts("ADR", "adr", address), {"TEL", "tel", phone4, phone}, {"EMAIL", "email", mail4, mail}, {"JABBERID", "impp", jabber4, jabber},
	value("TZ", "tz", "text"), {"GEO", "geo", geo4, geo}, value("TITLE", "title", "text"), value("ROLE", "role", "text"),
	{"LOGO", "logo", media4, media}, {"ORG", "org", org4, org}, {"CATEGORIES", "categories", categories4, categories},
	value("DESC", "note", "text"), value("NOTE", "note", "text"), value("PRODID", "prodid", "text"), value("REV", "rev", "timestamp"),
	{"SOUND", "sound", media4, media}, value("UID", "uid", "uri"), value("URL", "url", "uri"), {"KEY", "key", key4, key},
}

// To4 returns a vCard of the form vcard-temp as vCard4, or nil where nothing of it can be said so.
func To4(card *xmlstream.Element) *xmlstream.Element {
	out := xmlstream.El(NS4, "vcard")
	for k := range card.Elements() {
		if i := slices.IndexFunc(properties, func(p property) bool { return k.Is(NS, p.temp) }); i >= 0 {
			out.Add(properties[i].to4(properties[i], k))
		}
	}
	return orNil(out)
}

// From4 returns a vCard4 in the form vcard-temp, or nil where nothing of it can be said so.
func From4(card *xmlstream.Element) *xmlstream.Element {
	out := xmlstream.El(NS, "vCard")
	for k := range card.Elements() {
		if i := slices.IndexFunc(properties, func(p property) bool { return k.Is(NS4, p.four) }); i >= 0 {
			out.Add(properties[i].from4(properties[i], k))
		}
	}
	return orNil(out)
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

// with returns a property around values of it that are not nil.
func with(space, local string, inner ...*xmlstream.Element) *xmlstream.Element {
	x := xmlstream.El(space, local)
	for _, e := range inner {
		x.Add(e)
	}
	return orNil(x)
}

// text4 returns the first value of a property of vCard4 whatever its type.
func text4(x *xmlstream.Element) string {
	for k := range x.Elements() {
		if !k.Is(NS4, "parameters") {
			return k.Text()
		}
	}
	return ""
}

// value is a property of one text.
func value(temp, four, typ string) property {
	return property{temp, four,
		func(p property, x *xmlstream.Element) *xmlstream.Element {
			return with(NS4, p.four, leaf(NS4, typ, x.Text()))
		},
		func(p property, x *xmlstream.Element) *xmlstream.Element { return leaf(NS, p.temp, text4(x)) }}
}

// pair is the name of a part in both forms.
type pair struct{ temp, four string }

var (
	names = []pair{{"FAMILY", "surname"}, {"GIVEN", "given"}, {"MIDDLE", "additional"}, {"PREFIX", "prefix"}, {"SUFFIX", "suffix"}}

	address = []pair{{"POBOX", "pobox"}, {"EXTADD", "ext"}, {"STREET", "street"}, {"LOCALITY", "locality"}, {"REGION", "region"},
		{"PCODE", "code"}, {"CTRY", "country"}}
)

// parts is a property of several parts, with types.
func parts(temp, four string, list []pair) property {
	return property{temp, four,
		func(p property, x *xmlstream.Element) *xmlstream.Element {
			out := xmlstream.El(NS4, p.four)
			for _, k := range list {
				out.Add(leaf(NS4, k.four, x.ChildText(NS, k.temp)))
			}
			return typed4(x, orNil(out))
		},
		func(p property, x *xmlstream.Element) *xmlstream.Element {
			out := xmlstream.El(NS, p.temp)
			for _, k := range list {
				out.Add(leaf(NS, k.temp, x.ChildText(NS4, k.four)))
			}
			return typed(x, orNil(out))
		}}
}

// types are those that both forms have; cell is text in lower case in vCard4, an empty element in capitals in vcard-temp.
var types = []string{"HOME", "WORK", "VOICE", "FAX", "PAGER", "CELL", "VIDEO"}

// typed4 puts the types of a property of vcard-temp before the values of its counterpart out, which may be nil.
func typed4(x, out *xmlstream.Element) *xmlstream.Element {
	if out == nil {
		return nil
	}
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
	return xmlstream.El(NS4, out.Name.Local).Add(orNil(all)).Add(children(out))
}

// typed is typed4 the other way.
func typed(x, out *xmlstream.Element) *xmlstream.Element {
	if out == nil {
		return nil
	}
	r := xmlstream.El(NS, out.Name.Local)
	p := x.Child(NS4, "parameters")
	for t := range p.Child(NS4, "type").Elements() {
		if n := strings.ToUpper(strings.TrimSpace(t.Text())); slices.Contains(types, n) && r.Child(NS, n) == nil {
			r.Add(xmlstream.El(NS, n))
		}
	}
	if p.Child(NS4, "pref") != nil {
		r.Add(xmlstream.El(NS, "PREF"))
	}
	return r.Add(children(out))
}

func children(x *xmlstream.Element) (out []*xmlstream.Element) {
	for k := range x.Elements() {
		out = append(out, k)
	}
	return out
}

func birthday4(_ property, x *xmlstream.Element) *xmlstream.Element {
	v, typ := strings.TrimSpace(x.Text()), "text" // a date that is none (RFC 6351)
	if strings.Trim(v, "0123456789-") == "" {
		typ = "date"
	} else if strings.Trim(v, "0123456789-:TZ+.") == "" {
		typ = "date-time"
	}
	return with(NS4, "bday", leaf(NS4, typ, v))
}

func birthday(_ property, x *xmlstream.Element) *xmlstream.Element { return leaf(NS, "BDAY", text4(x)) }

func phone4(_ property, x *xmlstream.Element) *xmlstream.Element {
	v := strings.TrimSpace(x.ChildText(NS, "NUMBER"))
	if v != "" && strings.Trim(v, "+0123456789-.()") == "" { // what a tel: URI may hold as it stands
		return typed4(x, with(NS4, "tel", leaf(NS4, "uri", "tel:"+v)))
	}
	return typed4(x, with(NS4, "tel", leaf(NS4, "text", v)))
}

func phone(_ property, x *xmlstream.Element) *xmlstream.Element {
	return typed(x, with(NS, "TEL", leaf(NS, "NUMBER", strings.TrimPrefix(text4(x), "tel:"))))
}

func mail4(_ property, x *xmlstream.Element) *xmlstream.Element {
	return typed4(x, with(NS4, "email", leaf(NS4, "text", x.ChildText(NS, "USERID"))))
}

func mail(_ property, x *xmlstream.Element) *xmlstream.Element {
	return typed(x, with(NS, "EMAIL", leaf(NS, "USERID", text4(x))))
}

func jabber4(_ property, x *xmlstream.Element) *xmlstream.Element {
	v := strings.TrimSpace(x.Text())
	if v == "" {
		return nil
	}
	return with(NS4, "impp", leaf(NS4, "uri", "xmpp:"+v))
}

func jabber(_ property, x *xmlstream.Element) *xmlstream.Element {
	v, ok := strings.CutPrefix(text4(x), "xmpp:")
	if !ok {
		return nil // another network
	}
	return leaf(NS, "JABBERID", v)
}

func geo4(_ property, x *xmlstream.Element) *xmlstream.Element {
	lat, lon := strings.TrimSpace(x.ChildText(NS, "LAT")), strings.TrimSpace(x.ChildText(NS, "LON"))
	if lat == "" || lon == "" {
		return nil
	}
	return with(NS4, "geo", leaf(NS4, "uri", "geo:"+lat+","+lon))
}

func geo(_ property, x *xmlstream.Element) *xmlstream.Element {
	v, ok := strings.CutPrefix(text4(x), "geo:")
	v, _, _ = strings.Cut(v, ";")
	lat, lon, two := strings.Cut(v, ",")
	lon, _, _ = strings.Cut(lon, ",") // without the height
	if !ok || !two {
		return nil
	}
	return with(NS, "GEO", leaf(NS, "LAT", lat), leaf(NS, "LON", lon))
}

func media4(p property, x *xmlstream.Element) *xmlstream.Element {
	v := x.ChildText(NS, "EXTVAL")
	if b, err := Base64(x.ChildText(NS, "BINVAL")); err == nil && len(b) > 0 {
		v = "data:" + strings.TrimSpace(x.ChildText(NS, "TYPE")) + ";base64," + strings.Join(strings.Fields(x.ChildText(NS, "BINVAL")), "")
	}
	return with(NS4, p.four, leaf(NS4, "uri", v))
}

func media(p property, x *xmlstream.Element) *xmlstream.Element {
	v := text4(x)
	head, data, inline := strings.Cut(v, ",")
	typ, is := strings.CutPrefix(head, "data:")
	typ, base64 := strings.CutSuffix(typ, ";base64")
	if !inline || !is || !base64 {
		return with(NS, p.temp, leaf(NS, "EXTVAL", v))
	}
	return with(NS, p.temp, leaf(NS, "TYPE", typ), leaf(NS, "BINVAL", data))
}

func org4(_ property, x *xmlstream.Element) *xmlstream.Element {
	out := xmlstream.El(NS4, "org")
	for k := range x.Elements() {
		if k.Is(NS, "ORGNAME") || k.Is(NS, "ORGUNIT") {
			out.Add(leaf(NS4, "text", k.Text()))
		}
	}
	return orNil(out)
}

func org(_ property, x *xmlstream.Element) *xmlstream.Element {
	out, name := xmlstream.El(NS, "ORG"), "ORGNAME"
	for k := range x.Elements() {
		if k.Is(NS4, "text") {
			out.Add(leaf(NS, name, k.Text()))
			name = "ORGUNIT"
		}
	}
	return orNil(out)
}

func categories4(_ property, x *xmlstream.Element) *xmlstream.Element {
	out := xmlstream.El(NS4, "categories")
	for k := range x.Elements() {
		if k.Is(NS, "KEYWORD") {
			out.Add(leaf(NS4, "text", k.Text()))
		}
	}
	return orNil(out)
}

func categories(_ property, x *xmlstream.Element) *xmlstream.Element {
	out := xmlstream.El(NS, "CATEGORIES")
	for k := range x.Elements() {
		if k.Is(NS4, "text") {
			out.Add(leaf(NS, "KEYWORD", k.Text()))
		}
	}
	return orNil(out)
}

func key4(_ property, x *xmlstream.Element) *xmlstream.Element {
	return with(NS4, "key", leaf(NS4, "text", x.ChildText(NS, "CRED")))
}

func key(_ property, x *xmlstream.Element) *xmlstream.Element {
	if x.Child(NS4, "text") == nil {
		return nil // a place to fetch it from, which vcard-temp does not have
	}
	return with(NS, "KEY", leaf(NS, "CRED", text4(x)))
}
