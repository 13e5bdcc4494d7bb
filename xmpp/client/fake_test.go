package client

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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const domain = "example.test"

// fakeServer accepts connections and plays a part on each.
type fakeServer struct {
	t    *testing.T
	addr string
	cert tls.Certificate
	pool *x509.CertPool
}

// peer is the server's end of a connection, in a test's hands. Its methods end the goroutine of the part where the
// connection ends.
type peer struct {
	srv  *fakeServer
	conn net.Conn
	dec  *xmlstream.Decoder
	mech string // that the client has logged in by
}

var (
	certOnce sync.Once
	certMade tls.Certificate
	certPool *x509.CertPool
)

// testCert returns a certificate for domain and the pool to trust it.
func testCert(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	certOnce.Do(func() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		certPool = x509.NewCertPool()
		certPool.AddCert(c)
		certMade = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: c}
	})
	return certMade, certPool
}

// errPart ends a part.
type errPart struct{ error }

// serve starts a server that plays a part on every connection, with TLS from the start where direct.
func serve(t *testing.T, direct bool, part func(p *peer)) *fakeServer {
	t.Helper()
	s := &fakeServer{t: t}
	s.cert, s.pool = testCert(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if direct {
		l = tls.NewListener(l, s.tls())
	}
	s.addr = l.Addr().String()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() { s.play(c, part) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return s
}

func (s *fakeServer) tls() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{s.cert}, NextProtos: []string{"xmpp-client"}}
}

func (s *fakeServer) play(c net.Conn, part func(p *peer)) {
	defer c.Close()
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(errPart); !ok {
				panic(v)
			}
		}
	}()
	if t, ok := c.(*tls.Conn); ok {
		if err := t.HandshakeContext(context.Background()); err != nil {
			return
		}
	}
	part(&peer{srv: s, conn: c, dec: xmlstream.NewDecoder(xmlstream.DefaultLimits)})
}

func (p *peer) send(text string) {
	if _, err := p.conn.Write([]byte(text)); err != nil {
		panic(errPart{err})
	}
}

func (p *peer) event() xmlstream.Event {
	var b [4096]byte
	for {
		ev, err := p.dec.Next()
		if err == nil {
			return ev
		}
		if !errors.Is(err, xmlstream.ErrMore) {
			panic(errPart{err})
		}
		n, err := p.conn.Read(b[:])
		if err != nil {
			panic(errPart{err})
		}
		p.dec.Feed(b[:n])
	}
}

// next waits for an element; the end of the stream ends the part after an answer.
func (p *peer) next() *xmlstream.Frame {
	ev := p.event()
	if ev.Kind == xmlstream.StreamEnd {
		p.send(stream.CloseTCP)
		panic(errPart{errors.New("the end")})
	}
	return ev.Frame
}

// open waits for a header and answers with one and with features.
func (p *peer) open(features string) {
	p.dec.Restart()
	if ev := p.event(); ev.Kind != xmlstream.StreamStart {
		panic(errPart{errors.New("no header")})
	}
	p.send(string(stream.Header{From: domain, ID: stream.NewStreamID()}.AppendTCP(nil)) + features)
}

const (
	offerTLS  = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
	offerBind = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"
)

func offerSASL(mechanisms ...string) string {
	return "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>" + strings.Join(mechanisms, "</mechanism><mechanism>") +
		"</mechanism></mechanisms></stream:features>"
}

// startTLS offers TLS and does the handshake.
func (p *peer) startTLS() {
	p.open(offerTLS)
	p.next()
	p.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	p.encrypt()
}

func (p *peer) encrypt() {
	s := tls.Server(p.conn, p.srv.tls())
	if err := s.HandshakeContext(context.Background()); err != nil {
		panic(errPart{err})
	}
	p.conn, p.dec = s, xmlstream.NewDecoder(xmlstream.DefaultLimits)
}

// keyring knows romeo's password.
type keyring struct{ password string }

func (k keyring) Verifier(_ context.Context, user string, h sasl.Hash) (sasl.Verifier, bool, error) {
	if user != "romeo" {
		return sasl.Verifier{}, false, nil
	}
	v, err := sasl.NewVerifier(h, k.password, []byte("0123456789abcdef"), sasl.MinIterations)
	return v, err == nil, err
}

func (p *peer) saslConfig() *sasl.ServerConfig {
	c := &sasl.ServerConfig{Encrypted: true, Credentials: keyring{"secret"}, Decoy: sasl.Decoy{Secret: make([]byte, 16)}}
	if t, ok := p.conn.(*tls.Conn); ok {
		state := t.ConnectionState()
		if b, err := sasl.ExporterBinding(&state); err == nil {
			c.Bindings = []sasl.ChannelBinding{b}
		}
	}
	return c
}

// login opens, takes a login and opens again; it returns false where the login failed.
func (p *peer) login() bool {
	c := p.saslConfig()
	p.open(offerSASL(c.Mechanisms()...))
	x := p.next().Element()
	p.mech = x.Attr("mechanism")
	s, err := sasl.NewServer(p.mech, c)
	for {
		var data, out []byte
		done := false
		if err == nil {
			data, err = sasl.DecodeBase64(x.Text())
		}
		if err == nil {
			out, done, err = s.Next(context.Background(), data)
		}
		switch {
		case err != nil:
			var f *sasl.Failure
			if !errors.As(err, &f) {
				panic(errPart{err})
			}
			p.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><" + string(f.Condition) + "/><text>no</text></failure>")
			return false
		case done:
			p.send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + sasl.EncodeBase64(out) + "</success>")
			p.open(offerBind)
			return true
		}
		p.send("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + sasl.EncodeBase64(out) + "</challenge>")
		x = p.next().Element()
	}
}

// bind grants the resource that is asked for, or "server".
func (p *peer) bind() {
	x := p.next().Element()
	r := x.Child(stream.NSBind, "bind").ChildText(stream.NSBind, "resource")
	if r == "" {
		r = "server"
	}
	p.send(fmt.Sprintf("<iq type='result' id='%s'><bind xmlns='%s'><jid>romeo@%s/%s</jid></bind></iq>", x.Attr("id"), stream.NSBind, domain, r))
}

// session does all until stanzas may come.
func (p *peer) session() {
	p.startTLS()
	if !p.login() {
		panic(errPart{errors.New("the login failed")})
	}
	p.bind()
}

// config is for romeo on the fake server.
func (s *fakeServer) config() *Config {
	return &Config{JID: jid.MustParse("romeo@" + domain), Password: "secret", Address: s.addr, TLS: &tls.Config{RootCAs: s.pool}, Timeout: 5 * time.Second}
}

// serveWS starts a server that speaks over WebSocket, grants everything and echoes messages.
func serveWS(t *testing.T, subprotocol string) (url string, pool *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		ctx := r.Context()
		opened := 0
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			f, err := xmlstream.ParseFrame(b, xmlstream.DefaultLimits)
			if err != nil {
				return
			}
			var out []string
			switch n := f.Name(); n.Local {
			case "open":
				opened++
				features := offerSASL("PLAIN")
				if opened == 2 {
					features = offerBind
				}
				out = []string{string(stream.Header{From: domain, ID: "x"}.AppendWS(nil)), strings.Replace(features, "<stream:features>", "<stream:features xmlns:stream='"+stream.NS+"'>", 1)}
			case "auth":
				out = []string{"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"}
			case "iq":
				out = []string{"<iq xmlns='jabber:client' type='result' id='" + f.Attr("id") + "'><bind xmlns='" + stream.NSBind + "'><jid>romeo@" + domain + "/ws</jid></bind></iq>"}
			case "close":
				out = []string{stream.CloseWS}
			default:
				out = []string{string(b)}
			}
			for _, o := range out {
				if err := c.Write(ctx, websocket.MessageText, []byte(o)); err != nil {
					return
				}
			}
		}
	}))
	cert, pool := testCert(t)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "https", "wss", 1), pool
}
