package transcript

import (
	"strings"
	"testing"

	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

func testScope() *scope {
	return &scope{
		domain: "sabir.test",
		accounts: []Account{
			{jid.MustParse("romeo-1@sabir.test"), "pw1"},
			{jid.MustParse("juliet-2@sabir.test"), "pw2"},
		},
		people:   []person{{name: "Romeo", full: "romeo-1@sabir.test/orchard"}, {name: "Juliet", account: 1}},
		old:      []rename{{"romeo@localhost", "romeo-1@sabir.test", false}, {"juliet@localhost", "juliet-2@sabir.test", false}, {"localhost", "sabir.test", true}},
		captured: map[string]string{},
	}
}

func element(t *testing.T, text string) *xmlstream.Element {
	t.Helper()
	x, err := parseXML(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return tidy(x).First()
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		want, got string
		differ    string // part of the difference; "" where they match
	}{
		// lax in jabber:client
		{"<message/>", "<message to='a' type='chat'><body>x</body></message>", ""},
		{"<message type='chat'/>", "<message/>", "type is missing"},
		{"<message type='chat'/>", "<message type='headline'/>", "type is 'headline', not 'chat'"},
		{"<message><body>x</body></message>", "<message><subject/><body>x</body></message>", ""},
		{"<message><body>x</body></message>", "<message><body>y</body></message>", "the text is 'y', not 'x'"},
		{"<message><body>x</body><body>y</body></message>", "<message><body>y</body><body>x</body></message>", ""},
		{"<message><body>x</body><body>x</body></message>", "<message><body>x</body></message>", "missing"},
		{"<message><body/></message>", "<message><body>anything</body></message>", ""},
		{"<message/>", "<presence/>", "there is presence"},
		{"<message xmlns='jabber:server'/>", "<message/>", "there is message"},
		{"<stream:error/>", "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", ""},
		// strict elsewhere
		{"<iq><q xmlns='a'/></iq>", "<iq><q xmlns='a' b='c'/></iq>", "an attribute b='c'"},
		{"<iq><q xmlns='a'/></iq>", "<iq><q xmlns='a'><r/></q></iq>", "one more element: r"},
		{"<iq><q xmlns='a'><r/></q></iq>", "<iq><q xmlns='a'/></iq>", "r (a) is missing"},
		{"<iq><q xmlns='a'><r/><s/></q></iq>", "<iq><q xmlns='a'><s/><r/></q></iq>", "there is s"},
		{"<iq><q xmlns='a'/></iq>", "<iq><q xmlns='a'>x</q></iq>", "the text is 'x'"},
		{"<iq><q xmlns='a'>\n x </q></iq>", "<iq><q xmlns='a'>x</q></iq>", ""},
		{"<iq><q xmlns='a'/></iq>", "<iq><q xmlns='b'/></iq>", "q (a) is missing"},
		{"<m xmlns='f'><message xmlns='jabber:client'/></m>", "<m xmlns='f'><message xmlns='jabber:client' to='x'><body/></message></m>", ""},
		// the attribute strict
		{"<iq><q xmlns='a' scansion:strict='false'><r/></q></iq>", "<iq><q xmlns='a' b='c'><s/><r d='e'/></q></iq>", ""},
		{"<iq><q xmlns='a' scansion:strict='false'><r xmlns='b'/></q></iq>", "<iq><q xmlns='a'><r xmlns='b' d='e'/></q></iq>", "an attribute d='e'"},
		{"<iq><q xmlns='a' scansion:strict='false'><r scansion:strict='true'/></q></iq>", "<iq><q xmlns='a' x='y'><r d='e'/></q></iq>", "an attribute d='e'"},
		{"<message scansion:strict='true' id='1'/>", "<message id='1' to='x'/>", "an attribute to='x'"},
		// presence without a type is available
		{"<presence from='a'/>", "<presence from='a' type='unavailable'/>", "'unavailable'"},
		{"<presence type='unavailable'/>", "<presence type='unavailable'/>", ""},
		// patterns
		{"<message id='{any}'/>", "<message id='x'/>", ""},
		{"<message id='{any}'/>", "<message/>", "id is missing"},
		{"<message id='{scansion:any}'/>", "<message id='x'/>", ""},
		{"<message><body>{any}</body></message>", "<message><body>x</body></message>", ""},
		{"<message><body>{any}</body></message>", "<message><body/></message>", "the text is missing"},
		{"<message from='room@{any}/nick'/>", "<message from='room@muc.x/nick'/>", ""},
		{"<message from='room@{any}/nick'/>", "<message from='room@muc.x/other'/>", "not 'room@{any}/nick'"},
		{"<message to='{domain}'/>", "<message to='sabir.test'/>", ""},
		{"<message to='{user2}' from='{user1}/x'/>", "<message to='juliet-2@sabir.test' from='romeo-1@sabir.test/x'/>", ""},
		{"<message to='{user2}@{domain}'/>", "<message to='juliet-2@sabir.test'/>", ""},
		{"<message to='{user3}'/>", "<message to='x'/>", "none of the 2 accounts"},
		{"<message to=\"${Romeo's full JID}\" from=\"${Juliet's JID}\"/>", "<message to='romeo-1@sabir.test/orchard' from='juliet-2@sabir.test'/>", ""},
		{"<message to=\"${Juliet's full JID}\"/>", "<message to='x'/>", "no full JID before"},
		{"<message to=\"${Nurse's JID}\"/>", "<message to='x'/>", "names nothing"},
		{"<message><body>{\"json\": {}}</body></message>", "<message><body>{\"json\": {}}</body></message>", ""},
		// addresses of the script
		{"<message to='romeo@localhost/a' from='nobody@localhost'/>", "<message to='romeo-1@sabir.test/a' from='nobody@sabir.test'/>", ""},
		{"<message to='room@conference.localhost/romeo'/>", "<message to='room@conference.sabir.test/romeo'/>", ""},
		{"<message to='xromeo@localhost' from='localhost.test' id='localhost2'/>", "<message to='xromeo@sabir.test' from='localhost.test' id='localhost2'/>", ""},
		// captures
		{"<message id='${i}'><x xmlns='a' i='${i}'/></message>", "<message id='7'><x xmlns='a' i='7'/></message>", ""},
		{"<message id='${i}'><x xmlns='a' i='${i}'/></message>", "<message id='7'><x xmlns='a' i='8'/></message>", "i is '8'"},
		{"<message id='a-${i}-{any}'/>", "<message id='a-7-b'/>", ""},
		{"<message><body>${a}</body><body>${a}!</body></message>", "<message><body>x!</body><body>x</body></message>", ""},
	} {
		m := matcher{v: testScope(), exact: true}
		d := m.match(element(t, c.want), element(t, c.got))
		switch {
		case d == nil && c.differ != "":
			t.Errorf("%s matches %s", c.want, c.got)
		case d != nil && (c.differ == "" || !strings.Contains(d.String(), c.differ)):
			t.Errorf("%s against %s: %s", c.want, c.got, d)
		}
		if d != nil && len(m.v.captured) > 0 {
			t.Errorf("%s keeps %v though it does not match", c.want, m.v.captured)
		}
	}
	scs := matcher{v: testScope()}
	if d := scs.match(element(t, "<presence/>"), element(t, "<presence type='unavailable'/>")); d != nil {
		t.Errorf("in .scs files a presence without a type matches all: %s", d)
	}
}

func TestCapture(t *testing.T) {
	m := matcher{v: testScope(), exact: true}
	if d := m.match(element(t, "<message id='${id}'><x xmlns='a' n='{scansion:capture:n}'/></message>"), element(t, "<message id='7'><x xmlns='a' n='8'/></message>")); d != nil {
		t.Fatal(d)
	}
	if got, err := m.v.expand("<${id}-${n}@localhost>", 0); err != nil || got != "<7-8@sabir.test>" {
		t.Errorf("%s %v", got, err)
	}
	if d := m.match(element(t, "<message id='${id}'/>"), element(t, "<message id='9'/>")); d == nil {
		t.Error("what was captured matches something else")
	}
	if d := m.match(element(t, "<message id='{scansion:capture:id}'/>"), element(t, "<message id='9'/>")); d != nil || m.v.captured["id"] != "9" {
		t.Errorf("capturing again: %v %v", d, m.v.captured)
	}
	for _, s := range []string{"${unknown}", "{any}", "a {scansion:any}"} {
		if got, err := m.v.expand(s, 0); err == nil {
			t.Errorf("%s is sent as %s", s, got)
		}
	}
	if got, err := m.v.expand("{password} {domain} {other} {}", 1); err != nil || got != "pw2 sabir.test {other} {}" {
		t.Errorf("%s %v", got, err)
	}
}
