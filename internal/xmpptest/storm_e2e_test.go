package xmpptest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
)

// newUUID makes the id of a client.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// TestStorm: when all clients come at once, more than may wait, the server goes on to answer those who are there, and all get in.
// bench/storm does the same with ten thousand and a server that was restarted.
func TestStorm(t *testing.T) {
	const n = 150
	s := xmpptest.NewServer(t, xmpptest.Options{Config: []string{"limits.handshakes_waiting = 40"}})
	watcher := s.Dial(t, s.MustAccount(t, "watcher"), "")
	cfgs := make([]*client.Config, n)
	for i := range cfgs { // each account has a few clients
		before := cfgs[max(i-1, 0)]
		if i%5 == 0 {
			cfgs[i] = loginConfig(s, s.MustAccount(t, "romeo"), "tls")
		} else {
			c := *before
			cfgs[i] = &c
		}
		cfgs[i].Login = &client.Login{ID: newUUID(), Pipeline: true}
		c := mustDial(t, cfgs[i])
		if err := c.Abort(); err != nil {
			t.Fatal(err)
		}
		if cfgs[i].Login.Token == "" {
			t.Fatal("there is no token")
		}
	}
	var tries, back atomic.Int64
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	start := time.Now()
	for _, cfg := range cfgs {
		all.Go(func() {
			for ctx.Err() == nil {
				tries.Add(1)
				c, err := client.Dial(ctx, cfg)
				if err == nil {
					back.Add(1)
					t.Cleanup(func() { c.Abort() })
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	in := make(chan struct{})
	go func() { all.Wait(); close(in) }()
	var slowest time.Duration
	for pinging := true; pinging; {
		at := time.Now()
		if err := watcher.Ping(ctx, jid.JID{}); err != nil {
			t.Fatalf("the server does not answer: %v", err)
		}
		slowest = max(slowest, time.Since(at))
		select {
		case <-in:
			pinging = false
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Logf("%d of %d are back after %v and %d tries; the slowest ping took %v", back.Load(), n, time.Since(start).Round(time.Millisecond), tries.Load(), slowest.Round(time.Millisecond))
	if back.Load() != n {
		t.Errorf("%d of %d are back", back.Load(), n)
	}
	for _, cfg := range cfgs {
		if cfg.Login.Token == "" {
			t.Error("a token was lost")
		}
	}
}
