package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"sabir/internal/incoming"
	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// failure says why a domain cannot be reached.
type failure struct {
	condition stanza.Condition
	text      string
	// final says that another try within the next seconds is of no use.
	final bool
	err   error
}

func (f *failure) Error() string {
	if f.err == nil {
		return f.text
	}
	return f.text + ": " + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// stanza returns what the senders are told.
func (f *failure) stanza() *stanza.Error { return stanza.Err(f.condition, f.text) }

// final is a failure that another try does not mend.
func final(text string, err error) *failure {
	return &failure{condition: stanza.RemoteServerNotFound, text: text, final: true, err: err}
}

// failureOf finds out what an error means for those who wait (RFC 6120 §8.3.3.15, §8.3.3.16).
func failureOf(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var se *stream.Error
	if errors.As(err, &se) {
		switch se.Condition {
		case stream.HostUnknown, stream.HostGone:
			return final("the server there does not know that domain", err)
		case stream.UnsupportedVersion: // RFC 6120 §4.7.5: neither TLS nor SASL without XMPP 1.0
			return final("that server does not speak XMPP 1.0", err)
		}
	}
	switch {
	case errors.Is(err, dial.ErrNotOffered):
		return final("that domain has no server", err)
	case all(err, nameless):
		return final("that domain has no address", err)
	case all(err, func(e error) bool { return nameless(e) || forbidden(e) }):
		return final("that domain has an address that this server does not connect to", err)
	}
	return &failure{condition: stanza.RemoteServerTimeout, text: "that server cannot be reached now", err: err}
}

// nameless tells whether DNS says that a name or its addresses do not exist.
func nameless(err error) bool {
	e, ok := err.(*net.DNSError)
	return ok && e.IsNotFound
}

// forbidden tells whether the policy denies an address.
func forbidden(err error) bool {
	_, ok := err.(*dial.DeniedError)
	return ok
}

// all tells whether every error within err is of a kind: what was joined is looked at one by one.
func all(err error, is func(error) bool) bool {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if j, ok := e.(interface{ Unwrap() []error }); ok {
			some := false
			for _, k := range j.Unwrap() {
				if !all(k, is) {
					return false
				}
				some = true
			}
			return some
		}
		if is(e) {
			return true
		}
	}
	return false
}

// outStream is a stream that we have opened.
type outStream struct {
	srv  *Server
	l    *link
	tcp  *stream.TCP
	done chan struct{}
	in   *receiver // where the stream goes both ways

	sm      bool
	largest int // bytes of a stanza that the peer takes; 0 where it does not say
	target  string
	once    sync.Once
	said    chan struct{} // closed when the last bytes were written
	counts  func()        // ends the count in the metrics
}

var _ carrier = (*outStream)(nil)

// peerStream is a connection to another server before it is known what for.
type peerStream struct {
	tcp      *stream.TCP
	conn     *dial.Conn
	dir      *dial.Directory // what the domain has said about the target; nil for nothing
	opened   bool            // a header was sent on this connection
	features stream.Features
	id       string
	bad      error       // why its certificate does not prove the domain; nil where it does
	tlsa     []dial.TLSA // that DNSSEC has validated, and that it must fit
	chain    []*x509.Certificate
}

// open connects to a remote domain and encrypts (RFC 6120 §5.4, XEP-0368). The certificate was looked at when it returns;
// an error is returned where the rule for the domain asks for a good one.
func (s *Server) open(ctx context.Context, p pair) (*peerStream, error) {
	o, err := s.openAny(ctx, p)
	if err != nil {
		return nil, err
	}
	if o.bad != nil && (s.policy.Load().rule(p.remote.Domain()).auth != authDialback || len(o.tlsa) > 0) {
		s.leave(o)
		return nil, final("that server does not prove that it is the one of its domain: "+o.bad.Error(), nil)
	}
	return o, nil
}

// openAny is open for who judges the certificate himself.
func (s *Server) openAny(ctx context.Context, p pair) (*peerStream, error) {
	mode := s.settings().HostMeta
	if len(s.policy.Load().rule(p.remote.Domain()).address) > 0 {
		mode = "never" // the configuration says where it is
	}
	if mode == "first" {
		if o, err := s.openDirectory(ctx, p); err == nil {
			return o, nil
		}
	}
	targets, err := s.targets(ctx, p.remote)
	var o *peerStream
	if err == nil {
		o, err = s.openAt(ctx, p, targets, nil)
	}
	if err != nil && mode == "fallback" && ctx.Err() == nil {
		if other, bad := s.openDirectory(ctx, p); bad == nil {
			return other, nil
		}
	}
	return o, err
}

// maxRedirects is how often one attempt follows <see-other-host/>.
const maxRedirects = 2

// openAt is openAny at given targets. Where a server sends us to another host, what it must show there is the same as
// here, and so are the addresses that we connect to (RFC 6120 §4.9.3.19).
//
// dir is what the domain itself has said about the targets; nil for nothing.
func (s *Server) openAt(ctx context.Context, p pair, targets []dial.Target, dir *dial.Directory) (*peerStream, error) {
	for n := 0; ; n++ {
		o, err := s.openOnce(ctx, p, targets, dir)
		var se *stream.Error
		if err == nil || !errors.As(err, &se) || se.Condition != stream.SeeOtherHost {
			return o, err
		}
		t, bad := dial.ParseTarget(se.Host, dial.Server().Port)
		if bad != nil || n == maxRedirects || oneLabel(t.Host) {
			return nil, fmt.Errorf("that server sends us on to %q: %w", se.Host, err)
		}
		s.o.Log.Info("a server sends us to another host", "domain", p.remote.Domain(), "host", t.String())
		targets, dir = []dial.Target{t}, nil
	}
}

// oneLabel tells whether a name means something else in each network: it leads into ours, not to a host of the world.
func oneLabel(host string) bool { return !strings.ContainsAny(host, ".:") }

// openOnce connects, encrypts, and reads the features behind the encryption.
func (s *Server) openOnce(ctx context.Context, p pair, targets []dial.Target, dir *dial.Directory) (*peerStream, error) {
	direct := s.clientTLS(p, dial.Server().ALPN)
	c, err := s.o.Dialer.Dial(ctx, targets, direct)
	if err != nil {
		return nil, err
	}
	o := &peerStream{dir: dir, conn: c, tcp: stream.NewTCP(c.Conn, stanza.NSServer, incoming.Limits(s.set.Load().Limits.BeforeAuth, 0))}
	stop := context.AfterFunc(ctx, func() { o.tcp.Close() })
	err = s.encrypt(ctx, o, p)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.leave(o)
		return nil, err
	}
	return o, nil
}

// leave ends a stream of which nothing came.
func (s *Server) leave(o *peerStream) {
	var err error
	if o.opened {
		err = o.tcp.CloseStream()
	}
	if err = errors.Join(err, o.tcp.Close()); err != nil {
		s.o.Log.Debug("leaving a server", "error", err) // it may have gone first
	}
}

// targets finds out where the server of a domain is.
func (s *Server) targets(ctx context.Context, remote jid.JID) ([]dial.Target, error) {
	given := s.policy.Load().rule(remote.Domain()).address
	if len(given) == 0 {
		if oneLabel(remote.Domain()) {
			return nil, final("a domain of one label is not looked for", nil)
		}
		return s.o.Dialer.Lookup(ctx, dial.Server(), certname.ASCII(remote.Domain()))
	}
	var list []dial.Target
	for _, a := range given {
		t, err := parseAddress(a)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// clientTLS returns the settings of TLS as a client. What the server shows is judged by policy.verify, which knows more
// names than crypto/tls and which domains may go without a good certificate.
func (s *Server) clientTLS(p pair, alpn string) *tls.Config {
	base := &tls.Config{InsecureSkipVerify: true, ServerName: certname.ASCII(p.remote.Domain())}
	if cert := s.o.TLS.Client(p.local.Domain()); cert != nil {
		base.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return dial.TLSConfig(base, certname.ASCII(p.remote.Domain()), alpn)
}

// encrypt opens the stream, starts TLS where it is not there yet, looks at the certificate and opens the stream anew.
func (s *Server) encrypt(ctx context.Context, o *peerStream, p pair) error {
	records, err := s.o.Dialer.TLSA(ctx, o.conn.Target)
	if err != nil {
		return fmt.Errorf("TLSA records of %s: %w", o.conn.Target, err)
	}
	o.tlsa = usable(records)
	if !o.conn.Target.DirectTLS {
		if err := s.header(o, p); err != nil {
			return err
		}
		if !o.features.StartTLS {
			return final("that server does not encrypt", nil) // RFC 7590 §3.4
		}
		o.opened = false
		if err := o.tcp.StartTLS(ctx, s.clientTLS(p, "")); err != nil {
			return err
		}
	}
	state := o.tcp.TLS()
	if state == nil {
		return errors.New("there is no TLS")
	}
	o.chain = state.PeerCertificates
	o.bad = s.trust(state, p, o)
	return s.header(o, p)
}

// trust judges the certificate of the server to which we have connected.
func (s *Server) trust(state *tls.ConnectionState, p pair, o *peerStream) error {
	pol := s.policy.Load()
	if len(o.tlsa) > 0 && len(state.PeerCertificates) > 0 && pol.rule(p.remote.Domain()).auth != authPin {
		return pol.dane(o.tlsa, state, p.remote.Domain(), o.conn.Target.Host, s.o.Clock.Now())
	}
	if o.dir != nil && len(state.PeerCertificates) > 0 && pol.rule(p.remote.Domain()).auth != authPin {
		return pol.delegated(o.dir, state, p.remote.Domain(), o.conn.Target.Host, s.o.Clock.Now())
	}
	return pol.verify(state, p.remote.Domain(), s.o.Clock.Now(), x509.ExtKeyUsageServerAuth)
}

// header opens the stream and reads the features.
func (s *Server) header(o *peerStream, p pair) error {
	o.opened = true
	h, err := o.tcp.Open(stream.Header{From: p.local.Domain(), To: p.remote.Domain(), Version: "1.0"})
	if err != nil {
		return err
	}
	o.id = h.ID
	f, err := o.tcp.Next()
	if err != nil {
		return err
	}
	x := f.Element()
	switch {
	case x.Is(stream.NS, "error"):
		return stream.ParseError(x)
	case !x.Is(stream.NS, "features"):
		return fmt.Errorf("features were due, <%s/> came", x.Name.Local)
	}
	o.features = stream.ParseFeatures(x)
	return nil
}

// openOut opens a stream for a link and proves our domain on it.
func (s *Server) openOut(ctx context.Context, l *link) (*outStream, error) {
	p, err := s.open(ctx, l.pair)
	if err != nil {
		return nil, err
	}
	o := &outStream{srv: s, l: l, tcp: p.tcp, target: p.conn.Target.String(), done: make(chan struct{}), said: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { p.tcp.Close() })
	err = o.negotiate(p)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		l.lost(o)
		s.leave(p)
		return nil, err
	}
	s.o.Metrics.RemoteStream("out", 1)
	o.counts = func() { s.o.Metrics.RemoteStream("out", -1) }
	s.o.Log.Info("connected to a server", "domain", l.remote.Domain(), "from", l.local.Domain(), "target", p.conn.Target.String(), "acks", o.sm, "both_ways", o.in != nil)
	if !s.goes(o.read) {
		l.lost(o)
		p.tcp.Close()
		o.counts()
		return nil, errStopping
	}
	return o, nil
}

// errStopping says that the server stops.
var errStopping = errors.New("this server is stopping")

// negotiate proves our domain and agrees on bidirectional use and stream management.
func (o *outStream) negotiate(p *peerStream) error {
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
		err = o.dialback(p, err)
	}
	if err != nil {
		return err
	}
	if bidi {
		o.in = newReceiver(o.srv, o)
		o.in.allow(o.l.pair)
	}
	o.largest = largest(p.features.Element)
	o.tcp.SetLimits(incoming.Limits(o.srv.settings().Limits, o.srv.settings().Skip))
	return o.manage(p)
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
	authzid := base64.StdEncoding.EncodeToString([]byte(o.l.local.Domain()))
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
		return o.srv.header(p, o.l.pair)
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

// dialback proves our domain by a key (XEP-0220). why is the reason not to do so by certificate.
func (o *outStream) dialback(p *peerStream, why error) error {
	key := o.srv.keys.key(o.l.remote.Domain(), o.l.local.Domain(), p.id)
	if err := o.tcp.Write(appendDialback(nil, "result", o.l.local.Domain(), o.l.remote.Domain(), "", "", key)); err != nil {
		return err
	}
	for {
		f, err := o.tcp.Next()
		if err != nil {
			return errors.Join(err, why)
		}
		x := f.Element()
		switch {
		case x.Is(stream.NS, "error"):
			return errors.Join(stream.ParseError(x), why)
		case x.Is(nsDialback, "result") && x.Attr("from") == o.l.remote.Domain() && x.Attr("to") == o.l.local.Domain():
			switch x.Attr("type") {
			case "valid":
				return nil
			case "error":
				e := stanza.ParseError(rescoped(x))
				// XEP-0220#errors: whatever it is, the senders get a timeout.
				return &failure{condition: stanza.RemoteServerTimeout, text: "that server cannot check who we are: " + string(e.Condition), final: !passing(e.Condition), err: errors.Join(e, why)}
			}
			// XEP-0220 §2.1.1: our own server is said not to know the key.
			return &failure{condition: stanza.InternalServerError, text: "that server does not believe who we are", final: true, err: why}
		}
	}
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

// manage resumes the stream before or agrees on a new count (XEP-0198), and takes the stream into use.
func (o *outStream) manage(p *peerStream) error {
	if p.features.Element.Child(sm.NS, "sm") == nil {
		o.l.begin(o)
		return nil
	}
	id, h := o.l.resumable()
	if id != "" {
		x, err := o.ask(sm.Resume(id, h))
		if err != nil {
			return err
		}
		handled, known := sm.ParseH(x.Attr("h"))
		if x.Is(sm.NS, "resumed") && known {
			o.sm = true
			b, err := o.l.resumed(o, handled)
			if err != nil || len(b) == 0 {
				return err
			}
			return o.tcp.Write(b)
		}
		if known { // XEP-0198#resumption: how much of it has come is known all the same
			if err := o.l.ack(handled); err != nil {
				return err
			}
		}
		o.l.forget()
	}
	x, err := o.ask(sm.Enable(true, 0))
	if err != nil {
		return err
	}
	if o.sm = x.Is(sm.NS, "enabled"); o.sm {
		id, _ = sm.ParseEnabled(x)
	}
	o.l.begin(o)
	if o.sm {
		o.l.remember(id, o.in)
	}
	return nil
}

// ask sends a request of stream management and waits for its answer. What else comes until then waits no longer.
func (o *outStream) ask(request *xmlstream.Element) (*xmlstream.Element, error) {
	if err := o.tcp.Write(request.Append(nil, stanza.NSServer)); err != nil {
		return nil, err
	}
	for {
		f, err := o.tcp.Next()
		if err != nil {
			return nil, err
		}
		if f.Name().Space == sm.NS {
			return f.Element(), nil
		}
		if err := o.frame(f); err != nil {
			return nil, err
		}
	}
}

// read handles what comes until the stream ends.
func (o *outStream) read() {
	defer close(o.done)
	defer o.counts()
	err := o.loop()
	var se *stream.Error
	if !errors.Is(err, io.EOF) {
		if o.sm && !errors.Is(err, errTheirs) {
			o.l.breaks()
		}
		o.srv.o.Log.Debug("a stream to a server has ended", "domain", o.l.remote.Domain(), "error", err)
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
	for {
		f, err := o.tcp.Next()
		if err == nil {
			err = o.frame(f)
		}
		if o.in != nil && (err != nil || !o.tcp.Buffered()) {
			o.in.flush()
		}
		if err != nil {
			return err
		}
	}
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
		return nil // an answer that nobody waits for (XEP-0220#security-unsolicited)
	case stanza.NSServer:
		if o.in != nil {
			return o.in.stanza(f)
		}
		return stream.Err(stream.NotAuthorized, "this stream goes one way") // RFC 6120 §4.5
	}
	return incoming.Unknown(f, stanza.NSServer)
}

func (o *outStream) management(f *xmlstream.Frame) error {
	switch f.Name().Local {
	case "a":
		h, ok := sm.ParseH(f.Attr("h"))
		if !ok {
			return stream.Err(stream.InvalidXML, "an acknowledgement has h, a number")
		}
		if err := o.l.ack(h); err != nil {
			return err
		}
		o.l.answered()
	case "r":
		if o.in != nil {
			o.in.flush()
			return o.write(sm.AppendAck(nil, o.in.handled()))
		}
		return o.write(sm.AppendAck(nil, 0))
	}
	return nil
}

func (o *outStream) write(b []byte) error { return o.tcp.Write(b) }

func (o *outStream) end(e *stream.Error) {
	o.once.Do(func() {
		var b []byte
		if o.sm && o.in != nil {
			b = sm.AppendAck(b, o.in.handled())
		}
		if e != nil {
			o.srv.o.Metrics.StreamError(string(e.Condition))
			b = e.AppendTCP(b)
		}
		b = append(b, stream.CloseTCP...)
		go func() {
			err := o.tcp.Write(b)
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

func (o *outStream) cut() {
	if err := o.tcp.Close(); err != nil {
		o.srv.o.Log.Debug("closing a connection", "error", err)
	}
}

func (o *outStream) ended() <-chan struct{} { return o.done }

func (o *outStream) base() uint32 { return 0 }

func (o *outStream) managed() bool { return o.sm }

func (o *outStream) maxBytes() int { return o.largest }
