package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	nsSM      = "urn:xmpp:sm:3"
	nsCarbons = "urn:xmpp:carbons:2"
	nsForward = "urn:xmpp:forward:0"
	nsMAM     = "urn:xmpp:mam:2"
	nsRSM     = "http://jabber.org/protocol/rsm"
	nsSID     = "urn:xmpp:sid:0"
	nsPing    = "urn:xmpp:ping"
	nsDisco   = "http://jabber.org/protocol/disco#info"
)

// Device is a client of an account, session after session.
type Device struct {
	Name    string // account and device
	account *Account
	book    *Book
	sm      bool // uses stream management
	tries   int  // how often a page of the archive is asked for

	wmu  sync.Mutex // held while something is written, so that the queue has the order of the stream
	mu   sync.Mutex
	st   *client.Stream
	full jid.JID // what the session is bound to
	// done is closed when the stream has ended, err says how.
	done chan struct{}
	err  error

	session  int    // number of the session; a resumed one keeps it
	resumeID string // "" where there is nothing to resume
	counting bool   // the stream counts stanzas
	in       uint32 // stanzas that came since it was enabled
	out      uint32 // h that the server said last
	queue    []sent // what it has not covered yet
	acked    chan struct{}
	seq      int
	pending  map[string]chan *stanza.Stanza
	page     []Entry // what the archive query that runs has given

	// Resumed counts the sessions that went on after a connection ended, Failed those that the server did not know any more.
	Resumed, Failed int
}

// sent is a stanza that the server may be sent again.
type sent struct {
	s *stanza.Stanza
	m *Message // nil for what is no message of the Book
}

// errLost says that there is no connection.
var errLost = errors.New("the connection has ended")

// Connect logs in, resumes the session where there is one to resume, and starts reading. A new session asks for carbons
// and becomes available.
func (d *Device) Connect(ctx context.Context, cfg *client.Config) error {
	st, err := client.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := st.Authenticate(ctx); err != nil {
		return errors.Join(err, closed(st))
	}
	resumed, err := d.begin(ctx, st)
	if err != nil || resumed {
		return err
	}
	if _, err := d.request(ctx, stanza.TypeSet, jid.JID{}, xmlstream.El(nsCarbons, "enable")); err != nil {
		return fmt.Errorf("%s: carbons: %w", d.Name, err)
	}
	if err := d.send(stanza.New(stanza.Presence, ""), nil); err != nil {
		return err
	}
	return d.Ping(ctx) // it is available
}

// begin makes a stream that of the device. Where the session was resumed it sends again what the server had not handled.
// Whoever wants to write meanwhile, beside a load, waits: what is new goes behind that, or it would be sent twice.
func (d *Device) begin(ctx context.Context, st *client.Stream) (resumed bool, err error) {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	d.mu.Lock()
	d.st, d.err, d.done = st, nil, make(chan struct{})
	d.pending = make(map[string]chan *stanza.Stanza)
	d.mu.Unlock()
	if resumed, err = d.negotiate(ctx); err != nil {
		err = errors.Join(err, closed(st))
		d.mu.Lock()
		defer d.mu.Unlock()
		d.err = err
		close(d.done)
		return false, err
	}
	go d.read(st)
	if resumed {
		err = d.resend()
	}
	return resumed, err
}

// closed closes a connection. That the other end is gone already is no error.
func closed(st *client.Stream) error {
	if err := st.Conn.Close(); err != nil && !broken(err) {
		return err
	}
	return nil
}

// negotiate resumes the session or binds a new one, before anything else reads from the stream.
func (d *Device) negotiate(ctx context.Context) (resumed bool, err error) {
	if d.sm && d.resumeID != "" {
		d.mu.Lock()
		q := xmlstream.El(nsSM, "resume", xmlstream.A("h", strconv.FormatUint(uint64(d.in), 10)), xmlstream.A("previd", d.resumeID))
		d.mu.Unlock()
		a, err := d.nonza(q)
		if err != nil {
			return false, err
		}
		if a.Attr("h") != "" {
			if err := d.covered(a.Attr("h"), "resumed"); err != nil {
				return false, err
			}
		}
		if a.Name.Local == "resumed" {
			d.Resumed++
			return true, nil
		}
		d.Failed++
	}
	d.mu.Lock()
	d.resumeID, d.counting, d.in, d.out, d.queue = "", false, 0, 0, nil
	d.session++
	d.mu.Unlock()
	full, err := d.st.Bind(ctx, "")
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	d.full = full
	d.mu.Unlock()
	if !d.sm {
		return false, nil
	}
	a, err := d.nonza(xmlstream.El(nsSM, "enable", xmlstream.A("resume", "true")))
	if err != nil {
		return false, err
	}
	if a.Name.Local != "enabled" {
		return false, fmt.Errorf("%s: the server answered <enable/> with %s", d.Name, a)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counting = true
	if r := a.Attr("resume"); r == "true" || r == "1" {
		d.resumeID = a.Attr("id")
	}
	return false, nil
}

// nonza sends an element of stream management and waits for its answer.
func (d *Device) nonza(e *xmlstream.Element) (*xmlstream.Element, error) {
	if err := d.st.SendElement(e); err != nil {
		return nil, err
	}
	f, err := d.st.Next()
	if err != nil {
		return nil, err
	}
	if f.Name().Space != nsSM {
		return nil, fmt.Errorf("%s: the server answered <%s/> with %s", d.Name, e.Name.Local, f.Raw())
	}
	return f.Element(), nil
}

// read is the goroutine of a session.
func (d *Device) read(st *client.Stream) {
	var err error
	for {
		f, rerr := st.Next()
		if rerr != nil {
			err = rerr
			break
		}
		if err = d.take(f); err != nil {
			break
		}
	}
	if cerr := closed(st); cerr != nil {
		err = errors.Join(err, cerr)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	close(d.done)
}

func (d *Device) take(f *xmlstream.Frame) error {
	if n := f.Name(); n.Space == nsSM {
		switch n.Local {
		case "r":
			d.mu.Lock()
			h := d.in
			d.mu.Unlock()
			return d.write(xmlstream.El(nsSM, "a", xmlstream.A("h", strconv.FormatUint(uint64(h), 10))).Append(nil, stanza.NSClient))
		case "a":
			return d.covered(f.Attr("h"), "ack")
		}
		return nil
	}
	s, bad := stanza.FromFrame(f)
	if s == nil {
		return nil
	}
	if bad != nil {
		return fmt.Errorf("%s: the server sent %s: %w", d.Name, f.Raw(), bad)
	}
	defer func() { // after it was noted: what is counted must be in the Book
		d.mu.Lock()
		d.in++
		d.mu.Unlock()
	}()
	switch s.Kind {
	case stanza.IQ:
		return d.iq(s)
	case stanza.Message:
		d.message(s)
	}
	return nil
}

// covered notes that the server has handled all stanzas up to h.
func (d *Device) covered(text, by string) error {
	h, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return fmt.Errorf("%s: h is %q: %w", d.Name, text, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := uint32(h) - d.out // XEP-0198#acking: it wraps
	switch {               // the count is taken over in any case, or nothing would ever be covered again, and the fault not be told
	case int32(n) < 0:
		d.book.fault("%s: the server says that it has handled %d stanzas, and has said %d before", d.Name, h, d.out)
		n = 0
	case int(n) > len(d.queue):
		d.book.fault("%s: the server says that it has handled %d stanzas, %d more than it was sent", d.Name, h, int(n)-len(d.queue))
		n = uint32(len(d.queue))
	}
	for _, q := range d.queue[:n] {
		if q.m != nil {
			d.book.accept(q.m, by)
		}
	}
	d.queue, d.out = d.queue[n:], uint32(h)
	select {
	case d.acked <- struct{}{}:
	default:
	}
	return nil
}

// unacked tells how many stanzas the server has not covered.
func (d *Device) unacked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue)
}

func (d *Device) iq(s *stanza.Stanza) error {
	if !s.Request() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if c := d.pending[s.ID]; c != nil {
			delete(d.pending, s.ID)
			c <- s
		}
		return nil
	}
	r := s.Result(nil)
	r.From = jid.JID{}
	return d.send(r, nil)
}

// message notes a copy of a message of the Book, from wherever it comes.
func (d *Device) message(s *stanza.Stanza) {
	own := d.account.JID
	if s.Type == stanza.TypeError {
		why := "an error without a condition"
		if e := s.Err(); e != nil {
			why = string(e.Type) + " " + string(e.Condition)
		}
		d.book.refuse(s.ID, why)
		return
	}
	mine := s.From.IsZero() || s.From == own
	if r := s.Child(nsMAM, "result"); r != nil && mine {
		if m := forwarded(r); m != nil && body(m) != "" {
			d.mu.Lock()
			d.page = append(d.page, Entry{body(m), r.Attr("id")})
			d.mu.Unlock()
		}
		return
	}
	got := Receipt{Account: own.String(), Device: d.Name, Via: Direct}
	for via, name := range map[string]string{Received: "received", Sent: "sent"} {
		if c := s.Child(nsCarbons, name); c != nil && mine {
			m := forwarded(c)
			got.Via, got.ID, got.StanzaID = via, body(m), stanzaID(m, own.String())
		}
	}
	if got.Via == Direct {
		got.ID = s.Body()
		if d := s.Child("urn:xmpp:delay", "delay"); d != nil {
			got.Delayed, got.Moved = true, d.Text() == ""
		}
		for c := range s.Children() {
			if c.Is(nsSID, "stanza-id") && c.Attr("by") == own.String() {
				got.StanzaID = c.Attr("id")
			}
		}
	}
	if got.ID == "" {
		return
	}
	d.mu.Lock()
	got.Session = d.session
	d.mu.Unlock()
	d.book.receive(got)
}

func forwarded(e *xmlstream.Element) *xmlstream.Element {
	return e.Child(nsForward, "forwarded").Child(stanza.NSClient, "message")
}

func body(m *xmlstream.Element) string { return m.ChildText(stanza.NSClient, "body") }

func stanzaID(m *xmlstream.Element, by string) string {
	if m == nil {
		return ""
	}
	for c := range m.Elements() {
		if c.Is(nsSID, "stanza-id") && c.Attr("by") == by {
			return c.Attr("id")
		}
	}
	return ""
}

func (d *Device) write(p []byte) error {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	return d.st.Conn.Write(p)
}

// send sends a stanza, and keeps it where it may have to be sent again.
func (d *Device) send(s *stanza.Stanza, m *Message) error {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	d.mu.Lock()
	if d.counting {
		d.queue = append(d.queue, sent{s, m})
	}
	d.mu.Unlock()
	return d.st.Send(s)
}

// resend sends again what the server had not handled when the session broke (XEP-0198#resumption). d.wmu is held.
func (d *Device) resend() error {
	d.mu.Lock()
	again := append([]sent(nil), d.queue...)
	d.mu.Unlock()
	for _, q := range again {
		if err := d.st.Send(q.s); err != nil {
			return err
		}
	}
	return nil
}

// request sends an iq and waits for its answer.
func (d *Device) request(ctx context.Context, typ string, to jid.JID, payload *xmlstream.Element) (*xmlstream.Element, error) {
	q := stanza.NewIQ(typ, jid.JID{}, to, payload)
	c := make(chan *stanza.Stanza, 1)
	d.mu.Lock()
	done := d.done
	d.pending[q.ID] = c
	d.mu.Unlock()
	if err := d.send(q, nil); err != nil {
		return nil, err
	}
	select {
	case a := <-c:
		if e := a.Err(); e != nil {
			return nil, e
		}
		return a.Payload(), nil
	case <-done:
		return nil, d.why()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// why tells how the stream ended.
func (d *Device) why() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(errLost, d.err)
}

// Ping waits for the answer to a ping: what was sent before it was handled, what waited to be sent to d has come.
func (d *Device) Ping(ctx context.Context) error {
	_, err := d.request(ctx, stanza.TypeGet, d.account.JID.DomainJID(), xmlstream.El(nsPing, "ping"))
	var refused *stanza.Error
	if errors.As(err, &refused) { // an answer too
		return nil
	}
	return err
}

// Write sends n messages to one recipient each, and waits until the server has taken them over.
func (d *Device) Write(ctx context.Context, to []*Account, full bool) error {
	var ms []*Message
	for _, a := range to {
		d.seq++
		address, device := a.JID, ""
		if first := a.Devices[0]; full && !a.Offline && !first.bound().IsZero() {
			address, device = first.bound(), first.Name
		}
		m := d.book.send(d.account.JID.String(), a.JID.String(), device, d.Name, d.seq, a.Offline)
		ms = append(ms, m)
		if err := d.send(d.stanza(m, address), m); err != nil {
			return err
		}
	}
	if d.sm {
		return d.awaitAck(ctx)
	}
	if err := d.Ping(ctx); err != nil {
		return err
	}
	for _, m := range ms {
		d.book.accept(m, "ping")
	}
	return nil
}

func (d *Device) stanza(m *Message, to jid.JID) *stanza.Stanza {
	s := stanza.New(stanza.Message, stanza.TypeChat,
		xmlstream.El(stanza.NSClient, "body", m.ID), xmlstream.El(nsSID, "origin-id", xmlstream.A("id", m.ID)))
	s.ID, s.To = m.ID, to
	return s
}

// bound returns the full JID of the session, or the zero one.
func (d *Device) bound() jid.JID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

// awaitAck asks for an <a/> until everything is covered.
func (d *Device) awaitAck(ctx context.Context) error {
	d.mu.Lock()
	done := d.done
	d.mu.Unlock()
	for d.unacked() > 0 {
		if err := d.write(xmlstream.El(nsSM, "r").Append(nil, stanza.NSClient)); err != nil {
			return err
		}
		again := time.NewTimer(5 * time.Second)
		select {
		case <-d.acked:
		case <-again.C:
		case <-done:
			return d.why()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		again.Stop()
	}
	return nil
}

// Abort ends the connection without a word and waits for the goroutine that reads.
func (d *Device) Abort() error {
	d.mu.Lock()
	st, done := d.st, d.done
	d.mu.Unlock()
	if st == nil {
		return nil
	}
	err := closed(st)
	<-done
	return err
}

// Close logs out: the session ends and cannot be resumed.
func (d *Device) Close(ctx context.Context) error {
	d.mu.Lock()
	st, done := d.st, d.done
	d.resumeID = ""
	d.mu.Unlock()
	if err := st.Conn.CloseStream(); err != nil {
		return errors.Join(err, d.Abort())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), d.Abort())
	}
}

// broken tells whether an error is that of a connection that ended.
func broken(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNRESET)
}
