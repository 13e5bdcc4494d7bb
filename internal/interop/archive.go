package interop

import (
	"context"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	nsMAM = "urn:xmpp:mam:2"
	nsRSM = "http://jabber.org/protocol/rsm"
)

// ReadArchive asks for all that an archive has, page by page (XEP-0313#query); the zero JID is the client's own. What it has comes to who reads
// from the client.
func ReadArchive(ctx context.Context, c *client.Client, of jid.JID) error {
	after := ""
	for {
		set := xmlstream.El(nsRSM, "set", xmlstream.El(nsRSM, "max", "200"))
		if after != "" {
			set.Add(xmlstream.El(nsRSM, "after", after))
		}
		fin, err := c.Request(ctx, stanza.TypeSet, of, xmlstream.El(nsMAM, "query", set))
		if err != nil {
			return err
		}
		after = fin.Child(nsRSM, "set").ChildText(nsRSM, "last")
		if fin.Attr("complete") == "true" || after == "" {
			return nil
		}
	}
}

// Archived returns the message that a result of a query of an archive holds (XEP-0313#results); nil where s is none.
func Archived(s *stanza.Stanza) *xmlstream.Element {
	return s.Child(nsMAM, "result").Child("urn:xmpp:forward:0", "forwarded").Child(stanza.NSClient, "message")
}
