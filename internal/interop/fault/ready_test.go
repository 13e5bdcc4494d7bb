package fault

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/interop"
	"sabir/internal/interop/ledger"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

var archived = flag.Int("archived", 20_000, "how many messages are in the archives when the server is killed")

// TestReady kills a server that has much in its archives, while more is written (row 1): the next one is ready as soon as one that
// has nothing, and has what was accepted last.
func TestReady(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { ready(t, "") })
	t.Run("postgres", func(t *testing.T) { ready(t, startPostgres(t).url) })
}

func ready(t *testing.T, database string) {
	const writers = 8
	s := server(t, t.TempDir(), 2*writers, database)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	empty := firstLogin(t, s)
	start := time.Now()
	last := fillArchives(t, s, writers)
	filled := time.Since(start)
	full := firstLogin(t, s)
	if most := max(2*time.Second, 3*empty); full > most { // the second for a machine that does much else
		t.Errorf("a client was in %v after the start, and %v with nothing in the archives", full, empty)
	}
	for n, accepted := range last {
		if newest, count := newestArchived(t, s, n); newest < accepted || count < accepted {
			t.Errorf("the archive of account %d has %d messages, the last is number %d; number %d was accepted", n, count, newest, accepted)
		}
	}
	t.Logf("%d messages in %v, then SIGKILL: a client was in %v after the start, and %v with nothing in the archives",
		*archived, filled.Round(time.Second), full.Round(time.Millisecond), empty.Round(time.Millisecond))
}

// firstLogin starts the server and returns how long it takes until a client is logged in.
func firstLogin(t *testing.T, s *ledger.Sabir) time.Duration {
	t.Helper()
	start := time.Now()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	st, err := login(t.Context(), s, 0)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	if err := st.Close(t.Context()); err != nil {
		t.Error(err)
	}
	return took
}

// fillArchives has the first accounts write to as many others until as much is in the archives as the flag asks for, and kills the server
// while they go on. It returns which of its messages was the last accepted, for each that wrote.
func fillArchives(t *testing.T, s *ledger.Sabir, writers int) []int {
	t.Helper()
	var all atomic.Int64
	last := make([]int, writers)
	var wg sync.WaitGroup
	defer wg.Wait()
	var killed atomic.Bool
	for n := range writers {
		to := dialed(t, s, n+writers)
		from := dialed(t, s, n)
		wg.Go(func() {
			for !t.Failed() {
				accepted, err := burst(t.Context(), from, to.JID(), last[n])
				if err != nil {
					if !killed.Load() {
						t.Errorf("after message %d: %v", last[n], err)
					}
					return
				}
				all.Add(int64(accepted - last[n]))
				last[n] = accepted
			}
		})
	}
	await(t, time.Hour, "the archives are full", func() bool { return t.Failed() || all.Load() >= int64(*archived) })
	killed.Store(true)
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	return last
}

// dialed logs a client in that takes all that comes.
func dialed(t *testing.T, s *ledger.Sabir, account int) *client.Client {
	t.Helper()
	_, cfg, err := s.Account(account)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Handle = func(_ *client.Client, s *stanza.Stanza) bool { return !s.Request() }
	c, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Abort() }) // the server was killed, or it takes its place
	if err := c.Send(stanza.New(stanza.Presence, "")); err != nil {
		t.Fatal(err)
	}
	return c
}

// burst sends the messages behind number n and waits until they are accepted. It returns the number of the last.
func burst(ctx context.Context, c *client.Client, to jid.JID, n int) (int, error) {
	var b []byte
	for range 200 {
		n++
		m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", strconv.Itoa(n)+" of many that are quite usual"))
		m.To = to.Bare()
		b = m.Append(b, stanza.NSClient)
	}
	if err := c.SendRaw(b); err != nil {
		return 0, err
	}
	return n, c.Ping(ctx, jid.JID{})
}

// newestArchived returns the number of the newest message in an archive, and how many there are.
func newestArchived(t *testing.T, s *ledger.Sabir, account int) (newest, count int) {
	t.Helper()
	_, cfg, err := s.Account(account)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	const rsm = "http://jabber.org/protocol/rsm"
	fin, err := c.Request(t.Context(), stanza.TypeSet, jid.JID{}, xmlstream.El("urn:xmpp:mam:2", "query",
		xmlstream.El(rsm, "set", xmlstream.El(rsm, "max", "1"), xmlstream.El(rsm, "before"))))
	if err != nil {
		t.Fatal(err)
	}
	text := fin.Child(rsm, "set").ChildText(rsm, "count")
	if count, err = strconv.Atoi(text); err != nil {
		t.Fatal(err)
	}
	for m := range c.Stanzas() { // it came before the answer
		if x := interop.Archived(m); x != nil {
			text, _, _ := strings.Cut(x.ChildText(stanza.NSClient, "body"), " ")
			if newest, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
			return newest, count
		}
	}
	t.Fatal(errors.Join(fmt.Errorf("the last page of account %d is empty", account), c.Err()))
	return 0, 0
}
