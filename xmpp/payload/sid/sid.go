// Package sid owns the notation of unique and stable stanza ids (XEP-0359).
package sid

import (
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// NS is the namespace of <stanza-id/> and <origin-id/>.
const NS = "urn:xmpp:sid:0"

// Element returns the <stanza-id/> of a stanza that an archive keeps as id (XEP-0359#stanza-id).
func Element(by jid.JID, id string) *xmlstream.Element {
	return xmlstream.El(NS, "stanza-id", xmlstream.A("by", by.String()), xmlstream.A("id", id))
}

// Of returns the id that this address has given to a stanza, or "". Who may believe it is who has removed what others wrote in that
// name (XEP-0359#rules).
func Of(s *stanza.Stanza, by jid.JID) string {
	for x := range s.ChildrenNamed(NS, "stanza-id") {
		if Claims(x, by) {
			return x.Attr("id")
		}
	}
	return ""
}

// Claims tells whether x is a stanza-id in the name of this address, in whatever spelling.
func Claims(x *xmlstream.Element, by jid.JID) bool {
	if !x.Is(NS, "stanza-id") {
		return false
	}
	text := x.Attr("by")
	if text == by.String() {
		return true
	}
	j, err := jid.Parse(text)
	return err == nil && j == by
}

// Strip returns a stanza without the ids in the name of this address: the same where there are none, else a copy.
func Strip(s *stanza.Stanza, by jid.JID) *stanza.Stanza {
	for x := range s.ChildrenNamed(NS, "stanza-id") {
		if Claims(x, by) {
			s = s.Clone()
			s.RemoveNamed(NS, "stanza-id", func(x *xmlstream.Element) bool { return Claims(x, by) })
			return s
		}
	}
	return s
}
