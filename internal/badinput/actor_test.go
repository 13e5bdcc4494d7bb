package badinput

import (
	"bytes"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// event is what the server sent: a header, a top-level element (of a WebSocket: also <open/> and <close/>), or the end
// of its stream.
type event struct {
	header *xmlstream.Header
	frame  *xmlstream.Frame
	end    bool
}

// actor is a raw connection to the server. A goroutine reads, so that the server never waits for the test.
type actor struct {
	name string
	acc  account
	full string // the bound address

	tcp  *net.TCPConn
	conn net.Conn // tcp, or the TLS on it
	keys *keyLog  // of TLS 1.2, for the one test that makes records itself
	ws   bool
	raw  bool // what comes is no XML: it is kept in `in` alone

	writeMu sync.Mutex

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	dec     *xmlstream.Decoder
	in      []byte // all that came within TLS, of a WebSocket the payloads
	streams []int  // where in `in` streams begin
	events  []event
	ended   error // why reading ended
	reading bool
	stopped bool // <proceed/> came: reading waits for TLS
	bad     error
	wsCode  int // of a close frame

	smID   string // once stream management is enabled
	smFrom int    // and the events from which stanzas are counted
}

// limits are what the harness takes from the server.
var limits = xmlstream.Limits{Bytes: 4 << 20, Depth: 200, Attrs: 1000, Children: 100000, Name: 4096}

func newActor(name string, acc account, tcp *net.TCPConn) *actor {
	a := &actor{name: name, acc: acc, tcp: tcp, conn: tcp, changed: make(chan struct{}), dec: xmlstream.NewDecoder(limits)}
	a.streams = append(a.streams, 0)
	return a
}

// read starts the goroutine that reads.
func (a *actor) read() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reading || a.ended != nil {
		return
	}
	a.reading, a.stopped = true, false
	go a.readLoop(a.conn)
}

func (a *actor) readLoop(conn net.Conn) {
	var in io.Reader = conn
	if a.ws {
		in = &wsReader{conn: conn, closed: func(code int) { a.mu.Lock(); a.wsCode = code; a.mu.Unlock() }}
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		a.mu.Lock()
		a.take(buf[:n])
		if err != nil {
			a.ended = err
		}
		stop := err != nil || a.stopped
		if stop {
			a.reading = false
		}
		close(a.changed)
		a.changed = make(chan struct{})
		a.mu.Unlock()
		if stop {
			return
		}
	}
}

// take notes what came. a.mu is held.
func (a *actor) take(b []byte) {
	a.in = append(a.in, b...)
	if a.raw || a.bad != nil || len(b) == 0 {
		return
	}
	if a.ws {
		f, err := xmlstream.ParseFrame(b, limits)
		if err != nil {
			a.bad = fmt.Errorf("the server sent the frame %.200q: %w", b, err)
			return
		}
		a.events = append(a.events, event{frame: f})
		return
	}
	a.dec.Feed(b)
	for !a.stopped {
		ev, err := a.dec.Next()
		if errors.Is(err, xmlstream.ErrMore) {
			return
		}
		if err != nil {
			a.bad = fmt.Errorf("the server sent %.200q: %w", b, err)
			return
		}
		a.events = append(a.events, event{ev.Header, ev.Frame, ev.Kind == xmlstream.StreamEnd})
		if ev.Frame == nil {
			continue
		}
		switch ev.Frame.Name() {
		case xmlstream.Name{Space: stream.NSSASL, Local: "success"}:
			a.streams = append(a.streams, len(a.in)-a.dec.Buffered())
			a.dec.Restart()
		case xmlstream.Name{Space: stream.NSTLS, Local: "proceed"}:
			a.stopped = true
		}
	}
}

// wait waits until cond, called with a.mu held, is true. It returns false after the timeout.
func (a *actor) wait(timeout time.Duration, cond func() bool) bool {
	after := time.NewTimer(timeout)
	defer after.Stop()
	for {
		a.mu.Lock()
		ok, changed := cond(), a.changed
		a.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-after.C:
			return false
		}
	}
}

// waitFrame waits for a top-level element after the first from events, and returns it; or nil, where the time is over or
// the connection.
func (a *actor) waitFrame(timeout time.Duration, from int, match func(f *xmlstream.Frame) bool) *xmlstream.Frame {
	var found *xmlstream.Frame
	a.wait(timeout, func() bool {
		for ; from < len(a.events) && found == nil; from++ {
			if f := a.events[from].frame; f != nil && match(f) {
				found = f
			}
		}
		return found != nil || a.ended != nil
	})
	return found
}

func named(space, local string) func(*xmlstream.Frame) bool {
	return func(f *xmlstream.Frame) bool { return f.Name() == xmlstream.Name{Space: space, Local: local} }
}

// mark returns the number of events so far, and that of bytes.
func (a *actor) mark() (events, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.events), len(a.in)
}

// since returns the events after a mark, and the bytes.
func (a *actor) since(events, bytes int) ([]event, []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]event(nil), a.events[events:]...), append([]byte(nil), a.in[bytes:]...)
}

// end returns why reading ended, or nil.
func (a *actor) end() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

// waitEnd waits until the server has closed the connection. Where <proceed/> came and nobody starts TLS, what comes is
// read all the same.
func (a *actor) waitEnd(timeout time.Duration) bool {
	start := time.Now()
	if a.wait(timeout, func() bool { return a.ended != nil || a.stopped && !a.reading }) && a.end() == nil {
		a.mu.Lock()
		a.raw = true
		a.mu.Unlock()
		a.read()
	}
	return a.wait(timeout-time.Since(start), func() bool { return a.ended != nil })
}

// quiet waits until nothing has come for a moment.
func (a *actor) quiet() {
	for last := -1; ; {
		_, n := a.mark()
		if n == last || a.end() != nil {
			return
		}
		last = n
		a.wait(50*time.Millisecond, func() bool { return len(a.in) != last || a.ended != nil })
	}
}

// Write writes bytes as they are. The writer blocks at most 30 seconds.
func (a *actor) Write(p []byte) (int, error) {
	a.writeMu.Lock()
	defer a.writeMu.Unlock()
	if err := a.tcp.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	return a.conn.Write(p)
}

// send writes one top-level element, within a frame where the connection is a WebSocket.
func (a *actor) send(s string) error {
	b := []byte(s)
	if a.ws {
		b = wsFrame(wsText, b)
	}
	_, err := a.Write(b)
	return err
}

// handshake starts TLS. The reader must have stopped.
func (a *actor) handshake(cfg *tls.Config) error {
	var below net.Conn = a.tcp
	if a.keys != nil {
		below = sniffer{a.tcp, a.keys}
	}
	c := tls.Client(below, cfg)
	if err := a.tcp.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	err := c.Handshake()
	if derr := a.tcp.SetDeadline(time.Time{}); err == nil {
		err = derr
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.ended = err
		return err
	}
	a.conn, a.dec = c, xmlstream.NewDecoder(limits)
	a.streams = append(a.streams, len(a.in))
	return nil
}

// closeWrite ends this side of the connection.
func (a *actor) closeWrite() error {
	a.writeMu.Lock()
	defer a.writeMu.Unlock()
	if c, ok := a.conn.(*tls.Conn); ok {
		if err := c.CloseWrite(); err != nil {
			return err
		}
	}
	return a.tcp.CloseWrite()
}

func (a *actor) close() {
	a.tcp.Close() // the server may have closed it, which is no matter any more
	a.waitEnd(time.Second)
}

// wellFormed reads all that the server sent with another parser than the server's.
func (a *actor) wellFormed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bad != nil {
		return a.bad
	}
	if a.raw || a.ws || len(a.in) > 1<<20 {
		return nil
	}
	for i, start := range a.streams {
		stop := len(a.in)
		if i+1 < len(a.streams) {
			stop = a.streams[i+1]
		}
		d := xml.NewDecoder(bytes.NewReader(a.in[start:stop]))
		for {
			if _, err := d.Token(); err != nil {
				// Streams that go on, or go on behind TLS, have no end.
				if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "unexpected EOF") {
					return fmt.Errorf("the server sent %.300q: %w", a.in[start:stop], err)
				}
				break
			}
		}
	}
	return nil
}

// open sends a stream header and waits for the features.
func (a *actor) open(domain string) error {
	from, _ := a.mark()
	h := header(domain)
	if a.ws {
		h = "<open xmlns='" + stream.NSFraming + "' to='" + domain + "' version='1.0'/>"
	}
	if err := a.send(h); err != nil {
		return err
	}
	a.read()
	return a.features(from)
}

func (a *actor) features(from int) error {
	if a.waitFrame(5*time.Second, from, named(stream.NS, "features")) == nil {
		return a.fail("no features came")
	}
	return nil
}

// fail describes what the connection has come to.
func (a *actor) fail(what string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := max(0, len(a.in)-400)
	return fmt.Errorf("%s: %s; the last bytes are %q; end: %v", a.name, what, a.in[n:], a.ended)
}

func header(domain string) string {
	return "<?xml version='1.0'?><stream:stream to='" + domain + "' version='1.0' xmlns='jabber:client' xmlns:stream='" + stream.NS + "'>"
}

// startTLS asks for TLS and makes the handshake.
func (a *actor) startTLS(cfg *tls.Config) error {
	from, _ := a.mark()
	if err := a.send("<starttls xmlns='" + stream.NSTLS + "'/>"); err != nil {
		return err
	}
	if a.waitFrame(5*time.Second, from, named(stream.NSTLS, "proceed")) == nil {
		return a.fail("no <proceed/> came")
	}
	return a.handshake(cfg)
}

// login authenticates by PLAIN and restarts the stream.
func (a *actor) login(domain string) error {
	from, _ := a.mark()
	if err := a.send("<auth xmlns='" + stream.NSSASL + "' mechanism='PLAIN'>" + a.acc.plain() + "</auth>"); err != nil {
		return err
	}
	if a.waitFrame(5*time.Second, from, named(stream.NSSASL, "success")) == nil {
		return a.fail("no <success/> came")
	}
	return a.open(domain)
}

// bind binds a resource, or one of the server's choice.
func (a *actor) bind(resource string) error {
	r := ""
	if resource != "" {
		r = "<resource>" + resource + "</resource>"
	}
	from, _ := a.mark()
	if err := a.send("<iq xmlns='jabber:client' type='set' id='harness-bind'><bind xmlns='" + stream.NSBind + "'>" + r + "</bind></iq>"); err != nil {
		return err
	}
	f := a.waitFrame(5*time.Second, from, func(f *xmlstream.Frame) bool { return f.Attr("id") == "harness-bind" })
	if f == nil || f.Attr("type") != "result" {
		return a.fail("no resource was bound")
	}
	a.full = f.Child(stream.NSBind, "bind").ChildText(stream.NSBind, "jid")
	return nil
}

// ping asks the server for a sign of life. Stanzas are answered in order, so that what the server had to say before to
// this client has come when ping returns.
func (a *actor) ping(domain, id string, timeout time.Duration) error {
	from, _ := a.mark()
	if err := a.send("<iq xmlns='jabber:client' type='get' id='" + id + "' to='" + domain + "'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
		return fmt.Errorf("%w (%w)", err, a.fail("sending a ping"))
	}
	if f := a.waitFrame(timeout, from, func(f *xmlstream.Frame) bool { return f.Attr("id") == id }); f == nil || f.Attr("type") != "result" {
		return a.fail("a ping had no result")
	}
	return nil
}
