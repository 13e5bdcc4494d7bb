package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/disk"
	"sabir/internal/disk/disktest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// syncBuffer is a log that is written and read by different goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// quietly returns a store that logs nothing.
func quietly() *Certificates {
	return NewCertificates(CertificateOptions{Files: disk.OS{}, Log: slog.New(slog.DiscardHandler)})
}

func testCA(t *testing.T) *OwnCA {
	t.Helper()
	ca, err := OpenCA(t.TempDir())
	must(t, err)
	return ca
}

func leaf(t *testing.T, ca *OwnCA, domain string) Pair {
	t.Helper()
	p, err := ca.Leaf(domain)
	must(t, err)
	return p
}

// shake makes a handshake and returns the client's state, what the server knows of its certificate, and the error of either side.
func shake(t *testing.T, s *Certificates, p config.Purpose, to string, c *tls.Config) (tls.ConnectionState, *x509.Certificate, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	cfg, leaf := s.For(p, to)
	server := tls.Server(a, cfg)
	done := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err == nil {
			_, err = server.Write([]byte("x")) // with it goes a session ticket
		}
		done <- err
	}()
	client := tls.Client(b, c)
	err := client.Handshake()
	if err == nil {
		_, err = io.ReadFull(client, make([]byte, 1))
	}
	if err != nil {
		a.Close()
		<-done
		return tls.ConnectionState{}, nil, err
	}
	must(t, <-done)
	return client.ConnectionState(), leaf(), nil
}

func clientOf(ca *OwnCA, name string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	return &tls.Config{RootCAs: pool, ServerName: name}
}

func TestCertificatesByName(t *testing.T) {
	ca := testCA(t)
	s := quietly()
	must(t, s.Set([]Pair{leaf(t, ca, "example.org"), leaf(t, ca, "bücher.example")}))
	for _, x := range []struct {
		to, sni, want string
		p             config.Purpose
	}{
		{"", "example.org", "example.org", config.C2STLS},
		{"", "xn--bcher-kva.example", "xn--bcher-kva.example", config.C2STLS},
		{"", "conference.example.org", "example.org", config.C2STLS},
		{"", "localhost", "example.org", config.C2STLS}, // unknown here: the first
		{"bücher.example", "xn--bcher-kva.example", "xn--bcher-kva.example", config.C2S},
		{"example.org", "example.org", "example.org", config.C2S},
		// The stream header has named the host before; what stands in the ClientHello is not asked.
		{"bücher.example", "localhost", "xn--bcher-kva.example", config.C2S},
	} {
		state, used, err := shake(t, s, x.p, x.to, clientOf(ca, x.sni))
		must(t, err)
		if got := state.PeerCertificates[0].DNSNames[0]; got != x.want || !used.Equal(state.PeerCertificates[0]) {
			t.Errorf("to %q, SNI %q: got %s, and the server thinks %s", x.to, x.sni, got, used.DNSNames[0])
		}
	}
	if got := s.Leaf("bücher.example").DNSNames[0]; got != "xn--bcher-kva.example" {
		t.Errorf("leaf is %s", got)
	}
}

func TestTLSPolicy(t *testing.T) {
	ca := testCA(t)
	s := quietly()
	must(t, s.Set([]Pair{leaf(t, ca, "example.org")}))
	for _, p := range []config.Purpose{config.C2S, config.C2STLS} {
		for _, to := range []string{"", "example.org"} {
			old := clientOf(ca, "example.org")
			old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			if _, _, err := shake(t, s, p, to, old); err == nil {
				t.Errorf("%s: TLS 1.1 is accepted", p)
			}
			weak := clientOf(ca, "example.org")
			weak.MaxVersion = tls.VersionTLS12
			weak.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
			if _, _, err := shake(t, s, p, to, weak); err == nil {
				t.Errorf("%s: a suite without AEAD or ECDHE is accepted", p)
			}
		}
	}
	for _, x := range []struct {
		p       config.Purpose
		offered []string
		want    string
		fails   bool
	}{
		{config.C2STLS, []string{"xmpp-client"}, "xmpp-client", false},
		{config.C2STLS, nil, "", false},
		{config.C2STLS, []string{"h2"}, "", true}, // no protocol in another's clothes
		{config.S2STLS, []string{"xmpp-server"}, "xmpp-server", false},
		{config.HTTPS, []string{"http/1.1"}, "http/1.1", false},
		{config.HTTPS, []string{"h2", "http/1.1"}, "h2", false},
		{config.HTTPS, []string{"xmpp-client"}, "", true},
	} {
		c := clientOf(ca, "example.org")
		c.NextProtos = x.offered
		state, _, err := shake(t, s, x.p, "", c)
		if (err != nil) != x.fails || state.NegotiatedProtocol != x.want {
			t.Errorf("%s with %v: %q, %v", x.p, x.offered, state.NegotiatedProtocol, err)
		}
	}
}

// TestResumption shows that tickets work across connections, and that none outlives its certificate.
func TestResumption(t *testing.T) {
	ca := testCA(t)
	s := quietly()
	p := leaf(t, ca, "example.org")
	must(t, s.Set([]Pair{p}))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, to := range []string{"", "example.org"} {
			c := clientOf(ca, "example.org")
			c.MaxVersion = version
			c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i, want := range []bool{false, true, true} {
				state, used, err := shake(t, s, config.C2STLS, to, c)
				must(t, err)
				if state.DidResume != want || used == nil {
					t.Errorf("version %x to %q, connection %d: resumed %v", version, to, i, state.DidResume)
				}
			}
			s.rotate = time.Now().Add(-time.Second)
			s.rotateTickets()
			if state, _, err := shake(t, s, config.C2STLS, to, c); err != nil || !state.DidResume {
				t.Errorf("a ticket does not survive a new ticket key: %v", err)
			}
			must(t, os.Remove(p.Certificate))
			leaf(t, ca, "example.org")
			must(t, s.Reload())
			state, used, err := shake(t, s, config.C2STLS, to, c)
			must(t, err)
			if state.DidResume || !used.Equal(state.PeerCertificates[0]) {
				t.Error("a ticket of the certificate before is resumed")
			}
		}
	}
}

func TestReload(t *testing.T) {
	ca, dir := testCA(t), t.TempDir()
	p := Pair{Domain: "example.org", Certificate: filepath.Join(dir, "c.pem"), Key: filepath.Join(dir, "k.pem")}
	tick := time.Now().Add(-time.Hour)
	install := func(from Pair) {
		t.Helper()
		for src, dst := range map[string]string{from.Certificate: p.Certificate, from.Key: p.Key} {
			text, err := os.ReadFile(src)
			must(t, err)
			must(t, os.WriteFile(dst, text, 0o600))
			tick = tick.Add(time.Second)
			must(t, os.Chtimes(dst, tick, tick))
		}
	}
	fresh := func() Pair {
		t.Helper()
		q := leaf(t, ca, "example.org")
		text, err := os.ReadFile(q.Certificate)
		must(t, err)
		key, err := os.ReadFile(q.Key)
		must(t, err)
		must(t, os.Remove(q.Certificate))
		copyTo := t.TempDir()
		r := Pair{Domain: "example.org", Certificate: filepath.Join(copyTo, "c"), Key: filepath.Join(copyTo, "k")}
		must(t, os.WriteFile(r.Certificate, text, 0o600))
		must(t, os.WriteFile(r.Key, key, 0o600))
		return r
	}
	one, two := fresh(), fresh()
	install(one)
	var said syncBuffer
	s := NewCertificates(CertificateOptions{Files: disk.OS{}, Log: slog.New(slog.NewTextHandler(&said, nil))})
	must(t, s.Set([]Pair{p}))
	serial := func() string {
		t.Helper()
		state, _, err := shake(t, s, config.C2S, "example.org", clientOf(ca, "example.org"))
		must(t, err)
		return state.PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	must(t, s.Reload())
	if said.String() != "" {
		t.Errorf("nothing has changed, and yet: %s", said.String())
	}

	// Half of a renewal: the key of another certificate.
	install(Pair{Certificate: one.Certificate, Key: two.Key})
	err := s.Reload()
	if err == nil || !strings.Contains(err.Error(), p.Certificate) || !strings.Contains(err.Error(), "stay in use") {
		t.Errorf("a wrong pair gives %v", err)
	}
	if serial() != first {
		t.Error("the certificate before is not in use any more")
	}
	for name, damage := range map[string]func(){
		"absent":    func() { must(t, os.Remove(p.Certificate)) },
		"not PEM":   func() { must(t, os.WriteFile(p.Certificate, []byte("hello"), 0o600)) },
		"empty key": func() { must(t, os.WriteFile(p.Key, nil, 0o600)) },
		"expired":   func() { install(signed(t, ca, "example.org", -2*time.Hour, -time.Hour)) },
		"early":     func() { install(signed(t, ca, "example.org", time.Hour, 2*time.Hour)) },
		"other":     func() { install(signed(t, ca, "example.com", -time.Hour, time.Hour)) },
	} {
		install(one)
		damage()
		if err := s.Reload(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if serial() != first {
			t.Errorf("%s: the certificate before is not in use any more", name)
		}
		late := name == "expired" || name == "early"
		if err := quietly().Set([]Pair{p}); (err == nil) != late {
			t.Errorf("%s: a server starts with it: %v", name, err)
		}
	}

	// Watch tells of a bad pair, and takes the good one up, by itself.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan struct{})
	go func() { s.Watch(ctx, time.Millisecond); close(over) }()
	before := len(said.String())
	install(Pair{Certificate: one.Certificate, Key: two.Key})
	eventually(t, "the problem is told", func() bool { return strings.Contains(said.String()[before:], "level=ERROR") })
	install(two)
	eventually(t, "the new certificate is in use", func() bool { return serial() != first })
	cancel()
	<-over
}

// TestUnreadable lets the disk fail while a renewed certificate is read, and lets it be renewed in the middle of reading.
func TestUnreadable(t *testing.T) {
	ca := testCA(t)
	one, two := signed(t, ca, "example.org", -time.Hour, time.Hour), signed(t, ca, "example.org", -time.Hour, 2*time.Hour)
	dir := t.TempDir()
	p := Pair{Domain: "example.org", Certificate: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}
	move := func(to, from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(to, text, 0o600))
	}
	move(p.Certificate, one.Certificate)
	move(p.Key, one.Key)
	var files disktest.FS
	s := NewCertificates(CertificateOptions{Files: &files, Log: slog.New(slog.DiscardHandler)})
	must(t, s.Set([]Pair{p}))
	serial := func() string { return s.Leaf("example.org").SerialNumber.String() }
	first := serial()

	for _, broken := range []string{p.Certificate, p.Key} {
		move(p.Certificate, one.Certificate) // it has a new time, so it is read
		files.Fail(func(op, name string) error {
			if op == "ReadFile" && name == broken {
				return syscall.EIO
			}
			return nil
		})
		err := s.Set([]Pair{p})
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "example.org") {
			t.Errorf("%s cannot be read: %v", broken, err)
		}
		if serial() != first {
			t.Error("the certificate before is not in use any more")
		}
	}

	files.Fail(func(op, name string) error {
		if op == "ReadFile" && name == p.Key { // the certificate was read
			move(p.Certificate, two.Certificate)
			move(p.Key, two.Key)
		}
		return nil
	})
	if err := s.Set([]Pair{p}); err == nil || serial() != first {
		t.Errorf("the certificate of before with the key of after: %v", err)
	}
	files.Fail(nil)
	must(t, s.Reload())
	if serial() == first {
		t.Error("the renewed certificate is not in use")
	}
}

// signed makes a certificate with these times.
func signed(t *testing.T, ca *OwnCA, domain string, from, to time.Duration) Pair {
	t.Helper()
	now := ca.now
	defer func() { ca.now = now }()
	dir := t.TempDir()
	p := Pair{Domain: domain, Certificate: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k")}
	// A leaf begins an hour before now and lives for leafLife.
	shift := from + time.Hour
	if to < 0 {
		shift = to - leafLife
	}
	ca.now = func() time.Time { return time.Now().Add(shift) }
	must(t, ca.issue(p, []string{domain}))
	return p
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestSetTakesAllOrNothing(t *testing.T) {
	ca := testCA(t)
	s := quietly()
	if err := s.Set(nil); err == nil {
		t.Error("no certificates at all are accepted")
	}
	good := leaf(t, ca, "example.org")
	must(t, s.Set([]Pair{good}))
	err := s.Set([]Pair{leaf(t, ca, "example.com"), {Domain: "a", Certificate: "absent", Key: "absent"}, {Domain: "b", Certificate: good.Certificate, Key: good.Key}})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "is not for b") {
		t.Errorf("error is %v", err)
	}
	if got := s.Leaf("example.com").DNSNames[0]; got != "example.org" {
		t.Errorf("a part of it was taken: %s", got)
	}
}

func TestOwnCA(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	clock := func() time.Time { return now }
	ca, err := openCA(dir, clock)
	must(t, err)
	p := leaf(t, ca, "example.org")
	same := func(want bool) {
		t.Helper()
		before, err := os.ReadFile(p.Certificate)
		must(t, err)
		ca, err = openCA(dir, clock)
		must(t, err)
		leaf(t, ca, "example.org")
		after, err := os.ReadFile(p.Certificate)
		must(t, err)
		if bytes.Equal(before, after) != want {
			t.Errorf("at %s: the certificate stays: %v", now.Format(time.DateOnly), !want)
		}
	}
	same(true)
	now = now.Add(leafLife * 3 / 5)
	same(true)
	now = now.Add(leafLife / 5) // less than a third is left
	same(false)
	was := ca.Certificate()
	now = now.Add(caLife - 200*24*time.Hour) // so does the authority end
	same(false)
	if ca.Certificate().Equal(was) {
		t.Error("the authority was not renewed")
	}
	for _, name := range []string{"example.org", "conference.example.org", "localhost", "127.0.0.1", "::1"} {
		c, err := LoadPair(disk.OS{}, p, now)
		must(t, err)
		pool := x509.NewCertPool()
		pool.AddCert(ca.Certificate())
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, f := range []string{"ca.key", "example.org.key"} {
		if fi, err := os.Stat(filepath.Join(dir, f)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, fi.Mode(), err)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "ca.key"), []byte("x"), 0o600))
	if _, err := OpenCA(dir); err == nil || !strings.Contains(err.Error(), "ca.key") {
		t.Errorf("a damaged authority gives %v", err)
	}
}
