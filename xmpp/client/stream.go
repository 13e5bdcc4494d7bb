package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/net/idna"

	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Errors of negotiation, to be tested with errors.Is.
var (
	// ErrNoTLS says that the server offers no encryption and the Config does not do without.
	ErrNoTLS = errors.New("the server offers no TLS")
	// ErrNoBind says that the server offers no resource binding.
	ErrNoBind = errors.New("the server offers no resource binding")
)

// AuthError is the server's answer to a failed login (RFC 6120 §6.5).
type AuthError struct {
	Mechanism string
	Condition sasl.Condition
	Text      string
}

// Error names mechanism, condition and text.
func (e *AuthError) Error() string {
	s := "login by " + e.Mechanism + " failed: " + string(e.Condition)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Stream is a stream of which the caller takes the steps: Open, Authenticate, Bind. One goroutine reads; any may write.
type Stream struct {
	Conn     stream.Conn
	Header   stream.Header   // the server's, of the latest opening
	Features stream.Features // likewise
	Target   string          // what was connected to

	cfg   *Config
	jid   jid.JID
	early []*xmlstream.Frame // came while the answer to <enable/> was waited for

	resume *Managed // what a login that is sent with the opening resumes, or nil
	sent   *attempt // that login, or nil
}

// Open connects, encrypts and opens the stream, up to the features that offer authentication.
func Open(ctx context.Context, cfg *Config) (*Stream, error) {
	return open(ctx, &Stream{cfg: cfg}, false)
}

// open is Open. With pipeline the login goes along with the opening where that can be (XEP-0509).
func open(ctx context.Context, s *Stream, pipeline bool) (*Stream, error) {
	cfg := s.cfg
	ctx, cancel := context.WithTimeout(ctx, cfg.timeout())
	defer cancel()
	domain, err := asciiDomain(cfg.domain())
	if err != nil {
		return nil, err
	}
	if cfg.Via == WebSocket {
		err = s.dialWebSocket(ctx, domain)
	} else {
		err = s.dialTCP(ctx, domain)
	}
	if err != nil {
		return nil, err
	}
	if err := s.guard(ctx, func() error { return s.start(ctx, domain, pipeline) }); err != nil {
		return nil, errors.Join(err, quietClose(s.Conn))
	}
	return s, nil
}

// asciiDomain gives the form of a domain that DNS and certificates have.
func asciiDomain(domain string) (string, error) {
	if domain == "" {
		return "", errors.New("the address has no domain")
	}
	if strings.HasPrefix(domain, "[") {
		return domain, nil
	}
	a, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("the domain %q: %w", domain, err)
	}
	return a, nil
}

func (s *Stream) dialTCP(ctx context.Context, domain string) error {
	d, service := s.cfg.dialer(), dial.Client()
	var targets []dial.Target
	if s.cfg.Address != "" {
		port := service.Port
		if s.cfg.Via == DirectTLS {
			port = service.PortTLS
		}
		t, err := dial.ParseTarget(s.cfg.Address, port)
		if err != nil {
			return err
		}
		t.DirectTLS = s.cfg.Via == DirectTLS
		targets = []dial.Target{t}
	} else {
		all, err := d.Lookup(ctx, service, domain)
		if err != nil {
			return err
		}
		for _, t := range all {
			if s.cfg.Via == Auto || t.DirectTLS == (s.cfg.Via == DirectTLS) {
				targets = append(targets, t)
			}
		}
		if len(targets) == 0 && s.cfg.Via == DirectTLS {
			targets = []dial.Target{{Host: domain, Port: service.PortTLS, DirectTLS: true}}
		}
	}
	c, err := d.Dial(ctx, targets, dial.TLSConfig(s.cfg.TLS, domain, service.ALPN))
	if err != nil {
		return err
	}
	s.Conn, s.Target = stream.NewTCP(c.Conn, stanza.NSClient, s.cfg.limits()), c.Target.String()
	return nil
}

func (s *Stream) dialWebSocket(ctx context.Context, domain string) error {
	d := s.cfg.dialer()
	urls := []string{s.cfg.Address}
	if s.cfg.Address == "" {
		var err error
		if urls, err = d.WebSocketURLs(ctx, domain, s.cfg.TLS); err != nil {
			return err
		}
	}
	h := d.HTTPClient(s.cfg.TLS)
	var errs []error
	for _, u := range urls {
		if !strings.HasPrefix(u, "wss://") && !s.cfg.Plaintext {
			errs = append(errs, fmt.Errorf("%s: %w", u, ErrNoTLS))
			continue
		}
		c, err := stream.DialWebSocket(ctx, u, h, s.cfg.limits())
		if err == nil {
			s.Conn, s.Target = c, u
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", u, err))
	}
	return errors.Join(errs...)
}

// guard runs a step of negotiation and ends the connection where ctx ends before.
func (s *Stream) guard(ctx context.Context, step func() error) error {
	stop := context.AfterFunc(ctx, func() {
		if err := s.Conn.Close(); err != nil {
			s.cfg.log().Debug("closing a connection that took too long", "err", err)
		}
	})
	err := step()
	if !stop() && err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// start opens the stream and encrypts it.
func (s *Stream) start(ctx context.Context, domain string, pipeline bool) error {
	if err := s.open(pipeline); err != nil {
		return err
	}
	if s.Conn.TLS() != nil {
		return nil
	}
	tcp, ok := s.Conn.(*stream.TCP)
	if !ok || !s.Features.StartTLS { // RFC 7395 §3.9: no STARTTLS over WebSocket
		if s.cfg.Plaintext {
			return nil
		}
		return ErrNoTLS
	}
	if s.cfg.Plaintext && !s.Features.TLSRequired && s.cfg.TLS == nil {
		return nil
	}
	if err := tcp.StartTLS(ctx, dial.TLSConfig(s.cfg.TLS, domain, "")); err != nil {
		return err
	}
	return s.open(pipeline)
}

// open opens the stream, for the first time or anew, and reads the features.
func (s *Stream) open(pipeline bool) error {
	h := stream.Header{To: s.cfg.domain(), Lang: s.cfg.Lang}
	if s.cfg.Login != nil && s.Conn.TLS() != nil && s.cfg.JID.Local() != "" {
		h.From = s.cfg.JID.Bare().String() // XEP-0388#feature; not for everybody to see (RFC 6120 §4.7.1)
	}
	var first []byte
	var err error
	tcp, ok := s.Conn.(*stream.TCP)
	if ok && pipeline && h.From != "" {
		if first, err = s.pipelined(); err != nil {
			return err
		}
	}
	if first != nil {
		h, err = tcp.OpenWith(h, first)
	} else {
		h, err = s.Conn.Open(h)
	}
	if err != nil {
		return s.closing(err)
	}
	s.Header = h
	return s.readFeatures()
}

func (s *Stream) readFeatures() error {
	f, err := s.Next()
	if err != nil {
		return err
	}
	if n := f.Name(); n.Space != stream.NS || n.Local != "features" {
		return fmt.Errorf("the server sent <%s/> in place of features", n.Local)
	}
	s.Features = stream.ParseFeatures(f.Element())
	return nil
}

// closing answers a stream error of ours towards the server, and returns it.
func (s *Stream) closing(err error) error {
	var bad *stream.Error
	if !errors.As(err, &bad) {
		return err
	}
	var b []byte
	if s.Conn.ContentNS() == "" {
		b = append(bad.AppendTCP(b), stream.CloseTCP...)
	} else {
		b = bad.AppendWS(b)
	}
	if werr := s.Conn.Write(b); werr != nil {
		s.cfg.log().Debug("sending a stream error", "err", werr)
	}
	return err
}

// NextFrame waits for the next top-level element, whatever it is. See stream.Conn for the errors.
func (s *Stream) NextFrame() (*xmlstream.Frame, error) { return s.Conn.Next() }

// Next waits for the next top-level element. A stream error of the server is returned as a *stream.Error.
func (s *Stream) Next() (*xmlstream.Frame, error) {
	if len(s.early) > 0 {
		f := s.early[0]
		s.early = s.early[1:]
		return f, nil
	}
	return s.fresh()
}

func (s *Stream) fresh() (*xmlstream.Frame, error) {
	f, err := s.Conn.Next()
	if err != nil {
		return nil, s.closing(err)
	}
	if n := f.Name(); n.Space == stream.NS && n.Local == "error" {
		return nil, stream.ParseError(f.Element())
	}
	return f, nil
}

// Send sends a stanza.
func (s *Stream) Send(st *stanza.Stanza) error {
	return s.Conn.Write(st.Append(nil, s.Conn.ContentNS()))
}

// SendElement sends any top-level element.
func (s *Stream) SendElement(e *xmlstream.Element) error {
	if s.Conn.ContentNS() == "" {
		return s.Conn.Write(e.Append(nil, stanza.NSClient))
	}
	return s.Conn.Write(e.Append(nil, ""))
}

// JID returns the full JID once Bind has returned, before that the zero one.
func (s *Stream) JID() jid.JID { return s.jid }

// Authenticate logs in and opens the stream anew (RFC 6120 §6).
func (s *Stream) Authenticate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.timeout())
	defer cancel()
	return s.guard(ctx, s.authenticate)
}

func (s *Stream) authenticate() error {
	m, err := sasl.NewClient(s.Features.Mechanisms, s.sasl(s.Features.Mechanisms))
	if err != nil {
		return fmt.Errorf("%w (offered: %s)", err, strings.Join(s.Features.Mechanisms, " "))
	}
	initial, has, err := m.Start()
	if err != nil {
		return err
	}
	auth := xmlstream.El(stream.NSSASL, "auth", xmlstream.A("mechanism", m.Name()))
	if has {
		auth.Add(sasl.EncodeBase64(nonNil(initial)))
	}
	if err := s.SendElement(auth); err != nil {
		return err
	}
	if err := s.exchange(m); err != nil {
		return err
	}
	return s.open(false)
}

// sasl says how to log in on this connection. offered are the mechanisms that came: the server may tell which it has sent.
func (s *Stream) sasl(offered []string) *sasl.ClientConfig {
	c := &sasl.ClientConfig{
		Username: s.cfg.JID.Local(), Password: s.cfg.Password,
		Mechanisms: s.cfg.Mechanisms, Encrypted: s.Conn.TLS() != nil,
		AllowPlain: s.cfg.AllowPlain, PlainUnencrypted: s.cfg.Plaintext,
		External: s.cfg.External, Anonymous: s.cfg.Anonymous,
		Bindings: s.Bindings(), BindingTypes: s.Features.ChannelBindings,
		Cache: s.cfg.Keys,
	}
	var version uint16
	if t := s.Conn.TLS(); t != nil {
		version = t.Version
	}
	c.CheckFirst = sasl.CheckDowngrade(offered, s.Features.ChannelBindings, version)
	return c
}

// nonNil keeps an empty initial response apart from none (RFC 6120 §6.4.2).
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// exchange answers challenges until the server has decided.
func (s *Stream) exchange(m sasl.Client) error {
	for {
		f, err := s.Next()
		if err != nil {
			return err
		}
		x := f.Element()
		if x.Name.Space != stream.NSSASL {
			return fmt.Errorf("the server sent <%s/> during authentication", x.Name.Local)
		}
		switch x.Name.Local {
		case "challenge":
			data, err := sasl.DecodeBase64(x.Text())
			if err != nil {
				return err
			}
			answer, err := m.Next(data)
			if err != nil {
				return errors.Join(err, s.SendElement(xmlstream.El(stream.NSSASL, "abort")))
			}
			r := xmlstream.El(stream.NSSASL, "response")
			if len(answer) > 0 {
				r.Add(sasl.EncodeBase64(answer))
			}
			if err := s.SendElement(r); err != nil {
				return err
			}
		case "success":
			data, err := sasl.DecodeBase64(x.Text())
			if err != nil {
				return err
			}
			return m.Success(data)
		case "failure":
			return parseFailure(m.Name(), x)
		default:
			return fmt.Errorf("the server sent <%s/> during authentication", x.Name.Local)
		}
	}
}

func parseFailure(mechanism string, x *xmlstream.Element) *AuthError {
	e := &AuthError{Mechanism: mechanism, Condition: "undefined-condition"}
	for k := range x.Elements() {
		switch {
		case k.Is(stream.NSSASL2, "text"):
			e.Text = k.Text()
		case k.Name.Space != stream.NSSASL:
		case k.Name.Local == "text":
			e.Text = k.Text()
		default:
			e.Condition = sasl.Condition(k.Name.Local)
		}
	}
	return e
}

// Bindings returns what ties a login to the TLS connection, the better first.
func (s *Stream) Bindings() []sasl.ChannelBinding {
	state := s.Conn.TLS()
	if state == nil || s.cfg.NoBinding {
		return nil
	}
	var bs []sasl.ChannelBinding
	if b, err := sasl.ExporterBinding(state); err == nil {
		bs = append(bs, b)
	} else {
		s.cfg.log().Debug("no channel binding by exporter", "err", err)
	}
	if len(state.PeerCertificates) > 0 {
		if b, err := sasl.EndPointBinding(state.PeerCertificates[0]); err == nil {
			bs = append(bs, b)
		} else {
			s.cfg.log().Debug("no channel binding by certificate", "err", err)
		}
	}
	return bs
}

// Bind binds a resource, "" for one of the server's choice, and returns the full JID (RFC 6120 §7). An error of the
// server is a *stanza.Error.
func (s *Stream) Bind(ctx context.Context, resource string) (jid.JID, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.timeout())
	defer cancel()
	err := s.guard(ctx, func() error { return s.bind(resource) })
	return s.jid, err
}

func (s *Stream) bind(resource string) error {
	if !s.Features.Bind {
		return ErrNoBind
	}
	x := xmlstream.El(stream.NSBind, "bind")
	if resource != "" {
		x.Add(xmlstream.El(stream.NSBind, "resource", resource))
	}
	reply, err := s.ask(x)
	if err != nil {
		return err
	}
	full, err := jid.Parse(reply.Child(stream.NSBind, "bind").ChildText(stream.NSBind, "jid"))
	if err != nil || !full.IsFull() {
		return errors.Join(errors.New("the server bound no full JID"), err)
	}
	s.jid = full
	if s.Features.Session {
		if _, err := s.ask(xmlstream.El(stream.NSSession, "session")); err != nil {
			return err
		}
	}
	return nil
}

// ask sends a request of negotiation: nothing but its answer may come.
func (s *Stream) ask(payload *xmlstream.Element) (*stanza.Stanza, error) {
	q := stanza.NewIQ(stanza.TypeSet, jid.JID{}, jid.JID{}, payload)
	if err := s.Send(q); err != nil {
		return nil, err
	}
	f, err := s.Next()
	if err != nil {
		return nil, err
	}
	r, _ := stanza.FromFrame(f)
	if r == nil || r.Kind != stanza.IQ || r.ID != q.ID {
		return nil, fmt.Errorf("the server answered <%s/> with <%s/>", payload.Name.Local, f.Name().Local)
	}
	if e := r.Err(); e != nil {
		return nil, e
	}
	return r, nil
}

// Close ends the stream and waits for the server to do the same, as long as ctx lasts (RFC 6120 §4.4). What comes in the
// meantime is thrown away. Nobody else may be reading.
func (s *Stream) Close(ctx context.Context) error {
	err := s.Conn.CloseStream()
	if err == nil {
		err = s.guard(ctx, func() error {
			for {
				if _, err := s.Conn.Next(); err != nil {
					if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
						return nil
					}
					return err
				}
			}
		})
	}
	return errors.Join(err, quietClose(s.Conn))
}
