package xmpptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/stanza"
)

// TestSlowConsumer sends more to a client that does not read than is held for it (reliability.md, row 10): what is held is
// bounded, nothing is bounced, and everything waits for it and is in its archive, once.
func TestSlowConsumer(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{Config: []string{"mod.offline.messages = 100000", "mod.offline.bytes = 100000000"}})
	romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
	r := managed(t, s, romeo, "orchard")
	stuck := make(chan struct{})
	cfg := managedConfig(t, s, juliet, "balcony")
	cfg.Handle = func(*client.Client, *stanza.Stanza) bool { <-stuck; return true }
	j, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { abort(t, j) })
	defer close(stuck)
	if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
		t.Fatal(err)
	}
	const n = 2500
	most, limit := 0, config.Default().Limits.ResumeBytes
	text := strings.Repeat("x", 500)
	for i := range n {
		m := body(juliet.JID, fmt.Sprint(i, " ", text))
		m.ID = fmt.Sprint(i)
		if err := r.Send(m); err != nil {
			t.Fatal(err)
		}
		if i%100 > 0 {
			continue
		}
		flush(t, r)
		for _, x := range s.Sessions() {
			most = max(most, x.Queue.Bytes())
		}
	}
	flush(t, r)
	t.Logf("%d bytes were held at most, of %d", most, limit)
	if most > limit+4096 {
		t.Errorf("%d bytes were held", most)
	}
	select {
	case st := <-r.Stanzas():
		t.Errorf("the sender got %s", st)
	default:
	}
	// What the session held when it ended is stored behind the rest.
	deadline := time.Now().Add(2 * time.Minute)
	for stored := 0; stored != n; time.Sleep(20 * time.Millisecond) {
		if err := s.DB().QueryRow(t.Context(), `SELECT count(*) FROM offline_message`).Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if stored > n || time.Now().After(deadline) {
			t.Fatalf("%d of %d wait in the offline store", stored, n)
		}
	}
	kept := 0
	if err := s.DB().QueryRow(t.Context(), `SELECT count(*) FROM archive_entry`).Scan(&kept); err != nil || kept != 2*n {
		t.Errorf("%d of %d are in the two archives, %v", kept, 2*n, err)
	}
}
