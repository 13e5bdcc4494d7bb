package c2s

import (
	"sabir/internal/auth"
	"sabir/internal/host"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// offer is what a stream offers at one point of its negotiation, as it is sent. It is made once for all streams that are the
// same in what it depends on, since most are.
type offer struct {
	bytes   []byte // not to be changed
	version string // of the features before a login (XEP-0509)
}

// offerKey is all that an offer depends on.
type offerKey struct {
	host *host.Host // its extensions
	set  *Settings  // and the limits that they tell of
	// auth is what there is to log in with, before a login.
	auth                                          auth.Offer
	framed, secure, authenticated, bound, managed bool
}

// maxOffers bounds the offers that are kept: a few for each host.
const maxOffers = 512

// features sends what can be negotiated now (RFC 6120 §4.3.2).
func (c *clientStream) features() error {
	k := offerKey{
		host: c.hostNow(), set: c.srv.set.Load(), framed: c.t.framed(), secure: c.t.secure(),
		authenticated: c.principal != nil, bound: c.state == bound, managed: c.managed.Load() != nil,
	}
	if !k.authenticated {
		k.auth = c.authn.Offer(c.authConn())
	}
	o, ok := c.srv.offers.Get(k)
	if !ok {
		o = c.offer()
		c.srv.offers.Put(k, o)
	}
	c.version = o.version
	return c.write(o.bytes)
}

// offer encodes the features of the stream.
func (c *clientStream) offer() (o offer) {
	f, version := c.featureList()
	o.version = version
	if c.t.framed() {
		o.bytes = stream.AppendWS(nil, f)
	} else {
		o.bytes = stream.AppendTCP(nil, f, stanza.NSClient)
	}
	return o
}

// featureList returns <features/>, and its version where it is one before a login.
func (c *clientStream) featureList() (f *xmlstream.Element, version string) {
	f = xmlstream.El(stream.NS, "features")
	h := c.hostNow()
	if c.principal != nil {
		if c.state != bound {
			f.Add(xmlstream.El(stream.NSBind, "bind"))
		}
		if c.managed.Load() == nil {
			f.Add(sm.Feature())
		}
		return f.Add(h.StreamFeatures(true)), ""
	}
	if !c.t.secure() {
		tls := xmlstream.El(stream.NSTLS, "starttls")
		if !c.srv.o.Insecure {
			tls.Add(xmlstream.El(stream.NSTLS, "required")) // RFC 6120 §5.3.1
		}
		f.Add(tls)
	}
	sasl2 := c.authenticationFeature()
	f.Add(c.saslFeatures(), sasl2)
	if c.t.secure() || c.srv.o.Insecure {
		f.Add(h.StreamFeatures(false))
	}
	if sasl2 != nil {
		version = configVersion(f)
	}
	return f, version
}
