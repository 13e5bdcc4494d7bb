package s2s_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/s2s"
	"sabir/xmpp/certname"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

const header = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='%s' to='%s' id='1' version='1.0'>"

// TestCertificateMatrix shows each certificate of the matrix to a server, as one that it connects to and as one that connects to it. What is
// refused is named in the log and by `sabir s2s check`, with the cure, and to the other side; the sender of a message gets an error.
func TestCertificateMatrix(t *testing.T) {
	m := s2s.NewMatrix(t)
	w := newWorld(t)
	f, err := os.OpenFile(w.ca.File(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: m.Root.Raw}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	a := w.start("", "a.example")
	romeo := a.login("romeo@a.example/x")
	for i, c := range m.Cases {
		t.Run(c.Name, func(t *testing.T) {
			said := len(a.log.String())
			told := func(want string) bool {
				for line := range strings.Lines(a.log.String()[said:]) {
					if strings.Contains(line, "domain="+c.Domain) && strings.Contains(line, want) {
						return true
					}
				}
				return false
			}
			showOut(t, w, a, c)
			if c.Out != "" {
				to, id := "juliet@"+c.Domain, fmt.Sprint("c", i)
				a.Federation().CloseDomain(jid.MustParse(c.Domain)) // what was found of it before is forgotten
				romeo.say(to, id)
				if e := romeo.message(id).Err(); e == nil || e.Condition != stanza.RemoteServerNotFound || !strings.Contains(e.Text, c.Out) {
					t.Errorf("the sender is told %v", e)
				}
				if !told(c.Out) {
					t.Error("the log does not tell that it was refused as a server")
				}
			}
			said = len(a.log.String())
			showIn(t, a, c)
			if c.In != "" && !told(c.In) {
				t.Error("the log does not tell that it was refused as a client")
			}
		})
	}
}

// TestCertificateExpires lets the certificate of a server expire while a stream with it is open (RFC 6120 §13.7.2.3): the stream ends, whoever has
// opened it, and until there is a new certificate the domain is neither reached nor heard.
func TestCertificateExpires(t *testing.T) {
	for _, opener := range []string{"the other has opened it", "we have opened it"} {
		t.Run(opener, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			clock := new(movedClock)
			w.clock = clock
			a := w.start("", "a.example")
			w.clock = nil
			b := w.start("", "b.example")
			romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
			if opener == "we have opened it" {
				talk2(romeo, juliet)
			} else {
				talk2(juliet, romeo)
			}
			a.Federation().EndExpired(clock.Now())
			if strings.Contains(a.log.String(), "a stream ends with the certificate") {
				t.Error("a stream ends although its certificate is good")
			}
			clock.move(91 * 24 * time.Hour)
			a.Federation().EndExpired(clock.Now())
			if !strings.Contains(a.log.String(), "a stream ends with the certificate") {
				t.Error("no stream ends")
			}
			eventually(t, "the streams have ended", func() bool { return len(a.Federation().List()) == 0 })
			romeo.say("juliet@b.example/y", "late")
			if e := romeo.message("late").Err(); e == nil || !strings.Contains(e.Text, "has expired on") {
				t.Errorf("the sender is told %v", e)
			}
			juliet.say("romeo@a.example/x", "back")
			if e := juliet.message("back").Err(); e == nil {
				t.Error("the sender there is told nothing")
			}
			for _, m := range romeo.all() {
				if m.ID == "back" {
					t.Errorf("it is heard: %s", m)
				}
			}
		})
	}
}

// showOut has the server connect to one with the certificate, and checks what it finds.
func showOut(t *testing.T, w *world, a *sabir, c s2s.MatrixCase) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c.Pair}, NextProtos: []string{"xmpp-server"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // as long as the server stays
				defer conn.Close()
				fmt.Fprintf(conn, header+"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>", c.Domain, "a.example")
				for b := make([]byte, 1024); ; {
					if _, err := conn.Read(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	w.Point(t, certname.ASCII(c.Domain), "", ln.Addr().String())
	found := false
	for _, f := range a.Federation().Check(t.Context(), jid.MustParse("a.example"), jid.MustParse(c.Domain)) {
		if f.Check != "certificate" {
			continue
		}
		found = found || c.Out == "" && strings.Contains(f.Text, "proves that it is the server of "+c.Domain) ||
			c.Out != "" && f.Status == "error" && strings.Contains(f.Text, c.Out) && f.Cure != ""
		if f.Status == "error" && c.Out == "" {
			t.Errorf("the check finds %+v", f)
		}
	}
	if !found {
		t.Errorf("the check does not tell of the certificate: %q", c.Out)
	}
}

// showIn connects to the server with the certificate, and checks whether that may prove the domain, and what is said where it may not.
func showIn(t *testing.T, a *sabir, c s2s.MatrixCase) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", a.ports[config.S2STLS], &tls.Config{
		InsecureSkipVerify: true, ServerName: "a.example", NextProtos: []string{"xmpp-server"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.Pair, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, header, c.Domain, "a.example")
	features := readUntil(t, conn, "</stream:features>")
	if offered := strings.Contains(features, "EXTERNAL"); offered != (c.In == "") {
		t.Errorf("EXTERNAL is offered: %v, by %s", offered, features)
	}
	fmt.Fprint(conn, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
	if c.In == "" {
		readUntil(t, conn, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		return
	}
	if got := readUntil(t, conn, "</failure>"); !strings.Contains(got, "<not-authorized/>") || !strings.Contains(got, c.In) {
		t.Errorf("it is told %s", got)
	}
}

// readUntil reads up to an end.
func readUntil(t *testing.T, conn net.Conn, end string) string {
	t.Helper()
	var got strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(got.String(), end); {
		if _, err := conn.Read(b); err != nil {
			t.Fatalf("%v after %s", err, got.String())
		}
		got.Write(b)
	}
	return got.String()
}
