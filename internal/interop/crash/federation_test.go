package crash

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/interop"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// side is one of two servers that talk to one another, run after run, with the users that it has.
type side struct {
	domain string
	o      interop.Options
	l      *interop.Local
	users  []*correspondent
}

// correspondent writes to somebody of the other server, and notes what comes.
type correspondent struct {
	a    interop.Account
	c    *client.Client
	to   jid.JID
	sent int

	mu        sync.Mutex
	accepted  []string // ids behind which a ping was answered
	delivered map[string]int
	bounced   map[string]int
}

func (u *correspondent) handle(_ *client.Client, s *stanza.Stanza) bool {
	if s.Kind != stanza.Message {
		return s.Kind != stanza.IQ
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.Type == stanza.TypeError {
		u.bounced[s.ID]++
	} else if s.Body() != "" {
		u.delivered[s.ID]++
	}
	return true
}

// start starts a server, the first time with accounts and with a configuration that leads to the other one.
func (s *side) start(t *testing.T) {
	t.Helper()
	var err error
	if s.l, err = interop.Start(context.Background(), s.o); err != nil {
		t.Fatal(err)
	}
	s.o.PortOffset, s.o.Args = s.l.PortOffset, nil
}

// leads writes into the configuration where the other server is. What either shows as a certificate is of an authority of its
// own, so they prove themselves by dialback over TLS.
func (s *side) leads(t *testing.T, other *side) {
	t.Helper()
	_, port, err := net.SplitHostPort(other.l.Addresses["s2s"])
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(s.o.Dir, "sabir.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "\n[s2s]\nauth = \"dialback\"\nqueue_time = \"2m\"\n[[s2s.domain]]\ndomain = %q\nauth = \"dialback\"\naddress = [\"127.0.0.1:%s\"]\n", other.domain, port); err != nil {
		t.Fatal(err)
	}
}

func (s *side) login(ctx context.Context, t *testing.T, keys *sasl.KeyCache) {
	t.Helper()
	for _, u := range s.users {
		cfg, err := s.l.ClientConfig(u.a)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Keys, cfg.Handle = keys, u.handle
		if u.c, err = client.Dial(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		if err := u.c.Send(stanza.New(stanza.Presence, "")); err != nil {
			t.Fatal(err)
		}
	}
}

// write sends messages, and notes those that are accepted, until the connection breaks or stop is closed.
func (u *correspondent) write(ctx context.Context, stop <-chan struct{}) {
	for {
		var ids []string
		for range 20 {
			id := u.a.JID + "/" + strconv.Itoa(u.sent)
			u.sent++
			m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", id))
			m.ID, m.To = id, u.to
			if u.c.Send(m) != nil {
				return
			}
			ids = append(ids, id)
		}
		if u.c.Ping(ctx, u.c.JID().DomainJID()) != nil {
			return
		}
		u.mu.Lock()
		u.accepted = append(u.accepted, ids...)
		u.mu.Unlock()
		select {
		case <-stop:
			return
		default:
		}
	}
}

// TestFederation kills one of two servers under users who write to one another. What was accepted is delivered or comes back,
// and never both. A server that is killed cannot say what it has handled last: that comes twice, and is counted.
func TestFederation(t *testing.T) {
	eachDatabase(t, func(t *testing.T, database string) {
		if database != "" {
			t.Skip("two servers need two databases; the queue is the same code")
		}
		const users = 4
		var sides [2]*side
		keys := sasl.NewKeyCache(100)
		for i, d := range []string{"one.test", "two.test"} {
			sides[i] = &side{domain: d, o: interop.Options{Dir: t.TempDir(), Within: time.Minute,
				Args: []string{"--domain", d, "--accounts", strconv.Itoa(users), "--password", "first", "--scram-iterations", "4096"}}}
			sides[i].start(t)
		}
		for i, s := range sides {
			other := sides[1-i]
			for k, a := range s.l.Accounts {
				s.users = append(s.users, &correspondent{a: a, to: jid.MustParse(other.l.Accounts[k].JID), delivered: make(map[string]int), bounced: make(map[string]int)})
			}
			s.leads(t, other)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for _, s := range sides {
			if err := s.l.Stop(); err != nil {
				t.Fatal(err)
			}
			s.start(t)
			s.login(ctx, t, keys)
		}
		for n := range *rounds {
			var all sync.WaitGroup
			stop := make(chan struct{})
			for _, s := range sides {
				for _, u := range s.users {
					all.Go(func() { u.write(ctx, stop) })
				}
			}
			time.Sleep(time.Duration(300+below(1500)) * time.Millisecond)
			victim := sides[below(2)]
			if err := victim.l.Kill(); err != nil {
				t.Fatal(err)
			}
			close(stop)
			victim.start(t)
			all.Wait()
			victim.login(ctx, t, keys)
			t.Logf("round %d: %s was killed", n, victim.domain)
		}
		settle(t, sides)
		for _, s := range sides {
			if t.Failed() {
				t.Logf("the log of %s:\n%s", s.domain, s.l.Log())
			}
			if err := s.l.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

// settle waits until all that was accepted is somewhere, and compares.
func settle(t *testing.T, sides [2]*side) {
	t.Helper()
	at := func(m func(u *correspondent) map[string]int, s *side, id string) (n int) {
		for _, u := range s.users {
			u.mu.Lock()
			n += m(u)[id]
			u.mu.Unlock()
		}
		return n
	}
	delivered := func(u *correspondent) map[string]int { return u.delivered }
	bounced := func(u *correspondent) map[string]int { return u.bounced }
	var missing, both []string
	sent, twice := 0, 0
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		missing, both, sent, twice = nil, nil, 0, 0
		for i, s := range sides {
			for _, u := range s.users {
				for _, id := range slices.Clone(u.accepted) {
					d, b := at(delivered, sides[1-i], id), at(bounced, s, id)
					sent++
					switch {
					case d+b == 0:
						missing = append(missing, id)
					case d > 0 && b > 0:
						both = append(both, id)
					}
					if d > 1 {
						twice++
					}
				}
			}
		}
		if len(missing) == 0 || time.Now().After(deadline) {
			break
		}
	}
	t.Logf("%d accepted, %d lost, %d delivered and bounced, %d twice", sent, len(missing), len(both), twice)
	if len(missing)+len(both) > 0 {
		t.Errorf("lost: %s; delivered and bounced: %s", strings.Join(missing, ", "), strings.Join(both, ", "))
	}
	if sent < 100 {
		t.Error("that tests little")
	}
}
