package s2s_test

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/xmpp/stanza"
)

// relay is a way to a server that can be made to fail as networks do.
type relay struct {
	to string
	ln net.Listener

	mu    sync.Mutex
	holes []*hole
	shut  bool // nobody gets through any more
	// silent connections swallow everything from their beginning.
	silent bool
	delay  time.Duration
	slice  int // bytes that are passed on at once; 0 for what has come
}

// hole is one direction of a connection; once it is closed it swallows everything, without a word to either side.
type hole struct {
	mu     sync.Mutex
	closed bool
}

func (h *hole) swallows() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{to: to, ln: ln}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go r.carry(c)
		}
	}()
	return r
}

func (r *relay) carry(c net.Conn) {
	defer c.Close()
	r.mu.Lock()
	shut, there, back := r.shut, &hole{closed: r.silent}, &hole{closed: r.silent}
	r.holes = append(r.holes, there, back)
	r.mu.Unlock()
	if shut {
		return
	}
	d, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer d.Close()
	var both sync.WaitGroup
	both.Go(func() { r.pass(d, c, there) })
	both.Go(func() { r.pass(c, d, back) })
	both.Wait()
}

// pass copies until an end, which a hole swallows as well.
func (r *relay) pass(to, from net.Conn, h *hole) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		for p := b[:n]; len(p) > 0; {
			r.mu.Lock()
			delay, k := r.delay, len(p)
			if r.slice > 0 {
				k = min(k, r.slice)
			}
			r.mu.Unlock()
			time.Sleep(delay)
			if !h.swallows() {
				if _, werr := to.Write(p[:k]); werr != nil {
					return
				}
			}
			p = p[k:]
		}
		if err == io.EOF || err != nil {
			if !h.swallows() {
				to.Close()
			}
			return
		}
	}
}

// swallow makes the connections that there are swallow everything, in one direction or both.
func (r *relay) swallow(there, back bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, h := range r.holes {
		h.mu.Lock()
		h.closed = there && i%2 == 0 || back && i%2 == 1
		h.mu.Unlock()
	}
}

// TestHalfOpen has the connection to another server swallow everything, without an end that either side would see. It is found
// out within the time that an answer may take; what was not confirmed arrives once, in order, on a new connection, or comes back
// where there is none.
func TestHalfOpen(t *testing.T) {
	for _, c := range []struct {
		name        string
		there, back bool // which direction is lost
		forGood     bool // and there is no other connection
	}{{"both", true, true, false}, {"there", true, false, false}, {"back", false, true, false}, {"for good", true, true, true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			wait := "25s"
			if c.forGood {
				wait = "3s"
			}
			a, b := w.start("ack_timeout = \"2s\"\nqueue_time = \""+wait+"\"", "a.example"), w.start("", "b.example")
			r := newRelay(t, b.ports[config.S2S])
			w.Point(t, "b.example", r.ln.Addr().String(), "")
			romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
			halfOpen(t, r, c.there, c.back, c.forGood, romeo, juliet)
		})
	}
}

func halfOpen(t *testing.T, r *relay, there, back, forGood bool, romeo, juliet *user) {
	t.Helper()
	talk2(romeo, juliet)
	if forGood {
		r.mu.Lock()
		r.shut = true
		r.mu.Unlock()
	}
	r.swallow(there, back)
	var want []string
	for i := range 20 {
		want = append(want, "m"+itoa(i))
		romeo.say(juliet.jid.String(), want[i])
	}
	comes := func(u *user, typ string) []string {
		var ids []string
		for _, s := range u.all() {
			if s.Kind == stanza.Message && s.Type == typ && slices.Contains(want, s.ID) {
				ids = append(ids, s.ID)
			}
		}
		return ids
	}
	who, typ := juliet, stanza.TypeChat
	if forGood {
		who, typ = romeo, stanza.TypeError
	}
	eventually(t, "all messages arrive or come back", func() bool { return len(comes(who, typ)) >= len(want) })
	if got := comes(who, typ); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n := len(comes(juliet, stanza.TypeChat)) + len(comes(romeo, stanza.TypeError)); n != len(want) {
		t.Errorf("of %d messages %d are delivered or come back", len(want), n)
	}
}

// TestSlowNetwork has a network between two servers that passes on a few bytes at a time.
func TestSlowNetwork(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("", "a.example"), w.start("", "b.example")
	r := newRelay(t, b.ports[config.S2S])
	w.Point(t, "b.example", r.ln.Addr().String(), "")
	romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
	talk2(romeo, juliet)
	r.mu.Lock()
	r.delay, r.slice = time.Millisecond, 100
	r.mu.Unlock()
	var want []string
	for i := range 200 {
		want = append(want, "m"+itoa(i))
		romeo.say("juliet@b.example", want[i])
	}
	var got []string
	eventually(t, "all messages arrive", func() bool {
		got = got[:0]
		for _, s := range juliet.all() {
			if s.Kind == stanza.Message && slices.Contains(want, s.ID) {
				got = append(got, s.ID)
			}
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestPeersHalfOpen is TestHalfOpen with the servers of others: one that counts what comes and one that does not.
func TestPeersHalfOpen(t *testing.T) {
	if os.Getenv(envPeers) == "" {
		t.Skip("scripts/s2s-peers.sh runs it")
	}
	for _, name := range []string{"prosody", "ejabberd"} {
		t.Run(name, func(t *testing.T) {
			w := newWorldAt(t, "127.0.53.53:53")
			ours, theirs := w.start("ack_timeout = \"2s\"\nqueue_time = \"25s\"", "ours.example"), w.foreign(name, "theirs.example", false)
			r := newRelay(t, theirs.ports[config.S2S])
			w.Point(t, "theirs.example", r.ln.Addr().String(), "")
			romeo, juliet := ours.login("romeo@ours.example/x"), theirs.arrive("juliet")("y")
			halfOpen(t, r, true, false, false, romeo, juliet)
		})
	}
}
