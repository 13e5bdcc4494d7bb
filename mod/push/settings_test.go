package push

import (
	"testing"

	"sabir/mod/modtest"
	"sabir/xmpp/jid"
)

// The setting of a chat that is most specific to the client decides, and the order of the elements does not.
func TestChoice(t *testing.T) {
	for _, c := range []struct{ notify, phone, web string }{
		{"<never/>", "never", "never"},
		{"", "", ""},
		{"<always/><never identity-category='client'/>", "never", "never"},
		{"<never identity-category='client' identity-type='phone'/><on-mention identity-category='client'/><always/>", "never", "on-mention"},
		{"<never identity-category='gateway'/><always/>", "always", "always"},
		{"<never identity-type='phone'/>", "", ""},
		{"<never xmlns='urn:other'/>", "", ""},
	} {
		x := modtest.XML(t, "<notify xmlns='"+nsNotify+"'>"+c.notify+"</notify>")
		if p, w := choice(x, "phone"), choice(x, "web"); p != c.phone || w != c.web {
			t.Errorf("%s: phones get %q and browsers %q, want %q and %q", c.notify, p, w, c.phone, c.web)
		}
	}
}

func TestMentioned(t *testing.T) {
	for _, c := range []struct {
		nick, typ, inner string
		want             bool
	}{
		{"Juli", "groupchat", "<body>Hi juli, how are you?</body>", true},
		{"Juli", "groupchat", "<body>In July it rains; see x@juliet.</body>", false},
		{"", "groupchat", "<body>juliet: yes</body>", true},
		{"Ζωή", "groupchat", "<body>γεια ζωή!</body>", true},
		{"Juli", "groupchat", "<body>@all</body>", false},
		{"Juli", "groupchat", "<body>x</body><reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:juliet@localhost'/>", true},
		{"Juli", "groupchat", "<body>x</body><reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:room@conference.localhost/Juli'/>", true},
		{"Juli", "groupchat", "<body>x</body><reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:room@conference.localhost/Romeo'/>", false},
		{"Juli", "groupchat", "<body>x</body><reference xmlns='urn:xmpp:reference:0' type='data' uri='xmpp:juliet@localhost'/>", false},
		{"Juli", "groupchat", "<body>x</body><mention xmlns='urn:xmpp:mentions:0' jid='juliet@localhost'/>", true},
		{"Juli", "groupchat", "<body>x</body><mention xmlns='urn:xmpp:mentions:0' jid='romeo@localhost'/>", false},
		{"Juli", "groupchat", "<body>x</body><mention xmlns='urn:xmpp:mentions:0' jid='juliet@localhost'><noping/></mention>", false},
		{"Juli", "groupchat", "<body>x</body><reply xmlns='urn:xmpp:reply:0' to='room@conference.localhost/Juli' id='1'/>", true},
		{"Juli", "groupchat", "<body>x</body><reply xmlns='urn:xmpp:reply:0' to='room@conference.localhost/Romeo' id='1'/>", false},
		{"Juli", "groupchat", "<encrypted xmlns='urn:xmpp:omemo:2'/>", true}, // who knows
		{"Juli", "chat", "<body>x</body>", true},
	} {
		st := modtest.Stanza(t, "<message from='room@conference.localhost/Romeo' type='"+c.typ+"'>"+c.inner+"</message>")
		if got := (setting{nick: c.nick}).mentions(st, jid.MustParse("juliet@localhost")); got != c.want {
			t.Errorf("%s to %q: %v", c.inner, c.nick, got)
		}
	}
}
