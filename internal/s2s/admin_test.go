package s2s_test

import (
	"slices"
	"strings"
	"testing"

	"sabir/internal/config"
	"sabir/internal/s2s"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// TestCheck looks at domains that are well and others that are not.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("", "a.example"), w.start("", "b.example")
	w.Point(t, "wrong.example", b.ports[config.S2S], "")
	w.Point(t, "name.example", b.ports[config.S2S], b.ports[config.S2STLS])
	w.Point(t, "down.example", "127.0.0.1:1", "")
	w.Add(t, "_xmpp-server._tcp.none.example. 60 IN SRV 0 0 0 .")
	for _, c := range []struct{ domain, check, status, text string }{
		{"b.example", "certificate", "ok", "proves that it is the server of b.example"},
		{"b.example", "stream", "ok", "offers EXTERNAL"},
		{"b.example", "tls", "ok", "TLS 1.3"},
		{"b.example", "dns", "ok", "SRV records lead to"},
		{"wrong.example", "stream", "error", "does not serve wrong.example"},
		{"down.example", "connection", "error", "connection refused"},
		{"none.example", "dns", "error", "declares that it has no XMPP server"},
		{"nowhere.example", "dns", "error", "no address for nowhere.example"},
		{"a.example", "policy", "ok", "is served here"},
	} {
		findings := a.Federation().Check(t.Context(), jid.MustParse("a.example"), jid.MustParse(c.domain))
		if !slices.ContainsFunc(findings, func(f s2s.Finding) bool {
			return f.Check == c.check && f.Status == c.status && strings.Contains(f.Text, c.text)
		}) {
			t.Errorf("%s: no finding %s %s %q in %+v", c.domain, c.check, c.status, c.text, findings)
		}
		for _, f := range findings {
			if f.Status != "ok" && f.Cure == "" {
				t.Errorf("%s: there is no cure for %q", c.domain, f.Text)
			}
		}
	}
}

// TestBlock blocks a domain whose streams are open: nothing passes in either direction, of no kind, until it is unblocked.
func TestBlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start("queue_time = \"3s\"", "a.example"), w.start("queue_time = \"3s\"", "b.example")
	romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
	talk(t, romeo, juliet)
	if list := a.Federation().List(); len(list) == 0 || list[0].Remote != "b.example" {
		t.Errorf("the list is %+v", list)
	}
	if p := a.Federation().Peers(jid.MustParse("a.example")); len(p) != 1 || p[0].Domain.Domain() != "b.example" || p[0].In+p[0].Out+p[0].Both == 0 {
		t.Errorf("the peers are %+v", p)
	}
	if p := a.Federation().Peers(jid.MustParse("b.example")); len(p) != 0 {
		t.Errorf("the peers of another domain are %+v", p)
	}
	if err := a.Federation().Block(t.Context(), "b.example", true); err != nil {
		t.Fatal(err)
	}
	romeo.say("juliet@b.example/y", "out")
	if e := romeo.message("out").Err(); e == nil || e.Condition != stanza.NotAllowed {
		t.Errorf("the sender got %v", e)
	}
	juliet.say("romeo@a.example/x", "in")
	if juliet.message("in").Err() == nil {
		t.Error("the sender there got no error")
	}
	for _, m := range romeo.all() {
		if m.ID == "in" {
			t.Errorf("a blocked domain was heard: %s", m)
		}
	}
	a.stop()
	a.up()
	romeo = a.login("romeo@a.example/x")
	romeo.say("juliet@b.example/y", "again")
	if romeo.message("again").Err() == nil {
		t.Error("after a restart the domain is open")
	}
	if err := a.Federation().Block(t.Context(), "b.example", false); err != nil {
		t.Fatal(err)
	}
	romeo.say("juliet@b.example/y", "open")
	juliet.message("open")
}

// TestBlockPlace blocks a domain that has a place on the stream of another, in its names: the stream ends although the other is welcome, and who
// was proved on it first goes on by another.
func TestBlockPlace(t *testing.T) {
	w := newWorld(t)
	w.untrusted = true
	const dialback = "auth = \"dialback\"\nqueue_time = \"3s\""
	a, b := w.start(dialback, "a.example"), w.start(dialback, "b.example", "d.example")
	romeo, juliet, tybalt := a.login("romeo@a.example/x"), b.login("juliet@b.example/y"), b.login("tybalt@d.example/y")
	for _, u := range []*user{juliet, tybalt} {
		u.say("romeo@a.example/x", "first-"+u.jid.Local())
		romeo.message("first-" + u.jid.Local())
	}
	if places(b) != 1 {
		t.Fatalf("%d pairs ride on the stream of another", places(b))
	}
	if err := a.Federation().Block(t.Context(), "d.example", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream on which the blocked domain rides ends", func() bool {
		return !slices.ContainsFunc(a.Federation().List(), func(st s2s.Status) bool { return st.Remote == "d.example" && st.Direction == "in" })
	})
	juliet.say("romeo@a.example/x", "second")
	romeo.message("second")
	tybalt.say("romeo@a.example/x", "never")
	if e := tybalt.message("never").Err(); e == nil {
		t.Error("who is blocked got no error")
	}
	if slices.ContainsFunc(romeo.all(), func(s *stanza.Stanza) bool { return s.ID == "never" }) {
		t.Error("who is blocked was heard")
	}
	if n := a.Federation().CloseDomain(jid.MustParse("b.example")); n == 0 {
		t.Error("no stream of the other was open")
	}
}
