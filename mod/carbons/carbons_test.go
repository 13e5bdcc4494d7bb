package carbons

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// message returns a message in jabber:client from one to another.
func message(t testing.TB, from, to, attrs, children string) *stanza.Stanza {
	t.Helper()
	f, err := xmlstream.ParseFrame(fmt.Sprintf("<message xmlns='jabber:client' from='%s' %s>%s</message>", from, attrs, children), xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	s, bad := stanza.FromFrame(f)
	if bad != nil {
		t.Fatal(bad)
	}
	if to != "" {
		s.To = jid.MustParse(to)
	}
	return s
}

func online(t testing.TB, h *modtest.Host, full string) *modtest.Session {
	t.Helper()
	s := h.Login(full)
	if a := h.Set(full, "", "<enable xmlns='urn:xmpp:carbons:2'/>"); a.Type != stanza.TypeResult {
		t.Fatalf("enable: %s", a)
	}
	return s
}

// to returns who gets a copy.
func to(copies []mod.Copy) string {
	var all []string
	for _, c := range copies {
		all = append(all, c.To.JID().Resource())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestOtherServers(t *testing.T) {
	h := modtest.New(t, Info)
	phone, desk := online(t, h, "romeo@localhost/phone"), online(t, h, "romeo@localhost/desk")
	s := message(t, "juliet@capulet.example/balcony", "romeo@localhost/phone", "type='chat' id='m'", "<body>x</body>")
	in := h.Fork(h.Pass(mod.In, s, phone))
	if to(in) != "desk" || in[0].To != mod.Session(desk) {
		t.Fatalf("%q got a copy", to(in))
	}
	modtest.Expect(t, in[0].Stanza, `<message from='romeo@localhost' to='romeo@localhost/desk' type='chat'>
		<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
			<message xmlns='jabber:client' from='juliet@capulet.example/balcony' to='romeo@localhost/phone' type='chat' id='m'><body>x</body></message>
		</forwarded></received></message>`)
	s = message(t, "romeo@localhost/phone", "juliet@capulet.example/balcony", "id='a'", "<body>y</body>")
	out := h.Fork(h.Pass(mod.Out, s))
	if to(out) != "desk" {
		t.Fatalf("%q got a copy", to(out))
	}
	modtest.Expect(t, out[0].Stanza, `<message from='romeo@localhost' to='romeo@localhost/desk'>
		<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
			<message xmlns='jabber:client' from='romeo@localhost/phone' to='juliet@capulet.example/balcony' id='a'><body>y</body></message>
		</forwarded></sent></message>`)

	// The error comes from another resource of the account, without anything of the message in it.
	e := message(t, "juliet@capulet.example/other", "romeo@localhost/phone", "type='error' id='a'", "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
	if got := to(h.Fork(h.Pass(mod.In, e, phone))); got != "desk" {
		t.Errorf("%q got a copy of the error", got)
	}
	for _, forged := range []*stanza.Stanza{
		message(t, "juliet@capulet.example/balcony", "romeo@localhost/phone", "type='error' id='b'", "<body>y</body>"),
		message(t, "juliet@capulet.example/balcony", "romeo@localhost/phone", "type='error'", "<body>y</body>"),
		message(t, "tybalt@capulet.example/x", "romeo@localhost/phone", "type='error' id='a'", "<body>y</body>"),
	} {
		if got := to(h.Fork(h.Pass(mod.In, forged, phone))); got != "" {
			t.Errorf("%q got a copy of %s", got, forged)
		}
	}
}

// TestRules goes through XEP-0280#recommended-rules, for a message that comes in and for one that goes out.
func TestRules(t *testing.T) {
	const (
		room   = "room@conference.example"
		nick   = room + "/nick"
		friend = "juliet@capulet.example/balcony"
		body   = "<body>x</body>"
		muc    = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
		invite = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='juliet@capulet.example'/></x>"
		direct = "<x xmlns='jabber:x:conference' jid='room@conference.example'/>"
	)
	for _, c := range []struct {
		peer, typ, children string
		in, out             bool
	}{
		{friend, "chat", "", true, true},
		{friend, "chat", body, true, true},
		{friend, "normal", body, true, true},
		{friend, "unknown", body, true, true}, // RFC 6121 §5.2.2
		{friend, "normal", "", false, false},
		{friend, "normal", "<body xmlns='urn:example:x'/>", false, false},
		{friend, "headline", body, false, false},
		{friend, "groupchat", body, false, false},
		{friend, "groupchat", direct, false, false},
		{friend, "error", body, false, false},
		{friend, "normal", "<request xmlns='urn:xmpp:receipts'/>", true, true},
		{friend, "normal", "<received xmlns='urn:xmpp:receipts' id='1'/>", true, true},
		{friend, "normal", "<gone xmlns='http://jabber.org/protocol/chatstates'/>", true, true},
		{friend, "normal", "<acknowledged xmlns='urn:xmpp:chat-markers:0' id='1'/>", true, true},
		{friend, "headline", "<markable xmlns='urn:xmpp:chat-markers:0'/>", true, true},
		{friend, "chat", body + "<private xmlns='urn:xmpp:carbons:2'/>", false, false},
		{friend, "chat", body + "<no-copy xmlns='urn:xmpp:hints'/>", false, false},
		{friend, "chat", body + "<private xmlns='urn:example:x'/><no-copy xmlns='urn:example:x'/>", true, true},
		{friend, "chat", body + "<no-store xmlns='urn:xmpp:hints'/>", true, true},
		{friend, "normal", direct, true, true},
		{friend, "normal", direct + "<private xmlns='urn:xmpp:carbons:2'/>", false, false},
		{room, "normal", invite, true, true},
		{room, "normal", "<x xmlns='http://jabber.org/protocol/muc#user'><decline/></x>", false, false},
		{room, "normal", "<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>", false, false},
		{room, "groupchat", body, false, false},
		{nick, "groupchat", body, false, false},
		{nick, "chat", body + muc, false, true},
		{nick, "normal", body + muc, false, true},
		{nick, "normal", muc, false, true},
		{nick, "chat", body, true, true}, // nothing tells it from a chat with anybody else
		{nick, "chat", direct + muc, true, true},
	} {
		t.Run(c.typ+c.children, func(t *testing.T) {
			h := modtest.New(t, Info)
			phone := h.Login("romeo@localhost/phone")
			online(t, h, "romeo@localhost/desk")
			h.Login("romeo@localhost/old")
			attrs := "id='1' type='" + c.typ + "'"
			want := map[bool]string{true: "desk"}
			if got := to(h.Fork(h.Pass(mod.In, message(t, c.peer, "romeo@localhost/phone", attrs, c.children), phone))); got != want[c.in] {
				t.Errorf("in: %q got a copy", got)
			}
			if got := to(h.Fork(h.Pass(mod.Out, message(t, "romeo@localhost/phone", c.peer, attrs, c.children)))); got != want[c.out] {
				t.Errorf("out: %q got a copy", got)
			}
		})
	}
}

// TestNicks checks the note on rooms in XEP-0280#recommended-rules: only who is there under the same nickname.
func TestNicks(t *testing.T) {
	h := modtest.New(t, Info)
	for name, at := range map[string]string{"phone": "/romeo", "desk": "/romeo", "old": "/montague", "out": ""} {
		s := online(t, h, "romeo@localhost/"+name)
		if at != "" {
			s.Direct(jid.MustParse("room@conference.example"+at), true)
		}
		s.Direct(jid.MustParse("other@conference.example/romeo"), true)
	}
	const pm = "<body>x</body><x xmlns='http://jabber.org/protocol/muc#user'/>"
	for _, c := range []struct{ from, to, children, want string }{
		{"phone", "room@conference.example/nick", pm, "desk"},
		{"old", "room@conference.example/nick", pm, ""},
		{"out", "room@conference.example/nick", pm, "desk old phone"},
		{"phone", "room@conference.example/nick", "<body>x</body>", "desk old out"},
		{"phone", "room@conference.example", pm, "desk old out"},
	} {
		s := message(t, "romeo@localhost/"+c.from, c.to, "type='chat'", c.children)
		if got := to(h.Fork(h.Pass(mod.Out, s))); got != c.want {
			t.Errorf("from %s to %s: %q got a copy, want %q", c.from, c.to, got, c.want)
		}
	}
}

func TestSelf(t *testing.T) {
	h := modtest.New(t, Info)
	a, b := online(t, h, "romeo@localhost/a"), online(t, h, "romeo@localhost/b")
	online(t, h, "romeo@localhost/c")
	for _, c := range []struct {
		to      string
		targets []mod.Session
		want    string
	}{
		{"romeo@localhost/b", []mod.Session{b}, "c"},
		{"romeo@localhost", []mod.Session{a, b}, "c"},
		{"", []mod.Session{b}, "c"},
		{"romeo@localhost", nil, "b c"},
	} {
		s := message(t, "romeo@localhost/a", c.to, "type='chat'", "<body>x</body>")
		out, in := h.Pass(mod.Out, s), h.Pass(mod.In, s, c.targets...)
		in.Account = out.Account
		if got := to(h.Fork(out)); got != "" {
			t.Errorf("to %q: %q got a copy of what was sent", c.to, got)
		}
		copies := h.Fork(in)
		if got := to(copies); got != c.want {
			t.Errorf("to %q: %q got a copy, want %q", c.to, got, c.want)
		}
		if c.to == "" && !strings.Contains(copies[0].Stanza.String(), "<message xmlns='jabber:client' to='romeo@localhost' from='romeo@localhost/a'") {
			t.Errorf("the copy does not say to whom it was: %s", copies[0].Stanza)
		}
	}
}

func TestForged(t *testing.T) {
	h := modtest.New(t, Info)
	h.Login("romeo@localhost/phone")
	for _, kind := range []string{"received", "sent"} {
		child := "<" + kind + " xmlns='urn:xmpp:carbons:2'/>"
		for side, addr := range map[mod.Side][2]string{
			mod.Out: {"romeo@localhost/phone", "juliet@capulet.example"},
			mod.In:  {"juliet@capulet.example", "romeo@localhost"},
		} {
			for typ, want := range map[string]stanza.Condition{"chat": stanza.Forbidden, "headline": stanza.Forbidden, "groupchat": stanza.Forbidden, "error": "drop"} {
				s := message(t, addr[0], addr[1], "type='"+typ+"'", "<body>x</body>"+child)
				if got := modtest.Condition(t, h.Admit(h.Pass(side, s))); got != want {
					t.Errorf("%s of type %s on side %d: %q, want %q", kind, typ, side, got, want)
				}
			}
		}
	}
	s := message(t, "juliet@capulet.example", "romeo@localhost", "", "<received xmlns='urn:xmpp:receipts' id='1'/><body><sent xmlns='urn:xmpp:carbons:2'/></body>")
	if err := h.Admit(h.Pass(mod.In, s)); err != nil {
		t.Errorf("what is no copy is refused: %v", err)
	}
}

func TestRequests(t *testing.T) {
	h := modtest.New(t, Info)
	phone := h.Login("romeo@localhost/phone")
	for _, c := range []struct{ op, flag string }{{"disable", ""}, {"enable", "1"}, {"enable", "1"}, {"disable", ""}, {"disable", ""}, {"enable", "1"}} {
		for _, at := range []string{"", "romeo@localhost"} {
			modtest.Expect(t, h.Set("romeo@localhost/phone", at, "<"+c.op+" xmlns='urn:xmpp:carbons:2'/>"), "<iq type='result'/>")
			if got := phone.Flag(enabled); got != c.flag {
				t.Errorf("after %s the flag is %q", c.op, got)
			}
		}
	}
	for _, op := range []string{"enable", "disable"} {
		x := "<" + op + " xmlns='urn:xmpp:carbons:2'/>"
		for _, c := range [][2]string{
			{"juliet@capulet.example/x", "romeo@localhost"}, {"juliet@capulet.example/x", "localhost"},
			{"romeo@localhost/phone", "juliet@localhost"}, {"romeo@localhost/phone", "nobody@localhost"},
			{"romeo@localhost/gone", ""},
		} {
			modtest.ExpectError(t, h.Set(c[0], c[1], x), stanza.Cancel, stanza.NotAllowed)
		}
		modtest.ExpectError(t, h.Get("romeo@localhost/phone", "", x), stanza.Cancel, stanza.ServiceUnavailable)
	}
	if got := h.Disco(mod.AtHost).Features; !slices.Equal(got, []string{"urn:xmpp:carbons:2", "urn:xmpp:carbons:rules:0"}) {
		t.Errorf("the features are %q", got)
	}
	if got := h.Disco(mod.AtAccount).Features; len(got) > 0 {
		t.Errorf("the features of accounts are %q", got)
	}
}

// TestOneEncoding checks that what many devices get is encoded once.
func TestOneEncoding(t *testing.T) {
	h := modtest.New(t, Info)
	for i := range 5 {
		online(t, h, fmt.Sprintf("romeo@localhost/%d", i))
	}
	copies := h.Fork(h.Pass(mod.In, message(t, "juliet@capulet.example", "romeo@localhost/x", "type='chat'", "<body>x</body>")))
	if len(copies) != 5 {
		t.Fatalf("%d copies", len(copies))
	}
	for _, c := range copies {
		if c.Stanza.Wire() != copies[0].Stanza.Wire() {
			t.Error("each has an encoding of its own")
		}
		if c.Stanza.To != c.To.JID() || c.Stanza.From != jid.MustParse("romeo@localhost") {
			t.Errorf("to %s from %s", c.Stanza.To, c.Stanza.From)
		}
	}
}

func TestMemory(t *testing.T) {
	a, b := jid.MustParse("a@x"), jid.MustParse("b@x")
	m := newMemory(3)
	for i := range 5 {
		m.add(a, b, fmt.Sprint(i))
		m.add(a, b, fmt.Sprint(i))
	}
	for i := range 5 {
		if got := m.has(a, b, fmt.Sprint(i)); got != (i >= 2) {
			t.Errorf("message %d: %v", i, got)
		}
	}
	if m.has(b, a, "4") || m.has(a, b, "") || len(m.set) != 3 || len(m.ring) != 3 {
		t.Errorf("the memory holds %v", m)
	}
	off := newMemory(0)
	off.add(a, b, "1")
	if off.has(a, b, "1") {
		t.Error("a memory without room remembers")
	}
	if err := (&Config{Errors: -1}).Validate(); err == nil {
		t.Error("a negative number of messages is accepted")
	}
}

func BenchmarkFork(b *testing.B) {
	for _, n := range []int{0, 1, 3} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := modtest.New(b, Info)
			target := h.Login("romeo@localhost/phone")
			for i := range n {
				online(b, h, fmt.Sprintf("romeo@localhost/%d", i))
			}
			s := message(b, "juliet@localhost/balcony", "romeo@localhost/phone", "type='chat' id='0123456789'",
				"<body>"+strings.Repeat("x", 80)+"</body><request xmlns='urn:xmpp:receipts'/>")
			p := h.Pass(mod.In, s, target)
			b.ReportAllocs()
			for b.Loop() {
				if got := h.Fork(p); len(got) != n {
					b.Fatalf("%d copies", len(got))
				}
			}
		})
	}
}

// TestInline: a client that binds with carbons gets copies from then on (XEP-0386#bind-request).
func TestInline(t *testing.T) {
	h := modtest.New(t, Info)
	s := h.Login("romeo@localhost/phone")
	if got := h.Inline(s, "<enable xmlns='urn:xmpp:carbons:2'/>"); len(got) != 0 {
		t.Errorf("answered: %v", got)
	}
	if s.Flag(enabled) == "" {
		t.Error("carbons are not enabled")
	}
}
