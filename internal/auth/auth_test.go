package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/internal/disk"
	"sabir/internal/listen"
	"sabir/internal/observe"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
)

// fakeClock is a clock that tests move.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *fakeClock { return &fakeClock{now: time.Now()} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// settingsOf returns cheap settings, changed by some functions.
func settingsOf(change ...func(*config.Auth)) config.Auth {
	c := config.Default().Auth
	c.Iterations = 4096
	c.MinPassword = 1
	for _, f := range change {
		f(&c)
	}
	return c
}

func open(t *testing.T, d db.DB, clock mod.Clock, change ...func(*config.Auth)) (*Auth, *Host) {
	t.Helper()
	dbtest.Migrate(t, d, "auth", Schema)
	a, err := New(t.Context(), d, Options{Config: settingsOf(change...), Clock: clock, Metrics: observe.NewMetrics()})
	if err != nil {
		t.Fatal(err)
	}
	return a, a.Host(jid.MustParse("example.org"), false)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantStanza checks that an error is a stanza error of a condition.
func wantStanza(t *testing.T, err error, c stanza.Condition) {
	t.Helper()
	var e *stanza.Error
	if !errors.As(err, &e) || e.Condition != c {
		t.Errorf("error is %v, want %s", err, c)
	}
}

// tlsPair returns both ends of a TLS connection between the own CA's certificate and a client, which may have one too.
func tlsPair(t *testing.T, ca *listen.OwnCA, client *tls.Certificate, most uint16) (server Conn, clientState tls.ConnectionState, leaf *x509.Certificate) {
	t.Helper()
	pair, err := ca.Leaf("example.org")
	must(t, err)
	cert, err := listen.LoadPair(disk.OS{}, pair, time.Now())
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	conf := &tls.Config{RootCAs: pool, ServerName: "example.org", MaxVersion: most}
	if client != nil {
		conf.Certificates = []tls.Certificate{*client}
	}
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert})
	c := tls.Client(b, conf)
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	must(t, c.Handshake())
	// In TLS 1.3 the client is done before the server: a message in return shows that it is.
	must(t, <-done)
	state := s.ConnectionState()
	return Conn{TLS: &state, Leaf: cert.Leaf, Remote: netip.MustParseAddr("192.0.2.1")}, c.ConnectionState(), cert.Leaf
}

func ownCA(t *testing.T) *listen.OwnCA {
	t.Helper()
	ca, err := listen.OpenCA(t.TempDir())
	must(t, err)
	return ca
}

// plainConn is a stream that is encrypted and has no channel binding.
func plainConn(addr string) Conn { return Conn{Secured: true, Remote: netip.MustParseAddr(addr)} }

// login runs an exchange by one mechanism with a client of xmpp/sasl.
func login(t *testing.T, h *Host, c Conn, mechanism string, cc sasl.ClientConfig) (*Principal, error) {
	t.Helper()
	cc.Encrypted, cc.AllowPlain = true, true
	client, err := sasl.NewClient([]string{mechanism}, &cc)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	x, err := h.Start(mechanism, c)
	if err != nil {
		return nil, err
	}
	response, has, err := client.Start()
	must(t, err)
	if !has {
		response = nil
	}
	for range 5 {
		challenge, p, err := x.Next(t.Context(), response)
		if err != nil {
			return nil, err
		}
		if p != nil {
			if err := client.Success(challenge); err != nil {
				t.Errorf("the client is not content: %v", err)
			}
			return p, nil
		}
		response, err = client.Next(challenge)
		must(t, err)
	}
	t.Fatal("the exchange does not end")
	return nil, nil
}

func wantFailure(t *testing.T, err error, c sasl.Condition) {
	t.Helper()
	var f *sasl.Failure
	if !errors.As(err, &f) || f.Condition != c {
		t.Errorf("error is %v, want %s", err, c)
	}
}

func TestAccounts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		_, h := open(t, d, newClock(), func(c *config.Auth) { c.MinPassword = 4 })
		ctx := t.Context()
		exists := func(local string, want bool) {
			t.Helper()
			if got, err := h.Exists(ctx, local); err != nil || got != want {
				t.Errorf("%s exists: %v, %v", local, got, err)
			}
		}
		exists("romeo", false)
		must(t, h.Create(ctx, "Romeo", "orchard"))
		exists("romeo", true)
		wantStanza(t, h.Create(ctx, "ROMEO", "orchard"), stanza.Conflict)
		for _, x := range []struct{ local, password string }{
			{"a@b", "orchard"}, {"", "orchard"}, {"a b", "orchard"}, {strings.Repeat("x", 1024), "orchard"},
			{"anon-" + strings.Repeat("a", 26), "orchard"},
			{"juliet", ""}, {"juliet", "abc"}, {"juliet", "a\x00bcd"}, {"juliet", strings.Repeat("x", 1025)}, {"juliet", "juliet"}, {"juliet", "Juliet@example.org"},
		} {
			wantStanza(t, h.Create(ctx, x.local, x.password), stanza.NotAcceptable)
		}
		exists("juliet", false)
		must(t, h.Create(ctx, "juliet", "bal\u212Bony")) // normalised to NFC
		for password, want := range map[string]bool{"bal\u00C5ony": true, "balcony": false, "": false} {
			if got, err := h.CheckPassword(ctx, "juliet", password); err != nil || got != want {
				t.Errorf("password %q: %v, %v", password, got, err)
			}
		}
		must(t, h.SetPassword(ctx, "juliet", "balcony", nil))
		if ok, err := h.CheckPassword(ctx, "juliet", "balcony"); !ok || err != nil {
			t.Errorf("the new password: %v, %v", ok, err)
		}
		wantStanza(t, h.SetPassword(ctx, "tybalt", "rapier", nil), stanza.ItemNotFound)
		wantStanza(t, h.SetDisabled(ctx, "tybalt", true), stanza.ItemNotFound)
		wantStanza(t, h.Delete(ctx, "tybalt", nil), stanza.ItemNotFound)
		exists("tybalt", false)

		must(t, h.SetDisabled(ctx, "juliet", true))
		list, err := h.List(ctx, "", 10)
		must(t, err)
		if len(list) != 2 || list[0].JID.String() != "juliet@example.org" || !list[0].Disabled || list[1].JID.String() != "romeo@example.org" || list[1].Disabled {
			t.Errorf("list is %+v", list)
		}
		if age := time.Since(list[0].Created); age < 0 || age > time.Minute {
			t.Errorf("juliet was created %s ago", age)
		}
		list, err = h.List(ctx, "juliet", 1)
		if must(t, err); len(list) != 1 || list[0].JID.Local() != "romeo" {
			t.Errorf("the second page is %+v", list)
		}
		if n, err := h.Count(ctx); n != 2 || err != nil {
			t.Errorf("count is %d, %v", n, err)
		}
	})
}

// TestDelete shows that what others keep of an account goes with it, or that nothing goes.
func TestDelete(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		_, h := open(t, d, newClock())
		ctx := t.Context()
		must(t, h.Create(ctx, "romeo", "orchard"))
		boom := errors.New("boom")
		err := h.Delete(ctx, "romeo", func(ctx context.Context, tx mod.Tx) error {
			if _, err := tx.Exec(ctx, `DELETE FROM auth_account WHERE local = ?`, "romeo"); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("error is %v", err)
		}
		if ok, err := h.Exists(ctx, "romeo"); !ok || err != nil {
			t.Errorf("romeo after a failed removal: %v, %v", ok, err)
		}
		called := false
		must(t, h.Delete(ctx, "romeo", func(context.Context, mod.Tx) error { called = true; return nil }))
		if ok, err := h.Exists(ctx, "romeo"); ok || err != nil || !called {
			t.Errorf("romeo after the removal: %v, %v, called %v", ok, err, called)
		}
		_, err = login(t, h, plainConn("192.0.2.1"), sasl.ScramSHA256, sasl.ClientConfig{Username: "romeo", Password: "orchard"})
		wantFailure(t, err, sasl.NotAuthorized)
	})
}

// TestExistsUnderWrites shows that the cache never says what was true before a write that has returned.
func TestExistsUnderWrites(t *testing.T) {
	d := dbtest.SQLite(t)
	a, h := open(t, d, newClock())
	ctx := t.Context()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := h.Exists(ctx, "romeo"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		r, err := a.Import(ctx, strings.NewReader("romeo@example.org,orchard\n"), ImportOptions{Share: true})
		if must(t, err); r.Imported != 1 {
			t.Fatalf("round %d: %+v", i, r)
		}
		if ok, err := h.Exists(ctx, "romeo"); !ok || err != nil {
			t.Fatalf("round %d: after creation: %v, %v", i, ok, err)
		}
		must(t, h.Delete(ctx, "romeo", nil))
		if ok, err := h.Exists(ctx, "romeo"); ok || err != nil {
			t.Fatalf("round %d: after removal: %v, %v", i, ok, err)
		}
	}
	close(stop)
	readers.Wait()
}

// TestExistsOfOthers shows that what another process writes is seen after a while.
func TestExistsOfOthers(t *testing.T) {
	clock := newClock()
	d := dbtest.SQLite(t)
	_, h := open(t, d, clock)
	_, other := open(t, d, clock)
	if ok, err := h.Exists(t.Context(), "romeo"); ok || err != nil {
		t.Fatal(ok, err)
	}
	must(t, other.Create(t.Context(), "romeo", "orchard"))
	clock.add(existsFor + time.Second)
	if ok, err := h.Exists(t.Context(), "romeo"); !ok || err != nil {
		t.Errorf("romeo exists: %v, %v", ok, err)
	}
}

func TestExistenceIsBounded(t *testing.T) {
	e := newExistence(newClock())
	for i := range maxKnown + 10 {
		_, _, epoch := e.get(fmt.Sprint(i))
		e.put(fmt.Sprint(i), true, epoch)
	}
	if len(e.by) > maxKnown {
		t.Errorf("%d are kept", len(e.by))
	}
	if ok, known, _ := e.get(fmt.Sprint(maxKnown + 9)); !ok || !known {
		t.Error("the newest is not known")
	}
}

// TestMechanisms logs in by each mechanism over real TLS.
func TestMechanisms(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		_, h := open(t, d, newClock(), func(c *config.Auth) { c.Plain = true })
		must(t, h.Create(t.Context(), "juliet", "balcony"))
		ca := ownCA(t)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			conn, state, leaf := tlsPair(t, ca, nil, version)
			want := []string{
				sasl.ScramSHA512Plus, sasl.ScramSHA256Plus, sasl.ScramSHA1Plus,
				sasl.ScramSHA512, sasl.ScramSHA256, sasl.ScramSHA1, sasl.Plain,
			}
			if got := h.Mechanisms(conn); !slices.Equal(got, want) {
				t.Errorf("offered are %v", got)
			}
			if got := h.Bindings(conn); !slices.Equal(got, []string{sasl.TLSExporter, sasl.TLSServerEndPoint}) {
				t.Errorf("bindings are %v", got)
			}
			exporter, err := sasl.ExporterBinding(&state)
			must(t, err)
			endPoint, err := sasl.EndPointBinding(leaf)
			must(t, err)
			for _, m := range want {
				for _, b := range []sasl.ChannelBinding{exporter, endPoint} {
					cc := sasl.ClientConfig{Username: "juliet", Password: "balcony"}
					if strings.HasSuffix(m, "-PLUS") {
						cc.Bindings = []sasl.ChannelBinding{b}
					}
					p, err := login(t, h, conn, m, cc)
					if err != nil {
						t.Errorf("%s: %v", m, err)
						continue
					}
					if p.JID().String() != "juliet@example.org" || p.Mechanism() != m || p.Anonymous() {
						t.Errorf("%s: principal is %+v", m, p)
					}
					cc.Password = "orchard"
					_, err = login(t, h, conn, m, cc)
					wantFailure(t, err, sasl.NotAuthorized)
					if strings.HasSuffix(m, "-PLUS") {
						cc.Password = "balcony"
						cc.Bindings = []sasl.ChannelBinding{{Type: b.Type, Data: bytes.Repeat([]byte{1}, 32)}}
						_, err = login(t, h, conn, m, cc) // somebody sits in the middle
						wantFailure(t, err, sasl.NotAuthorized)
					}
				}
			}
		}
	})
}

// TestOffers shows which mechanisms a stream and a configuration have, and that types of channel binding are announced with the mechanisms
// that use them, and never alone (XEP-0440#business-rules).
func TestOffers(t *testing.T) {
	d := dbtest.SQLite(t)
	conn, _, _ := tlsPair(t, ownCA(t), nil, tls.VersionTLS13)
	noLeaf := conn
	noLeaf.Leaf = nil
	bare := Conn{Remote: netip.MustParseAddr("192.0.2.1")}
	for _, x := range []struct {
		name     string
		change   func(*config.Auth)
		insecure bool
		anon     bool
		conn     Conn
		want     string
	}{
		{"TLS", nil, false, false, noLeaf, "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1"},
		{"no TLS", func(c *config.Auth) { c.Plain = true }, false, true, bare, ""},
		{"no TLS, insecure", func(c *config.Auth) { c.Plain = true }, true, true, bare, "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN ANONYMOUS"},
		{"TLS at the proxy", func(c *config.Auth) { c.Plain = true }, false, false, plainConn("192.0.2.1"), "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN"},
		{"without SHA-1", func(c *config.Auth) { c.SCRAMSHA1 = false }, false, false, conn, "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-512 SCRAM-SHA-256"},
		{"a short list", func(c *config.Auth) { c.Mechanisms = []string{"SCRAM-SHA-256"} }, false, false, conn, "SCRAM-SHA-256"},
		{"anonymous", func(c *config.Auth) { c.Mechanisms = []string{"ANONYMOUS"} }, false, true, conn, "ANONYMOUS"},
		{"plain is off", func(c *config.Auth) { c.Mechanisms = []string{"PLAIN"} }, false, false, conn, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			if x.change == nil {
				x.change = func(*config.Auth) {}
			}
			a, h := open(t, d, newClock(), x.change)
			must(t, a.Configure(settingsOf(x.change), x.insecure))
			a.Host(jid.MustParse("example.org"), x.anon)
			got := strings.Join(h.Mechanisms(x.conn), " ")
			if got != x.want {
				t.Errorf("offered are %s\nwant        %s", got, x.want)
			}
			types := h.Bindings(x.conn)
			if err := sasl.CheckOffer(h.Mechanisms(x.conn), types); err != nil {
				t.Errorf("the types %q do not go with %s", types, got)
			}
			if strings.Contains(got, "-PLUS") && slices.Contains(types, sasl.TLSServerEndPoint) != (x.conn.Leaf != nil) {
				t.Errorf("with the certificate %v the types are %q", x.conn.Leaf != nil, types)
			}
			for _, m := range []string{"EXTERNAL", "PLAIN", "ANONYMOUS", "SCRAM-SHA-1", "scram-sha-256", "", "CRAM-MD5"} {
				_, err := h.Start(m, x.conn)
				if slices.Contains(strings.Fields(x.want), m) {
					must(t, err)
				} else if err == nil {
					t.Errorf("%q was not offered and yet begins", m)
				}
			}
		})
	}
}

// TestUnknownUser shows that nobody learns who exists: the challenge of an unknown user is stable, differs by user and mechanism and looks
// like a real one, and the failure is the same.
func TestUnknownUser(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		_, h := open(t, d, newClock())
		must(t, h.Create(t.Context(), "juliet", "balcony"))
		sizes := map[string]int{sasl.ScramSHA1: 20, sasl.ScramSHA256: 32, sasl.ScramSHA512: 64}
		first := func(h *Host, user, mechanism string) (salt, iterations string) {
			t.Helper()
			x, err := h.Start(mechanism, plainConn("192.0.2.1"))
			must(t, err)
			challenge, p, err := x.Next(t.Context(), []byte("n,,n="+user+",r=abcdefgh"))
			if must(t, err); p != nil {
				t.Fatal("a principal after the first message")
			}
			parts := strings.Split(string(challenge), ",")
			_, _, err = x.Next(t.Context(), []byte("c=biws,"+parts[0]+",p="+base64.StdEncoding.EncodeToString(make([]byte, sizes[mechanism]))))
			wantFailure(t, err, sasl.NotAuthorized)
			if text := err.Error(); strings.Contains(text, user) {
				t.Errorf("the failure tells the user: %s", text)
			}
			return parts[1], parts[2]
		}
		_, again := open(t, d, newClock()) // the server restarts
		seen := make(map[string]bool)
		for _, user := range []string{"juliet", "nobody", "somebody"} {
			for _, m := range []string{sasl.ScramSHA1, sasl.ScramSHA256, sasl.ScramSHA512} {
				salt, iterations := first(h, user, m)
				salt2, _ := first(h, user, m)
				salt3, _ := first(again, user, m)
				if salt != salt2 || salt != salt3 {
					t.Errorf("%s of %s: the salt changes", m, user)
				}
				if seen[salt] {
					t.Errorf("%s of %s: the salt is not its own", m, user)
				}
				seen[salt] = true
				if len(salt) != len("s=")+24 || iterations != "i=4096" {
					t.Errorf("%s of %s: %s %s", m, user, salt, iterations)
				}
			}
		}
	})
}

// TestDowngradeProtection has the client check what it was offered (XEP-0474#hash, XEP-0474#example), and by which version of TLS
// (XEP-0515#hex, XEP-0515#example).
func TestDowngradeProtection(t *testing.T) {
	// The example of the XEP.
	got := protect(sasl.SHA1, &sasl.ServerConfig{
		Allowed: []string{sasl.ScramSHA1, sasl.ScramSHA1Plus}, Credentials: &Exchange{}, Encrypted: true,
		Bindings: []sasl.ChannelBinding{{Type: sasl.TLSServerEndPoint, Data: []byte{1}}, {Type: sasl.TLSExporter, Data: []byte{1}}},
	}, new(Conn))
	if got[0] != (sasl.Attribute{Name: 'h', Value: "G6k/rBLDqgOhRRaCuuatSDFkJ08="}) {
		t.Errorf("the example gives %+v", got)
	}
	conn, _, _ := tlsPair(t, ownCA(t), nil, tls.VersionTLS13)
	_, h := open(t, dbtest.SQLite(t), newClock())
	must(t, h.Create(t.Context(), "juliet", "balcony"))
	checkDowngradeHash(t, h, []Conn{conn, plainConn("192.0.2.1")}, sasl.ScramSHA1, sasl.ScramSHA256, sasl.ScramSHA512)
	// Where no mechanism uses a binding none is announced, and none is in the hash.
	_, h = open(t, dbtest.SQLite(t), newClock(), func(c *config.Auth) { c.Mechanisms = []string{sasl.ScramSHA256} })
	must(t, h.Create(t.Context(), "juliet", "balcony"))
	checkDowngradeHash(t, h, []Conn{conn}, sasl.ScramSHA256)
}

// checkDowngradeHash logs in on each connection by each mechanism, and computes the attributes from what was offered.
func checkDowngradeHash(t *testing.T, h *Host, conns []Conn, mechanisms ...string) {
	t.Helper()
	for _, m := range mechanisms {
		for _, c := range conns {
			names, types := h.Mechanisms(c), h.Bindings(c)
			slices.Sort(names)
			slices.Sort(types)
			text := strings.Join(names, "\x1e")
			if len(types) > 0 {
				text += "\x1f" + strings.Join(types, "\x1e")
			}
			seen := false
			_, err := login(t, h, c, m, sasl.ClientConfig{Username: "juliet", Password: "balcony", CheckFirst: func(_ sasl.Hash, as []sasl.Attribute) error {
				f := map[string]crypto.Hash{sasl.ScramSHA1: crypto.SHA1, sasl.ScramSHA256: crypto.SHA256, sasl.ScramSHA512: crypto.SHA512}[m].New()
				f.Write([]byte(text))
				want := []sasl.Attribute{{Name: 'h', Value: base64.StdEncoding.EncodeToString(f.Sum(nil))}}
				if c.TLS != nil {
					want = append(want, sasl.Attribute{Name: 't', Value: "0304"}) // XEP-0515#hex
				}
				seen = slices.Equal(as, want)
				return nil
			}})
			if must(t, err); !seen {
				t.Errorf("%s: the hash is wrong", m)
			}
		}
	}
}

// TestAuthzid: nobody acts as another, nor as who the header of the stream does not name (RFC 6120 §6.3.8, XEP-0388#initiation, §4.4).
func TestAuthzid(t *testing.T) {
	_, h := open(t, dbtest.SQLite(t), newClock(), func(c *config.Auth) { c.Plain = true })
	must(t, h.Create(t.Context(), "juliet", "balcony"))
	must(t, h.Create(t.Context(), "romeo", "orchard"))
	for _, m := range []string{sasl.Plain, sasl.ScramSHA256} {
		for authzid, good := range map[string]bool{
			"": true, "juliet@example.org": true, "JULIET@EXAMPLE.ORG": true, "romeo@example.org": false, "juliet@example.com": false,
			"juliet@example.org/x": false, "example.org": false, "juliet": false, "@": false,
		} {
			p, err := login(t, h, plainConn("192.0.2.1"), m, sasl.ClientConfig{Username: "juliet", Password: "balcony", Authzid: authzid})
			if !good {
				wantFailure(t, err, sasl.InvalidAuthzid)
			} else if err != nil || p.JID().String() != "juliet@example.org" {
				t.Errorf("%s as %q: %v", m, authzid, err)
			}
		}
	}
	for from, good := range map[string]bool{"": true, "juliet@example.org": true, "juliet@example.org/balcony": true, "romeo@example.org": false} {
		var r Request
		if from != "" {
			r.From = jid.MustParse(from)
		}
		x, err := h.Start2(sasl.Plain, plainConn("192.0.2.1"), r)
		must(t, err)
		if _, _, err = x.Next(t.Context(), []byte("juliet@example.org\x00juliet\x00balcony")); good {
			must(t, err)
		} else {
			wantFailure(t, err, sasl.InvalidAuthzid)
		}
	}
	// A simple user name is expected, not an address.
	_, err := login(t, h, plainConn("192.0.2.1"), sasl.Plain, sasl.ClientConfig{Username: "juliet@example.org", Password: "balcony"})
	wantFailure(t, err, sasl.NotAuthorized)
}

func TestDisabled(t *testing.T) {
	_, h := open(t, dbtest.SQLite(t), newClock())
	must(t, h.Create(t.Context(), "juliet", "balcony"))
	must(t, h.SetDisabled(t.Context(), "juliet", true))
	cc := sasl.ClientConfig{Username: "juliet", Password: "balcony"}
	_, err := login(t, h, plainConn("192.0.2.1"), sasl.ScramSHA256, cc)
	wantFailure(t, err, sasl.AccountDisabled)
	cc.Password = "wrong" // who does not know the password does not learn that it is disabled
	_, err = login(t, h, plainConn("192.0.2.1"), sasl.ScramSHA256, cc)
	wantFailure(t, err, sasl.NotAuthorized)
	must(t, h.SetDisabled(t.Context(), "juliet", false))
	cc.Password = "balcony"
	_, err = login(t, h, plainConn("192.0.2.1"), sasl.ScramSHA256, cc)
	must(t, err)
}

// TestChangedMeanwhile changes an account while somebody logs in who has begun already: here, and from another process.
func TestChangedMeanwhile(t *testing.T) {
	ctx := t.Context()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		clock := newClock()
		_, h := open(t, d, clock)
		exec := func(query string) error {
			return d.Write(ctx, func(tx mod.Tx) error {
				_, err := tx.Exec(ctx, query)
				return err
			})
		}
		for _, x := range []struct {
			name   string
			change func() error
			want   sasl.Condition
		}{
			{"nothing", func() error { return nil }, ""},
			{"disabled", func() error { return h.SetDisabled(ctx, "juliet", true) }, sasl.AccountDisabled},
			{"deleted", func() error { return h.Delete(ctx, "juliet", nil) }, sasl.NotAuthorized},
			{"disabled by another process", func() error {
				clock.add(lookFor)
				return exec(`UPDATE auth_account SET disabled = TRUE`)
			}, sasl.AccountDisabled},
			{"deleted by another process", func() error {
				clock.add(lookFor)
				return exec(`DELETE FROM auth_account`)
			}, sasl.NotAuthorized},
		} {
			t.Run(x.name, func(t *testing.T) {
				if err := h.Create(ctx, "juliet", "balcony"); err != nil {
					must(t, h.Delete(ctx, "juliet", nil))
					must(t, h.Create(ctx, "juliet", "balcony"))
				}
				client, err := sasl.NewClient([]string{sasl.ScramSHA256}, &sasl.ClientConfig{Username: "juliet", Password: "balcony", Encrypted: true})
				must(t, err)
				s, err := h.Start(sasl.ScramSHA256, plainConn("192.0.2.1"))
				must(t, err)
				first, _, err := client.Start()
				must(t, err)
				challenge, _, err := s.Next(ctx, first)
				must(t, err)
				final, err := client.Next(challenge)
				must(t, err)
				must(t, x.change())
				_, p, err := s.Next(ctx, final)
				if x.want == "" {
					if must(t, err); p == nil {
						t.Error("nobody has logged in")
					}
					return
				}
				wantFailure(t, err, x.want)
			})
		}
	})
}

// TestFailures shows that a password cannot be guessed on and on, and that nobody can lock another one out.
func TestFailures(t *testing.T) {
	clock := newClock()
	_, h := open(t, dbtest.SQLite(t), clock, func(c *config.Auth) { c.Failures = 3; c.Plain = true })
	must(t, h.Create(t.Context(), "juliet", "balcony"))
	try := func(user, password, addr, mechanism string) error {
		t.Helper()
		_, err := login(t, h, plainConn(addr), mechanism, sasl.ClientConfig{Username: user, Password: password})
		return err
	}
	for i := range 3 {
		m := []string{sasl.ScramSHA256, sasl.Plain, sasl.ScramSHA1}[i]
		wantFailure(t, try("juliet", "wrong", "2001:db8::1", m), sasl.NotAuthorized)
		wantFailure(t, try("nobody", "wrong", "2001:db8::1", m), sasl.NotAuthorized)
	}
	for _, m := range []string{sasl.ScramSHA256, sasl.Plain} {
		wantFailure(t, try("juliet", "balcony", "2001:db8::1", m), sasl.TemporaryAuthFailure)
		wantFailure(t, try("juliet", "balcony", "2001:db8::2", m), sasl.TemporaryAuthFailure) // the same /64
		wantFailure(t, try("nobody", "wrong", "2001:db8::1", m), sasl.TemporaryAuthFailure)   // no difference
	}
	must(t, try("juliet", "balcony", "2001:db8:0:1::1", sasl.ScramSHA256))
	clock.add(10*time.Minute + time.Second)
	must(t, try("juliet", "balcony", "2001:db8::1", sasl.ScramSHA256))
	// A success clears the count.
	for range 2 {
		wantFailure(t, try("juliet", "wrong", "192.0.2.1", sasl.Plain), sasl.NotAuthorized)
	}
	must(t, try("juliet", "balcony", "192.0.2.1", sasl.Plain))
	for range 2 {
		wantFailure(t, try("juliet", "wrong", "192.0.2.1", sasl.Plain), sasl.NotAuthorized)
	}
	must(t, try("juliet", "balcony", "192.0.2.1", sasl.Plain))
}

func TestFailuresAreBounded(t *testing.T) {
	f := newFailures()
	now := time.Now()
	a := netip.MustParseAddr("192.0.2.1")
	for i := range maxFailures + 100 {
		f.add(failureOf(fmt.Sprint(i), a), time.Hour, now)
	}
	if len(f.by) > maxFailures {
		t.Errorf("%d are kept", len(f.by))
	}
	if !f.exceeded(failureOf(fmt.Sprint(maxFailures+99), a), 1, now) {
		t.Error("the newest is forgotten")
	}
	if f.exceeded(failureOf(fmt.Sprint(maxFailures+99), a), 0, now) {
		t.Error("0 is a limit")
	}
}

func TestAnonymous(t *testing.T) {
	a, h := open(t, dbtest.SQLite(t), newClock())
	a.Host(jid.MustParse("example.org"), true)
	seen := make(map[string]bool)
	for range 20 {
		p, err := login(t, h, plainConn("192.0.2.1"), sasl.Anonymous, sasl.ClientConfig{Anonymous: true, Trace: "sirhc"})
		must(t, err)
		local := p.JID().Local()
		if !p.Anonymous() || seen[local] || len(local) != anonLen || strings.Contains(local, "sirhc") {
			t.Errorf("principal is %+v", p)
		}
		if _, err := jid.PrepareLocal(local); err != nil {
			t.Error(err)
		}
		seen[local] = true
	}
}

// TestExternal logs in by client certificates (XEP-0178#c2s).
func TestExternal(t *testing.T) {
	ca, foreign := ownCA(t), ownCA(t)
	d := dbtest.SQLite(t)
	_, h := open(t, d, newClock(), func(c *config.Auth) { c.ClientCA = ca.File() })
	for _, local := range []string{"juliet", "romeo", "tybalt"} {
		must(t, h.Create(t.Context(), local, "secret"))
	}
	must(t, h.SetDisabled(t.Context(), "tybalt", true))
	cert := func(ca *listen.OwnCA, jids ...string) *tls.Certificate {
		t.Helper()
		p, err := ca.Client("client", jids...)
		must(t, err)
		c, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
		must(t, err)
		return &c
	}
	for _, x := range []struct {
		name    string
		cert    *tls.Certificate
		authzid string
		want    string // localpart
		fails   sasl.Condition
	}{
		{"one address", cert(ca, "juliet@example.org"), "", "juliet", ""},
		{"one address, named", cert(ca, "Juliet@example.org"), "juliet@example.org", "juliet", ""},
		{"several, one of this host", cert(ca, "juliet@example.com", "romeo@example.org"), "", "romeo", ""},
		{"several", cert(ca, "juliet@example.org", "romeo@example.org"), "", "", sasl.InvalidAuthzid},
		{"several, named", cert(ca, "juliet@example.org", "romeo@example.org"), "romeo@example.org", "romeo", ""},
		{"another one named", cert(ca, "juliet@example.org"), "romeo@example.org", "", sasl.InvalidAuthzid},
		{"without account", cert(ca, "mercutio@example.org"), "", "", sasl.NotAuthorized},
		{"disabled", cert(ca, "tybalt@example.org"), "", "", sasl.AccountDisabled},
		{"another host's", cert(ca, "juliet@example.com"), "", "", sasl.InvalidMechanism},
		{"full address", cert(ca, "juliet@example.org/x"), "", "", sasl.InvalidMechanism},
		{"domain", cert(ca, "example.org"), "", "", sasl.InvalidMechanism},
		{"foreign authority", cert(foreign, "juliet@example.org"), "", "", sasl.InvalidMechanism},
		{"none", nil, "", "", sasl.InvalidMechanism},
	} {
		t.Run(x.name, func(t *testing.T) {
			conn, _, _ := tlsPair(t, ca, x.cert, tls.VersionTLS13)
			if offered := slices.Contains(h.Mechanisms(conn), sasl.External); offered != (x.fails != sasl.InvalidMechanism) {
				t.Errorf("offered: %v", offered)
			}
			p, err := login(t, h, conn, sasl.External, sasl.ClientConfig{External: true, Authzid: x.authzid})
			if x.fails != "" {
				wantFailure(t, err, x.fails)
			} else if err != nil || p.JID().Local() != x.want {
				t.Errorf("principal %+v, error %v", p, err)
			}
		})
	}
	_, err := New(t.Context(), d, Options{Config: settingsOf(func(c *config.Auth) { c.ClientCA = "absent" }), Clock: newClock(), Metrics: observe.NewMetrics()})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file gives %v", err)
	}
}

func TestImport(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		a, h := open(t, d, newClock())
		ctx := t.Context()
		must(t, h.Create(ctx, "romeo", "orchard"))
		text := "\ufeffJID,Password\njuliet@example.org,\"bal,\"\"cony\"\nRomeo@example.org,other\n" +
			"x@nowhere.org,p\n@example.org,p\nexample.org,p\na@example.org/r,p\nb@example.org\nc@example.org,\nd@example.org,p,q\nbad\"quote@example.org,p\n\ne@example.org,p\n"
		r, err := a.Import(ctx, strings.NewReader(text), ImportOptions{})
		must(t, err)
		if r.Imported != 2 || r.Existing != 1 || r.Failed != 8 || len(r.Problems) != 8 {
			t.Errorf("result is %+v", r)
		}
		for _, p := range r.Problems {
			if !strings.HasPrefix(p, "line ") || strings.Contains(p, "p,q") {
				t.Errorf("problem %q", p)
			}
		}
		check := func(local, password string, want bool) {
			t.Helper()
			if ok, err := h.CheckPassword(ctx, local, password); ok != want || err != nil {
				t.Errorf("%s with %s: %v, %v", local, password, ok, err)
			}
		}
		check("juliet", `bal,"cony`, true)
		check("romeo", "orchard", true)
		r, err = a.Import(ctx, strings.NewReader("romeo@example.org,other\n"), ImportOptions{Replace: true})
		if must(t, err); r.Imported != 1 {
			t.Errorf("result is %+v", r)
		}
		check("romeo", "other", true)

		var many strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&many, "user%d@example.org,secret\n", i)
		}
		begin := time.Now()
		r, err = a.Import(ctx, strings.NewReader(many.String()), ImportOptions{Share: true})
		if must(t, err); r.Imported != 2000 {
			t.Errorf("result is %+v", r)
		}
		t.Logf("2000 accounts in %s", time.Since(begin))
		check("user1999", "secret", true)
		if _, err := login(t, h, plainConn("192.0.2.1"), sasl.ScramSHA1, sasl.ClientConfig{Username: "user7", Password: "secret"}); err != nil {
			t.Error(err)
		}
	})
}

// brokenReader fails in the middle.
type brokenReader struct{ n int }

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.n++; b.n > 3 {
		return 0, errors.New("the line is dead")
	}
	return copy(p, "a"+fmt.Sprint(b.n)+"@example.org,p\n"), nil
}

func TestImportThatBreaks(t *testing.T) {
	d := dbtest.SQLite(t)
	a, h := open(t, d, newClock())
	r, err := a.Import(t.Context(), new(brokenReader), ImportOptions{})
	if err == nil || !strings.Contains(err.Error(), "the line is dead") || r.Imported != 3 {
		t.Errorf("result is %+v, error %v", r, err)
	}
	if n, err := h.Count(t.Context()); n != 3 || err != nil {
		t.Errorf("%d accounts, %v", n, err)
	}
	must(t, d.Close())
	r, err = a.Import(t.Context(), strings.NewReader("x@example.org,p\n"), ImportOptions{})
	if err == nil || r.Imported != 0 {
		t.Errorf("with a closed database: %+v, %v", r, err)
	}
	x, err := h.Start(sasl.ScramSHA256, plainConn("192.0.2.1"))
	must(t, err)
	_, _, err = x.Next(t.Context(), []byte("n,,n=x,r=abcdefgh"))
	wantFailure(t, err, sasl.TemporaryAuthFailure)
}

func TestTrust(t *testing.T) {
	if p := Trust(jid.MustParse("romeo@example.org/orchard")); p.JID().String() != "romeo@example.org" || p.Mechanism() != "" || p.Anonymous() {
		t.Errorf("principal is %+v", p)
	}
}
