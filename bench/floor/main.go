// Command floor is what the transport alone costs: it accepts TLS connections
// and moves bytes between pairs of them, one goroutine each, and reads no XML.
// The load generator measures it like a server; no server that moves the same
// bytes over crypto/tls can be much cheaper.
//
// Protocol: the first line that a client sends is "PAIR name peer\n". Every byte
// after it is written to the connection that named itself peer, once there is one.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// maxLine bounds the first line, in bytes.
const maxLine = 256

// bufferSize is what each goroutine reads into, in bytes.
const bufferSize = 4096

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	cert := flag.String("cert", "", "certificate `file`, PEM; without it one is made")
	key := flag.String("key", "", "private key `file`, PEM")
	flag.Parse()
	log.Fatal(run(*addr, *cert, *key))
}

// run serves until it cannot.
func run(addr, certFile, keyFile string) error {
	cert, err := certificate(certFile, keyFile)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	// One line, as the scripts of the peers print it.
	ready := struct {
		Name   string `json:"name"`
		C2S    string `json:"c2s"`
		Domain string `json:"domain"`
		PIDs   []int  `json:"pids"`
	}{"floor", l.Addr().String(), "localhost", []int{os.Getpid()}}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	t := &table{conns: make(map[string]*entry)}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			err := t.serve(tls.Server(c, config))
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
				log.Print(err)
			}
		}()
	}
}

func certificate(certFile, keyFile string) (tls.Certificate, error) {
	if certFile != "" {
		return tls.LoadX509KeyPair(certFile, keyFile)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		NotAfter:     time.Now().Add(30 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// entry is one name: the connection that bears it, once here is closed.
type entry struct {
	here chan struct{}
	conn *tls.Conn
}

// table is who is connected.
type table struct {
	mu    sync.Mutex
	conns map[string]*entry
}

// of returns the entry of name, made where it is new.
func (t *table) of(name string) *entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.conns[name]
	if e == nil {
		e = &entry{here: make(chan struct{})}
		t.conns[name] = e
	}
	return e
}

// enter gives name to c; ok is false where another connection bears it.
func (t *table) enter(name string, c *tls.Conn) (own *entry, ok bool) {
	own = t.of(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.conn != nil {
		return nil, false
	}
	own.conn = c
	close(own.here)
	return own, true
}

// leave frees name.
func (t *table) leave(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, name)
}

// serve is the one goroutine of a connection.
func (t *table) serve(c *tls.Conn) error {
	defer c.Close()
	name, peer, rest, err := readPair(c)
	if err != nil {
		return err
	}
	own, ok := t.enter(name, c)
	if !ok {
		return fmt.Errorf("%s is connected twice", name)
	}
	defer t.leave(name)
	to := own
	if peer != name {
		to = t.of(peer)
		<-to.here
	}
	if len(rest) > 0 {
		if _, err := to.conn.Write(rest); err != nil {
			return err
		}
	}
	buf := make([]byte, bufferSize)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, err := to.conn.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// readPair reads the first line; rest is what came with it.
func readPair(c *tls.Conn) (name, peer string, rest []byte, err error) {
	r := bufio.NewReaderSize(c, maxLine)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", "", nil, err
	}
	f := strings.Fields(string(line))
	if len(f) != 3 || f[0] != "PAIR" {
		return "", "", nil, fmt.Errorf("first line %q, want PAIR name peer", line)
	}
	rest, err = r.Peek(r.Buffered())
	return f[1], f[2], rest, err
}
