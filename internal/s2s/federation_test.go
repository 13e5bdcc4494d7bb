package s2s_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"sabir/internal/config"
	"sabir/internal/wiretest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func tlsFor(pool *x509.CertPool, name string) *tls.Config {
	return &tls.Config{RootCAs: pool, ServerName: name}
}

// TestTalk lets users of two servers talk, by each way to connect and to prove a domain.
func TestTalk(t *testing.T) {
	const dialback = "auth = \"dialback\""
	for _, c := range []struct {
		name             string
		starttls, direct bool
		s2s              string
		untrusted        bool // nobody trusts the authority of the certificates
	}{
		{"starttls external", true, false, "", false},
		{"direct external", false, true, "", false},
		{"both", true, true, "", false},
		{"starttls dialback", true, false, dialback, true},
		{"direct dialback", false, true, dialback, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.untrusted = c.untrusted
			a, b := w.start(c.s2s, "a.example"), w.start(c.s2s, "b.example")
			for _, s := range []*sabir{a, b} {
				plain, direct := "", ""
				if c.starttls {
					plain = s.ports[config.S2S]
				}
				if c.direct {
					direct = s.ports[config.S2STLS]
				}
				w.Point(t, s.domains[0], plain, direct)
			}
			romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
			talk(t, romeo, juliet)
			how := "how=EXTERNAL"
			if c.untrusted {
				how = "how=dialback"
			}
			if log := a.log.String() + b.log.String(); !strings.Contains(log, how) {
				t.Errorf("the log does not tell of %s", how)
			}
		})
	}
}

// talk tries messages, requests, errors, subscriptions and presence between two users, both ways.
func talk(t *testing.T, romeo, juliet *user) {
	t.Helper()
	for _, p := range [][2]*user{{romeo, juliet}, {juliet, romeo}} {
		from, to := p[0], p[1]
		id := "m-" + from.jid.Local()
		from.say(to.jid.String(), id)
		if m := to.message(id); m.From != from.jid || m.Body() != "text of "+id {
			t.Errorf("%s got %s", to.jid, m)
		}
		// A request to a domain, and one to an account that is not there.
		if _, err := from.Request(t.Context(), stanza.TypeGet, to.jid.DomainJID(), xmlstream.El("urn:xmpp:ping", "ping")); err != nil {
			t.Errorf("%s pings %s: %v", from.jid, to.jid.Domain(), err)
		}
		_, err := from.Request(t.Context(), stanza.TypeGet, jid.MustParse("nobody@"+to.jid.Domain()), xmlstream.El("urn:example:nothing", "query"))
		if err == nil {
			t.Errorf("%s got an answer from nobody", from.jid)
		}
		from.presence(stanza.TypeSubscribe, to.jid.Bare().String())
		to.wait("a request to subscribe", func(s *stanza.Stanza) bool {
			return s.Kind == stanza.Presence && s.Type == stanza.TypeSubscribe && s.From == from.jid.Bare()
		})
		to.presence(stanza.TypeSubscribed, from.jid.Bare().String())
		from.wait("the consent", func(s *stanza.Stanza) bool {
			return s.Kind == stanza.Presence && s.Type == stanza.TypeSubscribed && s.From == to.jid.Bare()
		})
		from.wait("presence", func(s *stanza.Stanza) bool {
			return s.Kind == stanza.Presence && s.Type == stanza.TypeAvailable && s.From == to.jid
		})
	}
}

// TestThreeDomains lets three domains of two servers talk with one another.
func TestThreeDomains(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("", "a.example", "c.example"), w.start("", "b.example")
	romeo, nurse, juliet := a.login("romeo@a.example/x"), a.login("nurse@c.example/z"), b.login("juliet@b.example/y")
	talk(t, romeo, juliet)
	talk(t, nurse, juliet)
	talk(t, romeo, nurse)
}

// TestUnreachable checks what the sender is told, and that others are not concerned.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.start("queue_time = \"2s\"", "a.example"), w.start("", "b.example")
	w.Add(t, "_xmpp-server._tcp.none.example. 60 IN SRV 0 0 0 .", "down.example. 60 IN A 127.0.0.1", "private.example. 60 IN A 10.1.2.3")
	w.Point(t, "down.example", "127.0.0.1:1", "")
	w.Fail("_xmpp-server._tcp.broken.example.", dns.RcodeServerFailure)
	w.Fail("_xmpps-server._tcp.broken.example.", dns.RcodeServerFailure)
	w.Fail("broken.example.", dns.RcodeServerFailure)
	romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
	var asked sync.WaitGroup
	for domain, want := range map[string]stanza.Condition{
		"nowhere.example": stanza.RemoteServerNotFound, "none.example": stanza.RemoteServerNotFound, "private.example": stanza.RemoteServerNotFound,
		"down.example": stanza.RemoteServerTimeout, "broken.example": stanza.RemoteServerTimeout,
	} {
		romeo.say("x@"+domain, "to-"+domain)
		romeo.say("juliet@b.example", "beside-"+domain)
		asked.Go(func() {
			_, err := romeo.Request(t.Context(), stanza.TypeGet, jid.MustParse(domain), xmlstream.El("urn:xmpp:ping", "ping"))
			var se *stanza.Error
			if !errors.As(err, &se) || se.Condition != want {
				t.Errorf("%s: the request got %v, want %s", domain, err, want)
			}
			e := romeo.await(patience, "to-"+domain)
			if e == nil || e.Err() == nil || e.Err().Condition != want || e.From != jid.MustParse("x@"+domain) {
				t.Errorf("%s: the sender got %s, want %s", domain, e, want)
			}
			if juliet.await(patience, "beside-"+domain) == nil {
				t.Errorf("what was sent beside that for %s has not come", domain)
			}
		})
	}
	asked.Wait()
}

// TestRestart stops and starts one side while messages flow: each arrives once, in order.
func TestRestart(t *testing.T) {
	const n = 2000
	for _, who := range []string{"receiver", "sender"} {
		t.Run(who, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.start("", "a.example"), w.start("", "b.example")
			romeo := a.login("romeo@a.example/x")
			juliet := b.login("juliet@b.example/y")
			for i := range n {
				romeo.say("juliet@b.example", "m"+itoa(i))
				if i != n/2 {
					continue
				}
				switch who {
				case "receiver":
					b.stop()
					b.up()
				case "sender":
					// What was sent before the stop was accepted, once the server has answered behind it.
					if err := romeo.Ping(t.Context(), jid.MustParse("a.example")); err != nil {
						t.Fatal(err)
					}
					a.stop()
					a.up()
					romeo = a.login("romeo@a.example/x")
				}
			}
			again := juliet
			if who == "receiver" {
				again = b.login("juliet@b.example/z")
			}
			seen := make(map[string]int)
			count := func() int {
				clear(seen)
				for _, u := range []*user{juliet, again} {
					if u == again && u == juliet {
						continue
					}
					for _, s := range u.all() {
						if s.Kind == stanza.Message {
							seen[s.ID]++
						}
					}
				}
				if again == juliet {
					for _, s := range juliet.all() {
						if s.Kind == stanza.Message {
							seen[s.ID]++
						}
					}
				}
				return len(seen)
			}
			bounced := func() int {
				k := 0
				for _, s := range romeo.all() {
					if s.Kind == stanza.Message && s.Type == stanza.TypeError {
						k++
					}
				}
				return k
			}
			eventually(t, "all messages arrive or come back", func() bool { return count()+bounced() >= n })
			for id, k := range seen {
				if k > 1 {
					t.Errorf("%s has arrived %d times", id, k)
				}
			}
			if got := count() + bounced(); got != n {
				t.Errorf("%d delivered and %d bounced of %d", count(), bounced(), n)
			}
		})
	}
}

// TestResume cuts the connection of a stream again and again while messages flow both ways on it: each arrives once, in order.
func TestResume(t *testing.T) {
	const n, every = 1500, 250
	w := newWorld(t)
	a, b := w.start("", "a.example"), w.start("", "b.example")
	cut := wiretest.New(t, b.ports[config.S2STLS])
	w.Point(t, "b.example", "", cut.Addr)
	romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
	romeo.say("juliet@b.example/y", "first") // it opens the stream, which goes both ways
	juliet.message("first")
	for i := range 3 {
		cut.Cut()
		romeo.say("juliet@b.example/y", "again-"+itoa(i))
		juliet.message("again-" + itoa(i))
	}
	if !strings.Contains(a.log.String(), "was resumed") {
		t.Error("no stream was resumed")
	}
	for i := range n {
		romeo.say("juliet@b.example/y", "a"+itoa(i))
		juliet.say("romeo@a.example/x", "b"+itoa(i))
		if i%every == every/2 {
			cut.Cut()
		}
	}
	for u, prefix := range map[*user]string{romeo: "b", juliet: "a"} {
		var got []string
		eventually(t, "all messages "+prefix+" arrive", func() bool {
			got = nil
			for _, s := range u.all() {
				if s.Kind == stanza.Message && strings.HasPrefix(s.ID, prefix) && !strings.HasPrefix(s.ID, "again") {
					got = append(got, s.ID)
				}
			}
			return len(got) >= n
		})
		for i, id := range got {
			if want := prefix + itoa(i); id != want {
				t.Errorf("message %d is %s, want %s", i, id, want)
				break
			}
		}
		if len(got) != n {
			t.Errorf("%d of %d messages %s", len(got), n, prefix)
		}
	}
}
