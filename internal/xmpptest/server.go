// Package xmpptest owns servers for tests, in the manner of httptest: a whole server in the test's process, on loopback
// ports of the system's choice, with a database of its own; and running the conversation scripts (internal/transcript)
// against it in all modes.
package xmpptest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/db/dbtest"
	"sabir/internal/dnstest"
	"sabir/internal/server"
	"sabir/internal/transcript"
	"sabir/mod"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// Domain is the host of test servers. It is another than the localhost of the scripts, so that their mapping is tested
// as well.
const Domain = "sabir.test"

// EnvShuffle names the environment variable that repeats an order of hooks: the seed that a failed test has logged.
const EnvShuffle = "SABIR_TEST_SHUFFLE"

// Options are what a test wants of its server. The zero value is a server with all extensions as configured by default,
// on SQLite.
type Options struct {
	// Database is the URL; "" means a new SQLite file.
	Database string
	// Config holds lines of TOML with dotted keys, such as "auth.plain = true". They replace those of xmpptest.
	Config []string
	// Host holds further lines of the block of Domain; Hosts those of further domains, which share its certificate and so
	// are below Domain.
	Host  []string
	Hosts map[string][]string
	// Extensions are those that may be enabled; nil for all.
	Extensions []mod.Info
	// Clock is the time; nil for the real one.
	Clock mod.Clock
	// Drain is as in server.Options.
	Drain time.Duration
}

// Server is a running server.
type Server struct {
	*server.Server
	// CAFile holds the certificate to trust, in PEM. Pool is the same.
	CAFile string
	Pool   *x509.CertPool
	// Keys is the cache of SCRAM keys that the clients of Config share.
	Keys *sasl.KeyCache
	// Zone is the DNS that the server asks for other servers. Without Point there are none.
	Zone *dnstest.Zone

	t      testing.TB
	ca     *authority
	stop   func()
	killed bool
	admins atomic.Int32 // accounts of administrators made so far
}

// NewServer starts a server. It ends with the test, which fails where the server ends with an error.
func NewServer(t testing.TB, o Options) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{t: t, Pool: x509.NewCertPool(), Keys: sasl.NewKeyCache(1024), Zone: dnstest.New(t, "")}
	cert, key := s.certificate(dir)
	if o.Database == "" {
		o.Database = dbtest.SQLiteURL(t)
	}
	text := s.config(dir, cert, key, o)
	cfg, err := config.Parse(filepath.Join(dir, "sabir.toml"), []byte(text), server.Sections(o.Extensions))
	if err != nil {
		t.Fatalf("xmpptest: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(&testLog{t: t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s.Server, err = server.New(ctx, cfg, server.Options{Log: log, Extensions: o.Extensions, Clock: o.Clock, Drain: o.Drain, Shuffle: shuffle(t)})
	if err != nil {
		cancel()
		t.Fatalf("xmpptest: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	s.stop = sync.OnceFunc(func() {
		start := time.Now()
		cancel()
		if err := <-served; err != nil && !s.killed {
			t.Errorf("xmpptest: %v", err)
		}
		t.Logf("the server stopped within %v", time.Since(start).Round(time.Millisecond))
	})
	t.Cleanup(s.stop)
	return s
}

// Close stops the server before the test ends.
func (s *Server) Close() { s.stop() }

// Kill stops the server as SIGKILL does, as far as the database can tell: nothing is written any more. Streams that were
// not cut before may still be told that they end.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.DB().(io.Closer).Close(); err != nil {
		s.t.Errorf("xmpptest: %v", err)
	}
	s.killed = true
	s.stop()
}

// testLog writes to the log of a test as long as that runs.
type testLog struct {
	mu   sync.Mutex
	t    testing.TB
	done bool
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done && l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(p)))
	} else {
		l.done = true
	}
	return len(p), nil
}

// base are the settings of test servers: cheap passwords, no limits that many tests at once would meet.
func base() []string {
	return []string{
		"auth.iterations = 4096",
		"auth.failures = 0",
		"auth.min_password = 1",
		"limits.connections_per_address = 0",
		"limits.byte_rate = 0",
		"admins = [" + strings.Join(admins(), ", ") + "]",
		`outbound.allow = ["127.0.0.0/8"]`,
	}
}

// maxAdmins is how many administrators a server may be given.
const maxAdmins = 500

// admins are the addresses of those who administer a test server: the characters of scripts whose localpart is admin.
func admins() (all []string) {
	for i := range maxAdmins {
		all = append(all, strconv.Quote(fmt.Sprintf("admin-%d@%s", i, Domain)))
	}
	return all
}

func (s *Server) config(dir, cert, key string, o Options) string {
	var b strings.Builder
	set := map[string]bool{}
	for _, l := range o.Config {
		k, _, _ := strings.Cut(l, "=")
		set[strings.TrimSpace(k)] = true
		b.WriteString(l + "\n")
	}
	for _, l := range append(base(), fmt.Sprintf("data_dir = %q", dir), fmt.Sprintf("database.url = %q", o.Database), fmt.Sprintf("s2s.resolver = %q", s.Zone.Addr), fmt.Sprintf("outbound.ca = %q", s.CAFile)) {
		if k, _, _ := strings.Cut(l, "="); !set[strings.TrimSpace(k)] {
			b.WriteString(l + "\n")
		}
	}
	host := func(domain string, lines []string) {
		fmt.Fprintf(&b, "[[host]]\ndomain = %q\ncertificate = %q\nkey = %q\n%s\n", domain, cert, key, strings.Join(lines, "\n"))
	}
	host(Domain, o.Host)
	for _, domain := range slices.Sorted(maps.Keys(o.Hosts)) {
		host(domain, o.Hosts[domain])
	}
	for _, p := range []config.Purpose{config.C2S, config.C2STLS, config.HTTPS, config.S2S, config.S2STLS, config.Admin} {
		fmt.Fprintf(&b, "[[listen]]\naddress = \"127.0.0.1:0\"\npurpose = %q\n", string(p))
	}
	return b.String()
}

// certificate makes an authority and a certificate for the domain, and notes whom to trust.
func (s *Server) certificate(dir string) (cert, key string) {
	s.t.Helper()
	caKey, ca, caDER := s.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "xmpptest"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	leafKey, _, leafDER := s.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: Domain}, DNSNames: []string{Domain, "*." + Domain, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	s.Pool.AddCert(ca)
	s.ca = &authority{ca, caKey}
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		s.t.Fatalf("xmpptest: %v", err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			s.t.Fatalf("xmpptest: %v", err)
		}
		return path
	}
	s.CAFile = write("ca.pem", "CERTIFICATE", caDER)
	return write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", der)
}

func (s *Server) sign(c, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate, []byte) {
	s.t.Helper()
	key, err := newKey()
	if err != nil {
		s.t.Fatalf("xmpptest: %v", err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		s.t.Fatalf("xmpptest: %v", err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatalf("xmpptest: %v", err)
	}
	return key, made, der
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// shuffle returns a function for server.Options that puts hooks into a random order, the same for the same seed.
func shuffle(t testing.TB) func(n int, swap func(i, j int)) {
	t.Helper()
	var b [8]byte
	rand.Read(b[:]) // never fails
	seed := binary.LittleEndian.Uint64(b[:])
	if given := os.Getenv(EnvShuffle); given != "" {
		n, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatalf("xmpptest: %s: %v", EnvShuffle, err)
		}
		seed = n
	}
	t.Logf("%s=%d repeats the order of the hooks", EnvShuffle, seed)
	var mu sync.Mutex
	return func(n int, swap func(i, j int)) {
		mu.Lock()
		defer mu.Unlock()
		for i := n - 1; i > 0; i-- {
			seed = seed*6364136223846793005 + 1442695040888963407 // a linear congruence does for orders
			swap(i, int((seed>>33)%uint64(i+1)))
		}
	}
}

// JID returns the host's address.
func (s *Server) JID() jid.JID { return jid.MustParse(Domain) }

// Account makes an account whose localpart starts with hint, with a password of its own. One for the hint admin administers the
// server.
func (s *Server) Account(ctx context.Context, hint string) (transcript.Account, error) {
	return s.AccountAt(ctx, s.JID(), hint)
}

// AccountAt is Account for one of the server's hosts.
func (s *Server) AccountAt(ctx context.Context, host jid.JID, hint string) (transcript.Account, error) {
	var b [6]byte
	rand.Read(b[:]) // never fails
	if hint == "" {
		hint = "user"
	}
	a := transcript.Account{Password: "pw-" + hex.EncodeToString(b[:])}
	var err error
	if hint == "admin" {
		a.JID, err = jid.New(fmt.Sprintf("admin-%d", s.admins.Add(1)%maxAdmins), host.Domain(), "")
	} else {
		a.JID, err = jid.New(hint+"-"+hex.EncodeToString(b[:4]), host.Domain(), "")
	}
	if err != nil {
		return a, err
	}
	return a, s.Accounts(host).Create(ctx, a.JID.Local(), a.Password)
}

// MustAccount is Account for tests that cannot go on without one.
func (s *Server) MustAccount(t testing.TB, hint string) transcript.Account {
	t.Helper()
	a, err := s.Account(t.Context(), hint)
	if err != nil {
		t.Fatalf("xmpptest: %v", err)
	}
	return a
}

// ClientConfig returns what a client needs to connect over a transport: "tcp", "tls" or "websocket".
func (s *Server) ClientConfig(transport string) client.Config {
	c := client.Config{TLS: &tls.Config{RootCAs: s.Pool, ServerName: Domain}, Keys: s.Keys}
	switch transport {
	case "tls":
		c.Via, c.Address = client.DirectTLS, s.Addr(config.C2STLS)
	case "websocket":
		c.Via, c.Address = client.WebSocket, "wss://"+s.Addr(config.HTTPS)+"/xmpp-websocket"
	default:
		c.Via, c.Address = client.STARTTLS, s.Addr(config.C2S)
	}
	return c
}

// Dial logs an account in, with a resource where that is not "". The session ends with the test.
func (s *Server) Dial(t testing.TB, a transcript.Account, resource string) *client.Client {
	t.Helper()
	cfg := s.ClientConfig("tcp")
	cfg.JID, cfg.Password = a.JID, a.Password
	if resource != "" {
		full, err := a.JID.WithResource(resource)
		if err != nil {
			t.Fatalf("xmpptest: %v", err)
		}
		cfg.JID = full
	}
	c, err := client.Dial(t.Context(), &cfg)
	if err != nil {
		t.Fatalf("xmpptest: %s cannot connect: %v", a.JID, err)
	}
	t.Cleanup(func() {
		if err := c.Abort(); err != nil {
			t.Errorf("xmpptest: %v", err)
		}
	})
	return c
}

// Target returns the server as one for scripts, with fresh accounts for each of them.
func (s *Server) Target(transport string) *transcript.Target {
	cfg := s.ClientConfig(transport)
	cfg.Mechanisms = []string{sasl.ScramSHA1Plus, sasl.ScramSHA1} // the least costly: each script logs in anew
	return &transcript.Target{
		Client: cfg, Domain: Domain, Transport: transport, Timeout: 10 * time.Second, Quiet: 150 * time.Millisecond,
		Account: func(ctx context.Context, _ int, hint string) (transcript.Account, error) { return s.Account(ctx, hint) },
		Peer:    s.Peer,
	}
}
