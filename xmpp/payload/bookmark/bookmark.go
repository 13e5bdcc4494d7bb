// Package bookmark owns the two forms of a bookmark of a room: an element of the one list (XEP-0048), which also has pages of the web, and
// an item of its own with the address of the room as its id (XEP-0402).
package bookmark

import (
	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// The nodes of the two forms, which are also the namespaces of what they hold.
const (
	NSList  = "storage:bookmarks"
	NSItems = "urn:xmpp:bookmarks:1"
)

// Conversion is the feature of accounts whose private storage has the bookmarks that are at the node (XEP-0411#disco).
const Conversion = "urn:xmpp:bookmarks-conversion:0"

// Listed returns the bookmark of a room, in either form, as one of the list.
func Listed(room string, x *xmlstream.Element) *xmlstream.Element {
	return convert(x, NSList, xmlstream.A("jid", room))
}

// Item returns a bookmark, in either form, as an item of its own, without extensions.
func Item(x *xmlstream.Element) *xmlstream.Element { return convert(x, NSItems) }

// convert returns what both forms share in the namespace of one of them.
func convert(x *xmlstream.Element, to string, attrs ...xmlstream.Attr) *xmlstream.Element {
	out := xmlstream.El(to, "conference")
	for _, a := range attrs {
		out.Add(a)
	}
	for _, name := range []string{"name", "autojoin"} {
		if v, ok := x.LookupAttr(xmlstream.Name{Local: name}); ok {
			out.Add(xmlstream.A(name, v))
		}
	}
	for _, name := range []string{"nick", "password"} {
		if k := x.Child(x.Name.Space, name); k != nil {
			out.Add(xmlstream.El(to, name, k.Text()))
		}
	}
	return out
}

// Room returns the address of the room of an element of the list; ok is false where it is none of a room.
func Room(x *xmlstream.Element) (room string, ok bool) {
	if !x.Is(NSList, "conference") {
		return "", false
	}
	j, err := jid.Parse(x.Attr("jid"))
	return j.String(), err == nil
}

// Merge returns a list with all that is in any of several, each room as the first has it, and each other thing once.
func Merge(lists ...*xmlstream.Element) *xmlstream.Element {
	out := xmlstream.El(NSList, "storage")
	seen := make(map[string]bool)
	for _, l := range lists {
		for k := range l.Elements() {
			key := k.String()
			if room, ok := Room(k); ok {
				key = room
			}
			if !seen[key] {
				seen[key] = true
				out.Add(k)
			}
		}
	}
	return out
}
