// Package load makes work for an XMPP server and measures what the work costs it:
// processor time and resident memory of the server's processes, and latency.
//
// Its wire client is no library client. It logs in as RFC 6120 has it, but reads
// what a server sends afterwards by looking for closing tags, because the
// machine is shared with the server under test and every cycle spent here is
// missing there. It trusts the server and is of use on loopback only.
package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	// resource is what every session binds.
	resource = "bench"
	// stepTimeout bounds each exchange of the negotiation.
	stepTimeout = 60 * time.Second
	// maxElement bounds one element while negotiating, in bytes.
	maxElement = 1 << 20
)

// tlsConfig is shared. No session cache: every handshake is a full one.
var tlsConfig = &tls.Config{
	ServerName: "localhost",
	// The peers' certificates are self-signed, and the other end is our own child.
	InsecureSkipVerify: true,
	MinVersion:         tls.VersionTLS13,
}

// Conn is one client session, used by one goroutine at a time.
type Conn struct {
	// JID is the full address that was bound.
	JID string

	c   net.Conn
	buf []byte // read, not yet consumed
	tmp []byte
}

// connect opens a TCP connection.
func connect(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: stepTimeout}
	return d.DialContext(ctx, "tcp", addr)
}

// Login makes the session of account number i: STARTTLS, SCRAM-SHA-1, bind,
// roster, and, if present is true, initial presence, which it waits to see back.
// For the floor it is TCP, TLS and a line, with peer the account to be tied to.
func Login(ctx context.Context, s *Running, i, peer int, present bool) (*Conn, error) {
	nc, err := connect(ctx, s.Addr)
	if err != nil {
		return nil, err
	}
	c := &Conn{c: nc}
	if err := c.login(s, i, peer, present); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Account(i), errors.Join(err, c.Close()))
	}
	return c, nil
}

func (c *Conn) login(s *Running, i, peer int, present bool) error {
	if err := c.c.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return err
	}
	if s.Floor {
		c.c = tls.Client(c.c, tlsConfig)
		c.JID = s.Account(i) + "@" + s.Domain + "/" + resource
		if err := c.write(fmt.Sprintf("PAIR %s %s\n", s.Account(i), s.Account(peer))); err != nil {
			return err
		}
		return c.c.SetDeadline(time.Time{})
	}
	if err := c.startTLS(s.Domain); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if err := c.authenticate(s.Domain, s.Account(i), s.Password); err != nil {
		return fmt.Errorf("SASL: %w", err)
	}
	if err := c.bind(s.Domain); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if _, err := c.request("roster", "get", "", "<query xmlns='jabber:iq:roster'/>"); err != nil {
		return fmt.Errorf("roster: %w", err)
	}
	if present {
		if err := c.present(); err != nil {
			return fmt.Errorf("presence: %w", err)
		}
	}
	return c.c.SetDeadline(time.Time{})
}

// Close ends the stream without waiting for the other side to do so.
func (c *Conn) Close() error {
	if err := c.c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return c.c.Close()
	}
	if c.JID != "" {
		// The connection may be gone already; closing it tells.
		if err := c.write("</stream:stream>"); err != nil {
			return c.c.Close()
		}
	}
	return c.c.Close()
}

// write sends s in one TLS record.
func (c *Conn) write(s string) error {
	_, err := io.WriteString(c.c, s)
	return err
}

// open starts a stream and returns the features that the server offers.
func (c *Conn) open(domain string) ([]byte, error) {
	err := c.write("<?xml version='1.0'?><stream:stream to='" + domain +
		"' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
	if err != nil {
		return nil, err
	}
	// The opening tag is no element by itself: cut it off before reading on.
	for {
		if at := bytes.Index(c.buf, []byte("<stream:stream")); at >= 0 {
			if end := bytes.IndexByte(c.buf[at:], '>'); end >= 0 {
				c.buf = c.buf[at+end+1:]
				break
			}
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	features, err := c.element()
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(features, []byte("<stream:features")) {
		return nil, fmt.Errorf("want features, got %.200q", features)
	}
	return features, nil
}

func (c *Conn) startTLS(domain string) error {
	if _, err := c.open(domain); err != nil {
		return err
	}
	if err := c.write("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	el, err := c.element()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(el, []byte("<proceed")) {
		return fmt.Errorf("refused: %.200q", el)
	}
	t := tls.Client(c.c, tlsConfig)
	if err := t.Handshake(); err != nil {
		return err
	}
	c.c, c.buf = t, nil
	return nil
}

func (c *Conn) authenticate(domain, user, password string) error {
	if _, err := c.open(domain); err != nil {
		return err
	}
	x, first, err := newScram(user, password)
	if err != nil {
		return err
	}
	if err := c.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>" + first + "</auth>"); err != nil {
		return err
	}
	challenge, err := c.saslReply("<challenge")
	if err != nil {
		return err
	}
	final, err := x.respond(challenge)
	if err != nil {
		return err
	}
	if err := c.write("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + final + "</response>"); err != nil {
		return err
	}
	success, err := c.saslReply("<success")
	if err != nil {
		return err
	}
	return x.verify(success)
}

// saslReply reads the element that begins with tag and returns its text.
func (c *Conn) saslReply(tag string) (string, error) {
	el, err := c.element()
	if err != nil {
		return "", err
	}
	if !bytes.HasPrefix(el, []byte(tag)) {
		return "", fmt.Errorf("want %s, got %.200q", tag, el)
	}
	return textOf(el), nil
}

func (c *Conn) bind(domain string) error {
	if _, err := c.open(domain); err != nil {
		return err
	}
	el, err := c.request("bind", "set", "", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"+resource+"</resource></bind>")
	if err != nil {
		return err
	}
	_, rest, ok := strings.Cut(string(el), "<jid>")
	jid, _, ok2 := strings.Cut(rest, "</jid>")
	if !ok || !ok2 {
		return fmt.Errorf("no address in %.200q", el)
	}
	c.JID = jid
	return nil
}

// present sends initial presence and waits until the server gives it back
// (RFC 6121 §4.2.2).
func (c *Conn) present() error {
	if err := c.write("<presence/>"); err != nil {
		return err
	}
	for {
		el, err := c.element()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(el, []byte("<presence")) && attribute(el, "from") == c.JID {
			return nil
		}
	}
}

// errRefused is an iq that was answered with an error; its text follows.
var errRefused = errors.New("answered with an error")

// unsupported says whether err is a server's way to say that it lacks a protocol
// (RFC 6120 §8.3.3.3, §8.3.3.19).
func unsupported(err error) bool {
	return errors.Is(err, errRefused) &&
		(strings.Contains(err.Error(), "service-unavailable") || strings.Contains(err.Error(), "feature-not-implemented"))
}

// query is an iq; to is "" for one to the account itself.
func query(id, kind, to, payload string) string {
	if to != "" {
		to = " to='" + to + "'"
	}
	return "<iq type='" + kind + "' id='" + id + "'" + to + ">" + payload + "</iq>"
}

// request sends an iq and returns the result that answers it. What else comes
// meanwhile is dropped.
func (c *Conn) request(id, kind, to, payload string) ([]byte, error) {
	return c.answered(id, query(id, kind, to, payload))
}

// answered sends the iq of this id as it is, and returns the result that answers it.
func (c *Conn) answered(id, iq string) ([]byte, error) {
	if err := c.write(iq); err != nil {
		return nil, err
	}
	for {
		el, err := c.element()
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(el, []byte("<iq")) || attribute(el, "id") != id {
			continue
		}
		if attribute(el, "type") != "result" {
			return nil, fmt.Errorf("%w: %.300q", errRefused, el)
		}
		return el, nil
	}
}

// fill reads more into buf.
func (c *Conn) fill() error {
	if c.tmp == nil {
		c.tmp = make([]byte, 4096)
	}
	n, err := c.c.Read(c.tmp)
	c.buf = append(c.buf, c.tmp[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// element returns the next whole element below the stream's root.
func (c *Conn) element() ([]byte, error) {
	for {
		if end := elementEnd(c.buf); end > 0 {
			el := bytes.TrimLeft(c.buf[:end], " \r\n\t")
			c.buf = c.buf[end:]
			if bytes.HasPrefix(el, []byte("<stream:error")) || bytes.HasPrefix(el, []byte("</stream:stream")) {
				return nil, fmt.Errorf("stream ended: %.300q", el)
			}
			return el, nil
		}
		if len(c.buf) > maxElement {
			return nil, fmt.Errorf("an element of more than %d bytes", maxElement)
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// slim drops what only the negotiation needed, for sessions that stay idle.
func (c *Conn) slim() { c.buf, c.tmp = nil, nil }

// elementEnd returns the length of the first whole element of b, blanks before
// it included, or 0 where it is not all there. It knows tags and quotes and no
// more of XML.
func elementEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); {
		open := bytes.IndexByte(b[i:], '<')
		if open < 0 {
			return 0
		}
		i += open
		end := tagEnd(b[i:])
		if end == 0 {
			return 0
		}
		switch {
		case b[i+1] == '/':
			depth--
		case b[i+1] == '?':
		case b[i+end-2] != '/':
			depth++
		}
		i += end
		if depth <= 0 {
			return i
		}
	}
	return 0
}

// tagEnd returns the length of the tag at the start of b, 0 where it is not whole.
func tagEnd(b []byte) int {
	quote := byte(0)
	for i, ch := range b {
		switch {
		case quote != 0:
			if ch == quote {
				quote = 0
			}
		case ch == '\'' || ch == '"':
			quote = ch
		case ch == '>':
			return i + 1
		}
	}
	return 0
}

// attribute returns the value of an attribute of the first tag of el.
func attribute(el []byte, name string) string {
	end := tagEnd(el)
	tag := el[:end]
	for _, q := range []string{"'", `"`} {
		key := " " + name + "=" + q
		if at := bytes.Index(tag, []byte(key)); at >= 0 {
			value := tag[at+len(key):]
			if stop := bytes.IndexByte(value, q[0]); stop >= 0 {
				return string(value[:stop])
			}
		}
	}
	return ""
}

// textOf returns what lies between the first tag of el and its last.
func textOf(el []byte) string {
	start := tagEnd(el)
	if stop := bytes.LastIndex(el, []byte("</")); stop >= start {
		return string(el[start:stop])
	}
	return ""
}
