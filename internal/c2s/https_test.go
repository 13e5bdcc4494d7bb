package c2s

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/config"
)

// certificate makes one that nobody vouches for.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

type countMetrics struct{ waits, refused atomic.Int64 }

func (*countMetrics) Session(string, int)           {}
func (*countMetrics) StreamError(string)            {}
func (m *countMetrics) Refused(string)              { m.refused.Add(1) }
func (m *countMetrics) HandshakeWait(time.Duration) { m.waits.Add(1) }

// TestHTTPSHandshakes has web clients come while all turns are taken: they wait, those beyond the bound are sent away, one that
// says nothing takes no turn, and what is sent after the handshake needs none.
func TestHTTPSHandshakes(t *testing.T) {
	m := new(countMetrics)
	limits := config.Default().Limits
	limits.HandshakesWaiting = 1
	s := New(Options{Log: slog.New(slog.DiscardHandler), Metrics: m, Settings: Settings{Limits: limits}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := s.Handshakes(ln, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	defer l.Close()
	go func() { // echoes
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial() // says nothing
	taken := s.gate.free
	for range taken {
		if err := s.gate.enter(false); err != nil {
			t.Fatal(err)
		}
	}
	type outcome struct {
		c   *tls.Conn
		err error
	}
	ended := make(chan outcome, 2)
	for range 2 {
		raw := dial()
		go func() {
			c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
			ended <- outcome{c, c.HandshakeContext(t.Context())}
		}()
	}
	if o := <-ended; o.err == nil {
		t.Error("a handshake is done though nobody has a turn")
	}
	if m.refused.Load() != 1 || s.HandshakesWaiting() != 1 {
		t.Errorf("%d were sent away, %d wait", m.refused.Load(), s.HandshakesWaiting())
	}
	for range taken {
		s.gate.leave()
	}
	o := <-ended
	if o.err != nil {
		t.Fatal(o.err)
	}
	if _, err := o.c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := io.ReadFull(o.c, b[:]); err != nil || b[0] != 'x' {
		t.Errorf("the echo is %q, %v", b, err)
	}
	if s.gate.free != taken {
		t.Errorf("%d turns are free, want %d", s.gate.free, taken)
	}
}
