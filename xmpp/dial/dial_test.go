package dial

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nameServer answers from a zone in the notation of zone files. Names in broken get SERVFAIL.
func nameServer(t *testing.T, zone string, broken ...string) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var records []dns.RR
	for z := dns.NewZoneParser(strings.NewReader(zone), ".", "zone"); ; {
		rr, ok := z.Next()
		if !ok {
			if err := z.Err(); err != nil {
				t.Fatal(err)
			}
			break
		}
		records = append(records, rr)
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Rcode = dns.RcodeNameError
		for _, rr := range records {
			if rr.Header().Name == q.Question[0].Name {
				m.Rcode = dns.RcodeSuccess
				if rr.Header().Rrtype == q.Question[0].Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		for _, b := range broken {
			if q.Question[0].Name == b {
				m.Rcode = dns.RcodeServerFailure
			}
		}
		if err := w.WriteMsg(m); err != nil {
			t.Log(err)
		}
	})}
	done := make(chan error, 1)
	go func() { done <- srv.ActivateAndServe() }()
	t.Cleanup(func() {
		if err := errors.Join(srv.Shutdown(), <-done); err != nil {
			t.Error(err)
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

func names(targets []Target) string {
	var s []string
	for _, t := range targets {
		s = append(s, t.String())
	}
	return strings.Join(s, " ")
}

func TestLookup(t *testing.T) {
	r := nameServer(t, `
_xmpp-client._tcp.both.test. 60 IN SRV 10 5 5222 a.both.test.
_xmpp-client._tcp.both.test. 60 IN SRV 30 5 5222 c.both.test.
_xmpps-client._tcp.both.test. 60 IN SRV 20 5 443 b.both.test.
_xmpps-client._tcp.both.test. 60 IN SRV 5 5 443 first.both.test.
_xmpp-client._tcp.none.test. 60 IN SRV 0 0 0 .
_xmpp-client._tcp.onlytls.test. 60 IN SRV 0 0 0 .
_xmpps-client._tcp.onlytls.test. 60 IN SRV 0 0 5223 x.onlytls.test.
bare.test. 60 IN A 192.0.2.1
`, "_xmpp-client._tcp.broken.test.", "_xmpps-client._tcp.broken.test.")
	d := &Dialer{Resolver: r}
	for _, c := range []struct{ domain, want string }{
		{"both.test", "tls://first.both.test:443 a.both.test:5222 tls://b.both.test:443 c.both.test:5222"},
		{"bare.test", "bare.test:5222"},
		{"onlytls.test", "tls://x.onlytls.test:5223"},
		{"broken.test", "broken.test:5222"},
		{"192.0.2.7", "192.0.2.7:5222"},
		{"[2001:db8::7]", "[2001:db8::7]:5222"},
	} {
		got, err := d.Lookup(t.Context(), Client(), c.domain)
		if err != nil || names(got) != c.want {
			t.Errorf("%s: %s (%v), not %s", c.domain, names(got), err, c.want)
		}
	}
	if _, err := d.Lookup(t.Context(), Client(), "none.test"); !errors.Is(err, ErrNotOffered) {
		t.Errorf("a target of . gives %v", err)
	}
	got, err := d.Lookup(t.Context(), Server(), "both.test")
	if err != nil || names(got) != "both.test:5269" {
		t.Errorf("server: %s %v", names(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Lookup(ctx, Client(), "both.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestWeights checks that a target of three times the weight comes first about three times as often, and that every
// target stays in the list.
func TestWeights(t *testing.T) {
	const n = 4000
	first := 0
	for range n {
		ts := []Target{{Host: "one", weight: 1000}, {Host: "zero"}, {Host: "three", weight: 3000}, {Host: "other", priority: 1}}
		order(ts)
		if ts[3].Host != "other" {
			t.Fatal("a later priority came before", ts)
		}
		seen := map[string]bool{}
		for _, x := range ts {
			seen[x.Host] = true
		}
		if len(seen) != 4 {
			t.Fatal("a target got lost", ts)
		}
		if ts[0].Host == "three" {
			first++
		}
	}
	if share := float64(first) / n; share < 0.70 || share > 0.80 {
		t.Errorf("weight 3000 of 4000 came first in %.0f%%", share*100)
	}
}

// fakeNet answers connection attempts by address.
type fakeNet struct {
	mu    sync.Mutex
	slow  map[string]time.Duration
	dead  map[string]bool
	tried []string
	open  int
}

type fakeConn struct {
	net.Conn
	addr string
	n    *fakeNet
}

func (c *fakeConn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.open--
	return nil
}

func (n *fakeNet) connect(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	s := a.Addr().String()
	n.mu.Lock()
	n.tried = append(n.tried, s)
	d, dead := n.slow[s], n.dead[s]
	n.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(d):
	}
	if dead {
		return nil, errors.New("refused")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open++
	return &fakeConn{nil, s, n}, nil
}

// hosts is a Resolver of fixed answers.
type hosts struct {
	v4, v6       []string
	delay4, wait time.Duration
	err6         error
}

func (h hosts) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{IsNotFound: true}
}

func (h hosts) LookupNetIP(ctx context.Context, network, _ string) ([]netip.Addr, error) {
	list, d := h.v4, h.delay4
	if network == "ip6" {
		list, d = h.v6, h.wait
		if h.err6 != nil {
			return nil, h.err6
		}
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(d):
	}
	if len(list) == 0 {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	var a []netip.Addr
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a, nil
}

func TestEyeballs(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name  string
		hosts hosts
		net   *fakeNet
		want  string // the address that wins, or "" for failure
		tried string // those tried, in order
	}{
		{"IPv6 first", hosts{v4: []string{"192.0.2.1"}, v6: []string{"2001:db8::1"}}, &fakeNet{}, "2001:db8::1", "2001:db8::1"},
		{"IPv4 waits a moment for IPv6", hosts{v4: []string{"192.0.2.1"}, v6: []string{"2001:db8::1"}, wait: 10 * ms}, &fakeNet{}, "2001:db8::1", "2001:db8::1"},
		{"but not for long", hosts{v4: []string{"192.0.2.1"}, v6: []string{"2001:db8::1"}, wait: 500 * ms}, &fakeNet{}, "192.0.2.1", "192.0.2.1"},
		{"a slow attempt is overtaken", hosts{v4: []string{"192.0.2.1"}, v6: []string{"2001:db8::1"}}, &fakeNet{slow: map[string]time.Duration{"2001:db8::1": time.Hour}}, "192.0.2.1", "2001:db8::1 192.0.2.1"},
		{"families alternate, a failure goes on at once", hosts{v4: []string{"192.0.2.1", "192.0.2.2"}, v6: []string{"2001:db8::1", "2001:db8::2"}, wait: ms}, // IPv4 is there already
			&fakeNet{dead: map[string]bool{"2001:db8::1": true, "192.0.2.1": true, "2001:db8::2": true}}, "192.0.2.2", "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2"},
		{"all dead", hosts{v4: []string{"192.0.2.1"}, v6: []string{"2001:db8::1"}}, &fakeNet{dead: map[string]bool{"2001:db8::1": true, "192.0.2.1": true}}, "", "2001:db8::1 192.0.2.1"},
		{"IPv6 broken in DNS", hosts{v4: []string{"192.0.2.1"}, err6: errors.New("SERVFAIL")}, &fakeNet{}, "192.0.2.1", "192.0.2.1"},
		{"only IPv6", hosts{v6: []string{"2001:db8::1"}}, &fakeNet{}, "2001:db8::1", "2001:db8::1"},
		{"late IPv4 is still tried", hosts{v6: []string{"2001:db8::1"}, v4: []string{"192.0.2.1"}, delay4: 60 * ms}, &fakeNet{slow: map[string]time.Duration{"2001:db8::1": time.Hour}}, "192.0.2.1", "2001:db8::1 192.0.2.1"},
		{"no address", hosts{}, &fakeNet{}, "", ""},
		{"mapped addresses are IPv4", hosts{v4: []string{"::ffff:192.0.2.1"}}, &fakeNet{}, "192.0.2.1", "192.0.2.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &Dialer{Resolver: c.hosts, Connect: c.net.connect, AttemptDelay: 30 * ms, Timeout: 5 * time.Second}
				conn, err := d.Dial(t.Context(), []Target{{Host: "host.test", Port: 1}}, nil)
				if err != nil && c.want != "" || err == nil && c.want == "" {
					t.Fatalf("error %v, wanted %q", err, c.want)
				}
				if err == nil {
					if got := conn.Conn.(*fakeConn).addr; got != c.want {
						t.Errorf("connected to %s, not %s", got, c.want)
					}
				}
				c.net.mu.Lock()
				defer c.net.mu.Unlock()
				if got := strings.Join(c.net.tried, " "); got != c.tried {
					t.Errorf("tried %s, not %s", got, c.tried)
				}
			})
		})
	}
}

// TestCancelledBefore: who has no time left gets an error, though nothing was tried.
func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := &fakeNet{}
	d := &Dialer{Resolver: hosts{v4: []string{"192.0.2.1"}}, Connect: n.connect}
	c, err := d.Dial(ctx, []Target{{Host: "host.test", Port: 1}}, nil)
	if c != nil || !errors.Is(err, context.Canceled) || len(n.tried) > 0 {
		t.Errorf("%v %v, tried %v", c, err, n.tried)
	}
}

// TestLosersAreClosed lets two attempts succeed: the second connection must not stay open.
func TestLosersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{}
		slow := func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			if a.Addr().Is6() {
				time.Sleep(60 * time.Millisecond) // does not heed ctx: it succeeds after the race is won
			}
			return n.connect(context.WithoutCancel(ctx), a)
		}
		d := &Dialer{Resolver: hosts{v4: []string{"192.0.2.1"}, v6: []string{"2001:db8::1"}}, Connect: slow, AttemptDelay: 10 * time.Millisecond}
		if _, err := d.Dial(t.Context(), []Target{{Host: "host.test", Port: 1}}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.tried) != 2 || n.open != 1 {
			t.Fatalf("%d tried, %d open", len(n.tried), n.open)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{slow: map[string]time.Duration{"192.0.2.1": time.Hour}}
		d := &Dialer{Resolver: hosts{v4: []string{"192.0.2.1"}}, Connect: n.connect, Timeout: 30 * time.Millisecond}
		start := time.Now()
		_, err := d.Dial(t.Context(), []Target{{Host: "a.test", Port: 1}, {Host: "b.test", Port: 2}}, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a.test:1") || !strings.Contains(err.Error(), "b.test:2") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(start); took > 60*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestPolicy(t *testing.T) {
	denied := []string{"127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
		"255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "fd00::1", "ff02::1", "64:ff9b::7f00:1",
		"2002:7f00:1::", "::7f00:1", "2001::1", "2001:db8::1"}
	for _, s := range denied {
		if err := new(Policy).Check(netip.MustParseAddr(s)); err == nil {
			t.Errorf("%s is allowed", s)
		}
		if err := (&Policy{Private: true}).Check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s is denied though private ranges are open", s)
		}
	}
	for _, s := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::", "::ffff:9.9.9.9"} {
		if err := new(Policy).Check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	p := &Policy{Allow: []netip.Prefix{netip.MustParsePrefix("10.5.0.0/16")}, Deny: []netip.Prefix{netip.MustParsePrefix("8.8.8.0/24")}}
	for s, ok := range map[string]bool{"10.5.1.1": true, "::ffff:10.5.1.1": true, "10.6.1.1": false, "8.8.8.8": false, "8.8.4.4": true} {
		if err := p.Check(netip.MustParseAddr(s)); (err == nil) != ok {
			t.Errorf("%s: %v", s, err)
		}
	}
	if new(Policy).Check(netip.Addr{}) == nil {
		t.Error("no address is allowed")
	}
}

// TestPolicyHolds checks that names, literals and redirects do not lead around the policy.
func TestPolicyHolds(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "inside") }))
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	d := &Dialer{Resolver: hosts{v4: []string{"127.0.0.1"}}, Policy: &Policy{}}
	var denied *DeniedError
	for _, host := range []string{"127.0.0.1", "innocent.test", "::ffff:127.0.0.1"} {
		if _, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port)); !errors.As(err, &denied) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := d.HTTPClient(nil).Get("https://innocent.test:" + port); !errors.As(err, &denied) {
		t.Errorf("HTTP: %v", err)
	}
	d.Policy = &Policy{Private: true}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// certificate returns a certificate of its own authority for a name, and the pool to trust it.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestDirectTLS finds a target by SRV, falls back from a dead one, and checks certificate and ALPN against the domain.
func TestDirectTLS(t *testing.T) {
	cert, pool := certificate(t, "example.test")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"xmpp-client"}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				err := c.(*tls.Conn).HandshakeContext(context.Background())
				t.Logf("handshake: %v, close: %v", err, c.Close())
			})
		}
	})
	defer wg.Wait()
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deadPort := dead.Addr().(*net.TCPAddr).Port
	dead.Close()
	r := nameServer(t, "_xmpp-client._tcp.example.test. 60 IN SRV 1 0 "+strconv.Itoa(deadPort)+" host.example.test.\n"+
		"_xmpps-client._tcp.example.test. 60 IN SRV 2 0 "+strconv.Itoa(port)+" host.example.test.\nhost.example.test. 60 IN A 127.0.0.1\n")
	d := &Dialer{Resolver: r}
	targets, err := d.Lookup(t.Context(), Client(), "example.test")
	if err != nil {
		t.Fatal(err)
	}
	conf := TLSConfig(&tls.Config{RootCAs: pool}, "example.test", Client().ALPN)
	c, err := d.Dial(t.Context(), targets, conf)
	if err != nil {
		t.Fatal(err)
	}
	if state := c.Conn.(*tls.Conn).ConnectionState(); !c.Target.DirectTLS || state.NegotiatedProtocol != "xmpp-client" {
		t.Errorf("target %s, protocol %q", c.Target, state.NegotiatedProtocol)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	conf = TLSConfig(&tls.Config{RootCAs: pool}, "other.test", Client().ALPN)
	if c, err := d.Dial(t.Context(), targets, conf); err == nil {
		c.Close()
		t.Error("a certificate for another domain was accepted")
	}
}

func TestHostMeta(t *testing.T) {
	const xrd = "<?xml version='1.0' encoding='utf-8'?>\n<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'><Link rel='urn:xmpp:alt-connections:xbosh' href='https://h/b'/><Link rel='urn:xmpp:alt-connections:websocket' href='ws://h/no'/><Link rel='urn:xmpp:alt-connections:websocket' href='wss://h/xml'/></XRD>"
	const jrd = `{"links":[{"rel":"urn:xmpp:alt-connections:websocket","href":"wss://h/json"},{"rel":"other","href":"wss://h/other"}]}`
	for _, c := range []struct {
		name, json, xml, want string
	}{
		{"json", jrd, xrd, "wss://h/json"},
		{"xml", "", xrd, "wss://h/xml"},
		{"broken json", "{", xrd, "wss://h/xml"},
		{"neither", "", "", ""},
		{"not an XRD", "", "<XRD/>", ""},
		{"a DTD", "", "<!DOCTYPE x [<!ENTITY a 'b'>]>" + xrd, ""},
		{"too long", "", strings.Replace(xrd, "\n", strings.Repeat(" ", maxHostMeta), 1), ""},
		{"a redirect to http", "redirect", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body := map[string]string{"/.well-known/host-meta": c.xml, "/.well-known/host-meta.json": c.json}[r.URL.Path]
				switch body {
				case "":
					http.NotFound(w, r)
				case "redirect":
					http.Redirect(w, r, "http://"+r.Host+"/", http.StatusFound)
				default:
					fmt.Fprint(w, body)
				}
			}))
			defer srv.Close()
			pool := x509.NewCertPool()
			pool.AddCert(srv.Certificate())
			to := netip.MustParseAddrPort(srv.Listener.Addr().String())
			d := &Dialer{Resolver: hosts{v4: []string{"192.0.2.1"}}, Connect: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", to.String())
			}}
			got, err := d.WebSocketURLs(t.Context(), "example.com", &tls.Config{RootCAs: pool})
			if strings.Join(got, " ") != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%v %v, not %q", got, err, c.want)
			}
		})
	}
}

func TestParseTarget(t *testing.T) {
	for _, c := range []struct {
		in   string
		port uint16
		want string
	}{
		{"h:1", 0, "h:1"}, {"h", 5222, "h:5222"}, {"[::1]:7", 0, "[::1]:7"}, {"[::1]", 5, "[::1]:5"}, {"::1", 5, "[::1]:5"},
		{"h", 0, ""}, {"h:0", 0, ""}, {"h:70000", 0, ""}, {":5", 0, ""}, {"h:x", 1, ""},
	} {
		got, err := ParseTarget(c.in, c.port)
		if err != nil && c.want != "" || err == nil && got.String() != c.want {
			t.Errorf("%s: %v %v, not %q", c.in, got, err, c.want)
		}
	}
}

// TestReaches compares where a domain's server is with where a connection leads.
func TestReaches(t *testing.T) {
	d := &Dialer{Resolver: nameServer(t, `
home.test. 60 IN A 192.0.2.4
alias.test. 60 IN A 192.0.2.9
alias.test. 60 IN A 192.0.2.4
six.test. 60 IN AAAA 2001:db8::4
`)}
	at, addr := Target{Host: "home.test", Port: 5269}, netip.MustParseAddrPort("192.0.2.4:5269")
	for _, c := range []struct {
		targets []Target
		want    bool
	}{
		{nil, false},
		{[]Target{{Host: "home.test", Port: 5269}}, true},
		{[]Target{{Host: "alias.test", Port: 5269}}, true},
		{[]Target{{Host: "192.0.2.4", Port: 5269}}, true},
		{[]Target{{Host: "192.0.2.5", Port: 5269}, {Host: "alias.test", Port: 5269}}, true},
		{[]Target{{Host: "home.test", Port: 5270}}, false},
		{[]Target{{Host: "home.test", Port: 5269, DirectTLS: true}}, false},
		{[]Target{{Host: "six.test", Port: 5269}}, false},
		{[]Target{{Host: "nobody.test", Port: 5269}}, false},
		{[]Target{{Host: "six.test", Port: 5269}, {Host: "home.test", Port: 5269, priority: 1}}, false}, // it would be tried later
	} {
		if got := d.Reaches(t.Context(), c.targets, at, addr); got != c.want {
			t.Errorf("%s: %v", names(c.targets), got)
		}
	}
}
