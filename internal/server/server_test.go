package server_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/server"
	"sabir/xmpp/jid"
)

// TestConversation logs two users in over STARTTLS with raw bytes, so that it depends on nothing of the library's
// client, and lets one write to the other.
func TestConversation(t *testing.T) {
	s := start(t)
	romeo := login(t, s, "romeo", "orchard")
	juliet := login(t, s, "juliet", "balcony")
	juliet.send("<presence/>")
	romeo.send("<message to='juliet@localhost/balcony' type='chat' id='m1'><body>Neither, fair saint</body></message>")
	got := juliet.expect("</message>")
	for _, want := range []string{"from='romeo@localhost/orchard'", "id='m1'", "type='chat'", "<body>Neither, fair saint</body>"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	romeo.send("<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	if got := romeo.expect("/>"); !strings.Contains(got, "type='result'") {
		t.Errorf("a ping was answered with %s", got)
	}
	romeo.send("</stream:stream>")
	romeo.expect("</stream:stream>")
}

// TestAlertAdmins: who administers a host is written to, nobody else is.
func TestAlertAdmins(t *testing.T) {
	s := start(t)
	romeo := login(t, s, "romeo", "orchard")
	juliet := login(t, s, "juliet", "balcony")
	for _, w := range []*raw{romeo, juliet} {
		w.send("<presence/>")
	}
	s.AlertAdmins("elsewhere.example", "nobody hears of it")
	s.AlertAdmins("localhost", "It ends <soon>.")
	got := juliet.expect("</message>")
	for _, want := range []string{"from='localhost'", "to='juliet@localhost'", "<subject>Certificate of localhost</subject>", "<body>It ends &lt;soon&gt;.</body>"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	juliet.send("<message to='romeo@localhost/orchard' type='chat'><body>after it</body></message>")
	if got := romeo.expect("</message>"); strings.Contains(got, "Certificate") {
		t.Errorf("everybody hears of it: %s", got)
	}
}

// start starts a server for localhost with the accounts romeo and juliet, whose passwords are
// "secret-secret". Juliet administers it.
func start(t *testing.T) *server.Server {
	t.Helper()
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	text := fmt.Sprintf(`data_dir = %q
[database]
url = "sqlite:%s"
[auth]
plain = true
[[host]]
domain = "localhost"
certificate = %q
key = %q
admins = ["juliet"]
[[listen]]
address = "127.0.0.1:0"
purpose = "c2s"
`, dir, filepath.Join(dir, "test.db"), cert, key)
	cfg, err := config.Parse(filepath.Join(dir, "sabir.toml"), []byte(text), server.Sections(nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := server.New(ctx, cfg, server.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	for _, local := range []string{"romeo", "juliet"} {
		if err := s.Accounts(jid.MustParse("localhost")).Create(ctx, local, "secret-secret"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kb}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// raw is a client that knows no XML.
type raw struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

const header = "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

func login(t *testing.T, s *server.Server, local, resource string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr(config.C2S))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w := &raw{t, c, bufio.NewReader(c)}
	w.send(header)
	w.expect("</stream:features>")
	w.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	w.expect("<proceed")
	w.expect("/>")
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	w.c, w.r = tc, bufio.NewReader(tc)
	w.send(header)
	w.expect("</stream:features>")
	w.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain(local, "secret-secret") + "</auth>")
	w.expect("<success")
	w.expect("/>")
	w.send(header)
	w.expect("</stream:features>")
	w.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
	if got := w.expect("</iq>"); !strings.Contains(got, local+"@localhost/"+resource) {
		t.Fatalf("binding was answered with %s", got)
	}
	return w
}

func (w *raw) send(s string) {
	w.t.Helper()
	if _, err := w.c.Write([]byte(s)); err != nil {
		w.t.Fatal(err)
	}
}

// expect reads up to and with end.
func (w *raw) expect(end string) string {
	w.t.Helper()
	if err := w.c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	var b strings.Builder
	for !strings.HasSuffix(b.String(), end) {
		c, err := w.r.ReadByte()
		if err != nil {
			w.t.Fatalf("waiting for %s: %v after %s", end, err, b.String())
		}
		b.WriteByte(c)
	}
	return b.String()
}

func plain(local, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + local + "\x00" + password))
}
