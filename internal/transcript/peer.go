package transcript

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Peer is what a [Server] of a script needs: a domain of its own, and its place in the network of the target.
type Peer struct {
	// Domain stands for the one that the script has for it.
	Domain string
	// Listener takes the connections to which the records of Domain lead. Its owner closes it.
	Listener net.Listener
	// Address is where the target takes connections of servers; Direct likewise, with TLS from the start.
	Address, Direct string
	// TLS returns the settings for both roles, with the certificate that the script names: "" for one that proves the domain.
	TLS func(certificate string) (*tls.Config, error)
}

const nsDialback = "jabber:server:dialback" // XEP-0220

// peerOf returns the place of a character, which it shares with those of the same domain.
func (r *run) peerOf(actor int) *Peer { return r.v.peers[r.s.Characters[actor].Get("domain")] }

// wire is the connection of a [Server]: it says nothing by itself.
type wire struct {
	conn     net.Conn
	dec      *xmlstream.Decoder
	tls      *tls.Config
	accepted bool   // the target has connected
	id       string // of the stream, given by whoever accepted
	offers   *xmlstream.Element
}

func newWire(c net.Conn, conf *tls.Config, accepted bool) *wire {
	return &wire{conn: c, dec: xmlstream.NewDecoder(xmlstream.Limits{Bytes: 16 << 20}), tls: conf, accepted: accepted}
}

// next waits for the next element. A stream header is one, too. ok is false where nothing came in time.
func (w *wire) next(wait time.Duration) (ev event, ok bool) {
	deadline := time.Now().Add(wait)
	buf := make([]byte, 4096)
	for {
		e, err := w.dec.Next()
		if err == nil {
			return w.event(e), true
		}
		if !errors.Is(err, xmlstream.ErrMore) {
			return event{err: err}, true
		}
		if err := w.conn.SetReadDeadline(deadline); err != nil {
			return event{err: err}, true
		}
		n, err := w.conn.Read(buf)
		w.dec.Feed(append([]byte(nil), buf[:n]...))
		if n > 0 || err == nil {
			continue
		}
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return event{}, false
		}
		return event{err: io.ErrUnexpectedEOF}, true
	}
}

// event makes elements of what the decoder gives: in the script, the content of streams between servers is that of
// jabber:client.
func (w *wire) event(e xmlstream.Event) event {
	switch e.Kind {
	case xmlstream.StreamStart:
		x := xmlstream.El(stream.NS, "stream")
		x.Attrs = append(x.Attrs, e.Header.Attrs...)
		if !w.accepted {
			w.id = e.Header.Attr("id")
		}
		return event{el: x}
	case xmlstream.StreamEnd:
		return event{err: io.EOF}
	}
	x := rescope(e.Frame.Element(), stanza.NSServer, stanza.NSClient)
	w.restart(x)
	return event{el: x}
}

func (w *wire) write(text string) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(defaultTimeout)); err != nil {
		return err
	}
	_, err := io.WriteString(w.conn, text)
	return err
}

func (w *wire) send(x *xmlstream.Element) error {
	if x.Name.Space == stream.NS {
		return w.write(string(stream.AppendTCP(nil, x, stanza.NSServer)))
	}
	w.restart(x)
	return w.write(string(rescope(x, stanza.NSClient, stanza.NSServer).Append(nil, stanza.NSServer)))
}

// restart makes ready for the header that follows the success of SASL (RFC 6120 §6.4.6).
func (w *wire) restart(x *xmlstream.Element) {
	if x.Is(stream.NSSASL, "success") {
		w.dec.Restart()
	}
}

// rescope changes the content namespace, within the elements of dialback too.
func rescope(x *xmlstream.Element, from, to string) *xmlstream.Element {
	if x.Name.Space != nsDialback {
		return x.Rescope(from, to)
	}
	c := &xmlstream.Element{Name: x.Name, Attrs: x.Attrs}
	for _, n := range x.Nodes {
		if n.El != nil {
			n.El = n.El.Rescope(from, to)
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c
}

// header sends our stream header.
func (w *wire) header(from, to string) error {
	h := stream.Header{From: from, To: to, Version: "1.0", ContentNS: stanza.NSServer}
	if w.accepted {
		w.id = stream.NewStreamID()
		h.ID = w.id
	}
	return w.write(string(h.AppendTCP(nil)))
}

// encrypt does the handshake in the role that the connection gives. The stream starts anew.
func (w *wire) encrypt(ctx context.Context, direct bool) error {
	conf := w.tls.Clone()
	if direct {
		conf.NextProtos = []string{"xmpp-server"} // XEP-0368#reqs
	}
	c := tls.Client(w.conn, conf)
	if w.accepted {
		c = tls.Server(w.conn, conf)
	}
	if err := w.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	w.conn, w.dec = c, xmlstream.NewDecoder(xmlstream.Limits{Bytes: 16 << 20})
	return nil
}

// peerStep does what only a [Server] does. done is false where the step is one for all characters.
func (r *run) peerStep(st *Step, name string) (done bool, f *Failure) {
	a := r.actors[st.Actor]
	switch st.Verb {
	case Dials, DialsTLS, Accepts, AcceptsRaw, Opens:
		if a != nil {
			return true, fail("%s is connected already", name)
		}
		return true, r.join(st, name)
	case Connects, Authenticates:
		return true, r.prove(st, name)
	}
	if a == nil {
		return false, nil
	}
	var err error
	switch st.Verb {
	case OpensStream:
		r.say("→ %s: a stream header", name)
		err = a.w.header(r.peerOf(st.Actor).Domain, r.v.domain)
	case StartsTLS:
		r.say("- %s starts TLS", name)
		err = a.w.encrypt(r.ctx, false)
	default:
		return false, nil
	}
	if err != nil {
		return true, fail("%s: %v", name, err)
	}
	return true, nil
}

// join gets a connection, and takes it as far as the verb says.
func (r *run) join(st *Step, name string) *Failure {
	p := r.peerOf(st.Actor)
	conf, err := p.TLS(r.s.Characters[st.Actor].Get("certificate"))
	if err != nil {
		return fail("%s: %v", name, err)
	}
	a := &actor{name: name, sm: &r.managed[st.Actor]}
	switch st.Verb {
	case Accepts, AcceptsRaw:
		a.w, err = r.accepted(p, conf)
	default:
		conf = conf.Clone()
		conf.ServerName = r.v.domain
		addr := p.Address
		if st.Verb == DialsTLS {
			addr = p.Direct
		}
		var c net.Conn
		if c, err = (&net.Dialer{Timeout: r.t.timeout()}).DialContext(r.ctx, "tcp", addr); err == nil {
			a.w = newWire(c, conf, false)
		}
	}
	if err != nil {
		return fail("%s has no connection: %v", name, err)
	}
	r.actors[st.Actor] = a
	r.v.people[st.Actor].wire = a.w
	r.say("- %s has a connection", name)
	switch st.Verb {
	case DialsTLS:
		if err := a.w.encrypt(r.ctx, true); err != nil {
			return fail("%s: %v", name, err)
		}
	case Opens:
		to, err := r.v.expand(st.Text, st.Actor)
		if to == "" {
			to = r.v.domain
		}
		if err != nil {
			return fail("%v", err)
		}
		return r.open(a, p.Domain, to)
	case Accepts:
		return r.receiveStream(a, p.Domain)
	}
	return nil
}

// accepted takes the next connection that the target has made to a domain.
func (r *run) accepted(p *Peer, conf *tls.Config) (*wire, error) {
	if l, ok := p.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		if err := l.SetDeadline(time.Now().Add(r.t.timeout())); err != nil {
			return nil, err
		}
	}
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newWire(c, conf, true), nil
}

// must receives an element of a name, or tells what came instead.
func (r *run) must(a *actor, space, local string) (*xmlstream.Element, *Failure) {
	ev, ok := r.next(a, r.t.timeout(), nil)
	want := xmlstream.El(space, local)
	switch {
	case !ok:
		return nil, &Failure{What: "nothing came for " + a.name, Expected: show(want)}
	case ev.err != nil:
		return nil, &Failure{What: a.name + " receives no more: " + ending(ev.err), Expected: show(want)}
	case !ev.el.Is(space, local):
		return ev.el, &Failure{What: a.name + " received something else", Expected: show(want), Got: show(ev.el)}
	}
	return ev.el, nil
}

// open opens a stream to the target and encrypts, up to and with the features. A stream error is left to be received.
func (r *run) open(a *actor, from, to string) *Failure {
	for {
		if err := a.w.header(from, to); err != nil {
			return fail("%s: %v", a.name, err)
		}
		if _, f := r.must(a, stream.NS, "stream"); f != nil {
			return f
		}
		x, f := r.must(a, stream.NS, "features")
		if x != nil && x.Is(stream.NS, "error") {
			a.left = []event{{el: x}}
			return nil
		}
		if f != nil {
			return f
		}
		a.w.offers = x
		if x.Child(stream.NSTLS, "starttls") == nil {
			return nil
		}
		if err := a.w.write("<starttls xmlns='" + stream.NSTLS + "'/>"); err != nil {
			return fail("%s: %v", a.name, err)
		}
		if _, f := r.must(a, stream.NSTLS, "proceed"); f != nil {
			return f
		}
		if err := a.w.encrypt(r.ctx, false); err != nil {
			return fail("%s: %v", a.name, err)
		}
		r.say("- %s starts TLS", a.name)
	}
}

// receiveStream takes a stream of the target: it starts TLS, reads the header behind it and answers with its own. The
// features are for the script to send.
func (r *run) receiveStream(a *actor, domain string) *Failure {
	for {
		x, f := r.must(a, stream.NS, "stream")
		if f != nil {
			return f
		}
		err := a.w.header(domain, x.Attr("from"))
		if _, encrypted := a.w.conn.(*tls.Conn); encrypted || err != nil {
			if err != nil {
				return fail("%s: %v", a.name, err)
			}
			return nil
		}
		features := xmlstream.El(stream.NS, "features", xmlstream.El(stream.NSTLS, "starttls", xmlstream.El(stream.NSTLS, "required")))
		if err := a.w.send(features); err != nil {
			return fail("%s: %v", a.name, err)
		}
		if _, f := r.must(a, stream.NSTLS, "starttls"); f != nil {
			return f
		}
		if err := a.w.write("<proceed xmlns='" + stream.NSTLS + "'/>"); err != nil {
			return fail("%s: %v", a.name, err)
		}
		if err := a.w.encrypt(r.ctx, false); err != nil {
			return fail("%s: %v", a.name, err)
		}
		r.say("- %s starts TLS", a.name)
	}
}

// prove opens a stream where that has not been done, and proves the domain by certificate (XEP-0178#s2s).
func (r *run) prove(st *Step, name string) *Failure {
	if r.actors[st.Actor] == nil {
		open := *st
		open.Verb, open.Text = Opens, ""
		if f := r.join(&open, name); f != nil {
			return f
		}
	}
	a := r.actors[st.Actor]
	if err := a.w.write("<auth xmlns='" + stream.NSSASL + "' mechanism='EXTERNAL'>=</auth>"); err != nil {
		return fail("%s: %v", name, err)
	}
	if _, f := r.must(a, stream.NSSASL, "success"); f != nil {
		return f
	}
	if err := a.w.header(r.peerOf(st.Actor).Domain, r.v.domain); err != nil {
		return fail("%s: %v", name, err)
	}
	if _, f := r.must(a, stream.NS, "stream"); f != nil {
		return f
	}
	x, f := r.must(a, stream.NS, "features")
	if f != nil {
		return f
	}
	a.w.offers = x
	r.say("- %s has proved its domain", name)
	return nil
}

// place gets the place of a [Server], once for each domain.
func (v *scope) place(ctx context.Context, t *Target, c *Character) error {
	domain := c.Get("domain")
	if v.peers[domain] != nil {
		return nil
	}
	if t.Peer == nil {
		return errors.New("the target has no room for other servers")
	}
	p, err := t.Peer(ctx, strings.Trim(domain, "{}"))
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	v.peers[domain] = p
	v.old = append(v.old, rename{domain, p.Domain, true})
	return nil
}
