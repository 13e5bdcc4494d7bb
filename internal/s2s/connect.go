package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"sabir/internal/incoming"
	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
)

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
