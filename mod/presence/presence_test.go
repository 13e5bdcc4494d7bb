package presence_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/mod/presence"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

const (
	romeo  = "romeo@localhost"
	juliet = "juliet@localhost"
)

func host(t testing.TB) *modtest.Host {
	t.Helper()
	return modtest.New(t, presence.Info, modtest.WithDB(dbtest.SQLite(t), db.Migrate))
}

// send has a client send a presence. It tells whether that goes on to its recipient.
func send(t testing.TB, h *modtest.Host, s *modtest.Session, text string) (onward bool, err error) {
	t.Helper()
	st := modtest.Stanza(t, text)
	st.From = s.JID()
	ok, err := h.Presence(h.Pass(mod.Out, st))
	if !ok {
		t.Errorf("nobody handles %s", text)
	}
	if errors.Is(err, mod.ErrAnswered) {
		return false, nil
	}
	return err == nil && !st.To.IsZero(), err
}

func mustSend(t testing.TB, h *modtest.Host, s *modtest.Session, text string) {
	t.Helper()
	if _, err := send(t, h, s, text); err != nil {
		t.Errorf("%s: %v", text, err)
	}
}

func online(t testing.TB, h *modtest.Host, full string) *modtest.Session {
	t.Helper()
	s := h.Login(full)
	mustSend(t, h, s, "<presence/>")
	s.Take()
	h.Routed()
	return s
}

// arrive has a presence come to the host.
func arrive(t testing.TB, h *modtest.Host, text string) error {
	t.Helper()
	ok, err := h.Presence(h.Pass(mod.In, modtest.Stanza(t, text)))
	if !ok {
		t.Errorf("nobody handles %s", text)
	}
	return err
}

// family gives romeo a contact in each state.
func family(h *modtest.Host) {
	h.SetContact(romeo, "both@b.c", mod.SubBoth)
	h.SetContact(romeo, "from@b.c", mod.SubFrom)
	h.SetContact(romeo, "to@b.c", mod.SubTo)
	h.SetContact(romeo, "none@b.c", mod.SubNone)
}

// RFC 6121 §4.2.2, §4.3.1.
func TestInitialPresence(t *testing.T) {
	h := host(t)
	family(h)
	bound := h.Login(romeo + "/bound")
	other := online(t, h, romeo+"/other")
	stranger := online(t, h, juliet+"/x")
	s := h.Login(romeo + "/new")
	mustSend(t, h, s, "<presence id='p1'><show>dnd</show><priority>-3</priority></presence>")
	p := "<presence id='p1' from='romeo@localhost/new' to='%s'><show>dnd</show><priority>-3</priority></presence>"
	modtest.ExpectAll(t, h.Routed(), fmt.Sprintf(p, "both@b.c"), fmt.Sprintf(p, "from@b.c"),
		"<presence type='probe' id='{any}' from='romeo@localhost/new' to='both@b.c'/>",
		"<presence type='probe' id='{any}' from='romeo@localhost/new' to='to@b.c'/>")
	modtest.ExpectAll(t, s.Take(), fmt.Sprintf(p, romeo+"/new"), "<presence from='romeo@localhost/other' to='{any}'/>")
	modtest.ExpectAll(t, other.Take(), fmt.Sprintf(p, romeo+"/other"))
	modtest.ExpectAll(t, bound.Take())
	modtest.ExpectAll(t, stranger.Take())
	if s.Priority() != -3 || s.Presence() == nil {
		t.Errorf("priority %d, presence %v", s.Priority(), s.Presence())
	}

	// RFC 6121 §4.4.2: an update is no reason to probe.
	mustSend(t, h, s, "<presence id='p2'/>")
	modtest.ExpectAll(t, h.Routed(), "<presence id='p2' to='both@b.c'/>", "<presence id='p2' to='from@b.c'/>")
	modtest.ExpectAll(t, s.Take(), "<presence id='p2' from='romeo@localhost/new'/>")
	modtest.ExpectAll(t, other.Take(), "<presence id='p2' from='romeo@localhost/new'/>")
	if s.Priority() != 0 {
		t.Errorf("priority %d", s.Priority())
	}
}

// RFC 6121 §4.7.2.3.
func TestPriority(t *testing.T) {
	h := host(t)
	family(h)
	s := h.Login(romeo + "/a")
	for _, bad := range []string{"128", "-129", "NaN", "", "1.0", "1 2"} {
		if _, err := send(t, h, s, "<presence><priority>"+bad+"</priority></presence>"); modtest.Condition(t, err) != stanza.BadRequest {
			t.Errorf("priority %q gives %v", bad, err)
		}
		if s.Presence() != nil {
			t.Fatalf("priority %q makes the resource available", bad)
		}
	}
	modtest.ExpectAll(t, h.Routed())
	modtest.ExpectAll(t, s.Take())
	for text, want := range map[string]int8{"127": 127, "-128": -128, " 5 ": 5, "+7": 7} {
		mustSend(t, h, s, "<presence><priority>"+text+"</priority></presence>")
		if s.Priority() != want {
			t.Errorf("priority %q is %d, want %d", text, s.Priority(), want)
		}
	}
}

// RFC 6121 §4.5.2, §4.6.3.
func TestUnavailable(t *testing.T) {
	for _, how := range []string{"explicit", "disconnect", "explicit then disconnect"} {
		t.Run(how, func(t *testing.T) {
			h := host(t)
			family(h)
			s, other := online(t, h, romeo+"/a"), online(t, h, romeo+"/b")
			for _, to := range []string{"room@muc.b.c/Romeo", "from@b.c", "left@b.c", "to@b.c/res"} {
				if onward, err := send(t, h, s, "<presence to='"+to+"'/>"); !onward || err != nil {
					t.Errorf("directed to %s: %v, %v", to, onward, err)
				}
			}
			mustSend(t, h, s, "<presence to='left@b.c' type='unavailable'/>")
			s.Take()
			other.Take()
			modtest.ExpectAll(t, h.Routed())
			p := "<presence type='unavailable' from='romeo@localhost/a' to='%s'/>"
			if strings.HasPrefix(how, "explicit") {
				mustSend(t, h, s, "<presence type='unavailable'><status>bye</status></presence>")
				p = "<presence type='unavailable' from='romeo@localhost/a' to='%s'><status>bye</status></presence>"
				modtest.ExpectAll(t, s.Take(), fmt.Sprintf(p, romeo+"/a"))
			} else {
				h.Logout(s)
				modtest.ExpectAll(t, s.Take())
			}
			modtest.ExpectAll(t, h.Routed(), fmt.Sprintf(p, "both@b.c"), fmt.Sprintf(p, "from@b.c"),
				fmt.Sprintf(p, "room@muc.b.c/Romeo"), fmt.Sprintf(p, "to@b.c/res"))
			modtest.ExpectAll(t, other.Take(), fmt.Sprintf(p, romeo+"/b"))
			if how == "explicit then disconnect" {
				h.Logout(s)
				modtest.ExpectAll(t, h.Routed())
				modtest.ExpectAll(t, other.Take())
			}
			if s.Presence() != nil && how != "disconnect" {
				t.Error("the resource is still available")
			}
		})
	}
}

// RFC 6121 §4.6.3: directed presence of a resource that is not available, and its end.
func TestDirectedWithoutBroadcast(t *testing.T) {
	h := host(t)
	family(h)
	s := h.Login(romeo + "/a")
	mustSend(t, h, s, "<presence to='from@b.c'/>")
	mustSend(t, h, s, "<presence to='other@b.c'/>")
	if s.Presence() != nil {
		t.Error("directed presence makes a resource available")
	}
	h.Logout(s)
	modtest.ExpectAll(t, h.Routed(), "<presence type='unavailable' from='romeo@localhost/a' to='from@b.c'/>",
		"<presence type='unavailable' from='romeo@localhost/a' to='other@b.c'/>")

	s = h.Login(romeo + "/b")
	s.LimitDirected(1)
	mustSend(t, h, s, "<presence to='one@b.c'/>")
	if _, err := send(t, h, s, "<presence to='two@b.c'/>"); modtest.Condition(t, err) != stanza.ResourceConstraint {
		t.Errorf("one address too many gives %v", err)
	}
	// Who answered with an error is not told of the end.
	h.Observe(h.Pass(mod.In, modtest.Stanza(t, "<presence type='error' from='one@b.c' to='romeo@localhost/b'><error type='cancel'>"+
		"<remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")), mod.Delivered)
	h.Logout(s)
	modtest.ExpectAll(t, h.Routed())

	// A session that told nobody has nothing to end.
	h.Logout(h.Login(romeo + "/c"))
	modtest.ExpectAll(t, h.Routed())
}

// RFC 6121 §4.3.2.
func TestProbe(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, presence.Info, modtest.WithDB(d, db.Migrate))
		h.SetContact(juliet, "friend@b.c", mod.SubFrom)
		h.SetContact(juliet, "seen@b.c", mod.SubTo)
		probe := func(from, to string) []*stanza.Stanza {
			t.Helper()
			if err := arrive(t, h, "<presence type='probe' id='p' from='"+from+"' to='"+to+"'/>"); err != nil {
				t.Error(err)
			}
			return h.Routed()
		}
		// Nobody may know whether a name is an account, or online.
		no := "<presence type='unsubscribed' from='%s' to='%s'/>"
		modtest.ExpectAll(t, probe("x@b.c/r", juliet), fmt.Sprintf(no, juliet, "x@b.c"))
		modtest.ExpectAll(t, probe("seen@b.c/r", juliet), fmt.Sprintf(no, juliet, "seen@b.c"))
		modtest.ExpectAll(t, probe("x@b.c/r", "nobody@localhost"), fmt.Sprintf(no, "nobody@localhost", "x@b.c"))
		modtest.ExpectAll(t, probe("b.c", juliet), fmt.Sprintf(no, juliet, "b.c"))
		// Never online.
		modtest.ExpectAll(t, probe("friend@b.c/r", juliet), "<presence type='unavailable' from='juliet@localhost' to='friend@b.c/r'/>")
		h.Login(juliet + "/bound")
		modtest.ExpectAll(t, probe("friend@b.c", juliet), "<presence type='unavailable' from='juliet@localhost' to='friend@b.c'/>")
		// Online twice.
		a, b := online(t, h, juliet+"/a"), h.Login(juliet+"/b")
		mustSend(t, h, b, "<presence id='x'><show>away</show><c xmlns='urn:caps' v='1'/></presence>")
		h.Routed()
		modtest.ExpectAll(t, probe("friend@b.c/r", juliet), "<presence from='juliet@localhost/a' to='friend@b.c/r'/>",
			"<presence id='x' from='juliet@localhost/b' to='friend@b.c/r'><show>away</show><c xmlns='urn:caps' v='1'/></presence>")
		modtest.ExpectAll(t, probe("x@b.c/r", juliet), fmt.Sprintf(no, juliet, "x@b.c"))
		// A resource by name.
		modtest.ExpectAll(t, probe("friend@b.c/r", juliet+"/a"), "<presence from='juliet@localhost/a' to='friend@b.c/r'/>")
		modtest.ExpectAll(t, probe("friend@b.c/r", juliet+"/c"), "<presence type='unavailable' from='juliet@localhost/c' to='friend@b.c/r'/>")
		// Her own.
		modtest.ExpectAll(t, probe(juliet+"/b", juliet), "<presence from='juliet@localhost/a'/>", "<presence id='x'><show>away</show><c xmlns='urn:caps' v='1'/></presence>")
		// Offline again: since when is told, and not forgotten by a restart.
		h.Advance(90 * time.Second)
		h.Logout(b)
		h.Advance(30*time.Second + 5*time.Millisecond)
		mustSend(t, h, a, "<presence type='unavailable'><status>private</status></presence>")
		h.Advance(time.Hour)
		h.Logout(a)
		h.Routed()
		want := "<presence type='unavailable' from='juliet@localhost' to='friend@b.c/r'>" +
			"<delay xmlns='urn:xmpp:delay' from='localhost' stamp='2026-03-01T12:02:00.005Z'/></presence>"
		modtest.ExpectAll(t, probe("friend@b.c/r", juliet), want)
		h.Stop()
		h = modtest.New(t, presence.Info, modtest.WithDB(d, db.Migrate))
		h.SetContact(juliet, "friend@b.c", mod.SubFrom)
		modtest.ExpectAll(t, probe("friend@b.c/r", juliet), want)
		// The time goes with the account, and does not come back with its sessions' end.
		s := online(t, h, juliet+"/z")
		h.Remove("juliet")
		if _, closed := s.Closed(); !closed {
			t.Error("the session lives on")
		}
		h.Routed()
		if err := h.Accounts().Create(t.Context(), "juliet", "x"); err != nil {
			t.Fatal(err)
		}
		modtest.ExpectAll(t, probe("friend@b.c/r", juliet), "<presence type='unavailable' from='juliet@localhost'/>")
	})
}

// A probe is a server's business; one that a client sends harms nobody.
func TestClientProbe(t *testing.T) {
	h := host(t)
	family(h)
	s := online(t, h, romeo+"/a")
	for to, want := range map[string]bool{"both@b.c": true, "to@b.c/r": true, "room@muc.b.c/Romeo": true, "none@b.c": false, "from@b.c": false} {
		onward, err := send(t, h, s, "<presence type='probe' to='"+to+"'/>")
		if onward != want || (modtest.Condition(t, err) == "drop") == want {
			t.Errorf("probe of %s goes on: %v (%v), want %v", to, onward, err, want)
		}
	}
	if _, err := send(t, h, s, "<presence type='probe'/>"); modtest.Condition(t, err) != stanza.BadRequest {
		t.Errorf("a probe of nobody gives %v", err)
	}
	if _, err := send(t, h, s, "<presence type='error'/>"); modtest.Condition(t, err) != "drop" {
		t.Errorf("an error to nobody gives %v", err)
	}
	modtest.ExpectAll(t, h.Routed())
}

// Probes beside changes: who is subscribed hears of the last state last.
func TestOrderOfChangesAndProbes(t *testing.T) {
	h := host(t)
	h.SetContact(romeo, "friend@b.c", mod.SubFrom)
	s := online(t, h, romeo+"/a")
	const changes = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range changes {
			mustSend(t, h, s, fmt.Sprintf("<presence id='%d'/>", i+1))
		}
	})
	for range 2 {
		wg.Go(func() {
			for range changes {
				if err := arrive(t, h, "<presence type='probe' from='friend@b.c/r' to='romeo@localhost'/>"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last, n := 0, 0
	for _, p := range h.Routed() {
		if p.ID == "" {
			continue // the presence before the first change
		}
		n++
		id, err := strconv.Atoi(p.ID)
		if err != nil || id < last {
			t.Fatalf("presence %s after %d", p.ID, last)
		}
		last = id
	}
	if last != changes || n < changes {
		t.Errorf("%d stanzas, the last is %d", n, last)
	}
}

// Two resources that come online at once hear of each other once.
func TestResourcesOnlineAtOnce(t *testing.T) {
	h := host(t)
	for range 50 {
		a, b := h.Login(romeo+"/a"), h.Login(romeo+"/b")
		var wg sync.WaitGroup
		wg.Go(func() { mustSend(t, h, a, "<presence/>") })
		wg.Go(func() { mustSend(t, h, b, "<presence/>") })
		wg.Wait()
		if x, y := len(a.Take()), len(b.Take()); x != 2 || y != 2 {
			t.Fatalf("one got %d stanzas, the other %d, want their own and the other's each", x, y)
		}
		h.Logout(a)
		h.Logout(b)
	}
}

// The old stream of a client that reconnected under the same address ends after the new one is available.
func TestReplaced(t *testing.T) {
	h := host(t)
	family(h)
	old := online(t, h, romeo+"/a")
	mustSend(t, h, old, "<presence to='room@muc.b.c/Romeo'/>")
	h.Routed()
	online(t, h, romeo+"/a")
	h.Hooks.Unbound(h.Context(), old, old.Presence())
	modtest.ExpectAll(t, h.Routed(), "<presence type='unavailable' from='romeo@localhost/a' to='room@muc.b.c/Romeo'/>")
}

// deaf is a host whose roster cannot be read.
type deaf struct{ mod.Host }

func (deaf) Roster() mod.Roster { return broken{} }

type broken struct{}

func (broken) Contact(context.Context, jid.JID, jid.JID) (mod.Contact, bool, error) {
	return mod.Contact{}, false, mod.ErrUnavailable
}

func (broken) Requests(context.Context, jid.JID) (int, error) { return 0, mod.ErrUnavailable }

func (broken) Contacts(context.Context, jid.JID) ([]mod.Contact, error) {
	return nil, mod.ErrUnavailable
}

// A presence that cannot be broadcast is refused whole; the end of a resource is told to whom it can be.
func TestNoRoster(t *testing.T) {
	info := presence.Info
	info.New = func(h mod.Host, cfg any) (*mod.Hooks, error) { return presence.Info.New(deaf{h}, cfg) }
	h := modtest.New(t, info, modtest.WithDB(dbtest.SQLite(t), db.Migrate))
	s := h.Login(romeo + "/a")
	if _, err := send(t, h, s, "<presence/>"); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if s.Presence() != nil {
		t.Error("the resource is available")
	}
	if err := arrive(t, h, "<presence type='probe' from='x@b.c' to='romeo@localhost'/>"); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	h.Available(s, 0)
	h.Available(h.Login(romeo+"/b"), 0)
	mustSend(t, h, s, "<presence to='room@b.c/r'/>")
	h.Logout(s)
	modtest.ExpectAll(t, h.Routed(), "<presence type='unavailable' from='romeo@localhost/a' to='room@b.c/r'/>")
}

// One presence to 20 contacts: the cost besides routing.
func BenchmarkBroadcast(b *testing.B) {
	h := modtest.New(b, presence.Info, modtest.WithDB(dbtest.SQLite(b), db.Migrate))
	for i := range 20 {
		h.SetContact(romeo, fmt.Sprintf("c%d@localhost", i), mod.SubBoth)
	}
	s := h.Login(romeo + "/a")
	mustSend(b, h, s, "<presence/>")
	b.ReportAllocs()
	for b.Loop() {
		mustSend(b, h, s, "<presence><show>away</show><status>in a meeting</status></presence>")
		h.Routed()
		s.Take()
	}
}
