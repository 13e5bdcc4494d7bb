// Package wiretest owns the network of tests: a relay on loopback through which connections pass, and which fails in the ways in
// which networks do.
package wiretest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Relay passes connections on to an address. Its methods may be called from any goroutine.
type Relay struct {
	// Addr is host:port.
	Addr string

	ln net.Listener
	to string
	wg sync.WaitGroup

	mu     sync.Mutex
	pairs  []*pair // that are open
	closed bool
	shut   bool
	silent bool
	delay  time.Duration
	slice  int
}

// pair is a connection to the relay with that behind it.
type pair struct {
	near, far   net.Conn
	there, back bool // what goes that way is swallowed; Relay.mu guards it
}

// New opens a relay to an address. It closes with the test.
func New(t testing.TB, to string) *Relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Addr: ln.Addr().String(), ln: ln, to: to}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		ln.Close()
		r.Cut()
		r.wg.Wait()
	})
	return r
}

// Shut says whether nobody gets through any more: new connections end at once.
func (r *Relay) Shut(shut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut = shut
}

// Silence has all connections swallow everything, those that there are and new ones, without a word to either side; off, new ones
// pass again.
func (r *Relay) Silence(on bool) {
	r.mu.Lock()
	r.silent = on
	r.mu.Unlock()
	if on {
		r.Swallow(true, true)
	}
}

// Swallow has the connections that there are swallow everything in one direction or both, the end as well.
func (r *Relay) Swallow(there, back bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pairs {
		p.there, p.back = there, back
	}
}

// Slow has so many bytes pass at a time, after a delay each; 0 for what has come.
func (r *Relay) Slow(delay time.Duration, slice int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay, r.slice = delay, slice
}

// Cut resets the connections that there are: what is on the way is lost.
func (r *Relay) Cut() {
	r.mu.Lock()
	pairs := r.pairs
	r.pairs = nil
	r.mu.Unlock()
	for _, p := range pairs {
		for _, c := range []net.Conn{p.near, p.far} {
			c.(*net.TCPConn).SetLinger(0) // it may be closed already
			c.Close()
		}
	}
}

func (r *Relay) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.carry(c) })
	}
}

// carry passes one connection on until both directions have ended.
func (r *Relay) carry(near net.Conn) {
	defer near.Close()
	r.mu.Lock()
	shut := r.shut
	r.mu.Unlock()
	if shut {
		return
	}
	far, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer far.Close()
	p := &pair{near: near, far: far}
	r.mu.Lock()
	p.there, p.back = r.silent, r.silent
	r.pairs = append(r.pairs, p)
	late := r.closed || r.shut
	r.mu.Unlock()
	if late {
		r.drop(p)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.pass(far, near, &p.there) })
	both.Go(func() { r.pass(near, far, &p.back) })
	both.Wait()
	r.drop(p)
}

func (r *Relay) drop(p *pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, q := range r.pairs {
		if q == p {
			r.pairs = append(r.pairs[:i], r.pairs[i+1:]...)
			return
		}
	}
}

// pass copies until an end, and passes that on, unless it is swallowed.
func (r *Relay) pass(to, from net.Conn, swallows *bool) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		for p := b[:n]; len(p) > 0; {
			delay, k, lost := r.step(len(p), swallows)
			time.Sleep(delay)
			if !lost {
				if _, err := to.Write(p[:k]); err != nil {
					return
				}
			}
			p = p[k:]
		}
		if err != nil {
			if _, _, lost := r.step(0, swallows); !lost {
				to.Close()
			}
			return
		}
	}
}

// step tells what becomes of the next of n bytes: after which delay how many pass, or that they are lost.
func (r *Relay) step(n int, swallows *bool) (delay time.Duration, k int, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k = n; r.slice > 0 {
		k = min(k, r.slice)
	}
	return r.delay, k, *swallows
}
