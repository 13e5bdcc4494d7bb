package s2s_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/dnstest"
	"sabir/internal/listen"
	"sabir/internal/server"
	"sabir/mod"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// patience bounds what a test waits for. It is met on a machine with nothing else to do within milliseconds.
const patience = 2 * time.Minute

// world is a few servers that know one another by a zone, and trust one authority.
type world struct {
	*dnstest.Zone
	t    *testing.T
	ca   *listen.OwnCA
	pool *x509.CertPool
	keys *sasl.KeyCache
	// untrusted keeps the authority from the servers.
	untrusted bool
	extra     string    // lines of the configuration
	clock     mod.Clock // of the servers that are started; nil for the real one
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldAt(t, "")
}

func newWorldAt(t *testing.T, dnsAddress string) *world {
	t.Helper()
	ca, err := listen.OpenCA(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Zone: dnstest.New(t, dnsAddress), t: t, ca: ca, pool: x509.NewCertPool(), keys: sasl.NewKeyCache(64)}
	w.pool.AddCert(ca.Certificate())
	return w
}

// sabir is a server that can be stopped and started again.
type sabir struct {
	*server.Server
	w       *world
	domains []string
	config  string
	dir     string
	host    string // an address of its own, so that nobody takes its ports while it is stopped
	ports   map[config.Purpose]string
	log     *logBuffer
	clock   mod.Clock
	stop    func()
}

// logBuffer keeps what a server logs, to be shown where the test fails.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// servers counts those that were started.
var servers atomic.Uint32

// start starts a server for domains, with lines of TOML of the section [s2s] and below.
func (w *world) start(s2s string, domains ...string) *sabir {
	w.t.Helper()
	s := &sabir{w: w, clock: w.clock, domains: domains, config: s2s, dir: w.t.TempDir(), ports: make(map[config.Purpose]string), log: new(logBuffer)}
	n := servers.Add(1)
	s.host = fmt.Sprintf("127.%d.%d.%d", 1+n>>16&0x7f, n>>8&0xff, n&0xff)
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", domains[0], s.log)
		}
		if keep := os.Getenv("SABIR_S2S_LOG"); keep != "" {
			if err := os.WriteFile(filepath.Join(keep, domains[0]+".log"), []byte(s.log.String()), 0o600); err != nil {
				w.t.Error(err)
			}
		}
	})
	s.up()
	for _, d := range domains {
		w.Point(w.t, d, s.ports[config.S2S], s.ports[config.S2STLS])
	}
	return s
}

// up starts it, on the ports it has had before.
func (s *sabir) up() {
	t := s.w.t
	t.Helper()
	text := fmt.Sprintf("data_dir = %q\nauth.iterations = 4096\nauth.failures = 0\nauth.min_password = 1\nlimits.connections_per_address = 0\nlimits.byte_rate = 0\n", s.dir)
	text += s.w.extra + "outbound.allow = [\"127.0.0.0/8\"]\n"
	if !s.w.untrusted {
		text += fmt.Sprintf("outbound.ca = %q\n", s.w.ca.File())
	}
	for _, d := range s.domains {
		pair, err := s.w.ca.Leaf(d)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("[[host]]\ndomain = %q\ncertificate = %q\nkey = %q\n", d, pair.Certificate, pair.Key)
	}
	for _, p := range []config.Purpose{config.C2S, config.S2S, config.S2STLS} {
		addr := s.ports[p]
		if addr == "" {
			addr = s.host + ":0"
		}
		text += fmt.Sprintf("[[listen]]\naddress = %q\npurpose = %q\n", addr, p)
	}
	text += fmt.Sprintf("[s2s]\nresolver = %q\n%s\n", s.w.Addr, s.config)
	cfg, err := config.Parse(filepath.Join(s.dir, "sabir.toml"), []byte(text), server.Sections(nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv, err := server.New(ctx, cfg, server.Options{Log: log, Clock: s.clock})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	s.Server = srv
	for _, p := range []config.Purpose{config.C2S, config.S2S, config.S2STLS} {
		s.ports[p] = srv.Addr(p)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("%s: %v", s.domains[0], err)
		}
	})
	t.Cleanup(s.stop)
}

// user is somebody who is logged in.
type user struct {
	*client.Client
	t    *testing.T
	jid  jid.JID
	mu   sync.Mutex
	got  []*stanza.Stanza
	news chan struct{}
}

// login makes an account, where it is not there yet, and logs in with initial presence.
func (s *sabir) login(address string) *user {
	s.w.t.Helper()
	u := s.connect(address)
	u.arrive()
	return u
}

// arrive asks for the roster and sends initial presence.
func (u *user) arrive() {
	u.t.Helper()
	if _, err := u.Request(u.t.Context(), stanza.TypeGet, jid.JID{}, xmlstream.El("jabber:iq:roster", "query")); err != nil {
		u.t.Fatal(err)
	}
	u.send(stanza.New(stanza.Presence, ""))
}

// connect is login without presence.
func (s *sabir) connect(address string) *user {
	t := s.w.t
	t.Helper()
	j := jid.MustParse(address)
	if ok, err := s.Accounts(j.DomainJID()).Exists(t.Context(), j.Local()); err != nil || !ok {
		if err := s.Accounts(j.DomainJID()).Create(t.Context(), j.Local(), "secret"); err != nil {
			t.Fatal(err)
		}
	}
	cfg := client.Config{Via: client.STARTTLS, Address: s.ports[config.C2S], JID: j, Password: "secret", Keys: s.w.keys, Timeout: patience}
	cfg.TLS = tlsFor(s.w.pool, j.Domain())
	c, err := client.Dial(t.Context(), &cfg)
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	return watch(t, c)
}

// watch collects what comes for a client, which ends with the test.
func watch(t *testing.T, c *client.Client) *user {
	u := &user{Client: c, t: t, jid: c.JID(), news: make(chan struct{}, 1)}
	go u.collect()
	t.Cleanup(func() {
		if err := c.Abort(); err != nil {
			t.Error(err)
		}
	})
	return u
}

func (u *user) collect() {
	for s := range u.Stanzas() {
		if s.Request() && s.Has("urn:xmpp:ping", "ping") { // a store that hands out in parts waits for that
			if u.Send(s.Result(nil)) != nil {
				return // the connection has ended
			}
		}
		u.mu.Lock()
		u.got = append(u.got, s)
		u.mu.Unlock()
		select {
		case u.news <- struct{}{}:
		default:
		}
	}
}

func (u *user) send(s *stanza.Stanza) {
	u.t.Helper()
	if err := u.Send(s); err != nil {
		u.t.Fatalf("%s: %v", u.jid, err)
	}
}

// say sends a chat message.
func (u *user) say(to, id string) {
	u.t.Helper()
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "text of "+id))
	m.ID, m.To = id, jid.MustParse(to)
	u.send(m)
}

// presence sends a presence.
func (u *user) presence(typ, to string) {
	u.t.Helper()
	p := stanza.New(stanza.Presence, typ)
	p.To = jid.MustParse(to)
	u.send(p)
}

// all returns what has come.
func (u *user) all() []*stanza.Stanza {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*stanza.Stanza(nil), u.got...)
}

// seek waits for a stanza, and returns nil where it does not come in time. Others may wait at the same time.
func (u *user) seek(within time.Duration, is func(*stanza.Stanza) bool) *stanza.Stanza {
	for end := time.Now().Add(within); ; time.Sleep(2 * time.Millisecond) {
		all := u.all()
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i]
		}
		if time.Now().After(end) {
			return nil
		}
	}
}

// await is message, but returns nil where it does not come in time.
func (u *user) await(within time.Duration, id string) *stanza.Stanza {
	return u.seek(within, func(s *stanza.Stanza) bool { return s.Kind == stanza.Message && s.ID == id })
}

// wait waits for a stanza.
func (u *user) wait(what string, is func(*stanza.Stanza) bool) *stanza.Stanza {
	u.t.Helper()
	deadline := time.After(patience)
	for {
		for _, s := range u.all() {
			if is(s) {
				return s
			}
		}
		select {
		case <-u.news:
		case <-deadline:
			u.t.Fatalf("%s has not got %s, but %v", u.jid, what, u.all())
		}
	}
}

// message waits for a message of an id.
func (u *user) message(id string) *stanza.Stanza {
	u.t.Helper()
	return u.wait("the message "+id, func(s *stanza.Stanza) bool { return s.Kind == stanza.Message && s.ID == id })
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
