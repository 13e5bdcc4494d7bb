package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

func connect(t *testing.T, cfg *Config) *Client {
	t.Helper()
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Abort(); err != nil {
			t.Error(err)
		}
		<-c.Done()
	})
	return c
}

// echo answers every element with itself.
func (p *peer) echo() {
	for {
		p.send(p.next().Raw())
	}
}

// TestDial takes the whole way over STARTTLS and direct TLS and checks that the strongest mechanism was used.
func TestDial(t *testing.T) {
	for _, direct := range []bool{false, true} {
		mech := make(chan string, 1)
		s := serve(t, direct, func(p *peer) {
			if !direct {
				p.startTLS()
			}
			p.login()
			p.bind()
			mech <- p.mech
			p.echo()
		})
		cfg := s.config()
		cfg.JID = jid.MustParse("romeo@" + domain + "/orchard")
		if direct {
			cfg.Via = DirectTLS
		}
		c := connect(t, cfg)
		if got := c.JID().String(); got != "romeo@example.test/orchard" {
			t.Errorf("bound %s", got)
		}
		if m := <-mech; m != "SCRAM-SHA-512-PLUS" {
			t.Errorf("logged in by %s", m)
		}
		for i := range 100 {
			m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", fmt.Sprint(i)))
			if err := c.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 {
			if got := <-c.Stanzas(); got.Body() != fmt.Sprint(i) {
				t.Fatalf("message %d is %s", i, got)
			}
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if !errors.Is(c.Err(), ErrClosed) {
			t.Errorf("ended by %v", c.Err())
		}
		if _, err := c.Ask(t.Context(), stanza.NewIQ(stanza.TypeGet, jid.JID{}, jid.JID{}, xmlstream.El("x", "y"))); !errors.Is(err, ErrClosed) {
			t.Errorf("asking after the end: %v", err)
		}
	}
}

func TestWebSocket(t *testing.T) {
	url, pool := serveWS(t, "xmpp")
	cfg := &Config{JID: jid.MustParse("romeo@" + domain), Password: "x", Via: WebSocket, Address: url, TLS: &tls.Config{RootCAs: pool}, AllowPlain: true}
	c := connect(t, cfg)
	if err := c.Send(stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "hi"))); err != nil {
		t.Fatal(err)
	}
	if got := <-c.Stanzas(); got.Body() != "hi" {
		t.Errorf("got %s", got)
	}
	if c.Stream().Conn.TLS() == nil {
		t.Error("the state of TLS is not known")
	}
	if err := c.Close(t.Context()); err != nil || !errors.Is(c.Err(), ErrClosed) {
		t.Errorf("%v, %v", err, c.Err())
	}
	other, pool := serveWS(t, "chat")
	cfg = &Config{JID: jid.MustParse("romeo@" + domain), Via: WebSocket, Address: other, TLS: &tls.Config{RootCAs: pool}}
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "does not speak XMPP") {
		t.Errorf("another subprotocol: %v", err)
	}
	cfg.Address = strings.Replace(other, "wss", "ws", 1)
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrNoTLS) {
		t.Errorf("without TLS: %v", err)
	}
}

// TestRefusals goes through what may go wrong before a session stands.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		part   func(p *peer)
		change func(c *Config)
		check  func(err error) bool
	}{
		{"no TLS", func(p *peer) { p.open(offerSASL("PLAIN")); p.next() }, nil, func(err error) bool { return errors.Is(err, ErrNoTLS) }},
		{"TLS refused", func(p *peer) {
			p.open(offerTLS)
			p.next()
			p.send("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>")
		}, nil, func(err error) bool { return strings.Contains(err.Error(), "failed to start TLS") }},
		{"an injection before TLS", func(p *peer) {
			p.open(offerTLS)
			p.next()
			p.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:features/>")
			p.next()
		}, nil, func(err error) bool { return errors.Is(err, stream.ErrTrailing) }},
		{"another's certificate", func(p *peer) { p.startTLS() }, func(c *Config) { c.TLS = &tls.Config{} }, func(err error) bool {
			_, ok := errors.AsType[*tls.CertificateVerificationError](err)
			return ok
		}},
		{"a wrong password", func(p *peer) { p.startTLS(); p.login() }, func(c *Config) { c.Password = "wrong" }, func(err error) bool {
			auth, ok := errors.AsType[*AuthError](err)
			return ok && auth.Condition == sasl.NotAuthorized && auth.Text == "no" && Permanent(err)
		}},
		{"an unknown user", func(p *peer) { p.startTLS(); p.login() }, func(c *Config) { c.JID = jid.MustParse("nobody@" + domain) }, func(err error) bool {
			auth, ok := errors.AsType[*AuthError](err)
			return ok && auth.Condition == sasl.NotAuthorized
		}},
		{"no mechanism", func(p *peer) { p.startTLS(); p.open(offerSASL("PLAIN", "X-NEW")); p.next() }, nil, func(err error) bool {
			return errors.Is(err, sasl.ErrNoMechanism) && strings.Contains(err.Error(), "X-NEW")
		}},
		{"bindings without their types", func(p *peer) {
			p.startTLS()
			p.open("<stream:features><authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-256-PLUS</mechanism>" +
				"<mechanism>SCRAM-SHA-256</mechanism></authentication></stream:features>")
			p.next()
		}, func(c *Config) { c.Login = new(Login) }, func(err error) bool { return errors.Is(err, sasl.ErrDowngrade) }},
		{"a server that proves nothing", func(p *peer) {
			p.startTLS()
			p.open(offerSASL("SCRAM-SHA-1"))
			p.next()
			p.send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
			p.open(offerBind)
			p.next()
		}, nil, func(err error) bool { return err != nil }},
		{"a stream error in place of features", func(p *peer) {
			p.open("")
			p.send(string(stream.Err(stream.HostGone, "moved").AppendTCP(nil)))
			p.next()
		}, nil,
			func(err error) bool {
				bad, ok := errors.AsType[*stream.Error](err)
				return ok && bad.Condition == stream.HostGone && Permanent(err)
			}},
		{"see-other-host", func(p *peer) {
			p.open("")
			p.send(string((&stream.Error{Condition: stream.SeeOtherHost, Host: "other.test:99"}).AppendTCP(nil)))
			p.next()
		}, nil, func(err error) bool {
			bad, ok := errors.AsType[*stream.Error](err)
			return ok && bad.Host == "other.test:99"
		}},
		{"another namespace", func(p *peer) {
			p.event()
			p.send("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
			p.next()
		}, nil, func(err error) bool {
			bad, ok := errors.AsType[*stream.Error](err)
			return ok && bad.Condition == stream.InvalidNamespace
		}},
		{"not XML", func(p *peer) { p.send("HTTP/1.1 400 Bad Request\r\n\r\n"); p.next() }, nil, func(err error) bool {
			_, ok := errors.AsType[*stream.Error](err)
			return ok
		}},
		{"the end", func(p *peer) { p.event() }, nil, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) && !Permanent(err) }},
		{"nothing", func(p *peer) { p.event(); p.event() }, func(c *Config) { c.Timeout = 50 * time.Millisecond }, func(err error) bool {
			return errors.Is(err, context.DeadlineExceeded)
		}},
		{"no binding", func(p *peer) {
			p.startTLS()
			c := p.saslConfig()
			c.Bindings = nil
			p.open("<stream:features/>")
			p.next()
		}, nil, func(err error) bool { return errors.Is(err, sasl.ErrNoMechanism) }},
		{"the resource is refused", func(p *peer) {
			p.startTLS()
			p.login()
			x := p.next().Element()
			p.send("<iq type='error' id='" + x.Attr("id") + "'><error type='modify'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
			p.next()
		}, nil, func(err error) bool {
			refused, ok := errors.AsType[*stanza.Error](err)
			return ok && refused.Condition == stanza.BadRequest
		}},
		{"somebody else's address", func(p *peer) {
			p.startTLS()
			p.login()
			x := p.next().Element()
			p.send("<iq type='result' id='" + x.Attr("id") + "'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>example.test</jid></bind></iq>")
			p.next()
		}, nil, func(err error) bool { return strings.Contains(err.Error(), "no full JID") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, false, c.part)
			cfg := s.config()
			if c.change != nil {
				c.change(cfg)
			}
			got, err := Dial(t.Context(), cfg)
			if err == nil {
				t.Error("a session stands", got.Abort())
				<-got.Done()
				return
			}
			if !c.check(err) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestAsk checks that an answer counts with the id and from the address that was asked only.
func TestAsk(t *testing.T) {
	s := serve(t, false, func(p *peer) {
		p.session()
		for {
			x := p.next().Element()
			id, to := x.Attr("id"), x.Attr("to")
			switch x.First().Name.Local {
			case "spoofed":
				p.send("<iq type='result' id='" + id + "' from='mallory@example.test/x'><spoof xmlns='x'/></iq>")
				p.send("<iq type='result' id='other' from='" + to + "'><spoof xmlns='x'/></iq>")
				p.send("<iq type='result' id='" + id + "' from='" + to + "'><good xmlns='x'/></iq>")
			case "own":
				p.send("<iq type='result' id='" + id + "' from='mallory@example.test'><spoof xmlns='x'/></iq>")
				p.send("<iq type='result' id='" + id + "' from='romeo@example.test'><good xmlns='x'/></iq>")
			case "refused":
				p.send("<iq type='error' id='" + id + "' from='" + to + "'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
			case "end":
				p.send(stream.CloseTCP)
				p.next()
			}
		}
	})
	var others atomic.Int64
	cfg := s.config()
	cfg.Handle = func(_ *Client, s *stanza.Stanza) bool { others.Add(1); return true }
	c := connect(t, cfg)
	juliet := jid.MustParse("juliet@example.test/balcony")
	for what, to := range map[string]jid.JID{"spoofed": juliet, "own": {}} {
		x, err := c.Request(t.Context(), stanza.TypeGet, to, xmlstream.El("x", what))
		if err != nil || !x.Is("x", "good") {
			t.Errorf("%s: %v %v", what, x, err)
		}
	}
	if others.Load() != 3 {
		t.Errorf("%d other stanzas", others.Load())
	}
	var refused *stanza.Error
	if _, err := c.Request(t.Context(), stanza.TypeGet, juliet, xmlstream.El("x", "refused")); !errors.As(err, &refused) || refused.Condition != stanza.Forbidden {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Request(ctx, stanza.TypeGet, juliet, xmlstream.El("x", "silence")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
	if _, err := c.Ask(t.Context(), stanza.New(stanza.Message, stanza.TypeChat)); err == nil {
		t.Error("a message is asked")
	}
	if _, err := c.Request(t.Context(), stanza.TypeGet, juliet, xmlstream.El("x", "end")); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) != 0 {
		t.Errorf("%d requests are kept", len(c.pending))
	}
}

// TestAskAtOnce has many goroutines ask while others send.
func TestAskAtOnce(t *testing.T) {
	s := serve(t, false, func(p *peer) {
		p.session()
		for {
			if x := p.next().Element(); x.Name.Local == "iq" {
				p.send("<iq type='result' id='" + x.Attr("id") + "' from='" + x.Attr("to") + "'><r xmlns='x' n='" + x.First().Attr("n") + "'/></iq>")
			}
		}
	})
	cfg := s.config()
	cfg.Handle = func(*Client, *stanza.Stanza) bool { return false }
	c := connect(t, cfg)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			n := fmt.Sprint(i)
			x, err := c.Request(t.Context(), stanza.TypeGet, jid.MustParse(domain), xmlstream.El("x", "q", xmlstream.A("n", n)))
			if err != nil || x.Attr("n") != n {
				t.Errorf("%d: %v %v", i, x, err)
			}
			if err := c.Send(stanza.New(stanza.Message, stanza.TypeChat)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestRequests checks the answers to requests that nobody handles.
func TestRequests(t *testing.T) {
	answers := make(chan *xmlstream.Element, 4)
	s := serve(t, false, func(p *peer) {
		p.session()
		p.send("<iq type='get' id='1' from='example.test'><ping xmlns='urn:xmpp:ping'/></iq>" +
			"<iq type='get' id='2' from='example.test'><query xmlns='x'/></iq>" +
			"<iq type='get' id='3' from='example.test'/>" +
			"<iq type='result' id='4' from='example.test'/>" +
			"<iq type='set' id='5' from='example.test'><mine xmlns='x'/></iq>")
		for range 3 {
			answers <- p.next().Element()
		}
		p.echo()
	})
	taken := make(chan string, 2)
	cfg := s.config()
	cfg.Handle = func(_ *Client, s *stanza.Stanza) bool {
		if s.PayloadName().Local == "mine" {
			taken <- s.ID
			return true
		}
		return false
	}
	connect(t, cfg)
	for i, want := range []string{"result", "service-unavailable", "bad-request"} {
		x := <-answers
		got := x.Attr("type")
		if e := x.Child(stanza.NSClient, "error"); e != nil {
			got = e.First().Name.Local
		}
		if got != want || x.Attr("id") != fmt.Sprint(i+1) || x.Attr("to") != "example.test" || x.Attr("from") != "" {
			t.Errorf("answer %d: %s", i+1, x)
		}
	}
	if id := <-taken; id != "5" {
		t.Errorf("taken %s", id)
	}
}

// TestEnds checks what Err says after each kind of end.
func TestEnds(t *testing.T) {
	var bad *stream.Error
	for name, c := range map[string]struct {
		part  func(p *peer)
		check func(err error) bool
	}{
		"closed": {func(p *peer) {
			p.send(stream.CloseTCP)
			if ev := p.event(); ev.Kind != xmlstream.StreamEnd {
				p.srv.t.Error("the end of the stream is not answered")
			}
		}, func(err error) bool { return errors.Is(err, io.EOF) }},
		"error": {func(p *peer) {
			p.send(string(stream.Err(stream.Conflict, "").AppendTCP(nil)) + stream.CloseTCP)
			p.next()
		}, func(err error) bool {
			return errors.As(err, &bad) && bad.Condition == stream.Conflict && Permanent(err)
		}},
		"lost":    {func(p *peer) {}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"bad XML": {func(p *peer) { p.send("<message>&bomb;</message>"); p.next() }, func(err error) bool { return errors.As(err, &bad) && !errors.Is(err, io.EOF) }},
	} {
		s := serve(t, false, func(p *peer) { p.session(); c.part(p) })
		cl := connect(t, s.config())
		<-cl.Done()
		if err := cl.Err(); !c.check(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, open := <-cl.Stanzas(); open {
			t.Errorf("%s: the channel is open", name)
		}
	}
}

// TestCloseUnread closes a session whose stanzas nobody takes.
func TestCloseUnread(t *testing.T) {
	s := serve(t, false, func(p *peer) {
		p.session()
		for range 50 {
			p.send("<message/>")
		}
		p.echo()
	})
	cfg := s.config()
	cfg.Buffer = 1
	c := connect(t, cfg)
	<-c.Stanzas()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("%v %v", err, ctx.Err())
	}
}

// TestPing checks that a server that answers is kept and one that does not is given up.
func TestPing(t *testing.T) {
	silent := make(chan struct{})
	var pings atomic.Int64
	s := serve(t, false, func(p *peer) {
		p.session()
		for {
			x := p.next().Element()
			if x.First().Is(nsPing, "ping") && x.Attr("to") == domain {
				pings.Add(1)
			}
			select {
			case <-silent:
			default:
				p.send("<iq type='error' id='" + x.Attr("id") + "' from='" + domain + "'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
			}
		}
	})
	cfg := s.config()
	cfg.PingInterval = 300 * time.Millisecond // as long a server may take to answer
	others := make(chan *stanza.Stanza, 100)
	cfg.Handle = func(_ *Client, s *stanza.Stanza) bool { others <- s; return true }
	c := connect(t, cfg)
	for pings.Load() < 3 {
		select {
		case <-c.Done():
			t.Fatal(c.Err())
		case <-time.After(time.Millisecond):
		}
	}
	if err := c.Ping(t.Context(), jid.JID{}); err != nil {
		t.Errorf("an error is an answer too: %v", err)
	}
	close(silent)
	select {
	case <-c.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("a dead server is kept")
	}
	if !errors.Is(c.Err(), ErrDead) {
		t.Errorf("ended by %v", c.Err())
	}
	if len(others) > 0 {
		t.Errorf("the answer to a ping was handed out: %s", <-others)
	}
}

// TestRun loses connections and stops for good reasons only.
func TestRun(t *testing.T) {
	var n atomic.Int64
	s := serve(t, false, func(p *peer) {
		switch n.Add(1) {
		case 1, 2: // lost before and after the session stands
			p.open(offerTLS)
		case 3:
			p.session()
			p.next()
		case 4:
			p.session()
			p.next()
			p.send(string(stream.Err(stream.Conflict, "").AppendTCP(nil)))
		}
	})
	var ups atomic.Int64
	err := Run(t.Context(), s.config(), Backoff{Min: time.Millisecond, Max: 4 * time.Millisecond}, func(_ context.Context, c *Client) error {
		ups.Add(1)
		return c.Send(stanza.New(stanza.Presence, stanza.TypeAvailable))
	})
	var bad *stream.Error
	if !errors.As(err, &bad) || bad.Condition != stream.Conflict || n.Load() != 4 || ups.Load() != 2 {
		t.Errorf("%d connections, %d sessions, %v", n.Load(), ups.Load(), err)
	}
	s = serve(t, false, func(p *peer) { p.session(); p.echo() })
	ctx, cancel := context.WithCancel(t.Context())
	err = Run(ctx, s.config(), Backoff{}, func(context.Context, *Client) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	own := errors.New("own")
	if err = Run(t.Context(), s.config(), Backoff{}, func(context.Context, *Client) error { return own }); !errors.Is(err, own) {
		t.Errorf("an error of up: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 10 * time.Second}
	for n, most := range []time.Duration{1, 2, 4, 8, 10, 10} {
		seen := map[time.Duration]bool{}
		for range 50 {
			d := b.wait(n)
			if d > most*time.Second || d < most*time.Second/2 {
				t.Errorf("attempt %d waits %v", n, d)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("attempt %d is always at the same moment", n)
		}
	}
	if d := (Backoff{}).wait(1000); d > 2*time.Minute || d < time.Minute {
		t.Errorf("attempt 1000 waits %v", d)
	}
}
