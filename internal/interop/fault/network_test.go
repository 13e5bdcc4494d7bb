package fault

import (
	"crypto/tls"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"sabir/internal/interop/federation"
	"sabir/internal/listen"
)

// linked starts two servers at the ends of a wire, whose users write to one another.
func linked(t *testing.T, w *wire, s2s string) *federation.Pair {
	t.Helper()
	p, err := federation.New(t.Context(), t.TempDir(), federation.Options{
		Users: 3, S2S: s2s, Host: w.near, Reached: w.far, Burst: 10, Pause: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, s := range p.Sides {
				t.Logf("the log of %s:\n%s", s.Domain, s.Log())
			}
		}
	})
	for i, s := range p.Sides {
		w.towards(t, direction(i), s.Addresses["s2s"])
	}
	return p
}

// flows waits until each user has got more messages than at its begin, and tells how long that took.
func flows(t *testing.T, p *federation.Pair) time.Duration {
	t.Helper()
	type count struct {
		u *federation.User
		n int
	}
	var all []count
	for _, s := range p.Sides {
		for _, u := range s.Users {
			all = append(all, count{u, u.Delivered()})
		}
	}
	return await(t, time.Minute, "messages arrive at all users", func() bool {
		for _, c := range all {
			if c.u.Delivered() <= c.n {
				return false
			}
		}
		return true
	})
}

// TestPartition cuts the network between two servers in the ways in which networks are cut (row 9), and stops one of them for a while, which
// looks the same from the other. All that was accepted is delivered, once, in the order of its sender, and nobody has to help.
func TestPartition(t *testing.T) {
	w := newWire(t)
	p := linked(t, w, "ack_timeout = \"2s\"\nqueue_time = \"2m\"")
	cut := func(in ...direction) { w.set(func(x *way) { x.cut = true }, in...) }
	heal := func() { w.set(func(x *way) { x.cut = false }) }
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(p.Sides[1].PID, s); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		fault func()
	}{
		{"both ways", func() { cut(); time.Sleep(4 * time.Second); heal() }},
		{"to the second", func() { cut(1); time.Sleep(3 * time.Second); heal() }},
		{"to the first", func() { cut(0); time.Sleep(3 * time.Second); heal() }},
		{"every three seconds", func() {
			for range 2 {
				cut()
				time.Sleep(3 * time.Second)
				heal()
				time.Sleep(3 * time.Second)
			}
		}},
		{"one server is stopped", func() { signal(syscall.SIGSTOP); time.Sleep(6 * time.Second); signal(syscall.SIGCONT) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := p.Write(t.Context())
			flows(t, p)
			c.fault()
			back := flows(t, p)
			stop()
			r := p.Settle(time.Minute)
			if r.Bad() || len(r.Disordered)+len(r.Bounced) > 0 {
				t.Error(r)
			}
			t.Logf("messages flow again after %v; %v", back.Round(time.Millisecond), r)
		})
	}
}

// TestPeerGone loses the other server for longer than messages wait, while far more is sent than fits (row 24): each comes back with the error that
// is due, what is kept and what it takes are bounded, users of the server notice nothing, and it goes on by itself.
func TestPeerGone(t *testing.T) {
	w := newWire(t)
	const fits, n, size = 200_000, 2000, 1000
	p := linked(t, w, fmt.Sprintf("ack_timeout = \"2s\"\nconnect_timeout = \"2s\"\nqueue_time = \"4s\"\nqueue_bytes = %d", fits))
	s := p.Sides[0]
	from, beside := s.Users[0], s.Users[1]
	if err := from.Flood(t.Context(), 1, 1); err != nil { // so that there is a stream
		t.Fatal(err)
	}
	if r := p.Settle(time.Minute); r.Bad() || len(r.Bounced) > 0 {
		t.Fatal(r)
	}
	before := memory(t, s.PID, "VmRSS")
	w.set(func(x *way) { x.cut = true })
	if err := from.Flood(t.Context(), n, size); err != nil {
		t.Fatal(err)
	}
	var l latencies
	for range 100 {
		start := time.Now()
		if err := beside.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.add(time.Since(start))
	}
	r := p.Settle(time.Minute)
	after := memory(t, s.PID, "VmRSS")
	timeouts, full := r.Bounced["wait remote-server-timeout"], r.Bounced["wait resource-constraint"]
	if r.Bad() || timeouts == 0 || full == 0 || timeouts+full != n || timeouts*size > fits {
		t.Error(r)
	}
	if after > before+64<<10 {
		t.Errorf("memory grew from %d to %d KiB", before, after)
	}
	w.set(func(x *way) { x.cut = false })
	stop := p.Write(t.Context())
	back := flows(t, p)
	stop()
	if r = p.Settle(time.Minute); r.Bad() {
		t.Error(r)
	}
	t.Logf("%d came back at once, because they did not fit, and %d after their time; memory %d, then %d KiB; a ping of another user took %v (p99); messages flow again after %v; %v",
		full, timeouts, before, after, l.p99(), back.Round(time.Millisecond), r)
}

// volume is how much TestBadNetwork sends over each network. What a network loses is chance: little of it says little of a speed.
var volume = flag.Int("network", 150, "how many KiB are sent over each bad network")

// TestBadNetwork has networks between two servers that lose, delay, overtake or let little through (row 12). All arrives in order, about
// as fast as by TLS alone: how much TCP itself suffers is seen there, over the same network.
func TestBadNetwork(t *testing.T) {
	w := newWire(t)
	p := linked(t, w, `queue_time = "5m"`)
	for _, c := range []struct {
		name   string
		change func(*way)
	}{
		{"5 % are lost, 100 ms there and back", func(x *way) { x.loss, x.delay = 0.05, 50*time.Millisecond }},
		{"packets overtake one another", func(x *way) { x.delay, x.extra = 20*time.Millisecond, 40*time.Millisecond }},
		{"128 KiB a second", func(x *way) { x.delay, x.rate = 10*time.Millisecond, 128<<10 }},
	} {
		t.Run(c.name, func(t *testing.T) { badNetwork(t, w, p, c.change) })
	}
}

func badNetwork(t *testing.T, w *wire, p *federation.Pair, change func(*way)) {
	t.Helper()
	const size = 1000
	n := *volume * 1024 / size
	from, to := p.Sides[0].Users[0], p.Sides[1].Users[0]
	if err := from.Flood(t.Context(), 1, 1); err != nil { // so that there is a stream
		t.Fatal(err)
	}
	if r := p.Settle(time.Minute); r.Bad() {
		t.Fatal(r)
	}
	f := openFloor(t, w)
	for range 10 {
		f.send(t, 500)
	}
	w.set(func(x *way) { *x = way{}; change(x) })
	defer w.set(func(x *way) { *x = way{} })
	floor := f.send(t, n*(size+200))
	was, start := to.Delivered(), time.Now()
	if err := from.Flood(t.Context(), n, size); err != nil {
		t.Fatal(err)
	}
	await(t, 5*time.Minute, "all messages arrive", func() bool { return to.Delivered() >= was+n })
	took := time.Since(start)
	r := p.Settle(time.Minute)
	if r.Bad() || len(r.Disordered) > 0 {
		t.Error(r)
	}
	share := floor.Seconds() / took.Seconds()
	if *volume >= 1000 && share < 0.5 {
		t.Errorf("it has %.2f of the speed of TLS alone", share)
	}
	t.Logf("%d messages, %d KiB in %v; TLS alone %v: %.2f of its speed; %v", n, *volume, took.Round(time.Millisecond), floor.Round(time.Millisecond), share, r)
}

// floor is a connection of TLS alone over the wire, as old as the stream between the servers: how fast TCP is depends on what it has seen.
type floor struct{ c *tls.Conn }

// openFloor opens it.
func openFloor(t *testing.T, w *wire) *floor {
	t.Helper()
	ca, err := listen.OpenCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Leaf("floor.test")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", w.near+":0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.towards(t, 1, l.Addr().String())
	go answer(l)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", net.JoinHostPort(w.far, port), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &floor{c}
}

// answer takes one connection, on which each size and as many bytes are answered by one.
func answer(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	var n [4]byte
	for {
		if _, err := io.ReadFull(c, n[:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(n[:]))); err != nil {
			return
		}
		if _, err := c.Write([]byte("k")); err != nil {
			return
		}
	}
}

// send tells how long so many bytes take, to an answer behind the last.
func (f *floor) send(t *testing.T, size int) time.Duration {
	t.Helper()
	start := time.Now()
	if _, err := f.c.Write(binary.BigEndian.AppendUint32(nil, uint32(size))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(f.c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}
