// Package client owns a client's session with a server (RFC 6120): finding the server, TLS, authentication, binding a
// resource, sending, matching replies, keeping the connection alive and making it anew.
//
// There are two levels. Open returns a Stream, whose steps the caller takes one by one, for tests and tools that look at
// every element. Dial takes all steps and returns a Client, which reads on a goroutine of its own.
package client

import (
	"crypto/tls"
	"log/slog"
	"time"

	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Via is a way to reach a server.
type Via uint8

// The ways. Auto is what SRV records say: STARTTLS and direct TLS.
const (
	Auto Via = iota
	STARTTLS
	DirectTLS
	WebSocket
)

// Config says who connects, to where, and how. It is not changed once used and may be shared by many clients but for
// JID and Password.
type Config struct {
	// JID is the account's address. With a resource, that one is asked for; without, the server chooses. With
	// Anonymous it is the domain.
	JID      jid.JID
	Password string

	// Via is the way. With an Address, Auto means STARTTLS.
	Via Via
	// Address is host:port, or for WebSocket a wss:// URL, in place of a look-up.
	Address string
	// Domain is the address of the stream; the zero JID means that of JID.
	Domain jid.JID
	// Dialer makes the connections; nil means a zero one.
	Dialer *dial.Dialer
	// TLS holds authorities and client certificates; nil means those of the system. Its ServerName is normally empty.
	TLS *tls.Config
	// Plaintext allows going on without TLS where the server offers none. For tests on loopback.
	Plaintext bool

	// Anonymous logs in by ANONYMOUS, External by EXTERNAL with the certificate in TLS.
	Anonymous, External bool
	// AllowPlain allows PLAIN, under TLS or with Plaintext.
	AllowPlain bool
	// Mechanisms, if not nil, are the only ones to use. Where there are some for tokens (XEP-0484) among them, it holds for these,
	// too.
	Mechanisms []string
	// Keys spares the derivation of SCRAM keys that were derived before; many clients may share it.
	Keys *sasl.KeyCache
	// NoBinding keeps away from channel binding, for servers behind something that ends TLS.
	NoBinding bool

	// Login, if not nil, logs in by SASL2 where the server has it, in one round trip with what else it can do (XEP-0388). It
	// keeps what the server gives for the next time, so each client has one of its own. By Bind 2 the server chooses the
	// resource.
	Login *Login

	// Lang is the language of the stream.
	Lang string
	// Limits are those on what the server sends; the zero value means xmlstream.DefaultLimits.
	Limits xmlstream.Limits
	// Timeout bounds each of connecting and negotiation; 0 means 30 seconds.
	Timeout time.Duration

	// Handle is called for each stanza that is no reply to Ask, in order, on the goroutine that reads: it must not wait
	// for a reply. It tells whether it took the stanza; a request that it leaves is answered by the Client, a ping with
	// a result and others with service-unavailable. Where it is nil, stanzas go to Stanzas().
	Handle func(c *Client, s *stanza.Stanza) bool
	// HandleFrame, if not nil, is called likewise for top-level elements that are no stanzas.
	HandleFrame func(c *Client, f *xmlstream.Frame)
	// Buffer is the capacity of Stanzas(); 0 means 64. When it is full, nothing more is read.
	Buffer int
	// Manage enables stream management where the server has it (XEP-0198), for a session that Resume can go on with. What
	// goes through SendRaw is not counted: it must not be a stanza then.
	Manage bool
	// Acked, if not nil, is called for each stanza that the server has acknowledged, in order, with Manage.
	Acked func(s *stanza.Stanza)
	// PingInterval is the time without a sign of the server after which it is pinged (XEP-0199); after twice that the
	// connection counts as dead. 0 means never.
	PingInterval time.Duration
	// Log gets what happens on the way; nil means nowhere.
	Log *slog.Logger
}

const (
	defaultTimeout = 30 * time.Second
	defaultBuffer  = 64
	nsPing         = "urn:xmpp:ping"
)

func (c *Config) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return defaultTimeout
}

func (c *Config) limits() xmlstream.Limits {
	if c.Limits == (xmlstream.Limits{}) {
		return xmlstream.DefaultLimits
	}
	return c.Limits
}

func (c *Config) dialer() *dial.Dialer {
	if c.Dialer != nil {
		return c.Dialer
	}
	return &dial.Dialer{}
}

func (c *Config) domain() string {
	if !c.Domain.IsZero() {
		return c.Domain.Domain()
	}
	return c.JID.Domain()
}

func (c *Config) log() *slog.Logger {
	if c.Log != nil {
		return c.Log
	}
	return slog.New(slog.DiscardHandler)
}
