package badinput

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/engine/pubsub"
	"sabir/internal/config"
	"sabir/internal/listen"
	"sabir/internal/server"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const domain = "sabir.test"

// canary is a part of every password of the tests, and nothing that is logged.
const canary = "c4n4ry"

// account is one with its password.
type account struct{ local, password string }

func (a account) bare() string { return a.local + "@" + domain }

// plain is the initial response of PLAIN (RFC 4616).
func (a account) plain() string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + a.local + "\x00" + a.password))
}

// harness is a server in the test's process, watched.
type harness struct {
	srv   *server.Server
	log   *watchedLog
	clock shifted
	tls   *tls.Config
	keys  *sasl.KeyCache
	n     atomic.Int64
	// shared says that cases run side by side.
	shared bool
	// calm is the number of goroutines of the process while no client is connected.
	calm  int
	guest account // who looks after each case whether the server is well
	admin account // by the configuration
}

// newHarness starts a server with its default limits but for the lines of TOML in settings.
func newHarness(t testing.TB, settings ...string) *harness {
	t.Helper()
	dir := t.TempDir()
	ca, err := listen.OpenCA(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Leaf(domain)
	if err != nil {
		t.Fatal(err)
	}
	// PLAIN is off by default; many cases are about it. 4096 iterations are cheap.
	text := fmt.Sprintf("data_dir = %q\ndatabase.url = \"sqlite:%s\"\nauth.plain = true\nauth.iterations = 4096\nauth.attempts = 5\n%s\n", dir, filepath.Join(dir, "test.db"), strings.Join(settings, "\n"))
	text += fmt.Sprintf("[[host]]\ndomain = %q\ncertificate = %q\nkey = %q\nadmins = [\"admin\"]\n", domain, pair.Certificate, pair.Key)
	for _, p := range []config.Purpose{config.C2S, config.C2STLS, config.HTTPS} {
		text += fmt.Sprintf("[[listen]]\naddress = \"127.0.0.1:0\"\npurpose = %q\n", p)
	}
	cfg, err := config.Parse(filepath.Join(dir, "sabir.toml"), []byte(text), server.Sections(nil))
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{log: newWatchedLog(), keys: sasl.NewKeyCache(64)}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	h.tls = &tls.Config{RootCAs: pool, ServerName: domain}
	ctx, cancel := context.WithCancel(context.Background())
	if h.srv, err = server.New(ctx, cfg, server.Options{Log: slog.New(h.log.handler), Clock: &h.clock}); err != nil {
		cancel()
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- h.srv.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		h.log.search(t)
	})
	h.guest = h.account(t, "guest")
	h.admin = h.create(t, account{"admin", canary + "-admin"})
	h.foreign(ctx)
	return h
}

// foreignNode is a node of publish-subscribe that belongs to nobody who sends bad input.
const foreignNode = "foreign"

// foreign makes it, as the administrator.
func (h *harness) foreign(ctx context.Context) {
	create := xmlstream.El(pubsub.NS, "pubsub", xmlstream.El(pubsub.NS, "create", xmlstream.A("node", foreignNode)))
	from := jid.MustParse("admin@" + domain + "/desk")
	h.srv.Route(ctx, stanza.NewIQ(stanza.TypeSet, from, jid.MustParse("pubsub."+domain), create))
}

// settle notes how many goroutines there are while all is quiet.
func (h *harness) settle(t testing.TB) {
	t.Helper()
	if err := h.well(nil); err != nil {
		t.Fatal(err)
	}
	last, same := 0, 0
	for same < 10 {
		time.Sleep(10 * time.Millisecond)
		n, _, err := goroutines()
		if err != nil {
			t.Fatal(err)
		}
		if n == last {
			same++
		} else {
			last, same = n, 0
		}
	}
	h.calm = last
}

// slack is how many goroutines may come and stay that belong to no client: those of the database pool. A leak of one
// in each case is found after as many cases.
const slack = 3

// spare is how many goroutines the server may keep for a while for the logins to come.
const spare = 64

// idleWorker is where those wait.
const idleWorker = "sabir/internal/c2s.(*workers).run"

// goroutines counts the goroutines, those apart that wait for another login.
func goroutines() (n, idle int, err error) {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return 0, 0, err
	}
	for record := range strings.SplitSeq(b.String(), "\n\n") {
		// "2 @ 0x… 0x…" and a line for each frame, the innermost first.
		head, frames, _ := strings.Cut(record, "\n#")
		head = head[strings.LastIndex(head, "\n")+1:]
		var k int
		if _, err := fmt.Sscanf(head, "%d @", &k); err != nil {
			continue // the headline
		}
		top, _, _ := strings.Cut(frames, "\n")
		if strings.Contains(top, idleWorker) {
			idle += k
		} else {
			n += k
		}
	}
	return n, idle, nil
}

// quiet waits until the goroutines of the clients are gone.
func (h *harness) quiet() error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		n, idle, err := goroutines()
		if err != nil || n <= h.calm+slack && idle <= spare {
			return err
		}
		if time.Now().After(deadline) {
			b := make([]byte, 8<<10)
			return fmt.Errorf("%d goroutines are left and %d wait for logins, %d were there before:\n%s", n, idle, h.calm, b[:runtime.Stack(b, true)])
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// account makes an account with a fresh name and password.
func (h *harness) account(t testing.TB, hint string) account {
	t.Helper()
	var b [6]byte
	rand.Read(b[:]) // never fails
	return h.create(t, account{fmt.Sprintf("%s%d", hint, h.n.Add(1)), canary + hex.EncodeToString(b[:])})
}

func (h *harness) create(t testing.TB, a account) account {
	t.Helper()
	if err := h.srv.Accounts(jid.MustParse(domain)).Create(t.Context(), a.local, a.password); err != nil {
		t.Fatal(err)
	}
	return a
}

// dial connects to the socket of a purpose.
func (h *harness) dial(name string, acc account, p config.Purpose) (*actor, error) {
	c, err := net.Dial("tcp", h.srv.Addr(p))
	if err != nil {
		return nil, err
	}
	return newActor(name, acc, c.(*net.TCPConn)), nil
}

// connect takes a connection to a state. See testCase.State.
func (h *harness) connect(name string, acc account, state string) (*actor, error) {
	p := config.C2S
	switch state {
	case "direct-tls":
		p = config.C2STLS
	case "ws", "-":
		p = config.HTTPS
	}
	a, err := h.dial(name, acc, p)
	if err != nil {
		return nil, err
	}
	if err := h.bring(a, state); err != nil {
		a.close()
		return nil, fmt.Errorf("reaching the state %s: %w", state, err)
	}
	return a, nil
}

func (h *harness) bring(a *actor, state string) error {
	switch state {
	case "tcp":
		a.read()
		return nil
	case "direct-tls":
		return nil // the case makes the handshake
	case "ws", "-":
		cfg := h.tls.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		if err := a.handshake(cfg); err != nil {
			return err
		}
		if state == "-" {
			a.raw = true
		} else {
			if err := upgrade(a.conn, domain); err != nil {
				return err
			}
			a.ws = true
		}
		a.read()
		return nil
	case "tls", "tls12", "stream", "sasl2", "auth", "bound", "sm":
	default:
		return fmt.Errorf("there is no state %q", state)
	}
	if err := a.open(domain); err != nil {
		return err
	}
	cfg := h.tls
	if state == "tls12" {
		a.keys = new(keyLog)
		cfg = tls12(h.tls, a.keys)
	}
	if err := a.startTLS(cfg); err != nil {
		return err
	}
	if state == "tls" {
		a.read()
		return nil
	}
	if err := a.open(domain); err != nil || state == "stream" || state == "sasl2" || state == "tls12" {
		return err
	}
	if err := a.login(domain); err != nil || state == "auth" {
		return err
	}
	if err := a.bind("phone"); err != nil || state == "bound" {
		return err
	}
	return a.manage()
}

// well checks that a new client gets in and is answered. It takes word to actors, which thereby have got whatever was
// sent to them before.
func (h *harness) well(tell []*actor) error {
	cfg := client.Config{Via: client.STARTTLS, Address: h.srv.Addr(config.C2S), TLS: h.tls, Keys: h.keys, Password: h.guest.password, Timeout: 10 * time.Second}
	cfg.JID = jid.MustParse(h.guest.bare())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	start := time.Now()
	c, err := client.Dial(ctx, &cfg)
	if err != nil {
		return fmt.Errorf("a fresh client cannot log in: %w", err)
	}
	if err = c.Ping(ctx, jid.JID{}); err != nil {
		return fmt.Errorf("a fresh client gets no answer: %w", err)
	}
	if took := time.Since(start); took > freshTime {
		return fmt.Errorf("a fresh client was served after %v only", took)
	}
	for i, a := range tell {
		m := stanza.New(stanza.Message, stanza.TypeHeadline, xmlstream.El(stanza.NSClient, "subject", "the harness was here"))
		m.ID, m.To = fmt.Sprintf("barrier-%d-%d", time.Now().UnixNano(), i), jid.MustParse(a.full)
		from, _ := a.mark()
		if err := c.Send(m); err != nil {
			return err
		}
		if a.waitFrame(5*time.Second, from, func(f *xmlstream.Frame) bool { return f.Attr("id") == m.ID }) == nil && a.end() == nil {
			return a.fail("a message of a fresh client did not arrive")
		}
	}
	return c.Close(ctx)
}

// watchedLog keeps the log of the server and looks for what must not be in it.
type watchedLog struct {
	handler slog.Handler
	mu      sync.Mutex
	buf     bytes.Buffer
	seen    int // until here it was looked at
	secrets []string
}

func newWatchedLog() *watchedLog {
	l := new(watchedLog)
	l.buf.Grow(8 << 20) // so that it is not the log that makes memory grow
	l.handler = slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})
	return l
}

func (l *watchedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// news returns the lines since the last call that tell of a panic or an error, and all lines.
func (l *watchedLog) news() (bad, all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all = strings.Split(strings.TrimSuffix(string(l.buf.Bytes()[l.seen:]), "\n"), "\n")
	l.seen = l.buf.Len()
	for _, line := range all {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			bad = append(bad, line)
		}
	}
	return bad, all
}

// search looks for secrets in the whole log.
func (l *watchedLog) search(t testing.TB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.SplitSeq(l.buf.String(), "\n") {
		if slices.ContainsFunc(l.secrets, func(s string) bool { return strings.Contains(line, s) }) {
			t.Errorf("a token or the id of a client is in the log: %s", line)
		}
		if strings.Contains(line, canary) {
			t.Errorf("a password is in the log: %s", line)
		}
		if line != "" && !strings.HasPrefix(line, "time=") {
			t.Errorf("a line of the log was split: %.200q", line)
		}
	}
	if path := os.Getenv("BADINPUT_LOG"); path != "" {
		if err := os.WriteFile(path, l.buf.Bytes(), 0o600); err != nil {
			t.Error(err)
		}
	}
}
