package caps

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// newHost returns a host and its instance, which tests ask for features as other extensions will.
func newHost(t *testing.T, d db.DB, set ...func(*Config)) (*modtest.Host, *caps) {
	t.Helper()
	h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
	c := Info.Config().(*Config)
	for _, f := range set {
		f(c)
	}
	x := build(h, c)
	h.Hooks = x.hooks()
	if err := h.Hooks.Start(h.Context()); err != nil {
		t.Fatal(err)
	}
	return h, x
}

// client makes what a client of these features announces and answers.
func client(features ...string) *wire.Info {
	return &wire.Info{Identities: []wire.Identity{{Category: "client", Type: "pc", Name: "Psi"}}, Features: features}
}

func old(t *testing.T, i *wire.Info) wire.Caps {
	t.Helper()
	v, err := i.Ver("sha-1")
	if err != nil {
		t.Fatal(err)
	}
	return wire.Caps{Node: "http://psi-im.org", Algo: "sha-1", Hash: v}
}

func modern(t *testing.T, i *wire.Info) wire.Caps {
	t.Helper()
	v, err := i.Hash("sha-256")
	if err != nil {
		t.Fatal(err)
	}
	return wire.Caps{Algo: "sha-256", Hash: v}
}

func answer(q *modtest.Question, i *wire.Info) {
	i.Node = q.Payload().Attr("node")
	q.Answer(q.Result(i.Element()))
}

// one returns the only question.
func one(t *testing.T, h *modtest.Host) *modtest.Question {
	t.Helper()
	all := h.Asked()
	if len(all) != 1 {
		t.Fatalf("asked %d times, want once", len(all))
	}
	return all[0]
}

func knows(t *testing.T, x *caps, s *modtest.Session, want ...string) {
	t.Helper()
	got, ok := x.Features(s.Presence())
	if ok != (want != nil) || !slices.Equal(got, want) {
		t.Errorf("%s is known for %v (%v), want %v", s.JID(), got, ok, want)
	}
}

func TestLearn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		for kind, element := range map[string]func(*wire.Info) *xmlstream.Element{
			"0115": func(i *wire.Info) *xmlstream.Element { return old(t, i).Element() },
			"0390": func(i *wire.Info) *xmlstream.Element { return wire.Caps2Element(modern(t, i)) },
		} {
			t.Run(kind, func(t *testing.T) {
				h, x := newHost(t, d)
				psi := client("urn:a", "urn:b")
				c := element(psi).String()
				s := h.Login("romeo@localhost/a")
				h.Available(s, 0, c)
				knows(t, x, s)
				q := one(t, h)
				if q.To != s.JID() || q.From.String() != "localhost" || q.Type != stanza.TypeGet {
					t.Errorf("asked by %s", q)
				}
				h.Available(s, 5, c) // is not asked again
				other := h.Login("juliet@localhost/a")
				h.Available(other, 0, c) // waits
				if more := h.Asked(); len(more) > 0 {
					t.Errorf("asked again: %v", more)
				}
				answer(q, psi)
				knows(t, x, s, "urn:a", "urn:b")
				knows(t, x, other, "urn:a", "urn:b")
				h.Available(s, 0)
				knows(t, x, s) // what a presence does not announce does not count (XEP-0390#rules-processing-caching)

				again, y := newHost(t, d) // from the database
				s = again.Login("romeo@localhost/b")
				again.Available(s, 0, c)
				knows(t, y, s, "urn:a", "urn:b")
				if more := again.Asked(); len(more) > 0 {
					t.Errorf("asked for what is stored: %v", more)
				}
			})
		}
	})
}

// All who want to know what a client understands are told, while it is asked once: a new resource is of interest to several.
func TestLearnTogether(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, x := newHost(t, d)
		for _, ambiguous := range []bool{false, true} {
			i := client("urn:a", fmt.Sprintf("urn:%v", ambiguous))
			if ambiguous {
				i.Forms = append(i.Forms, modtest.XML(t, "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:z</value></field></x>"))
			}
			p := modtest.Stanza(t, fmt.Sprintf("<presence from='romeo@localhost/%v'/>", ambiguous)).Add(old(t, i).Element())
			told := 0
			for range 3 {
				x.Learn(h.Context(), h.Domain(), p, func(f []string) {
					if slices.Contains(f, "urn:a") {
						told++
					}
				})
			}
			answer(one(t, h), i)
			if told != 3 {
				t.Errorf("of 3 who want to know %d are told (ambiguous: %v)", told, ambiguous)
			}
		}
	})
}

// What does not fit its hash is not believed, and the next that announces the hash is asked (XEP-0115#ver-proc).
func TestPoison(t *testing.T) {
	h, x := newHost(t, dbtest.SQLite(t))
	psi := client("urn:a")
	evil := client("urn:a", "urn:evil")
	c := old(t, psi).Element().String()
	var sessions []*modtest.Session
	for i := range 6 {
		s := h.Login(fmt.Sprintf("user%d@localhost/a", i))
		h.Available(s, 0, c)
		sessions = append(sessions, s)
	}
	answer(one(t, h), evil)
	knows(t, x, sessions[0])
	one(t, h).Answer(nil) // the timeout
	q := one(t, h)
	q.Answer(q.ErrorReply(stanza.Err(stanza.ServiceUnavailable, "")))
	h.Logout(sessions[4])
	q = one(t, h)
	q.Answer(q.Result(nil))
	q = one(t, h)
	if q.To != sessions[5].JID() {
		t.Errorf("the fifth asked is %s", q.To)
	}
	answer(q, psi)
	for i, s := range sessions {
		if i != 4 {
			knows(t, x, s, "urn:a")
		}
	}
	h.Available(sessions[0], 0, c)
	if more := h.Asked(); len(more) > 0 {
		t.Errorf("asked for what is known: %v", more)
	}
}

// The hash of XEP-0115 that also fits an answer with more features counts for one session only.
func TestAmbiguous(t *testing.T) {
	h, x := newHost(t, dbtest.SQLite(t))
	honest := client("urn:a", "urn:b", "urn:c")
	forged := client("urn:a")
	forged.Forms = []*xmlstream.Element{modtest.XML(t, "<x xmlns='jabber:x:data' type='result'>"+
		"<field var='FORM_TYPE' type='hidden'><value>urn:b</value></field><field var='urn:c'/></x>")}
	if old(t, honest) != old(t, forged) {
		t.Fatal("the attack does not work")
	}
	c := old(t, honest).Element().String()
	attacker, victim := h.Login("romeo@localhost/a"), h.Login("juliet@localhost/a")
	h.Available(attacker, 0, c)
	h.Available(victim, 0, c)
	answer(one(t, h), forged)
	knows(t, x, attacker, "urn:a")
	knows(t, x, victim)
	answer(one(t, h), honest)
	knows(t, x, victim, "urn:a", "urn:b", "urn:c")
	h.Logout(attacker)
	if x.alone.Len() != 0 {
		t.Error("what held for one session stays after its end")
	}
}

func TestTooLarge(t *testing.T) {
	h, x := newHost(t, dbtest.SQLite(t))
	var many []string
	for i := range maxFeatures + 1 {
		many = append(many, fmt.Sprint("urn:", i))
	}
	for name, i := range map[string]*wire.Info{"many": client(many...), "long": client("urn:" + strings.Repeat("x", maxBytes))} {
		s := h.Login(name + "@localhost/a")
		h.Available(s, 0, old(t, i).Element().String())
		answer(one(t, h), i)
		knows(t, x, s)
	}
}

func TestNothingAnnounced(t *testing.T) {
	h, x := newHost(t, dbtest.SQLite(t))
	for i, c := range []string{"<show>away</show>", "<c xmlns='http://jabber.org/protocol/caps' node='http://x' ver='0.9' ext='a'/>", "<c xmlns='urn:xmpp:caps'/>"} {
		s := h.Login(fmt.Sprintf("romeo@localhost/%d", i))
		h.Available(s, 0, c)
		knows(t, x, s)
	}
	if asked := h.Asked(); len(asked) > 0 {
		t.Errorf("asked %v", asked)
	}
	knows(t, x, h.Login("romeo@localhost/silent"))
}

func TestStoreIsBounded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newHost(t, d)
		s := store{d, 3}
		for i := range 6 {
			if err := s.put(h.Context(), key{115, "sha-1", fmt.Sprint(i)}, []string{"urn:a"}, modtest.Epoch.Add(time.Duration(i)*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 6 {
			f, ok, err := s.get(h.Context(), key{115, "sha-1", fmt.Sprint(i)})
			if err != nil || ok != (i >= 3) || ok && len(f) != 1 {
				t.Errorf("%d: %v %v %v", i, f, ok, err)
			}
		}
		if _, ok, err := s.get(h.Context(), key{390, "sha-1", "5"}); ok || err != nil {
			t.Errorf("another kind: %v %v", ok, err)
		}
	})
}

func TestStreamFeatures(t *testing.T) {
	h, _ := newHost(t, dbtest.SQLite(t))
	info := h.Disco(mod.AtHost).Info("")
	if !info.Has(wire.NSCaps) || !info.Has(wire.NSCaps2) {
		t.Errorf("features of the host: %v", info.Features)
	}
	n := 0
	for _, f := range h.Hooks.StreamFeatures {
		for _, c := range wire.ParseCaps(f.Func()) {
			n++
			if !f.Auth || !c.Verify(info) {
				t.Errorf("%+v does not fit what the host is", c)
			}
		}
	}
	if n != 3 {
		t.Errorf("%d hashes are announced, want 3", n)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{Memory: 0, Stored: 1, Node: "urn:x"}, {Memory: 1, Stored: 0, Node: "urn:x"}, {Memory: 1, Stored: 1}} {
		if c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// TestParsedOnce: an announcement that many clients send alike is parsed once, and one that leans on what stands around it
// each time.
func TestParsedOnce(t *testing.T) {
	_, x := newHost(t, dbtest.SQLite(t))
	a, b := "<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>b%s</hash></c>", "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:n' ver='a%s'/>"
	safer, usual := wire.Caps{Algo: "sha-256", Hash: "b1"}, wire.Caps{Node: "urn:n", Algo: "sha-1", Hash: "a1"}
	for _, c := range []struct {
		inner  string
		want   []wire.Caps
		parsed int // are remembered afterwards
	}{
		{"", nil, 0},
		{fmt.Sprintf(b, "1"), []wire.Caps{usual}, 1},
		{"<show>away</show>" + fmt.Sprintf(b, "1"), []wire.Caps{usual}, 1},
		{fmt.Sprintf(b, "1") + fmt.Sprintf(a, "1"), []wire.Caps{safer, usual}, 2},
		{fmt.Sprintf(a, "2"), []wire.Caps{{Algo: "sha-256", Hash: "b2"}}, 3},
		{fmt.Sprintf(a, "1"), []wire.Caps{safer}, 3},
	} {
		for range 2 {
			if got := x.announced(modtest.Stanza(t, "<presence from='a@b.c/d'>"+c.inner+"</presence>")); !slices.Equal(got, c.want) {
				t.Errorf("%s announces %v, want %v", c.inner, got, c.want)
			}
			if got := x.parsed.Len(); got != c.parsed {
				t.Errorf("after %s %d are remembered, want %d", c.inner, got, c.parsed)
			}
		}
	}
	// The same bytes, of which a prefix makes another thing.
	p := "<presence xmlns:h='%s'><c xmlns='urn:xmpp:caps'><h:hash algo='sha-256'>b3</h:hash></c></presence>"
	if got := x.announced(modtest.Stanza(t, fmt.Sprintf(p, "urn:xmpp:hashes:2"))); len(got) != 1 {
		t.Errorf("with a prefix: %v", got)
	}
	if got := x.announced(modtest.Stanza(t, fmt.Sprintf(p, "urn:other"))); len(got) != 0 {
		t.Errorf("with another prefix: %v", got)
	}
}
