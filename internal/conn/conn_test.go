package conn_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"sabir/internal/conn"
)

// pair returns both ends of a TCP connection, the first as a Conn.
func pair(t *testing.T) (*conn.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	own, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := conn.New(own, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); peer.Close() })
	return c, peer
}

// readAll reads n bytes in the way of a stream: Read until ErrAgain, then Wait.
func readAll(t *testing.T, c *conn.Conn, n int) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 1000)
	for len(all) < n {
		k, err := c.Read(buf)
		all = append(all, buf[:k]...)
		if errors.Is(err, conn.ErrAgain) {
			err = c.Wait()
		}
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", len(all), n, err)
		}
	}
	return all
}

func certificate(t *testing.T) *tls.Config {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"b"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}}
}

func TestPlain(t *testing.T) {
	c, peer := pair(t)
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, conn.ErrAgain) {
		t.Fatalf("reading nothing: %v", err)
	}
	want := bytes.Repeat([]byte("0123456789"), 10_000)
	go peer.Write(want)
	if got := readAll(t, c, len(want)); !bytes.Equal(got, want) {
		t.Error("other bytes arrived")
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var ne net.Error
	if err := c.Wait(); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("waiting beyond the deadline: %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	peer.Close()
	if err := c.Wait(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// TestTLS sends data together with the end of the handshake: it lies in the tls.Conn before anybody has waited.
func TestTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, peer := pair(t)
		cfg := certificate(t)
		done := make(chan error, 1)
		go func() {
			p := tls.Client(peer, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			_, err := p.Write([]byte("first"))
			if err == nil {
				_, err = io.Copy(p, p)
			}
			done <- err
		}()
		if err := c.Handshake(context.Background(), cfg, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err != nil { // returns although nothing more will come
			t.Fatal(err)
		}
		if got := readAll(t, c, 5); string(got) != "first" {
			t.Errorf("got %q", got)
		}
		want := bytes.Repeat([]byte("x"), 100_000)
		go c.Write(want)
		if got := readAll(t, c, len(want)); !bytes.Equal(got, want) {
			t.Error("other bytes came back")
		}
		if c.TLS() == nil || c.TLS().Version != version {
			t.Error("the state of TLS is not told")
		}
		c.Close()
		<-done
	}
}

// TestTryWrite fills the socket of a peer that does not read: nothing waits, and nothing is lost when it reads at last.
func TestTryWrite(t *testing.T) {
	c, peer := pair(t)
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	sent, left := 0, false
	for !left {
		var err error
		if left, err = c.TryWrite(chunk); err != nil { // one that waited would wait for ever
			t.Fatal(err)
		}
		if sent += len(chunk); sent > 1<<30 {
			t.Fatal("the socket takes everything")
		}
	}
	flushed := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("end"))
		flushed <- err
	}()
	got := make([]byte, sent+3)
	if _, err := io.ReadFull(peer, got); err != nil {
		t.Fatal(err)
	}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	for i := 0; i < sent; i += len(chunk) {
		if !bytes.Equal(got[i:i+len(chunk)], chunk) {
			t.Fatalf("other bytes at %d", i)
		}
	}
	if string(got[sent:]) != "end" {
		t.Errorf("the end is %q", got[sent:])
	}
}

func TestPending(t *testing.T) {
	c, peer := pair(t)
	if c.Pending() {
		t.Error("something waits in a new connection")
	}
	if _, err := peer.Write([]byte("<proceed/>injected")); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if !c.Pending() {
		t.Error("what was injected is not seen")
	}
}

// oneTurn is a gate with one turn.
type oneTurn struct {
	free   chan struct{}
	begun  int
	refuse error
}

func (g *oneTurn) Enter(begun bool) error {
	if begun {
		g.begun++
	}
	if g.refuse != nil {
		return g.refuse
	}
	<-g.free
	return nil
}

func (g *oneTurn) Leave() { g.free <- struct{}{} }

// TestHandshakeGate: a handshake holds its turn while it works only. A peer that says nothing, or half of what it has to say, takes
// nobody's place; its time is bounded, and the time at the gate is not counted as its.
func TestHandshakeGate(t *testing.T) {
	cfg := certificate(t)
	g := &oneTurn{free: make(chan struct{}, 1)}
	g.free <- struct{}{}
	for _, said := range []string{"", "\x16\x03\x01\x00\xff\x01"} {
		slow, peer := pair(t)
		if _, err := io.WriteString(peer, said); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		go func() { failed <- slow.HandshakeBy(t.Context(), cfg, 200*time.Millisecond, g) }()
		var ne net.Error
		if err := <-failed; !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("a peer that said %q: %v", said, err)
		}
		if len(g.free) != 1 {
			t.Fatal("the turn was not given back")
		}
	}
	c, peer := pair(t)
	held := make(chan struct{})
	<-g.free // somebody works, for longer than the peer may take
	go func() {
		defer close(held)
		time.Sleep(2500 * time.Millisecond)
		g.Leave()
	}()
	done := make(chan error, 1)
	go func() { done <- c.HandshakeBy(t.Context(), cfg, 2*time.Second, g) }()
	client := tls.Client(peer, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	<-held
	if g.begun == 0 || len(g.free) != 1 {
		t.Errorf("%d turns after the first, %d are free", g.begun, len(g.free))
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, c, 5); string(got) != "hello" {
		t.Errorf("read %q", got)
	}
	c2, peer2 := pair(t)
	go tls.Client(peer2, &tls.Config{InsecureSkipVerify: true}).Handshake()
	refused := errors.New("no room")
	if err := c2.HandshakeBy(t.Context(), cfg, 30*time.Second, &oneTurn{refuse: refused}); !errors.Is(err, refused) {
		t.Errorf("refused: %v", err)
	}
}

// TestHandshakeEnds: a handshake ends with its context, whatever the peer does.
func TestHandshakeEnds(t *testing.T) {
	c, peer := pair(t)
	if _, err := io.WriteString(peer, "\x16\x03\x01\x00\xff\x01"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	cfg := certificate(t)
	go func() { done <- c.Handshake(ctx, cfg, time.Hour) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
