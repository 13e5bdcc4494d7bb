package crash

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// check logs everybody in and compares what the server has with the ledger.
func (w *world) check(ctx context.Context) {
	w.t.Helper()
	sent := make(map[string]bool) // of all accounts
	for _, a := range w.all {
		for body, acked := range a.sent {
			sent[body] = acked
		}
		clear(a.sent)
	}
	var mu sync.Mutex
	var bad []string
	rosters := make(map[string]kept)
	sessions := make([]*session, len(w.all))
	w.each(sessions, func(i int) error {
		a := w.all[i]
		s, err := w.session(ctx, a)
		if err != nil {
			return err
		}
		sessions[i] = s
		query, err := s.c.Request(ctx, stanza.TypeGet, jid.JID{}, xmlstream.El(nsRoster, "query"))
		if err != nil {
			return fmt.Errorf("%s: %w", a.address, err)
		}
		k, err := readRoster(query)
		if err != nil {
			return fmt.Errorf("%s: %w", a.address, err)
		}
		found := a.check(k)
		if i >= *clients {
			found = append(found, s.collect(ctx, sent)...)
		}
		mu.Lock()
		defer mu.Unlock()
		rosters[a.address.String()] = k
		bad = append(bad, found...)
		return nil
	})
	w.each(sessions, func(i int) error {
		if sessions[i] == nil {
			return nil // its error has been told
		}
		return sessions[i].c.Close(ctx)
	})
	bad = append(bad, mirrored(rosters)...)
	if len(bad) > 0 {
		w.t.Errorf("%d faults, such as\n%s", len(bad), strings.Join(bad[:min(len(bad), 20)], "\n"))
	}
}

// quiet is how long no message may come before all are taken to have come.
const quiet = 300 * time.Millisecond

// collect waits for the messages of one who was offline: all that were acknowledged, each once, in each sender's order.
func (s *session) collect(ctx context.Context, sent map[string]bool) []string {
	var want []string
	for body, acked := range sent {
		if acked && strings.HasPrefix(body, s.a.address.Local()+" ") {
			want = append(want, body)
		}
	}
	end := time.Now().Add(15 * time.Second)
	for before := -1; time.Now().Before(end); {
		if err := s.c.Ping(ctx, jid.JID{}); err != nil {
			return []string{fmt.Sprintf("%s: %v", s.a.address, err)}
		}
		s.mu.Lock()
		n := len(s.messages)
		s.mu.Unlock()
		if n >= len(want) && n == before {
			break
		}
		before = n
		time.Sleep(quiet)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compare(want, sent)
}

func (s *session) compare(want []string, sent map[string]bool) []string {
	var bad []string
	say := func(format string, args ...any) {
		bad = append(bad, fmt.Sprintf("%s: ", s.a.address)+fmt.Sprintf(format, args...))
	}
	last := make(map[string]int) // by sender
	for _, body := range s.messages {
		f := strings.Fields(body)
		if _, known := sent[body]; !known || len(f) != 3 || f[0] != s.a.address.Local() {
			if s.a.got[body] {
				say("%q came again, though it was read before the server was killed", body)
			} else {
				say("%q came, which nobody has sent", body)
			}
			continue
		}
		n, err := strconv.Atoi(f[2])
		if err != nil || n <= last[f[1]] {
			say("%q came behind number %d", body, last[f[1]])
		}
		last[f[1]] = n
		if s.a.got[body] {
			say("%q came twice", body)
		}
		s.a.got[body] = true
	}
	for _, body := range want {
		if !slices.Contains(s.messages, body) {
			say("%q was acknowledged and is lost", body)
		}
	}
	return bad
}
