package s2s_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// badCase is a case of the catalogue of bad input. Its fields are those of internal/badinput.
type badCase struct {
	ID     string   `json:"id"`
	Layer  string   `json:"layer"`
	State  string   `json:"state"`
	Send   []string `json:"send"`
	Expect outcome  `json:"expect"`
	Accept []outcome
	Open   bool   `json:"open"`
	Why    string `json:"why"`

	Observe []struct {
		Actor          string `json:"actor"`
		MustNotReceive string `json:"must_not_receive"`
		MustReceive    string `json:"must_receive"`
	} `json:"observe"`
}

type outcome struct {
	Type      string `json:"type"`
	Condition any    `json:"condition"`
	Alive     bool   `json:"alive_after"`
}

func (o outcome) conditions() []string {
	switch c := o.Condition.(type) {
	case string:
		return []string{c}
	case []any:
		var list []string
		for _, v := range c {
			list = append(list, v.(string))
		}
		return list
	}
	return nil
}

// rawPeer speaks to a server by hand.
type rawPeer struct {
	t    *testing.T
	conn net.Conn
	dec  *xmlstream.Decoder
	sid  string
}

// next reads the next event; EOF and a reset are io.EOF.
func (r *rawPeer) next(within time.Duration) (xmlstream.Event, error) {
	deadline := time.Now().Add(within)
	buf := make([]byte, 4096)
	for {
		ev, err := r.dec.Next()
		if !errors.Is(err, xmlstream.ErrMore) {
			return ev, err
		}
		if err := r.conn.SetReadDeadline(deadline); err != nil {
			return ev, io.EOF
		}
		n, err := r.conn.Read(buf)
		r.dec.Feed(append([]byte(nil), buf[:n]...))
		if n == 0 && err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				return ev, err
			}
			return ev, io.EOF
		}
	}
}

// frame reads the next element.
func (r *rawPeer) frame() *xmlstream.Element {
	r.t.Helper()
	for {
		ev, err := r.next(patience)
		if err != nil {
			r.t.Fatalf("reading: %v", err)
		}
		switch ev.Kind {
		case xmlstream.StreamStart:
			r.sid = ev.Header.Attr("id")
		case xmlstream.FrameEvent:
			return ev.Frame.Element()
		case xmlstream.StreamEnd:
			r.t.Fatal("the stream has ended")
		}
	}
}

func (r *rawPeer) write(s string) error {
	_, err := io.WriteString(r.conn, s)
	return err
}

func (r *rawPeer) must(s string) {
	r.t.Helper()
	if err := r.write(s); err != nil {
		r.t.Fatal(err)
	}
}

const rawHeader = "<?xml version='1.0'?><stream:stream from='peer.example' to='a.example' version='1.0' xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams'>"

// rawDial takes a connection to a state.
func (s *sabir) rawDial(t *testing.T, state string, cert *tls.Certificate) *rawPeer {
	t.Helper()
	c, err := net.Dial("tcp", s.ports[config.S2S])
	if err != nil {
		t.Fatal(err)
	}
	r := &rawPeer{t: t, conn: c, dec: xmlstream.NewDecoder(xmlstream.Limits{})}
	t.Cleanup(func() { r.conn.Close() })
	if state == "tcp" {
		return r
	}
	r.must(rawHeader)
	r.frame()
	r.must("<starttls xmlns='" + stream.NSTLS + "'/>")
	if x := r.frame(); x.Name.Local != "proceed" {
		t.Fatalf("no TLS: %s", x)
	}
	conf := &tls.Config{RootCAs: s.w.pool, ServerName: "a.example"}
	if cert != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	r.conn = tls.Client(c, conf)
	r.dec = xmlstream.NewDecoder(xmlstream.Limits{})
	if state == "tls" {
		return r
	}
	r.must(rawHeader)
	r.frame()
	if !strings.HasPrefix(state, "authed") {
		return r
	}
	r.must("<bidi xmlns='urn:xmpp:bidi'/><auth xmlns='" + stream.NSSASL + "' mechanism='EXTERNAL'>=</auth>")
	if x := r.frame(); x.Name.Local != "success" {
		t.Fatalf("no success: %s", x)
	}
	r.dec.Restart()
	r.must(rawHeader)
	r.frame()
	return r
}

// leaf makes a certificate of the world's authority.
func (w *world) leaf(t *testing.T, c *x509.Certificate) *tls.Certificate {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(w.ca.File()), "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	caKey, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotBefore.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, w.ca.Certificate(), &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var macroRE = regexp.MustCompile(`\{(hex|b64|drip:[0-9]+|key-for):([^{}]*)\}`)

// expand replaces the macros of a case.
func expand(s string, names map[string]string) string {
	for k, v := range names {
		s = strings.ReplaceAll(s, "{"+k+"}", v)
	}
	return macroRE.ReplaceAllStringFunc(s, func(m string) string {
		p := macroRE.FindStringSubmatch(m)
		switch p[1] {
		case "hex":
			b, err := hex.DecodeString(p[2])
			if err != nil {
				panic(err)
			}
			return string(b)
		case "b64":
			return base64.StdEncoding.EncodeToString([]byte(p[2]))
		case "key-for":
			return "0123456789abcdef"
		}
		return p[2] // dripped
	})
}

func badCases(t *testing.T) []badCase {
	t.Helper()
	var list []badCase
	for _, file := range []string{"../badinput/testdata/catalogue.jsonl", "testdata/more.jsonl"} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var c badCase
			if err := json.Unmarshal(sc.Bytes(), &c); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if c.Layer == "s2s" {
				list = append(list, c)
			}
		}
	}
	return list
}

// TestBadInput runs the group s2s of the catalogue, and more of the kind.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	a := w.start("auth = \"certificate\"\n[[s2s.domain]]\ndomain = \"peer.example\"\nauth = \"dialback\"\n[[s2s.domain]]\ndomain = \"other.example\"\nauth = \"dialback\"\n", "a.example", "c.example")
	w.start("", "peer.example", "other.example") // the authoritative server of keys that it has not made
	victim := a.login("victim@a.example/phone")
	good := w.leaf(t, &x509.Certificate{DNSNames: []string{"peer.example"}})
	expired := w.leaf(t, &x509.Certificate{DNSNames: []string{"peer.example"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	injected := w.leaf(t, &x509.Certificate{DNSNames: []string{"evil.example"}, Subject: pkix.Name{OrganizationalUnit: []string{"CN=peer.example,"}}})
	certs := map[string]*tls.Certificate{"stream-cert-expired": expired, "stream-cert-ou-cn": injected}
	for _, c := range badCases(t) {
		t.Run(c.ID, func(t *testing.T) {
			names := map[string]string{
				"domain": "a.example", "otherdomain": "c.example", "peer": "peer.example", "PEER": "PEER.EXAMPLE", "otherpeer": "other.example",
				"victim": "victim@a.example", "victim_full": "victim@a.example/phone", "HS": "", "sid": "",
			}
			if c.State == "tls" || c.State == "tcp" {
				names["HS"] = rawHeader
			}
			cert := good
			if other, ok := certs[c.State]; ok {
				cert = other
			}
			if strings.HasPrefix(c.ID, "s2s-slowloris") {
				t.Skip("TestSlow does so with a time of its own")
			}
			r := a.rawDial(t, c.State, cert)
			names["sid"] = r.sid
			before := len(victim.all())
			for _, s := range c.Send {
				if err := r.write(expand(s, names)); err != nil {
					break // it has been cut off already; what it was told is read below
				}
			}
			got := r.outcome(c)
			if !slices.ContainsFunc(append([]outcome{c.Expect}, c.Accept...), got.fits) {
				t.Errorf("%s: got %+v, want %+v or %+v", c.Why, got, c.Expect, c.Accept)
			}
			// The victim has what was sent to it before this, and not what it must not have.
			victim.say("victim@a.example/phone", "fence-"+c.ID)
			victim.message("fence-" + c.ID)
			for _, o := range c.Observe {
				has := slices.ContainsFunc(victim.all()[before:], func(s *stanza.Stanza) bool { return strings.Contains(s.String(), o.MustNotReceive) })
				if o.MustNotReceive != "" && has {
					t.Errorf("%s: the victim has received %q", c.Why, o.MustNotReceive)
				}
			}
			for _, line := range strings.Split(a.log.String(), "\n") {
				if strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") {
					t.Errorf("the log: %s", line)
				}
			}
		})
	}
}

// TestSlow drips a stream header, and says nothing at all: each connection ends when its time is over.
func TestSlow(t *testing.T) {
	w := newWorld(t)
	w.extra = "limits.auth_timeout = \"1s\"\n"
	a := w.start("", "a.example")
	for _, state := range []string{"tcp", "tls", "stream"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			r := a.rawDial(t, state, nil)
			stop := make(chan struct{})
			go func() {
				for i := range rawHeader {
					select {
					case <-stop:
						return
					case <-time.After(100 * time.Millisecond):
					}
					if state != "tcp" || r.write(rawHeader[i:i+1]) != nil {
						return
					}
				}
			}()
			got := r.outcome(badCase{})
			close(stop)
			if !got.closed || got.streamError != string(stream.ConnectionTimeout) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// seen is what a peer has got in answer.
type seen struct {
	streamError, stanzaError, dialback, sasl string
	closed                                   bool
	ended                                    bool
}

// outcome reads until the answer to a ping comes, or the end.
func (r *rawPeer) outcome(c badCase) seen {
	var s seen
	if strings.HasPrefix(c.State, "authed") {
		// Its answer tells that all before it was handled. It is one more stanza, of a pair that was proved.
		r.write("<iq type='get' id='fence' from='peer.example' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>")
	}
	within := patience
	if c.Expect.Type == "ignored" {
		within = time.Second
	}
	for {
		ev, err := r.next(within)
		switch {
		case errors.Is(err, io.EOF):
			s.closed = true
			return s
		case err != nil:
			return s
		case ev.Kind == xmlstream.StreamEnd:
			s.closed = true
			return s
		case ev.Kind != xmlstream.FrameEvent:
			continue
		}
		x := ev.Frame.Element()
		switch {
		case x.Is(stream.NS, "error"):
			s.streamError = string(stream.ParseError(x).Condition)
		case x.Name.Space == "jabber:server:dialback":
			s.dialback = x.Attr("type")
			for k := range x.Elements() {
				s.dialback += "/" + k.First().Name.Local
			}
			if s.dialback != "invalid" || strings.HasPrefix(c.State, "authed") || x.Name.Local == "verify" {
				return s
			}
		case x.Is(stream.NSSASL, "failure"):
			s.sasl = x.First().Name.Local
			return s
		case x.Attr("id") == "fence":
			s.ended = true
			return s
		case x.Attr("type") == "error":
			for k := range x.Elements() {
				if k.Name.Local == "error" {
					s.stanzaError = k.First().Name.Local
				}
			}
		case c.Expect.Type == "ok" && c.State != "authed", slices.ContainsFunc(c.Accept, func(o outcome) bool { return o.Type == "ok" }) && x.Is(stream.NS, "features"):
			return s
		}
	}
}

func (s seen) fits(o outcome) bool {
	is := func(got string) bool {
		return got != "" && (o.conditions() == nil || slices.Contains(o.conditions(), got) || slices.ContainsFunc(o.conditions(), func(c string) bool { return strings.HasPrefix(got, c) }))
	}
	if s.closed == o.Alive {
		return false
	}
	switch o.Type {
	case "stream-error":
		return is(s.streamError)
	case "stanza-error":
		return is(s.stanzaError) && s.ended
	case "dialback":
		return is(s.dialback)
	case "sasl-failure":
		return is(s.sasl)
	case "ok", "ignored":
		return s.streamError == "" && s.sasl == "" && s.stanzaError == ""
	case "close":
		return s.closed
	}
	return false
}
