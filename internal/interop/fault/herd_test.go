package fault

import (
	"context"
	"flag"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
	"sabir/xmpp/client"
	"sabir/xmpp/dial"
)

var herd = flag.Int("herd", 1_000, "how many clients come back at once")

// crowd is many clients, ten of an account, from several addresses: one has not enough ports for all of them, twice.
type crowd struct {
	s     ledger.Server
	first int // of their accounts
	n     int

	mu      sync.Mutex
	streams []*client.Stream
	took    latencies // logins
	tries   atomic.Int64
}

// each is how many clients of the crowd share an account.
const each = 10

// accounts is how many a crowd of n needs.
func accounts(n int) int { return (n + each - 1) / each }

// source connects from the ith of some addresses of this machine.
func source(i int) *dial.Dialer {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%8))}}
	return &dial.Dialer{Connect: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", to.String())
	}}
}

// come logs all in, so many at a time, each of which tries until it is in. It returns how long that took.
func (c *crowd) come(ctx context.Context, t *testing.T, at int) time.Duration {
	t.Helper()
	var wg sync.WaitGroup
	gate := make(chan struct{}, at)
	start := time.Now()
	for n := range c.n {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
				c.tries.Add(1)
				begin := time.Now()
				st, err := loginFrom(ctx, c.s, c.first+n/each, source(n))
				if err == nil {
					c.took.add(time.Since(begin))
					c.mu.Lock()
					c.streams = append(c.streams, st)
					c.mu.Unlock()
					return
				}
				if ctx.Err() != nil {
					t.Errorf("client %d: %v", n, err)
					return
				}
				time.Sleep(wait)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// go away without a word.
func (c *crowd) leave() {
	for _, st := range c.streams {
		st.Conn.Close() // the other end may be gone
	}
	c.streams = nil
}

// TestHerd kills the server under load and has all clients come back at once, over TLS and with their passwords (row 18): all are
// online within a minute, the server takes not much more memory than before, and nothing is lost.
func TestHerd(t *testing.T) {
	const writers = 22
	s := server(t, t.TempDir(), writers+accounts(*herd), "")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c := &crowd{s: s, first: writers, n: *herd}
	defer c.leave()
	c.come(ctx, t, 32)
	if t.Failed() {
		return
	}
	p := players(t, s, everyday)
	stop := load(t, p)
	from := p.Book.Accepted()
	await(t, time.Minute, "messages are accepted", func() bool { return p.Book.Accepted() > from+200 })
	steady := memory(t, s.PID, "VmRSS")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	c.leave()
	c.took, c.tries = latencies{}, atomic.Int64{}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	online := c.come(ctx, t, *herd)
	peak := memory(t, s.PID, "VmHWM")
	p99 := c.took.p99()
	if online > time.Minute || p99 > 30*time.Second {
		t.Errorf("%d clients were back after %v, a login took %v (p99)", *herd, online, p99)
	}
	if peak > 2*steady {
		t.Errorf("memory was %d KiB before, and at most %d after", steady, peak)
	}
	r := settle(t, p)
	t.Logf("%d clients were back after %v, a login took %v (p99), %d tries; memory %d KiB before, at most %d after; %v",
		*herd, online.Round(time.Millisecond), p99.Round(time.Millisecond), c.tries.Load(), steady, peak, &r)
}
