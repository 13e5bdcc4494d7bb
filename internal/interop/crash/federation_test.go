package crash

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
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
	archived  map[string]int
	bounced   map[string]int
}

func (u *correspondent) handle(_ *client.Client, s *stanza.Stanza) bool {
	if s.Kind != stanza.Message {
		return s.Kind != stanza.IQ
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	kept := s.Child(nsMAM, "result").Child("urn:xmpp:forward:0", "forwarded").Child(stanza.NSClient, "message")
	switch {
	case kept != nil:
		if kept.Attr("type") != stanza.TypeError {
			u.archived[kept.Attr("id")]++
		}
	case s.Type == stanza.TypeError:
		u.bounced[s.ID]++
	case s.Body() != "":
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
// own: where trusted is false, they prove themselves by dialback over TLS, on streams that go one way; else by certificate, and streams go both.
func (s *side) leads(t *testing.T, other *side, trusted bool) {
	t.Helper()
	_, port, err := net.SplitHostPort(other.l.Addresses["s2s"])
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(s.o.Dir, "sabir.toml")
	text := read(t, name)
	auth := "dialback"
	if trusted {
		auth = "certificate"
		roots := filepath.Join(s.o.Dir, "roots.crt")
		if err := os.WriteFile(roots, []byte(read(t, s.l.CAFile)+read(t, other.l.CAFile)), 0o600); err != nil {
			t.Fatal(err)
		}
		own := regexp.MustCompile(`(?m)^ca = .*$`)
		if !own.MatchString(text) {
			t.Fatal("the configuration names no authority")
		}
		text = own.ReplaceAllLiteralString(text, fmt.Sprintf("ca = %q", roots))
	}
	text += fmt.Sprintf("\n[s2s]\nauth = %q\nqueue_time = \"2m\"\n[[s2s.domain]]\ndomain = %q\naddress = [\"127.0.0.1:%s\"]\n", auth, other.domain, port)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
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
// never both, and never twice.
func TestFederation(t *testing.T) {
	for name, trusted := range map[string]bool{"dialback": false, "certificates": true} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, database string) { federate(t, database, trusted) })
		})
	}
}

func federate(t *testing.T, database string, trusted bool) {
	const users = 4
	var sides [2]*side
	keys := sasl.NewKeyCache(100)
	for i, d := range []string{"one.test", "two.test"} {
		sides[i] = &side{domain: d, o: interop.Options{Dir: t.TempDir(), Within: time.Minute,
			Args: []string{"--domain", d, "--accounts", strconv.Itoa(users), "--password", "first", "--scram-iterations", "4096"}}}
		if database != "" {
			sides[i].o.Args = append(sides[i].o.Args, "--database", database)
			database = newDatabase(t) // of the other server
		}
		sides[i].start(t)
	}
	for i, s := range sides {
		other := sides[1-i]
		for k, a := range s.l.Accounts {
			s.users = append(s.users, &correspondent{a: a, to: jid.MustParse(other.l.Accounts[k].JID), delivered: make(map[string]int), archived: make(map[string]int), bounced: make(map[string]int)})
		}
		s.leads(t, other, trusted)
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
	settle(ctx, t, sides)
	for _, s := range sides {
		if t.Failed() {
			t.Logf("the log of %s:\n%s", s.domain, s.l.Log())
		}
		if err := s.l.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// fate is what became of messages that did not go to their recipient once, nor come back once. What the archive of a recipient has is his:
// his stream may have ended before it was written there.
type fate struct{ lost, both, twice []string }

func (f *fate) judge(from, to *correspondent) (sent int) {
	from.mu.Lock()
	defer from.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	for _, id := range from.accepted {
		got, bounced := max(to.delivered[id], to.archived[id]), from.bounced[id]
		switch {
		case got+bounced == 0:
			f.lost = append(f.lost, id)
		case got > 0 && bounced > 0:
			f.both = append(f.both, id)
		case got+bounced > 1:
			f.twice = append(f.twice, id)
		}
	}
	return len(from.accepted)
}

// settle waits until all that was accepted is somewhere, and compares.
func settle(ctx context.Context, t *testing.T, sides [2]*side) {
	t.Helper()
	var f fate
	sent := 0
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		f, sent = fate{}, 0
		for i, s := range sides {
			for k, u := range s.users {
				to := sides[1-i].users[k]
				to.mu.Lock()
				clear(to.archived)
				to.mu.Unlock()
				if err := readArchive(ctx, to.c, jid.JID{}); err != nil {
					t.Fatal(err)
				}
				sent += f.judge(u, to)
			}
		}
		if len(f.lost) == 0 || time.Now().After(deadline) {
			break
		}
	}
	t.Logf("%d accepted, %d lost, %d delivered and bounced, %d twice", sent, len(f.lost), len(f.both), len(f.twice))
	if len(f.lost)+len(f.both)+len(f.twice) > 0 {
		t.Errorf("lost: %s; delivered and bounced: %s; twice: %s", strings.Join(f.lost, ", "), strings.Join(f.both, ", "), strings.Join(f.twice, ", "))
	}
	if sent < 100 {
		t.Error("that tests little")
	}
}
