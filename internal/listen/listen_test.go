package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sabir/internal/config"
	"sabir/internal/observe"
)

// serve opens a socket and serves it by handle until the test ends.
func serve(t *testing.T, l config.Listen, limiter *Limiter, handle func(*Conn)) string {
	t.Helper()
	ln := openSocket(t, l, limiter)
	done := make(chan error, 1)
	go func() { done <- ln.Serve(handle) }()
	t.Cleanup(func() {
		must(t, ln.Close())
		must(t, <-done)
	})
	return ln.Addr().String()
}

func openSocket(t *testing.T, l config.Listen, limiter *Limiter) *Listener {
	t.Helper()
	l.Address = "127.0.0.1:0"
	if l.Purpose == "" {
		l.Purpose = config.C2S
	}
	ln, err := Open(t.Context(), l, Options{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(), Limiter: limiter})
	must(t, err)
	return ln
}

// tell answers with the address of the client and closes.
func tell(c *Conn) {
	defer c.Close()
	fmt.Fprintf(c, "%s %s %v", c.RemoteAddr(), c.LocalAddr(), c.Secured)
}

// ask connects, sends text and returns all that comes back.
func ask(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	if _, err := io.WriteString(c, text); err != nil {
		return ""
	}
	got, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return string(got)
}

func TestServe(t *testing.T) {
	addr := serve(t, config.Listen{}, nil, tell)
	if got := ask(t, addr, ""); !strings.HasPrefix(got, "127.0.0.1:") || !strings.HasSuffix(got, " "+addr+" false") {
		t.Errorf("got %q", got)
	}
}

func TestProxy(t *testing.T) {
	addr := serve(t, config.Listen{Proxy: true}, nil, tell)
	if got := ask(t, addr, "PROXY TCP4 192.0.2.1 198.51.100.1 40000 5222\r\n"); got != "192.0.2.1:40000 198.51.100.1:5222 false" {
		t.Errorf("got %q", got)
	}
	if got := ask(t, addr, "PROXY UNKNOWN\r\n"); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("got %q", got)
	}
	if got := ask(t, addr, "<stream:stream xmlns='jabber:client'>"); got != "" {
		t.Errorf("without a header: %q", got)
	}
	addr = serve(t, config.Listen{Proxy: true, ProxyFrom: []string{"192.0.2.0/24", "198.51.100.1"}}, nil, tell)
	if got := ask(t, addr, "PROXY TCP4 192.0.2.1 198.51.100.1 40000 5222\r\n"); got != "" {
		t.Errorf("a stranger is believed: %q", got)
	}
	addr = serve(t, config.Listen{Proxy: true, ProxyFrom: []string{"127.0.0.1"}}, nil, tell)
	if got := ask(t, addr, "PROXY TCP4 192.0.2.1 198.51.100.1 40000 5222\r\n"); got == "" {
		t.Error("a known proxy is not believed")
	}
}

func TestLimits(t *testing.T) {
	limiter := NewLimiter(2, 3)
	var open atomic.Int32
	addr := serve(t, config.Listen{Proxy: true}, limiter, func(c *Conn) {
		open.Add(1)
		fmt.Fprint(c, "hi")
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closing twice: %v", err)
		}
		open.Add(-1)
	})
	dial := func(from string) (net.Conn, bool) {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = fmt.Fprintf(c, "PROXY TCP6 %s 2001:db8:ffff::1 40000 5222\r\n", from)
		must(t, err)
		_, err = io.ReadFull(c, make([]byte, 2))
		return c, err == nil
	}
	a, ok1 := dial("2001:db8::1")
	_, ok2 := dial("2001:db8::2") // the same network
	_, ok3 := dial("2001:db8::3")
	_, ok4 := dial("2001:db8:0:1::1")
	_, ok5 := dial("2001:db8:0:2::1") // one too many in all
	if !ok1 || !ok2 || ok3 || !ok4 || ok5 {
		t.Errorf("accepted: %v %v %v %v %v", ok1, ok2, ok3, ok4, ok5)
	}
	must(t, a.Close())
	eventually(t, "the place is given back", func() bool { return open.Load() == 2 })
	if _, ok := dial("2001:db8::3"); !ok {
		t.Error("the place is not given out again")
	}
	limiter.Set(0, 0)
	for range 5 {
		if _, ok := dial("2001:db8::3"); !ok {
			t.Error("a limit of 0 limits")
		}
	}
}

func TestLimiterForgets(t *testing.T) {
	l := NewLimiter(0, 0)
	var release []func()
	for i := range 100 {
		r, reason := l.take(netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 10)}))
		if reason != "" {
			t.Fatal(reason)
		}
		release = append(release, r)
	}
	for _, r := range release {
		r()
	}
	if len(l.by) != 0 || l.open != 0 {
		t.Errorf("%d addresses and %d connections are left", len(l.by), l.open)
	}
	if got := network(netip.MustParseAddr("::ffff:192.0.2.1")); got.String() != "192.0.2.1" {
		t.Errorf("network is %s", got)
	}
}

func TestSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s seldom
		var said []int
		for range 25 {
			s.say(func(more int) { said = append(said, more) })
			time.Sleep(time.Second)
		}
		if fmt.Sprint(said) != "[0 9 9]" {
			t.Errorf("said %v", said)
		}
	})
}

func TestHTTP(t *testing.T) {
	ln := openSocket(t, config.Listen{Purpose: config.Admin}, nil)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	r, err := http.Get("http://" + ln.Addr().String())
	must(t, err)
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); !strings.HasPrefix(string(b), "127.0.0.1:") || err != nil {
		t.Errorf("answer %q, %v", b, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	must(t, s.Shutdown(ctx))
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting on a closed socket: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	ln := openSocket(t, config.Listen{}, nil)
	defer ln.Close()
	_, err := Open(t.Context(), config.Listen{Address: ln.Addr().String(), Purpose: config.C2S}, Options{})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another program has this port") {
		t.Errorf("error is %v", err)
	}
	if _, err := Open(t.Context(), config.Listen{Address: "203.0.113.1:5222"}, Options{}); err == nil || !strings.Contains(err.Error(), "no such address") {
		t.Errorf("error is %v", err)
	}
	if _, err := Open(t.Context(), config.Listen{Address: "127.0.0.1:0", ProxyFrom: []string{"x"}}, Options{}); err == nil {
		t.Error("a wrong proxy_from is accepted")
	}
}
