//go:build unix

package conn_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"sabir/internal/conn"
)

// TestFieldsOfTLS fails with a Go whose crypto/tls has other buffers: look there what has become of them.
func TestFieldsOfTLS(t *testing.T) {
	if !conn.FieldsFound() {
		t.Error("a tls.Conn has not the buffers that are known")
	}
}

// crumbs writes a few bytes at a time, and waits until they were read.
type crumbs struct {
	net.Conn
	size int
	next func()
}

func (c crumbs) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		k, err := c.Conn.Write(p[:min(c.size, len(p))])
		if n += k; err != nil {
			return n, err
		}
		p = p[k:]
		c.next()
	}
	return n, nil
}

// TestLentBuffers: whatever piece of a record has come, nothing but that piece stays with an idle connection, and all
// arrives whole; not even a long record leaves something behind.
func TestLentBuffers(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, peer := pair(t)
		quiet := func() {}
		sender := &crumbs{peer, 1 << 20, func() { quiet() }}
		client := tls.Client(sender, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		failed := make(chan error, 1)
		go func() { failed <- client.Handshake() }()
		if err := c.Handshake(context.Background(), certificate(t), 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{}, 1000)
		sender.size, quiet = 700, func() { <-read }
		want := bytes.Repeat([]byte("0123456789"), 2000) // two records
		go func() {
			_, err := client.Write(want)
			failed <- err
		}()
		var got []byte
		buf := make([]byte, 3000)
		for pieces := 0; len(got) < len(want); pieces++ {
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
			for {
				n, err := c.Read(buf)
				got = append(got, buf[:n]...)
				if errors.Is(err, conn.ErrAgain) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if c.Kept() > c.Partial()+c.Partial()/4+64 {
				t.Fatalf("version %x: it keeps %d bytes for %d", version, c.Kept(), c.Partial())
			}
			if pieces > 0 || len(got) > 0 || c.Partial() > 0 { // the first Wait after a handshake may find nothing
				read <- struct{}{}
			}
		}
		close(read)
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("version %x: other bytes came", version)
		}
	}
}

// TestReadKeepsNothing: once all that has come was read, nothing is kept while it is handled, not only when it is asked again; then
// there is nothing, until more comes.
func TestReadKeepsNothing(t *testing.T) {
	c, peer := pair(t)
	client := tls.Client(peer, &tls.Config{InsecureSkipVerify: true})
	failed := make(chan error, 1)
	go func() { failed <- client.Handshake() }()
	if err := c.Handshake(context.Background(), certificate(t), 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for _, word := range []string{"one", "two", "three"} {
		if _, err := client.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		n := 0
		for n == 0 { // the first Wait after a handshake may find nothing
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
			var err error
			if n, err = c.Read(buf); err != nil && !errors.Is(err, conn.ErrAgain) {
				t.Fatal(err)
			}
		}
		if string(buf[:n]) != word || c.Kept() != 0 || c.Waiting() != 0 {
			t.Errorf("%q was read, %d bytes are kept, and %d wait", buf[:n], c.Kept(), c.Waiting())
		}
		if n, err := c.Read(buf); n != 0 || !errors.Is(err, conn.ErrAgain) {
			t.Errorf("then came %d bytes, %v", n, err)
		}
	}
}
