package s2s

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sabir/internal/incoming"
	"sabir/xmpp/dial"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// outStream is a stream that we have opened.
type outStream struct {
	srv  *Server
	snd  *sender
	peer *peerStream
	tcp  *stream.TCP
	done chan struct{}
	in   *receiver // where the stream goes both ways

	came     lastCame
	handling sync.Mutex // held while something that has come is handled
	told     bool       // how many stanzas were handled, for the last time
	bytes    int        // of elements that came since pace was called; it belongs to the reader

	askM  sync.Mutex
	asked []*question // keys that wait for an answer

	sm      bool
	largest int // bytes of a stanza that the peer takes; 0 where it does not say
	target  dial.Target
	once    sync.Once
	said    chan struct{} // closed when the last bytes were written
	counts  func()        // ends the count in the metrics
	until   time.Time     // when the peer's certificate expires; see policy.lasts
}

var _ carrier = (*outStream)(nil)

// openOut opens a connection for a sender and proves our domain on it.
func (s *Server) openOut(ctx context.Context, snd *sender) error {
	p, err := s.open(ctx, snd.pair)
	if err != nil {
		return err
	}
	o := &outStream{srv: s, snd: snd, peer: p, tcp: p.tcp, target: p.conn.Target, done: make(chan struct{}), said: make(chan struct{})}
	if p.bad == nil && len(p.tlsa) == 0 { // RFC 7671 §5.1: those that DANE names have no end
		o.until = s.policy.Load().lasts(p.tcp.TLS(), snd.remote.Domain(), s.o.Clock.Now())
	}
	stop := context.AfterFunc(ctx, func() { p.tcp.Close() })
	err = o.negotiate()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		snd.lost(o)
		s.leave(p)
		return err
	}
	s.o.Metrics.RemoteStream("out", 1)
	o.counts = func() { s.o.Metrics.RemoteStream("out", -1) }
	s.o.Log.Info("connected to a server", "domain", snd.remote.Domain(), "from", snd.local.Domain(), "target", o.target.String(), "acks", o.sm, "both_ways", o.in != nil)
	if !s.goes(o.read) {
		snd.lost(o)
		p.tcp.Close()
		o.counts()
		return errStopping
	}
	return nil
}

// errStopping says that the server stops.
var errStopping = errors.New("this server is stopping")

// negotiate proves our domains and agrees on bidirectional use and stream management.
func (o *outStream) negotiate() error {
	p := o.peer
	bidi := p.features.Element.Child(nsBidiFeature, "bidi") != nil && p.bad == nil
	if bidi { // XEP-0288#nego: before SASL
		x := xmlstream.El(nsBidi, "bidi", o.srv.limits()) // XEP-0478#advertise-bidi
		if err := o.tcp.Write(x.Append(nil, stanza.NSServer)); err != nil {
			return err
		}
	}
	err := errNoWay
	for _, m := range p.features.Mechanisms {
		if m == "EXTERNAL" {
			err = o.external(p)
			break
		}
	}
	var refused *saslRefused
	if errors.Is(err, errNoWay) || errors.As(err, &refused) {
		err = o.dialback(o.snd.pair, err)
	}
	if err != nil {
		return err
	}
	if bidi {
		o.in = newReceiver(o.srv)
		o.in.allow(o.snd.pair)
		defer o.in.flush() // the peer may send from here on
	}
	o.largest = largest(p.features.Element)
	o.tcp.SetLimits(incoming.Limits(o.srv.settings().Limits, o.srv.settings().Skip))
	lost, err := o.readmit()
	if err != nil {
		return err
	}
	if err := o.manage(p); err != nil {
		return err
	}
	for _, l := range lost { // what it had there was given back by now
		o.snd.drop(l)
		l.refused(o.srv.o.Clock.Now())
		l.left(o.snd)
	}
	return nil
}

// errNoWay says that EXTERNAL is not offered.
var errNoWay = errors.New("EXTERNAL is not offered: that server does not accept our certificate")

// saslRefused is the failure of SASL.
type saslRefused struct{ condition, text string }

func (e *saslRefused) Error() string {
	return fmt.Sprintf("that server refuses EXTERNAL: %s %s", e.condition, e.text)
}

// external proves our domain by certificate (XEP-0178#s2s). The domain is named, although the header has it: some servers
// want that.
func (o *outStream) external(p *peerStream) error {
	authzid := base64.StdEncoding.EncodeToString([]byte(o.snd.local.Domain()))
	if err := o.tcp.Write([]byte("<auth xmlns='" + stream.NSSASL + "' mechanism='EXTERNAL'>" + authzid + "</auth>")); err != nil {
		return err
	}
	f, err := o.tcp.Next()
	if err != nil {
		return err
	}
	x := f.Element()
	switch {
	case x.Is(stream.NSSASL, "success"):
		return o.srv.header(p, o.snd.pair)
	case x.Is(stream.NSSASL, "failure"):
		e := &saslRefused{text: x.ChildText(stream.NSSASL, "text")}
		if c := x.First(); c != nil {
			e.condition = c.Name.Local
		}
		return e
	case x.Is(stream.NS, "error"):
		return stream.ParseError(x)
	}
	return fmt.Errorf("the end of SASL was due, <%s/> came", x.Name.Local)
}

// sendKey sends a key by which our domain of a pair is proved (XEP-0220).
func (o *outStream) sendKey(p pair) error {
	key := o.srv.keys.key(p.remote.Domain(), p.local.Domain(), o.peer.id)
	return o.tcp.Write(appendDialback(nil, "result", p.local.Domain(), p.remote.Domain(), "", "", key))
}

// dialback proves our domain of a pair by a key, before the stream is in use. why is the reason not to do so by certificate; nil for none.
// What else comes until then is handled where the peer may send already.
func (o *outStream) dialback(p pair, why error) error {
	if err := o.sendKey(p); err != nil {
		return err
	}
	for {
		f, err := o.tcp.Next()
		if err != nil {
			return errors.Join(err, why)
		}
		x := f.Element()
		if x.Is(stream.NS, "error") {
			return errors.Join(stream.ParseError(x), why)
		}
		if ok, err := dialbackAnswer(x, p); ok {
			if f := (*failure)(nil); errors.As(err, &f) {
				f.err = errors.Join(f.err, why)
			}
			return err
		}
		if o.in != nil {
			if err := o.frame(f); err != nil {
				return err
			}
		}
	}
}

// dialbackAnswer tells whether an element is the answer to the key of a pair, and what it says: nil where the peer believes it, or a
// *failure.
func dialbackAnswer(x *xmlstream.Element, p pair) (ok bool, err error) {
	if !x.Is(nsDialback, "result") || x.Attr("from") != p.remote.Domain() || x.Attr("to") != p.local.Domain() {
		return false, nil
	}
	switch x.Attr("type") {
	case "valid":
		return true, nil
	case "error":
		e := stanza.ParseError(rescoped(x))
		// XEP-0220#errors: whatever it is, the senders get a timeout.
		return true, &failure{condition: stanza.RemoteServerTimeout, text: "that server cannot check who we are: " + string(e.Condition), final: !passing(e.Condition), err: e}
	}
	// XEP-0220 §2.1.1: our own server is said not to know the key.
	return true, &failure{condition: stanza.InternalServerError, text: "that server does not believe who we are", final: true}
}

// passing tells whether an error of dialback may be over in a moment (XEP-0220#errors).
func passing(c stanza.Condition) bool {
	switch c {
	case stanza.RemoteServerTimeout, stanza.RemoteServerNotFound, stanza.ResourceConstraint, stanza.InternalServerError, "remote-connection-failed":
		return true
	}
	return false
}

// rescoped returns the <error/> of a dialback element as one of a stanza.
func rescoped(x *xmlstream.Element) *xmlstream.Element {
	for k := range x.Elements() {
		if k.Name.Local == "error" {
			return k
		}
	}
	return x
}

// read handles what comes until the stream ends.
func (o *outStream) read() {
	defer close(o.done)
	defer o.counts()
	err := o.loop()
	var se *stream.Error
	if !errors.Is(err, io.EOF) {
		if o.sm && !errors.Is(err, errTheirs) {
			o.snd.breaks(o)
		}
		o.srv.o.Log.Debug("a stream to a server has ended", "domain", o.snd.remote.Domain(), "error", err)
	}
	if errors.As(err, &se) && !errors.Is(err, errTheirs) {
		o.end(se)
	} else {
		o.end(nil)
	}
	t := time.NewTimer(incoming.LingerTimeout)
	defer t.Stop()
	select {
	case <-o.said: // what is wrong has been told
	case <-t.C:
	}
	o.cut()
}

// errTheirs marks a stream error that the peer has sent.
var errTheirs = errors.New("from the peer")

func (o *outStream) loop() (err error) {
	defer incoming.Recover(o.srv.o.Log, &err)
	if o.in != nil {
		defer o.came.ends()
		o.tcp.OnRest(o.gathered)
	}
	for {
		f, err := o.tcp.Next()
		if err := o.handle(f, err); err != nil {
			return err
		}
	}
}

// gathered ends the batch of what was read, and waits where the peer sends more than it may on all of its streams.
func (o *outStream) gathered() {
	o.handling.Lock()
	o.in.flush()
	o.handling.Unlock()
	o.came.ends()
	wait := o.srv.take(o.snd.remote, o.bytes, o.in.fresh())
	if o.bytes = 0; wait > 0 {
		incoming.Pause(wait, o.srv.ctx.Done())
	}
}

// handle handles what has come, or err instead.
func (o *outStream) handle(f *xmlstream.Frame, err error) error {
	o.came.begins()
	o.handling.Lock()
	defer o.handling.Unlock()
	if err == nil {
		o.bytes += len(f.Raw())
		err = o.frame(f)
	}
	if err != nil && o.in != nil {
		o.in.acknowledge() // what end says, or a connection after this one
	}
	return err
}

func (o *outStream) frame(f *xmlstream.Frame) error {
	switch n := f.Name(); n.Space {
	case stream.NS:
		if n.Local == "error" {
			return errors.Join(errTheirs, stream.ParseError(f.Element()))
		}
	case sm.NS:
		return o.management(f)
	case nsDialback:
		return o.dialbackElement(f.Element())
	case stanza.NSServer:
		switch {
		case o.told: // the peer knows that it has to send this elsewhere
			return nil
		case o.in != nil:
			return o.in.stanza(f)
		}
		return stream.Err(stream.NotAuthorized, "this stream goes one way") // RFC 6120 §4.5
	}
	return incoming.Unknown(f, stanza.NSServer)
}

func (o *outStream) management(f *xmlstream.Frame) error {
	switch f.Name().Local {
	case "a":
		h, err := sm.ParseAck(f.Attr("h"))
		if err != nil {
			return err
		}
		if err := o.snd.ack(h); err != nil {
			return err
		}
		o.snd.answered()
	case "r":
		if o.told {
			return nil
		}
		h := uint32(0)
		if o.in != nil {
			h = o.in.acknowledge()
		}
		return o.write(sm.AppendAck(nil, h))
	}
	return nil
}

func (o *outStream) write(b []byte) error { return o.tcp.Write(b) }

func (o *outStream) end(e *stream.Error) {
	o.once.Do(func() {
		go func() {
			err := o.tcp.Write(o.lastWords(e))
			close(o.said)
			if err != nil {
				o.cut()
				return
			}
			t := time.NewTimer(incoming.LingerTimeout)
			defer t.Stop()
			select {
			case <-o.done:
			case <-t.C:
				o.cut()
			}
		}()
	})
}

// lastWords are what was handled, where the peer counts, the error, and the end of our stream.
func (o *outStream) lastWords(e *stream.Error) (b []byte) {
	o.handling.Lock()
	defer o.handling.Unlock()
	if o.sm && o.in != nil {
		b = sm.AppendAck(b, o.in.acknowledge())
		o.told = true
	}
	if e != nil {
		o.srv.o.Metrics.StreamError(string(e.Condition))
		b = e.AppendTCP(b)
	}
	return append(b, stream.CloseTCP...)
}

// loud is for Server.hush.
func (o *outStream) loud() time.Duration {
	if o.in == nil {
		return 0
	}
	return o.came.loud()
}

func (o *outStream) cut() {
	if err := o.tcp.Close(); err != nil {
		o.srv.o.Log.Debug("closing a connection", "error", err)
	}
}

func (o *outStream) ended() <-chan struct{} { return o.done }

func (o *outStream) managed() bool { return o.sm }

func (o *outStream) maxBytes() int { return o.largest }
