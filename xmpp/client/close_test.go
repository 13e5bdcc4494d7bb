package client

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// TestQuietClose closes a connection that the server has reset, as it does with a client that does not read.
func TestQuietClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cert, pool := testCert(t)
	reset := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			reset <- err
			return
		}
		err = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).HandshakeContext(t.Context())
		reset <- errors.Join(err, c.(*net.TCPConn).SetLinger(0), c.Close())
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, ServerName: domain})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-reset; err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection stands")
	}
	if err := quietClose(c); err != nil {
		t.Error(err)
	}
}
