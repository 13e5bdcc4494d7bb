package roster_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/mod/roster"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	romeo  = "romeo@localhost"
	juliet = "juliet@localhost"
	get    = "<query xmlns='jabber:iq:roster'/>"
)

// each runs f on both engines.
func each(t *testing.T, f func(t *testing.T, h *modtest.Host), opts ...modtest.Option) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		f(t, modtest.New(t, roster.Info, append(opts, modtest.WithDB(d, db.Migrate))...))
	})
}

func query(items string) string { return "<query xmlns='jabber:iq:roster'>" + items + "</query>" }

func pushed(items string) string {
	return "<iq type='set' id='{any}'>" + versioned(items) + "</iq>"
}

func versioned(items string) string {
	return "<query xmlns='jabber:iq:roster' ver='{any}'>" + items + "</query>"
}

// result checks the roster of an account.
func result(t *testing.T, h *modtest.Host, full, items string) {
	t.Helper()
	modtest.Expect(t, h.Get(full, "", get), "<iq type='result'>"+versioned(items)+"</iq>")
}

// settle lets what was routed arrive, with what follows from it, and returns all of it.
func settle(t *testing.T, h *modtest.Host) (all []*stanza.Stanza) {
	t.Helper()
	for {
		routed := h.Routed()
		if len(routed) == 0 {
			return all
		}
		for _, s := range routed {
			all = append(all, s)
			if s.Kind != stanza.Presence || s.To.DomainJID() != h.Domain() {
				continue
			}
			_, err := h.Presence(h.Pass(mod.In, s))
			if err != nil && modtest.Condition(t, err) != "drop" {
				t.Errorf("%s: %v", s, err)
			}
		}
	}
}

// send has a client send a presence, and returns what came of it.
func send(t *testing.T, h *modtest.Host, from, text string) ([]*stanza.Stanza, error) {
	t.Helper()
	s := modtest.Stanza(t, text)
	s.From = jid.MustParse(from)
	p := h.Pass(mod.Out, s)
	_, err := h.Presence(p)
	if err == nil {
		h.Route(h.Context(), p.Stanza)
	} else if errors.Is(err, mod.ErrAnswered) {
		err = nil
	}
	return settle(t, h), err
}

func mustSend(t *testing.T, h *modtest.Host, from, text string) []*stanza.Stanza {
	t.Helper()
	all, err := send(t, h, from, text)
	if err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return all
}

// arrive has a stanza come from elsewhere.
func arrive(t *testing.T, h *modtest.Host, text string) error {
	t.Helper()
	_, err := h.Presence(h.Pass(mod.In, modtest.Stanza(t, text)))
	return err
}

// befriend makes two accounts see each other.
func befriend(t *testing.T, h *modtest.Host, a, b string) {
	t.Helper()
	mustSend(t, h, a, "<presence type='subscribe' to='"+jid.MustParse(b).Bare().String()+"'/>")
	mustSend(t, h, b, "<presence type='subscribed' to='"+jid.MustParse(a).Bare().String()+"'/>")
	mustSend(t, h, b, "<presence type='subscribe' to='"+jid.MustParse(a).Bare().String()+"'/>")
	mustSend(t, h, a, "<presence type='subscribed' to='"+jid.MustParse(b).Bare().String()+"'/>")
}

// RFC 6121 §2.3.2, §2.4.2, §2.5.2.
func TestSetPushesToInterestedResources(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		a, b, c := h.Login(romeo+"/a"), h.Login(romeo+"/b"), h.Login(romeo+"/c")
		other := h.Login(juliet + "/x")
		h.Get(juliet+"/x", "", get)
		result(t, h, romeo+"/a", "")
		result(t, h, romeo+"/b", "")
		for _, step := range []struct{ set, push string }{
			{"<item jid='nurse@localhost'/>", "<item jid='nurse@localhost' subscription='none'/>"},
			{
				"<item jid='nurse@localhost' name='Nurse &amp; co'><group>Staff</group><group>staff</group></item>",
				"<item jid='nurse@localhost' subscription='none' name='Nurse &amp; co'><group>Staff</group><group>staff</group></item>",
			},
			{"<item jid='nurse@localhost' name=''/>", "<item jid='nurse@localhost' subscription='none'/>"},
			{
				"<item jid='nurse@localhost' subscription='both' ask='subscribe' approved='true' name='N'/>",
				"<item jid='nurse@localhost' subscription='none' name='N'/>",
			},
			{"<item jid='nurse@localhost' subscription='remove'/>", "<item jid='nurse@localhost' subscription='remove'/>"},
		} {
			s := stanza.NewIQ(stanza.TypeSet, a.JID(), jid.JID{}, modtest.XML(t, query(step.set)))
			modtest.Expect(t, h.Do(s), "<iq type='result' id='"+s.ID+"'/>")
			modtest.ExpectAll(t, a.Take(), pushed(step.push))
			modtest.ExpectAll(t, b.Take(), pushed(step.push))
			modtest.ExpectAll(t, c.Take())
			if strings.Contains(step.push, "remove") {
				result(t, h, romeo+"/a", "")
			} else {
				result(t, h, romeo+"/a", step.push)
			}
		}
		modtest.ExpectAll(t, other.Take())
		modtest.ExpectAll(t, h.Routed())
	})
}

// The result goes out before the push of the same change, and no push overtakes the roster itself.
func TestResultComesFirst(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		a := h.Login(romeo + "/a")
		h.Get(romeo+"/a", "", get)
		q := &mod.Request{
			Stanza:  stanza.NewIQ(stanza.TypeSet, a.JID(), jid.JID{}, modtest.XML(t, query("<item jid='nurse@localhost'/>"))),
			Session: a, Account: a.JID().Bare(),
		}
		q.Payload = q.Stanza.Payload()
		for _, k := range h.Hooks.IQ {
			if k.Type == stanza.TypeSet {
				if _, err := k.Func(h.Context(), q); !errors.Is(err, mod.ErrAnswered) {
					t.Errorf("got %v, want that the handler answered", err)
				}
			}
		}
		modtest.ExpectAll(t, a.Take(), "<iq type='result' id='"+q.ID+"'/>", pushed("<item jid='nurse@localhost' subscription='none'/>"))
	})
}

func TestSetErrors(t *testing.T) {
	long := strings.Repeat("x", 1024)
	many := ""
	for i := range 51 {
		many += fmt.Sprintf("<group>g%d</group>", i)
	}
	each(t, func(t *testing.T, h *modtest.Host) {
		a := h.Login(romeo + "/a")
		h.Get(romeo+"/a", "", get)
		h.Login(juliet + "/x")
		for _, c := range []struct {
			to, items string
			typ       stanza.ErrorType
			cond      stanza.Condition
		}{
			{"", "", stanza.Modify, stanza.BadRequest},
			{"", "<item jid='a@b.c'/><item jid='d@b.c'/>", stanza.Modify, stanza.BadRequest},
			{"", "<item/>", stanza.Modify, stanza.BadRequest},
			{"", "<item xmlns='urn:other' jid='a@b.c'/>", stanza.Modify, stanza.BadRequest},
			{"", "<item jid='@b.c'/>", stanza.Modify, stanza.JIDMalformed},
			{"", "<item jid='a@b.c'><group>x</group><group>x</group></item>", stanza.Modify, stanza.BadRequest},
			{"", "<item jid='a@b.c'><group/></item>", stanza.Modify, stanza.NotAcceptable},
			{"", "<item jid='a@b.c'><group>" + long + "</group></item>", stanza.Modify, stanza.NotAcceptable},
			{"", "<item jid='a@b.c'>" + many + "</item>", stanza.Modify, stanza.NotAcceptable},
			{"", "<item jid='a@b.c' name='" + long + "'/>", stanza.Modify, stanza.NotAcceptable},
			{"", "<item jid='a@b.c' subscription='remove'/>", stanza.Cancel, stanza.ItemNotFound},
			{"", "<item jid='romeo@localhost'/>", stanza.Cancel, stanza.NotAllowed},
			{juliet, "<item jid='a@b.c'/>", stanza.Auth, stanza.Forbidden},
			{juliet, "<item jid='a@b.c' subscription='remove'/>", stanza.Auth, stanza.Forbidden},
		} {
			modtest.ExpectError(t, h.Set(romeo+"/a", c.to, query(c.items)), c.typ, c.cond)
		}
		modtest.ExpectError(t, h.Get(romeo+"/a", juliet, get), stanza.Cancel, stanza.ServiceUnavailable)
		modtest.ExpectError(t, h.Set("romeo@elsewhere.example/x", juliet, query("<item jid='a@b.c'/>")), stanza.Auth, stanza.Forbidden)
		modtest.ExpectAll(t, a.Take())
		result(t, h, romeo+"/a", "")
		result(t, h, juliet+"/x", "")
	})
}

func TestLimits(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		h.Login(romeo + "/a")
		for _, c := range []string{"a@b.c", "d@b.c"} {
			modtest.Expect(t, h.Set(romeo+"/a", "", query("<item jid='"+c+"'/>")), "<iq type='result'/>")
		}
		modtest.ExpectError(t, h.Set(romeo+"/a", "", query("<item jid='e@b.c'/>")), stanza.Wait, stanza.ResourceConstraint)
		modtest.Expect(t, h.Set(romeo+"/a", "", query("<item jid='d@b.c' name='D'/>")), "<iq type='result'/>")
		for _, typ := range []string{"subscribe", "subscribed"} { // each would add an item
			_, err := send(t, h, romeo+"/a", "<presence type='"+typ+"' to='e@b.c'/>")
			if got := modtest.Condition(t, err); got != stanza.ResourceConstraint {
				t.Errorf("%s with a full roster gives %q", typ, got)
			}
		}
		for i, want := range []stanza.Condition{"", "", "", stanza.ResourceConstraint} {
			err := arrive(t, h, fmt.Sprintf("<presence type='subscribe' from='x%d@b.c' to='%s'/>", i, romeo))
			if got := modtest.Condition(t, err); got != want {
				t.Errorf("request %d gives %q, want %q", i, got, want)
			}
		}
		result(t, h, romeo+"/a", "<item jid='a@b.c' subscription='none'/><item jid='d@b.c' subscription='none' name='D'/>")
	}, modtest.WithConfig(func(c *roster.Config) { c.MaxItems, c.MaxRequests = 2, 3 }))
}

// ver asks for the roster by version and returns the answer, the version in it and the pushes that followed.
func ver(t *testing.T, h *modtest.Host, s *modtest.Session, have string) (string, []*stanza.Stanza) {
	t.Helper()
	s.Take()
	q := xmlstream.El("jabber:iq:roster", "query", xmlstream.A("ver", have))
	a := h.Do(stanza.NewIQ(stanza.TypeGet, s.JID(), jid.JID{}, q))
	if a == nil || a.Type != stanza.TypeResult {
		t.Fatalf("got %s", a)
	}
	if a.NumChildren() == 0 {
		return "", s.Take()
	}
	return a.Payload().Attr("ver"), s.Take()
}

// RFC 6121 §2.6.
func TestVersions(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		a, b := h.Login(romeo+"/a"), h.Login(romeo+"/b")
		set := func(item string) {
			t.Helper()
			modtest.Expect(t, h.Set(romeo+"/b", "", query(item)), "<iq type='result'/>")
		}
		empty, _ := ver(t, h, a, "")
		if empty == "" {
			t.Fatal("no version of the empty roster")
		}
		if v, p := ver(t, h, a, empty); v != "" || len(p) != 0 {
			t.Errorf("the current version gives %q and %d pushes", v, len(p))
		}
		contacts := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		for _, c := range contacts {
			set("<item jid='" + c + "@b.c'/>")
		}
		var last int64
		var vers []string
		for _, p := range a.Take() {
			v, err := strconv.ParseInt(p.Payload().Attr("ver"), 10, 64)
			if err != nil || v <= last {
				t.Errorf("version %d after %d: %v", v, last, err)
			}
			last = v
			vers = append(vers, p.Payload().Attr("ver"))
		}
		if len(vers) != len(contacts) {
			t.Fatalf("%d pushes", len(vers))
		}
		modtest.ExpectAll(t, b.Take()) // not interested
		now, _ := ver(t, h, a, "")
		if now != vers[len(vers)-1] {
			t.Errorf("the roster has version %s, the last push %s", now, vers[len(vers)-1])
		}
		// The difference: only the last state of each item, in the order of the changes.
		set("<item jid='a@b.c' name='A'/>")
		set("<item jid='b@b.c' subscription='remove'/>")
		set("<item jid='a@b.c' name='AA'/>")
		v, p := ver(t, h, a, now)
		if v != "" {
			t.Errorf("the whole roster came, version %s", v)
		}
		modtest.ExpectAll(t, p, pushed("<item jid='b@b.c' subscription='remove'/>"), pushed("<item jid='a@b.c' subscription='none' name='AA'/>"))
		set("<item jid='b@b.c'/>") // it is back: no removal is told any more
		_, p = ver(t, h, a, now)
		modtest.ExpectAll(t, p, pushed("<item jid='a@b.c' subscription='none' name='AA'/>"), pushed("<item jid='b@b.c' subscription='none'/>"))
		// The whole is smaller than the pushes for three of eight.
		set("<item jid='c@b.c' name='C'/>")
		if v, p := ver(t, h, a, now); v == "" || len(p) != 0 {
			t.Errorf("got version %q and %d pushes, want the whole roster", v, len(p))
		}
		// Versions that were never given out, and one from before all that is remembered.
		for _, have := range []string{"x", "-1", "1", "99999999999999", "99999999999999999999", strings.Repeat("v", 50000)} {
			if v, p := ver(t, h, a, have); v == "" || len(p) != 0 {
				t.Errorf("version %.20q does not give the whole roster", have)
			}
		}
		result(t, h, romeo+"/b", "<item jid='a@b.c' subscription='none' name='AA'/><item jid='b@b.c' subscription='none'/>"+
			"<item jid='c@b.c' subscription='none' name='C'/><item jid='d@b.c' subscription='none'/><item jid='e@b.c' subscription='none'/>"+
			"<item jid='f@b.c' subscription='none'/><item jid='g@b.c' subscription='none'/><item jid='h@b.c' subscription='none'/>")
	})
}

// So many removals that the oldest are forgotten: who has an older version gets the whole roster.
func TestForgottenRemovals(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		a := h.Login(romeo + "/a")
		for i := range 130 {
			h.Set(romeo+"/a", "", query(fmt.Sprintf("<item jid='keep%d@b.c'/>", i)))
		}
		h.Set(romeo+"/a", "", query("<item jid='first@b.c'/>"))
		before, _ := ver(t, h, a, "")
		remove := func(n int) {
			for range n {
				h.Set(romeo+"/a", "", query("<item jid='gone@b.c'/>"))
				h.Set(romeo+"/a", "", query("<item jid='gone@b.c' subscription='remove'/>"))
			}
		}
		h.Set(romeo+"/a", "", query("<item jid='first@b.c' subscription='remove'/>"))
		remove(3)
		if v, p := ver(t, h, a, before); v != "" || len(p) != 2 {
			t.Errorf("got version %q and %d pushes, want the difference: two removed", v, len(p))
		}
		for i := range 99 {
			h.Set(romeo+"/a", "", query(fmt.Sprintf("<item jid='x%d@b.c'/>", i)))
			h.Set(romeo+"/a", "", query(fmt.Sprintf("<item jid='x%d@b.c' subscription='remove'/>", i)))
		}
		if v, _ := ver(t, h, a, before); v == "" {
			t.Error("a version from before a forgotten removal gives a difference")
		}
		// A new process knows the same.
		h2 := modtest.New(t, roster.Info, modtest.WithDB(h.DB().(db.DB), db.Migrate))
		a2 := h2.Login(romeo + "/a")
		if v, _ := ver(t, h2, a2, before); v == "" {
			t.Error("after a restart, a version from before a forgotten removal gives a difference")
		}
		now, _ := ver(t, h2, a2, "")
		if old, _ := ver(t, h, a, ""); old != now {
			t.Errorf("version %s before a restart, %s after it", old, now)
		}
	})
}

// Everything survives a restart.
func TestReload(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		h.Online(romeo+"/a", 0)
		h.Online(juliet+"/x", 0)
		h.Set(romeo+"/a", "", query("<item jid='juliet@localhost' name='J'><group>&lt;3</group><group>b</group></item>"))
		befriend(t, h, romeo+"/a", juliet+"/x")
		mustSend(t, h, romeo+"/a", "<presence type='subscribed' to='early@b.c'/>")
		mustSend(t, h, romeo+"/a", "<presence type='subscribe' to='asked@b.c'/>")
		want := "<item jid='asked@b.c' subscription='none' ask='subscribe'/><item jid='early@b.c' subscription='none' approved='true'/>" +
			"<item jid='juliet@localhost' subscription='both' name='J'><group>&lt;3</group><group>b</group></item>"
		result(t, h, romeo+"/a", want)
		h2 := modtest.New(t, roster.Info, modtest.WithDB(h.DB().(db.DB), db.Migrate))
		h2.Login(romeo + "/a")
		result(t, h2, romeo+"/a", want)
		c, ok, err := h2.Roster().Contact(t.Context(), jid.MustParse(romeo), jid.MustParse(juliet))
		if err != nil || !ok || c.Name != "J" || c.Subscription != mod.SubBoth || len(c.Groups) != 2 {
			t.Errorf("got %+v, %v, %v", c, ok, err)
		}
		all, err := h2.Roster().Contacts(t.Context(), jid.MustParse(romeo))
		if err != nil || len(all) != 3 {
			t.Errorf("got %d contacts, %v", len(all), err)
		}
	})
}

// Two resources change one roster at once: each interested resource sees every change, in the order of the versions.
func TestConcurrentChanges(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		watch := h.Login(romeo + "/watch")
		first, _ := ver(t, h, watch, "")
		var wg sync.WaitGroup
		for n := range 4 {
			full := fmt.Sprintf("%s/r%d", romeo, n)
			h.Login(full)
			wg.Go(func() {
				for i := range 15 {
					h.Set(full, "", query(fmt.Sprintf("<item jid='c%d@b.c' name='%d of %d'/>", i%5+n, i, n)))
					if i%5 == 4 {
						s := stanza.New(stanza.Presence, stanza.TypeSubscribe)
						s.From, s.To = jid.MustParse(full), jid.MustParse(fmt.Sprintf("s%d-%d@b.c", n, i))
						if _, err := h.Presence(h.Pass(mod.Out, s)); err != nil {
							t.Errorf("subscribe: %v", err)
						}
					}
				}
			})
		}
		wg.Wait()
		seen := map[string]string{}
		last, _ := strconv.ParseInt(first, 10, 64)
		pushes := watch.Take()
		for _, p := range pushes {
			q := p.Payload()
			v, err := strconv.ParseInt(q.Attr("ver"), 10, 64)
			if err != nil || v <= last {
				t.Errorf("version %d after %d: %v", v, last, err)
			}
			last = v
			seen[q.First().Attr("jid")] = q.First().String()
		}
		if want := 4*15 + 4*3; len(pushes) != want {
			t.Errorf("%d pushes, want %d", len(pushes), want)
		}
		// What the pushes told is what the database holds.
		h2 := modtest.New(t, roster.Info, modtest.WithDB(h.DB().(db.DB), db.Migrate))
		h2.Login(romeo + "/a")
		n := 0
		for e := range h2.Get(romeo+"/a", "", get).Payload().Elements() {
			n++
			if seen[e.Attr("jid")] != e.String() {
				t.Errorf("stored %s, pushed %s", e, seen[e.Attr("jid")])
			}
		}
		if n != len(seen) {
			t.Errorf("%d items stored, %d pushed", n, len(seen))
		}
	})
}

func TestStreamFeatures(t *testing.T) {
	h := modtest.New(t, roster.Info, modtest.WithDB(dbtest.SQLite(t), db.Migrate))
	var got []string
	for _, f := range h.Hooks.StreamFeatures {
		if !f.Auth {
			t.Error("the roster is offered before authentication")
		}
		got = append(got, f.Func().String())
	}
	want := []string{"<ver xmlns='urn:xmpp:features:rosterver'/>", "<sub xmlns='urn:xmpp:features:pre-approval'/>"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestConfig(t *testing.T) {
	if err := roster.Info.Config().(*roster.Config).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if err := (&roster.Config{}).Validate(); err == nil {
		t.Error("limits of zero are taken")
	}
}
