package xmpptest_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// slowPhone is a client with stream management that reads slowly, as over a slow link, and acknowledges what it has read when it is
// asked to, as clients do.
type slowPhone struct {
	t   *testing.T
	s   *client.Stream
	in  uint32 // stanzas that came since stream management was enabled
	got int    // bytes since the last rest
}

func newSlowPhone(t *testing.T, s *xmpptest.Server, a transcript.Account) *slowPhone {
	t.Helper()
	cfg := s.ClientConfig("tcp")
	cfg.JID, cfg.Password = a.JID, a.Password
	c, err := client.Open(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() }) // the server may have
	late := time.AfterFunc(2*time.Minute, func() { c.Conn.Close() })
	t.Cleanup(func() { late.Stop() })
	if err := c.Authenticate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Bind(t.Context(), "phone"); err != nil {
		t.Fatal(err)
	}
	p := &slowPhone{t: t, s: c}
	if err := c.SendElement(xmlstream.El(sm.NS, "enable", xmlstream.A("resume", "true"))); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Name().Local == "enabled" {
			return p
		}
	}
}

// next returns the next stanza.
func (p *slowPhone) next() *stanza.Stanza {
	p.t.Helper()
	for {
		f, err := p.s.Next()
		if err != nil {
			p.t.Fatalf("the stream ended after %d stanzas: %v", p.in, err)
		}
		if p.got += len(f.Raw()); p.got > 64<<10 {
			p.got = 0
			time.Sleep(20 * time.Millisecond)
		}
		if f.Name().Space == sm.NS {
			if f.Name().Local == "r" {
				p.send(xmlstream.El(sm.NS, "a", xmlstream.A("h", strconv.Itoa(int(p.in)))))
			}
			continue
		}
		p.in++
		st, bad := stanza.FromFrame(f)
		if bad != nil {
			p.t.Fatal(bad)
		}
		if st.Request() {
			r := st.Result(nil)
			if err := p.s.Send(r); err != nil {
				p.t.Fatal(err)
			}
		}
		return st
	}
}

func (p *slowPhone) send(e *xmlstream.Element) {
	p.t.Helper()
	if err := p.s.SendElement(e); err != nil {
		p.t.Fatal(err)
	}
}

// readArchive reads an archive of n messages page for page, all asked for as fast as they come, and returns how many pages it took.
func (p *slowPhone) readArchive(of jid.JID, n int) (pages int) {
	p.t.Helper()
	after := ""
	for got := 0; got < n; pages++ {
		set := xmlstream.El("http://jabber.org/protocol/rsm", "set", xmlstream.El("http://jabber.org/protocol/rsm", "max", "500"))
		if after != "" {
			set.Add(xmlstream.El("http://jabber.org/protocol/rsm", "after", after))
		}
		q := stanza.NewIQ(stanza.TypeSet, p.s.JID(), of, xmlstream.El("urn:xmpp:mam:2", "query", set))
		if err := p.s.Send(q); err != nil {
			p.t.Fatal(err)
		}
		before := got
		m := p.next()
		for ; m.ID != q.ID; m = p.next() {
			if x := m.Child("urn:xmpp:mam:2", "result"); x != nil {
				after = x.Attr("id")
				got++
			}
		}
		if got == before {
			p.t.Fatalf("after %d of %d messages the archive of %s answers %s", got, n, of, m)
		}
	}
	return pages
}

// TestSlowLinkCatchesUp has a phone on a slow link come back to an account with more than a session holds, small messages and
// large ones, in the offline store and in the archive, and to a friend who writes on: it gets all of it in the one session. A
// session that ended for holding too much would begin again each time.
func TestSlowLinkCatchesUp(t *testing.T) {
	for name, c := range map[string]struct {
		n, size int
		config  string
	}{
		"small": {2000, 10, ""}, "large": {30, 100_000, ""}, "little room": {500, 10, "limits.resume_bytes = 60000"},
	} {
		t.Run(name, func(t *testing.T) {
			s := xmpptest.NewServer(t, xmpptest.Options{Config: []string{"limits.byte_rate = 0", c.config}})
			r, a := managed(t, s, s.MustAccount(t, "romeo"), "orchard"), s.MustAccount(t, "juliet")
			text := strings.Repeat("x", c.size)
			for i := range c.n {
				m := body(a.JID, fmt.Sprint(i, " ", text))
				m.ID = fmt.Sprint(i)
				if err := r.Send(m); err != nil {
					t.Fatal(err)
				}
				if i%200 == 0 {
					flush(t, r)
				}
			}
			flush(t, r)
			p := newSlowPhone(t, s, a)
			if err := p.s.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < c.n; {
				m := p.next()
				if m.Kind != stanza.Message {
					continue
				}
				if m.ID != fmt.Sprint(i) {
					t.Fatalf("message %s comes where %d is due", m.ID, i)
				}
				if i++; i%100 == 0 { // a friend
					l := body(a.JID, "live")
					l.ID = fmt.Sprint("live ", i)
					if err := r.Send(l); err != nil {
						t.Fatal(err)
					}
				}
			}
			pages := p.readArchive(a.JID, c.n)
			t.Logf("%d messages came, then %d pages of the archive", c.n, pages)
		})
	}
}

// TestSlowLinkReadsRoom has a phone with little room at the server read the archive of a room, of which a page could be larger.
func TestSlowLinkReadsRoom(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{Config: []string{"limits.byte_rate = 0", "limits.resume_bytes = 60000"}})
	r := managed(t, s, s.MustAccount(t, "romeo"), "orchard")
	room := jid.MustParse("garden@conference." + xmpptest.Domain)
	enterRoom(t, r, room, "romeo")
	if _, err := r.Request(t.Context(), stanza.TypeSet, room, element(t, "<query xmlns='"+nsMUC+"#owner'><x xmlns='jabber:x:data' type='submit'/></query>")); err != nil {
		t.Fatal(err)
	}
	const n = 200
	for i := range n {
		m := body(room, fmt.Sprint(i, " ", strings.Repeat("x", 1000)))
		m.Type, m.ID = stanza.TypeGroupchat, fmt.Sprint(i)
		if err := r.Send(m); err != nil {
			t.Fatal(err)
		}
		for range messages(t, r, m.ID) { // the room sends it to who has sent it, too
		}
	}
	pages := newSlowPhone(t, s, s.MustAccount(t, "juliet")).readArchive(room, n)
	t.Logf("%d pages of the archive", pages)
}

// TestBurst sends the presence of many at once, as who enters a large room gets it, to a client that reads and acknowledges: it
// gets all of it, though it is more than a session holds for a client that does not.
func TestBurst(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	a := s.MustAccount(t, "juliet")
	p := newSlowPhone(t, s, a)
	const n = 5000
	me := s.Sessions()[0]
	for i := range n {
		o := stanza.New(stanza.Presence, stanza.TypeAvailable, xmlstream.El(nsMUC+"#user", "x",
			xmlstream.El(nsMUC+"#user", "item", xmlstream.A("affiliation", "none"), xmlstream.A("role", "participant"))))
		o.From, o.ID = jid.MustParse(fmt.Sprintf("hall@conference.%s/occupant%d", a.JID.Domain(), i)), fmt.Sprint(i)
		if !me.Deliver(o) {
			t.Fatalf("presence %d is not taken", i)
		}
	}
	for i := range n {
		if m := p.next(); m.ID != fmt.Sprint(i) {
			t.Fatalf("presence %s comes where %d is due", m.ID, i)
		}
	}
}
