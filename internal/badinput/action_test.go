package badinput

import (
	"bufio"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sabir/internal/config"
	"sabir/xmpp/stream"
)

// errOver says that nothing more can be sent: the server has closed the connection.
var errOver = errors.New("the connection is over")

// toServer writes to an actor's connection until the server has closed it.
type toServer struct{ a *actor }

func (w toServer) Write(p []byte) (int, error) {
	if w.a.end() != nil {
		return 0, errOver
	}
	n, err := w.a.Write(p)
	if err != nil {
		return n, errOver
	}
	return n, nil
}

// send sends one element of an input.
func (x *exec) send(a *actor, s string) error {
	nodes, err := parse(s, x.value)
	if err != nil {
		return err
	}
	if x.e.isText(nodes) {
		w := bufio.NewWriterSize(toServer{a}, 32<<10)
		if err := x.e.write(w, s); err != nil {
			return err
		}
		return w.Flush()
	}
	for _, n := range nodes {
		if n.name == "scram_final" || n.name == "scram_replay" { // a part of a text
			return x.sendSCRAM(a, nodes)
		}
	}
	for _, n := range nodes {
		if err := x.act(a, n); err != nil {
			return err
		}
	}
	return nil
}

func (x *exec) act(a *actor, n node) error {
	switch n.name {
	case "split":
		return x.split(a, n.arg)
	case "drip":
		return x.drip(a, n.arg)
	case "conns":
		return x.conns(n.arg)
	case "parallel":
		return x.parallel(n.arg)
	case "tls-handshake":
		return x.handshake(a, n.arg)
	case "tls-renegotiate":
		return x.renegotiate(a)
	case "tls-0rtt":
		return x.earlyData(a)
	case "wsframe":
		arg, err := x.e.text(n.arg)
		if err != nil {
			return err
		}
		b, err := wsMacro(arg)
		if err != nil {
			return err
		}
		_, err = toServer{a}.Write(b)
		return err
	case "ws-open":
		return a.send("<open xmlns='" + stream.NSFraming + "' to='" + domain + "' version='1.0'/>")
	case "ws-bound":
		for _, step := range []func() error{func() error { return a.open(domain) }, func() error { return a.login(domain) }, func() error { return a.bind("phone") }} {
			if err := step(); err != nil {
				return err
			}
		}
		x.mark(a)
		x.last, _ = a.mark()
		return nil
	case "fin":
		return a.tcp.CloseWrite()
	case "rst":
		if err := a.tcp.SetLinger(0); err != nil {
			return err
		}
		a.close()
		return nil
	}
	w := bufio.NewWriter(toServer{a})
	if err := x.e.node(w, n); err != nil {
		return err
	}
	return w.Flush()
}

// split sends a text once for each of its offsets, cut there.
func (x *exec) split(a *actor, arg string) error {
	s, err := x.e.text(arg)
	if err != nil {
		return err
	}
	for i := 1; i < len(s); i++ {
		for _, part := range []string{s[:i], s[i:]} {
			if _, err := io.WriteString(toServer{a}, part); err != nil {
				return err
			}
		}
	}
	return nil
}

// drip sends {drip:ms:s}, a byte at a time with a pause after each.
func (x *exec) drip(a *actor, arg string) error {
	num, s, _ := strings.Cut(arg, ":")
	ms, err := strconv.Atoi(num)
	if err != nil {
		return err
	}
	if s, err = x.e.text(s); err != nil {
		return err
	}
	for i := range len(s) {
		if _, err := io.WriteString(toServer{a}, s[i:i+1]); err != nil {
			return err
		}
		if ms > 0 {
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
	}
	return nil
}

// conns opens {conns:N} connections that say nothing, or binds a resource on each of {conns:bind:N}.
func (x *exec) conns(arg string) error {
	kind, num, ok := strings.Cut(arg, ":")
	if !ok {
		kind, num = "", arg
	}
	n, err := strconv.Atoi(num)
	if err != nil {
		return err
	}
	if kind == "bind" {
		return x.binds(n)
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range n {
		c, err := net.Dial("tcp", x.h.srv.Addr(config.C2S))
		if err != nil {
			return err
		}
		open = append(open, c)
	}
	var closed atomic.Int64
	var wg sync.WaitGroup
	deadline := time.Now().Add(time.Second)
	for _, c := range open {
		if err := c.SetReadDeadline(deadline); err != nil {
			return err
		}
		wg.Go(func() {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				closed.Add(1)
			}
		})
	}
	wg.Wait()
	x.t.Logf("%d of %d connections were closed by the server", closed.Load(), n)
	if closed.Load() == 0 {
		return nil // all of them live, and self does
	}
	x.extra.closed = true
	// Whoever has an address of his own is not kept out by that.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: time.Second}
	c, err := d.Dial("tcp", x.h.srv.Addr(config.C2S))
	if err != nil {
		return err
	}
	other := newActor("other", x.accs["self"], c.(*net.TCPConn))
	other.read()
	err = other.open(domain)
	other.close()
	x.self.close()
	return err
}

// binds logs in and binds on n connections, and keeps them until the outcome of all is known.
func (x *exec) binds(n int) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var fatal error
	var open []*actor
	room := make(chan struct{}, 8)
	for i := range n {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			a, err := x.h.connect(fmt.Sprintf("self%d", i), x.accs["self"], "auth")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				fatal = err
				return
			}
			open = append(open, a)
			if a.bind(fmt.Sprintf("r%d", i)) != nil {
				events, _ := a.since(0, 0)
				x.extra.observe(events[len(events)-1:], "")
			}
		})
	}
	wg.Wait()
	x.t.Logf("%d of %d resources were refused", len(x.extra.errors), n)
	for _, a := range open {
		a.close()
	}
	// Their resources are free again as soon as the server has noticed.
	return errors.Join(fatal, eventually(func() bool {
		n := 0
		for _, s := range x.h.srv.Sessions() {
			if s.JID().Bare().String() == x.accs["self"].bare() {
				n++
			}
		}
		return n == 0
	}))
}

func eventually(cond func() bool) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return nil
		}
	}
	return errors.New("it did not come about within 5 s")
}

// parallel sends {parallel:N:s} on N connections of the account at a time, in the state of the case. What they saw is
// for checks; the outcome is that of self, which sends nothing.
func (x *exec) parallel(arg string) error {
	num, s, _ := strings.Cut(arg, ":")
	n, err := strconv.Atoi(num)
	if err != nil {
		return err
	}
	var all []*actor
	defer func() {
		for _, a := range all {
			a.close()
		}
	}()
	for i := range n {
		a, err := x.h.connect(fmt.Sprintf("self%d", i), x.accs["self"], x.c.State)
		if err != nil {
			return err
		}
		all = append(all, a)
		x.mark(a)
	}
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i, a := range all {
		wg.Go(func() {
			errs[i] = x.send(a, s)
			a.wait(time.Second, func() bool { return len(a.events) > x.marks[a][0] || a.ended != nil })
		})
	}
	wg.Wait()
	time.Sleep(100 * time.Millisecond) // a newcomer may still push another out
	for _, a := range all {
		events, _ := x.since(a)
		x.parallels.observe(events, "")
	}
	return errors.Join(errs...)
}

// handshake starts TLS with options: alpn=, sni=, ciphers=, version=, separated by semicolons. The last two make a
// ClientHello by hand, since crypto/tls has no such clients any more.
func (x *exec) handshake(a *actor, opts string) error {
	if x.c.State == "tcp" && !a.wait(5*time.Second, func() bool { return a.stopped || a.ended != nil }) {
		return a.fail("no <proceed/> came")
	}
	if a.end() != nil {
		return errOver
	}
	cfg := x.h.tls.Clone()
	h := hello{version: 0x0303, name: domain, suites: []uint16{0xc02b, 0xc02f}}
	byHand := false
	for opt := range strings.SplitSeq(opts, ";") {
		k, v, _ := strings.Cut(opt, "=")
		var err error
		switch k {
		case "":
		case "alpn":
			cfg.NextProtos = strings.Split(v, ",")
		case "sni":
			cfg.ServerName, cfg.InsecureSkipVerify = v, true
		case "ciphers":
			byHand = true
			h.suites, err = suitesOf(v)
		case "version":
			byHand = true
			var n uint64
			n, err = strconv.ParseUint(v, 0, 16)
			h.version = uint16(n)
			h.suites = append(h.suites, 0xc009, 0xc013, 0x002f) // those that old versions have
		default:
			err = fmt.Errorf("{tls-handshake:%s} has an unknown option", opt)
		}
		if err != nil {
			return err
		}
	}
	if byHand {
		return x.rawHello(a, h)
	}
	if err := a.handshake(cfg); err != nil {
		x.extra.alert, x.extra.closed = alertOf(err), true
		return nil
	}
	a.read()
	return nil
}

// rawHello sends a ClientHello and notes what comes back.
func (x *exec) rawHello(a *actor, h hello) error {
	b, err := h.record()
	if err != nil {
		return err
	}
	if _, err := a.Write(b); err != nil {
		return err
	}
	if err := a.tcp.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	got, err := helloAnswer(a.tcp)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the ClientHello was not answered")
	}
	if got == "server_hello" {
		return nil
	}
	x.extra.alert = got
	_, err = io.Copy(io.Discard, a.tcp)
	x.extra.closed = !errors.Is(err, os.ErrDeadlineExceeded)
	a.mu.Lock()
	a.ended = io.EOF
	a.mu.Unlock()
	return nil
}

// renegotiate sends a ClientHello within a TLS 1.2 connection. crypto/tls never does that as a client; so the record is
// made by hand, after the Finished and one record with the stream header.
func (x *exec) renegotiate(a *actor) error {
	b, err := hello{version: 0x0303, name: domain, suites: []uint16{0xc02b}}.record()
	if err != nil {
		return err
	}
	if b, err = a.keys.seal12(2, recordHandshake, b[5:]); err != nil {
		return err
	}
	_, err = a.tcp.Write(b)
	return err
}

// earlyData begins a TLS 1.3 handshake that announces data before its end (RFC 8446 §4.2.10), and sends some.
func (x *exec) earlyData(a *actor) error {
	b, err := hello{version: 0x0303, name: domain, suites: []uint16{0x1301}, tls13: true, earlyData: true}.record()
	if err != nil {
		return err
	}
	if _, err := a.Write(append(b, recordData, 3, 3, 0, 32)); err != nil {
		return err
	}
	if _, err := a.Write(make([]byte, 32)); err != nil {
		return err
	}
	if err := a.tcp.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, a.tcp)
	x.extra.closed = !errors.Is(err, os.ErrDeadlineExceeded)
	a.mu.Lock()
	a.ended = io.EOF
	a.mu.Unlock()
	return nil
}

// sendSCRAM sends a text with the final message of SCRAM in it, tampered with.
func (x *exec) sendSCRAM(a *actor, nodes []node) error {
	var b strings.Builder
	for _, n := range nodes {
		switch n.name {
		case "scram_final":
			msg, err := x.scramFinal(a, n.arg)
			if err != nil {
				return err
			}
			b.WriteString(msg)
		case "scram_replay": // what was right once, for another nonce of the server
			other, err := x.h.connect("replayed", x.accs["self"], x.c.State)
			if err != nil {
				return err
			}
			defer other.close()
			x.mark(other)
			if err := x.send(other, x.c.Send[0]); err != nil {
				return err
			}
			msg, err := x.scramFinal(other, "")
			if err != nil {
				return err
			}
			if err := other.send("<response xmlns='" + stream.NSSASL + "'>" + msg + "</response>"); err != nil {
				return err
			}
			if other.waitFrame(2*time.Second, 0, named(stream.NSSASL, "success")) == nil {
				return other.fail("what is to be replayed was not right")
			}
			b.WriteString(msg)
		default:
			if err := x.e.node(&b, n); err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(toServer{a}, b.String())
	return err
}

// scramFinal makes the client's final message for the challenge that came, in base64. All of it is right but for what
// tamper names: cb=HEX (the channel binding), gs2=FLAG, nonce=WORD, proof=WORD, or "" for nothing.
func (x *exec) scramFinal(a *actor, tamper string) (string, error) {
	f := a.waitFrame(5*time.Second, x.marks[a][0], named(stream.NSSASL, "challenge"))
	if f == nil {
		return "", a.fail("no challenge came")
	}
	raw, err := base64.StdEncoding.DecodeString(f.Element().Text())
	if err != nil {
		return "", err
	}
	first, err := x.e.text(between(x.c.Send[0], "{b64:", "}</auth>"))
	if err != nil {
		return "", err
	}
	flag, rest, _ := strings.Cut(first, ",")
	authzid, bare, _ := strings.Cut(rest, ",")
	return scramProof(x.accs["self"], flag+","+authzid+",", bare, string(raw), tamper)
}

func between(s, open, end string) string {
	_, s, _ = strings.Cut(s, open)
	s, _, _ = strings.Cut(s, end)
	return s
}

// scramProof computes the final message of SCRAM-SHA-256 (RFC 5802 §3).
func scramProof(acc account, gs2, bare, first, tamper string) (string, error) {
	part := map[byte]string{}
	for p := range strings.SplitSeq(first, ",") {
		if len(p) > 2 && p[1] == '=' {
			part[p[0]] = p[2:]
		}
	}
	salt, err := base64.StdEncoding.DecodeString(part['s'])
	if err != nil {
		return "", err
	}
	iterations, err := strconv.Atoi(part['i'])
	if err != nil {
		return "", err
	}
	nonce, header, data := part['r'], gs2, ""
	kind, what, _ := strings.Cut(tamper, "=")
	switch kind {
	case "cb":
		data = what
	case "gs2":
		header = what + ",,"
	case "nonce":
		nonce = what
	}
	without := "c=" + base64.StdEncoding.EncodeToString([]byte(header+data)) + ",r=" + nonce
	salted, err := pbkdf2.Key(sha256.New, acc.password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	proof := mac(salted, "Client Key")
	stored := sha256.Sum256(proof)
	for i, b := range mac(stored[:], bare+","+first+","+without) {
		proof[i] ^= b
	}
	switch {
	case kind == "proof" && what == "stored": // the key that is kept, as somebody shows who has read the database
		proof = stored[:]
	case kind == "proof" && what == "zero":
		clear(proof)
	case kind == "proof" && what == "short":
		proof = proof[:8]
	}
	return base64.StdEncoding.EncodeToString([]byte(without + ",p=" + base64.StdEncoding.EncodeToString(proof))), nil
}
