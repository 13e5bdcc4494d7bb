package c2s

import (
	"encoding/base64"
	"errors"

	"sabir/internal/auth"
	"sabir/internal/incoming"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// nsBindings qualifies the stream feature of XEP-0440.
const nsBindings = "urn:xmpp:sasl-cb:0"

// authConn describes the stream to the authenticator.
func (c *clientStream) authConn() auth.Conn {
	if c.conn == nil || c.t.secure() != c.conn.Secured {
		a := auth.Conn{Remote: c.t.addr(), Secured: c.t.secure()}
		a.TLS, a.Leaf = c.t.tls()
		a = a.Prepared()
		c.conn, c.offered = &a, nil
	}
	return *c.conn
}

// mechanisms are those that the stream offers.
func (c *clientStream) mechanisms() []string {
	conn := c.authConn()
	if c.offered == nil {
		c.offered = c.authn.Mechanisms(conn)
	}
	return c.offered
}

// saslFeatures are <mechanisms/> (RFC 6120 §6.4.1) and the channel bindings (XEP-0440).
func (c *clientStream) saslFeatures() []*xmlstream.Element {
	conn := c.authConn()
	names := c.mechanisms()
	if len(names) == 0 {
		return nil
	}
	m := xmlstream.El(stream.NSSASL, "mechanisms")
	for _, n := range names {
		m.Add(xmlstream.El(stream.NSSASL, "mechanism", n))
	}
	out := []*xmlstream.Element{m}
	if types := c.authn.Bindings(conn); len(types) > 0 {
		b := xmlstream.El(nsBindings, "sasl-channel-binding")
		for _, t := range types {
			b.Add(xmlstream.El(nsBindings, "channel-binding", xmlstream.A("type", t)))
		}
		out = append(out, b)
	}
	return out
}

// sasl handles the elements of a SASL exchange (RFC 6120 §6.4).
func (c *clientStream) sasl(f *xmlstream.Frame) error {
	e := f.Element()
	switch e.Name.Local {
	case "auth":
		// A second <auth/> begins anew (RFC 6120 §6.4.2).
		c.exchange = nil
		return c.auth(e)
	case "response":
		if c.exchange == nil {
			return c.saslFailure(&sasl.Failure{Condition: sasl.MalformedRequest, Text: "there is no exchange to respond to"})
		}
		response, err := sasl.DecodeBase64(e.Text())
		if err != nil {
			return c.saslFailure(err)
		}
		if response == nil {
			response = []byte{}
		}
		return c.saslStep(response)
	case "abort": // RFC 6120 §6.4.4
		return c.saslFailure(&sasl.Failure{Condition: sasl.Aborted})
	}
	return stream.Err(stream.UnsupportedStanzaType, "")
}

func (c *clientStream) auth(e *xmlstream.Element) error {
	conn := c.authConn()
	if !c.t.secure() && len(c.mechanisms()) == 0 {
		return c.saslFailure(&sasl.Failure{Condition: sasl.EncryptionRequired, Text: "start TLS first"})
	}
	x, err := c.authn.Start(e.Attr("mechanism"), conn)
	if err != nil {
		return c.saslFailure(err)
	}
	var initial []byte // nil: none
	if text := e.Text(); text != "" {
		if initial, err = sasl.DecodeBase64(text); err != nil {
			return c.saslFailure(err)
		}
		if initial == nil {
			initial = []byte{}
		}
	}
	c.exchange = x
	return c.saslStep(initial)
}

func (c *clientStream) saslStep(response []byte) error {
	data, p, err := c.exchange.Next(c.ctx, response)
	if err != nil {
		return c.saslFailure(err)
	}
	if p == nil {
		return c.writeElement(xmlstream.El(stream.NSSASL, "challenge", base64.StdEncoding.EncodeToString(data)))
	}
	c.exchange, c.conn, c.principal, c.failures = nil, nil, p, 0
	if err := c.writeElement(xmlstream.El(stream.NSSASL, "success", sasl.EncodeBase64(data))); err != nil {
		return err
	}
	c.state = wantHeader // RFC 6120 §6.4.6
	c.t.restart(incoming.Limits(c.limits().AfterAuth, 0))
	return nil
}

// saslFailure answers a failed attempt (RFC 6120 §6.4.5), and ends the stream after too many.
func (c *clientStream) saslFailure(err error) error {
	c.exchange = nil
	var f *sasl.Failure
	if !errors.As(err, &f) {
		c.srv.o.Log.Error("authentication cannot be done", "error", err)
		f = &sasl.Failure{Condition: sasl.TemporaryAuthFailure}
	}
	if err := c.writeElement(incoming.SASLFailure(f)); err != nil {
		return err
	}
	return c.failed()
}

// failed counts a failed login, and ends the stream after too many (RFC 6120 §6.4.5).
func (c *clientStream) failed() error {
	if c.failures++; c.failures >= max(c.srv.set.Load().Attempts, 2) {
		return stream.Err(stream.PolicyViolation, "too many failed logins")
	}
	return nil
}
