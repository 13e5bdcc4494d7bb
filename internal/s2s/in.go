package s2s

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sabir/internal/incoming"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// inStream is a stream that another server has opened. The fields without a lock belong to its reader.
type inStream struct {
	srv *Server
	t   *tcp
	ctx context.Context
	in  *receiver

	opened   bool // a header was read on this connection
	restart  bool // another header is due, after EXTERNAL
	answered bool // our header was sent
	local    jid.JID
	id       string // of the stream
	certErr  error  // why the certificate does not prove the domain of the header; nil where it does
	failures int
	pairs    int // that were asked for
	raised   bool
	said     bool // we have closed our half, and handle what is under way

	remote  atomic.Pointer[jid.JID] // of the header
	bidi    bool                    // the peer wants the stream to go both ways
	snd     *sender                 // then, once it has begun: the other half
	largest atomic.Int64            // bytes of a stanza that the peer takes then; 0 where it does not say
	smID    string                  // the hash of the id with which the peer can resume the stream; "" for not at all
	resumed *uint32                 // how much of ours the peer had handled when it resumed the stream
	sm      atomic.Bool
	trusted atomic.Bool               // a pair was proved: the limits are those of a known domain
	until   atomic.Pointer[time.Time] // when the certificate that the peer has shown expires; see policy.lasts

	done     chan struct{} // closed when nothing comes any more
	reason   atomic.Pointer[ending]
	since    time.Time
	attachM  sync.Mutex
	attached *sender // snd, once it may write
	carried  []*link // those that may ride on it
}

// ending is why a stream is to end; the error is nil for none.
type ending struct {
	err     *stream.Error
	orderly bool // the peer has done nothing wrong
}

var _ carrier = (*inStream)(nil)

// errEnd is returned by the handlers when the peer has closed the stream or the server has.
var errEnd = incoming.ErrEnd

// header handles a stream header, the first, that after STARTTLS or that after SASL (RFC 6120 §4.3, §4.7).
func (c *inStream) header(h stream.Header, bad *stream.Error) error {
	c.id = stream.NewStreamID()
	to, err := jid.Parse(h.To)
	known := err == nil && to.IsDomain() && c.srv.hosted(to)
	if err := c.answerHeader(h, to, known); err != nil {
		return err
	}
	if bad == nil {
		bad = c.checkHeader(h, to, known)
	}
	if bad != nil {
		return bad
	}
	if c.restart {
		c.restart = false
		return c.features()
	}
	c.local, c.opened = to, true
	if c.t.Encrypted() {
		c.certErr = c.identify()
	}
	return c.features()
}

func (c *inStream) checkHeader(h stream.Header, to jid.JID, known bool) *stream.Error {
	switch {
	case h.To == "":
		return stream.Err(stream.ImproperAddressing, "a stream header names the domain that it is for in `to`")
	case !known:
		return stream.Err(stream.HostUnknown, "")
	case c.opened && c.restart && to != c.local:
		// Who was proved to one host is unproved to another (CVE-2018-10847).
		return stream.Err(stream.NotAuthorized, "the host of a stream does not change after authentication")
	case !c.srv.settings().Enabled:
		return stream.Err(stream.PolicyViolation, "this server does not talk to other servers")
	}
	if h.From == "" {
		if c.t.Encrypted() && !c.restart { // RFC 6120 §4.7.1
			return stream.Err(stream.ImproperAddressing, "a stream header names the domain that it is from in `from`")
		}
		return nil
	}
	from, err := jid.Parse(h.From)
	switch {
	case err != nil || !from.IsDomain():
		return stream.Err(stream.ImproperAddressing, "`from` of a stream header is a domain")
	case c.srv.hosted(from):
		return stream.Err(stream.InvalidFrom, "that domain is ours")
	case c.restart && from != *c.remote.Load():
		return stream.Err(stream.InvalidFrom, "the domain of a stream does not change after authentication")
	case c.srv.policy.Load().refuses(from.Domain()):
		return stream.Err(stream.PolicyViolation, "this server does not talk to that domain")
	}
	c.remote.Store(&from)
	if c.t.Encrypted() && !c.restart && !c.srv.mayOpen(c, from) {
		return stream.Err(stream.ResourceConstraint, "that domain has too many streams open")
	}
	return nil
}

// mayOpen bounds the streams of a domain, proved or not: a name alone cannot fill the places of its owner, since only
// streams from the same address count where none was proved.
func (s *Server) mayOpen(c *inStream, from jid.JID) bool {
	n := 0
	for _, o := range s.inStreams() {
		if r := o.remote.Load(); o != c && r != nil && *r == from && (o.trusted.Load() || o.t.Addr() == c.t.Addr()) {
			n++
		}
	}
	return n < s.settings().StreamsPerDomain
}

// answerHeader sends our header. It is owed before any error too (RFC 6120 §4.9.1.2).
func (c *inStream) answerHeader(h stream.Header, to jid.JID, known bool) error {
	from := c.srv.o.Default
	if known {
		from = to
	}
	a := stream.Header{From: from.String(), ID: c.id, Version: "1.0", Lang: "en", ContentNS: stanza.NSServer}
	if j, err := jid.Parse(h.From); err == nil {
		a.To = j.String() // RFC 6120 §4.7.2
	}
	c.answered = true
	c.t.hold(a.AppendTCP(nil))
	return nil
}

// identify looks at the certificate of the peer. It is shown as that of a client, but certificates of servers are made for
// servers, and many for nothing else.
func (c *inStream) identify() error {
	r := c.remote.Load()
	if r == nil {
		return errNoCertificate
	}
	state, _ := c.t.TLS()
	if state == nil || len(state.PeerCertificates) == 0 {
		return errNoCertificate
	}
	err := c.srv.policy.Load().verify(state, r.Domain(), c.srv.o.Clock.Now(), x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
	if err != nil && c.srv.vouched(state, *r) {
		return nil
	}
	return err
}

// certifies tells whether the certificate of the peer proves a domain, be it another than that of the header.
func (c *inStream) certifies(remote jid.JID) bool {
	state, _ := c.t.TLS()
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	return c.srv.policy.Load().verify(state, remote.Domain(), c.srv.o.Clock.Now(), x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth) == nil
}

// mayDialBack tells whether a domain may prove itself by a key that its server is asked about: always with a good
// certificate, else where the rule for it says so, and never without TLS (XEP-0220#security).
func (c *inStream) mayDialBack(remote jid.JID) bool {
	if !c.t.Encrypted() {
		return false
	}
	if c.srv.policy.Load().rule(remote.Domain()).auth == authDialback {
		return true
	}
	return c.certErr == nil && remote == *c.remote.Load()
}

// features sends what can be negotiated now (RFC 6120 §4.3.2).
func (c *inStream) features() error {
	f := xmlstream.El(stream.NS, "features")
	switch {
	case !c.t.Encrypted():
		f.Add(xmlstream.El(stream.NSTLS, "starttls", xmlstream.El(stream.NSTLS, "required"))) // RFC 7590 §3.4
	case c.trusted.Load(): // further pairs may be proved on the stream
		f.Add(dialbackFeature(), c.srv.management())
	default:
		remote := c.remote.Load()
		if remote != nil && c.certErr == nil {
			f.Add(xmlstream.El(stream.NSSASL, "mechanisms", xmlstream.El(stream.NSSASL, "mechanism", sasl.External)))
		}
		if remote != nil && c.mayDialBack(*remote) {
			f.Add(dialbackFeature())
		}
		if remote != nil && c.certErr != nil && !c.mayDialBack(*remote) {
			c.srv.o.Log.Info("a server does not prove its domain", "domain", remote.Domain(), "to", c.local.Domain(), "address", c.t.Addr().String(), "error", c.certErr)
		}
		f.Add(xmlstream.El(nsBidiFeature, "bidi")) // XEP-0288#feature
		f.Add(c.srv.management())
	}
	return c.t.write(stream.AppendTCP(nil, f, stanza.NSServer))
}

// management are the features of XEP-0198 and XEP-0478.
func (s *Server) management() []*xmlstream.Element {
	return []*xmlstream.Element{
		sm.Feature(),
		s.limits(),
	}
}

// element handles a top-level element.
func (c *inStream) element(f *xmlstream.Frame) error {
	n := f.Name()
	if n == (xmlstream.Name{Space: stream.NS, Local: "error"}) {
		return errEnd // RFC 6120 §4.9.1.1: it ends the stream, and is not answered by one
	}
	if c.restart {
		return stream.Err(stream.NotAuthorized, "a new stream header is due")
	}
	if c.said && n.Space != stanza.NSServer {
		return nil // it can be answered no more
	}
	switch n.Space {
	case stanza.NSServer:
		c.attach()
		return c.in.stanza(f)
	case stream.NSTLS:
		return c.startTLS(n.Local)
	case stream.NSSASL:
		return c.sasl(f.Element())
	case nsDialback:
		return c.dialback(f.Element())
	case sm.NS:
		return c.management(f)
	case nsBidi:
		if n.Local == "bidi" && !c.trusted.Load() && c.pairs == 0 && c.t.Encrypted() { // XEP-0288#feature: TLS comes first
			c.bidi = true                                // XEP-0288#nego
			c.largest.Store(int64(largest(f.Element()))) // XEP-0478#advertise-bidi
			return nil
		}
	}
	return incoming.Unknown(f, stanza.NSServer)
}

func (c *inStream) startTLS(local string) error {
	switch {
	case local != "starttls":
		return stream.Err(stream.UnsupportedStanzaType, "")
	case c.t.Encrypted():
		if err := c.t.write([]byte("<failure xmlns='" + stream.NSTLS + "'/>")); err != nil { // RFC 6120 §5.4.2.2
			return err
		}
		return errEnd
	}
	c.t.Proceed()
	return c.t.write([]byte("<proceed xmlns='" + stream.NSTLS + "'/>"))
}

// sasl handles SASL EXTERNAL (XEP-0178#s2s): what is to be known is known from the certificate, so one step does.
func (c *inStream) sasl(x *xmlstream.Element) error {
	remote := c.remote.Load()
	if x.Name.Local != "auth" {
		return c.saslFailure(sasl.MalformedRequest, "there is no exchange")
	}
	switch {
	case !c.t.Encrypted():
		return c.saslFailure(sasl.EncryptionRequired, "start TLS first")
	case c.trusted.Load():
		return stream.Err(stream.PolicyViolation, "this stream is authenticated")
	case x.Attr("mechanism") != sasl.External:
		return c.saslFailure(sasl.InvalidMechanism, "")
	case remote == nil:
		return c.saslFailure(sasl.NotAuthorized, "the stream header names no domain")
	case c.certErr != nil:
		c.srv.o.Log.Info("a server does not prove its domain", "domain", remote.Domain(), "to", c.local.Domain(), "address", c.t.Addr().String(), "error", c.certErr)
		return c.saslFailure(sasl.NotAuthorized, c.certErr.Error())
	}
	text := x.Text()
	if text != "" {
		b, err := sasl.DecodeBase64(text)
		if err != nil {
			return c.saslFailure(sasl.IncorrectEncoding, "")
		}
		if len(b) > 0 {
			j, err := jid.Parse(string(b))
			if err != nil || j != *remote { // RFC 6120 §6.5.6
				return c.saslFailure(sasl.InvalidAuthzid, "the certificate was looked at for the domain of the stream header")
			}
		}
	}
	if err := c.t.write([]byte("<success xmlns='" + stream.NSSASL + "'/>")); err != nil {
		return err
	}
	c.restart = true
	c.t.Dec.Restart()
	c.answered = false
	c.prove(pair{c.local, *remote}, "EXTERNAL")
	return c.raise()
}

// maxFailures is how many attempts a peer has.
const maxFailures = 3

func (c *inStream) saslFailure(condition sasl.Condition, text string) error {
	if err := c.writeElement(incoming.SASLFailure(&sasl.Failure{Condition: condition, Text: text})); err != nil {
		return err
	}
	if c.failures++; c.failures >= maxFailures {
		return stream.Err(stream.PolicyViolation, "too many failed attempts")
	}
	return nil
}

// prove notes that a pair of domains was proved, by whatever means. It may be called from any goroutine.
func (c *inStream) prove(p pair, how string) {
	c.in.allow(p)
	first := !c.trusted.Swap(true)
	if first {
		state, _ := c.t.TLS()
		until := c.srv.policy.Load().lasts(state, p.remote.Domain(), c.srv.o.Clock.Now())
		c.until.Store(&until)
		c.srv.o.Metrics.RemoteStream("in", 1)
	}
	c.srv.o.Log.Info("a server has proved its domain", "domain", p.remote.Domain(), "to", p.local.Domain(), "how", how, "address", c.t.Addr().String())
	if !c.bidi {
		return
	}
	c.srv.mu.Lock()
	l := c.srv.linkOf(p)
	c.srv.mu.Unlock()
	c.attachM.Lock()
	c.carried = append(c.carried, l)
	snd := c.attached
	c.attachM.Unlock()
	if snd != nil {
		l.offer(snd)
	}
}

// sends makes the other half of the stream, where the peer wants that.
func (c *inStream) sends() {
	if pairs := c.in.proved(); c.bidi && c.snd == nil && len(pairs) > 0 {
		c.snd = newTheirSender(c.srv, pairs[0])
	}
}

// remotes returns the domains of the peer: that of the header, proved or not, and those that were proved besides.
func (c *inStream) remotes() (list []jid.JID) {
	if r := c.remote.Load(); r != nil {
		list = append(list, *r)
	}
	for _, p := range c.in.proved() {
		list = append(list, p.remote)
	}
	return list
}

// attach lets our stanzas go out on the stream, once the peer has agreed on a count or has begun without (XEP-0288#nego). Links that rode
// on it before the peer resumed it do so again where their pairs were proved again.
func (c *inStream) attach() {
	if c.said {
		return
	}
	c.sends()
	if c.snd == nil {
		return
	}
	c.attachM.Lock()
	done := c.attached != nil
	c.attached = c.snd
	links := slices.Clone(c.carried)
	c.attachM.Unlock()
	if done {
		return
	}
	for _, l := range c.snd.links() {
		if !slices.Contains(links, l) {
			c.snd.drop(l)
			l.left(c.snd)
		}
	}
	a := &arrival{c: c}
	if c.resumed != nil {
		a.resumes, a.h = true, *c.resumed
	}
	c.snd.arrive(a)
	for _, l := range links {
		l.offer(c.snd)
	}
}

// raise puts the limits of a known domain in force.
func (c *inStream) raise() error {
	if c.raised || !c.trusted.Load() {
		return nil
	}
	c.raised = true
	set := c.srv.settings()
	c.t.Dec.SetLimits(incoming.Limits(set.Limits, set.Skip))
	return c.t.Conn.SetReadDeadline(time.Time{})
}

// writeElement writes an element that is no stanza.
func (c *inStream) writeElement(x *xmlstream.Element) error {
	return c.t.write(x.Append(nil, stanza.NSServer))
}

func (c *inStream) links() []*link {
	c.attachM.Lock()
	defer c.attachM.Unlock()
	return slices.Clone(c.carried)
}

// finish ends the stream after the reader met err. Only the reader calls it.
func (c *inStream) finish(err error) {
	c.in.acknowledge()
	var se *stream.Error
	if r := c.reason.Load(); r != nil && (errors.Is(err, errEnd) || !errors.As(err, &se)) {
		err, se = errEnd, r.err
	}
	if !errors.As(err, &se) && !errors.Is(err, errEnd) {
		c.t.Close() // the connection is broken: nothing can be said any more
	} else {
		c.say(se)
		c.rest()
	}
	if c.trusted.Load() {
		c.srv.o.Metrics.RemoteStream("in", -1)
	}
	if c.snd != nil {
		if c.smID != "" && !errors.Is(err, errEnd) && se == nil {
			c.snd.breaks(c)
		}
		for _, l := range c.links() {
			l.retract(c.snd)
		}
	}
	if c.smID != "" { // before done: who waits for that puts the stream back with a connection of its own
		c.srv.endResumable(c.smID, errors.Is(err, errEnd) && c.reason.Load() == nil)
	}
	close(c.done)
	c.srv.remove(c)
}

// say writes the last bytes: what was handled, where the peer counts, the error, and the end of our stream.
func (c *inStream) say(e *stream.Error) {
	var b []byte
	if !c.answered {
		b = stream.Header{From: c.srv.o.Default.String(), ID: stream.NewStreamID(), Version: "1.0", Lang: "en", ContentNS: stanza.NSServer}.AppendTCP(b)
	}
	if c.sm.Load() { // XEP-0198#acking: so the peer knows what it may send elsewhere
		b = sm.AppendAck(b, c.in.handled())
	}
	if e != nil {
		c.srv.o.Metrics.StreamError(string(e.Condition))
		c.srv.o.Log.Debug("stream of a server ended", "address", c.t.Addr().String(), "condition", string(e.Condition), "text", e.Text)
		b = e.AppendTCP(b)
	}
	if err := c.t.write(append(b, stream.CloseTCP...)); err != nil {
		c.t.Close()
		return
	}
	c.t.Finish()
}

// rest handles what a peer that does not count had sent before it read the end of our stream (RFC 6120 §4.4): nothing would tell it that this was
// lost. One that counts was told how far we have got, and sends the others elsewhere.
func (c *inStream) rest() {
	if r := c.reason.Load(); r == nil || !r.orderly || c.sm.Load() || !c.trusted.Load() {
		return
	}
	c.said, c.t.last = true, time.Now().Add(incoming.LingerTimeout)
	c.t.Finally()
}

// end asks the reader to end the stream, with an error or without. It does not wait for it.
func (c *inStream) end(e *stream.Error) { c.endBy(&ending{err: e}) }

// endOrderly is end for reasons that are not the peer's.
func (c *inStream) endOrderly(e *stream.Error) { c.endBy(&ending{e, true}) }

func (c *inStream) endBy(r *ending) {
	if c.reason.CompareAndSwap(nil, r) {
		c.t.wake()
	}
}

// loud is for Server.hush.
func (c *inStream) loud() time.Duration {
	if !c.trusted.Load() {
		return 0
	}
	return c.t.came.loud()
}

func (c *inStream) write(b []byte) error { return c.t.write(b) }

func (c *inStream) cut() { c.t.Close() }

func (c *inStream) ended() <-chan struct{} { return c.done }

func (c *inStream) managed() bool { return c.sm.Load() }

func (c *inStream) maxBytes() int { return int(c.largest.Load()) }
