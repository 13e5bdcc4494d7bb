package urgency_test

import (
	"testing"

	"sabir/engine/urgency"
	"sabir/mod/modtest"
)

const (
	composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
	body      = "<body>x</body>"
	receipt   = "<received xmlns='urn:xmpp:receipts' id='1'/>"
	marker    = "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/><store xmlns='urn:xmpp:hints'/>"
	event     = "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:x'/></event>"
	call      = "<propose xmlns='urn:xmpp:jingle-message:0' id='1'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></propose>"
	omemo     = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/><payload>x</payload></encrypted><store xmlns='urn:xmpp:hints'/>"
	keys      = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>"
	invite    = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>"
	mention   = "<mentions xmlns='urn:xmpp:mmn:0'><forwarded xmlns='urn:xmpp:forward:0'/></mentions>"
	retract   = "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>"
	direct    = "<x xmlns='jabber:x:conference' jid='room@c'/>"
)

func message(typ, children string) string {
	return "<message type='" + typ + "' from='romeo@b/x' to='juliet@b/y'>" + children + "</message>"
}

func carbon(inner string) string {
	return message("chat", "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' type='chat' from='a@b/c' to='d@b'>"+inner+"</message></forwarded></received>")
}

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		xml      string
		class    urgency.Class
		key      urgency.Key
		notifies bool
	}{
		{message("chat", body), urgency.Now, 0, true},
		{message("normal", body), urgency.Now, 0, true},
		{message("groupchat", body), urgency.Now, 0, true},
		{message("headline", body), urgency.Now, 0, false},
		{message("chat", body+composing), urgency.Now, 0, true},
		{message("chat", composing), urgency.State, urgency.ChatState, false},
		{message("groupchat", composing+"<thread>t</thread>"), urgency.State, urgency.ChatState, false},
		{message("chat", receipt), urgency.Later, 0, false},
		{message("chat", composing+receipt), urgency.Later, 0, false},
		{message("chat", marker), urgency.Later, 0, false},
		{message("headline", event), urgency.Later, 0, false},
		{message("normal", event), urgency.Later, 0, false},
		{message("chat", call), urgency.Now, 0, true},
		{message("chat", "<proceed xmlns='urn:xmpp:jingle-message:0' id='1'/>"), urgency.Now, 0, false},
		{message("chat", omemo), urgency.Now, 0, true},
		{message("chat", keys), urgency.Now, 0, false},
		{message("normal", invite), urgency.Now, 0, true},
		{message("normal", direct), urgency.Now, 0, true},
		{message("normal", mention), urgency.Now, 0, true},
		{message("chat", retract+body), urgency.Now, 0, false},
		{message("normal", "<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>"), urgency.Now, 0, false},
		{message("normal", "<result xmlns='urn:xmpp:mam:2' id='1'/>"), urgency.Now, 0, false},
		{message("chat", "<subject>s</subject>"), urgency.Now, 0, false},
		{message("error", body+"<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"), urgency.Now, 0, false},
		{carbon(body), urgency.Now, 0, false},
		{carbon(composing), urgency.Later, 0, false},
		{carbon(receipt), urgency.Later, 0, false},
		{message("chat", "<received xmlns='urn:xmpp:carbons:2'/>"), urgency.Now, 0, false},
		{"<presence from='a@b/c'/>", urgency.State, urgency.Presence, false},
		{"<presence type='unavailable' from='a@b/c'/>", urgency.State, urgency.Presence, false},
		{"<presence type='subscribe' from='a@b'/>", urgency.Now, 0, false},
		{"<iq type='get' id='1' from='a@b/c'><ping xmlns='urn:xmpp:ping'/></iq>", urgency.Now, 0, false},
	} {
		s := modtest.Stanza(t, c.xml)
		if class, key := urgency.Of(s); class != c.class || key != c.key {
			t.Errorf("%s: class %d key %d, want %d and %d", c.xml, class, key, c.class, c.key)
		}
		if got := urgency.Notifies(s); got != c.notifies {
			t.Errorf("%s: notifies %v", c.xml, got)
		}
	}
}

// What is asked of each message costs no memory where its children answer by their names.
func TestNoAllocations(t *testing.T) {
	s := modtest.Stanza(t, message("chat", body+"<request xmlns='urn:xmpp:receipts'/>"))
	if n := testing.AllocsPerRun(100, func() { urgency.Of(s); urgency.Notifies(s) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
