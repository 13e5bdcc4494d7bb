package sid

import (
	"testing"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func TestOf(t *testing.T) {
	juliet, room := jid.MustParse("juliet@capulet.lit"), jid.MustParse("garden@conference.capulet.lit")
	s := stanza.New(stanza.Message, stanza.TypeChat,
		xmlstream.El(NS, "origin-id", xmlstream.A("by", juliet.String()), xmlstream.A("id", "o")),
		xmlstream.El(NS, "stanza-id", xmlstream.A("id", "nobody's")),
		xmlstream.El("urn:example:x", "stanza-id", xmlstream.A("by", juliet.String()), xmlstream.A("id", "other")),
		Element(room, "r"),
		xmlstream.El(NS, "stanza-id", xmlstream.A("by", "Juliet@CAPULET.lit"), xmlstream.A("id", "j")))
	if got := Of(s, juliet); got != "j" {
		t.Errorf("the id by juliet is %q", got)
	}
	if got := Of(s, room); got != "r" {
		t.Errorf("the id by the room is %q", got)
	}
	if got := Of(s, room.DomainJID()); got != "" {
		t.Errorf("the id by the service is %q", got)
	}
	bare := Strip(s, juliet)
	if Of(bare, juliet) != "" || Of(bare, room) != "r" || !bare.Has(NS, "origin-id") || Of(s, juliet) != "j" {
		t.Errorf("stripped %s, the first is %s", bare, s)
	}
	if Strip(bare, juliet) != bare {
		t.Error("a stanza with nothing to strip was copied")
	}
}
