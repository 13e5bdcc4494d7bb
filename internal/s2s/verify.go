package s2s

import (
	"context"
	"errors"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// dialback handles an element of dialback on a stream that a peer has opened (XEP-0220).
func (c *inStream) dialback(x *xmlstream.Element) error {
	if !c.t.Encrypted() {
		return stream.Err(stream.PolicyViolation, "start TLS first")
	}
	if x.Attr("type") != "" {
		return nil // an answer: we ask on streams of our own, so nobody waits for it (XEP-0220#security-unsolicited)
	}
	from, err1 := jid.Parse(x.Attr("from"))
	to, err2 := jid.Parse(x.Attr("to"))
	if err1 != nil || err2 != nil || !from.IsDomain() || !to.IsDomain() {
		return stream.Err(stream.ImproperAddressing, "dialback is between two domains")
	}
	switch x.Name.Local {
	case "verify":
		return c.authoritative(x, from, to)
	case "result":
		return c.receiving(x, pair{to, from})
	}
	return unknownElement()
}

func unknownElement() *stream.Error { return stream.Err(stream.UnsupportedStanzaType, "") }

// authoritative tells another server whether a key is one that we have given out for our domain to.
func (c *inStream) authoritative(x *xmlstream.Element, from, to jid.JID) error {
	id := x.Attr("id")
	if !c.srv.hosted(to) {
		return c.t.write(appendDialback(nil, "verify", to.Domain(), from.Domain(), id, "error", dialbackError("cancel", "item-not-found", "")))
	}
	typ := "invalid"
	if c.srv.keys.valid(from.Domain(), to.Domain(), id, x.Text()) {
		typ = "valid"
	}
	return c.t.write(appendDialback(nil, "verify", to.Domain(), from.Domain(), id, typ, ""))
}

// receiving has the key of a peer checked by the server of the domain that it claims. Each pair on a stream needs its own
// proof (XEP-0220#multiplex).
func (c *inStream) receiving(x *xmlstream.Element, p pair) error {
	refuse := func(kind, condition, text string) error {
		return c.t.write(appendDialback(nil, "result", p.local.Domain(), p.remote.Domain(), "", "error", dialbackError(kind, condition, text)))
	}
	set := c.srv.settings()
	switch {
	case !c.srv.hosted(p.local): // it must not end the stream, which may serve other pairs
		return refuse("cancel", "item-not-found", "")
	case c.srv.hosted(p.remote):
		return refuse("cancel", "not-allowed", "that domain is ours")
	case c.srv.policy.Load().refuses(p.remote.Domain()):
		return refuse("cancel", "not-allowed", "this server does not talk to that domain")
	case c.remote.Load() == nil:
		return stream.Err(stream.ImproperAddressing, "the stream header names no domain")
	case c.trusted.Load() && c.certifies(p.remote): // XEP-0344#dwd: of a further domain the certificate says it all
		if c.pairs++; c.pairs > set.DomainsPerStream {
			return refuse("wait", "resource-constraint", "too many pairs on one stream")
		}
		c.prove(p, "dialback without dialback")
		if err := c.t.write(appendDialback(nil, "result", p.local.Domain(), p.remote.Domain(), "", "valid", "")); err != nil {
			return err
		}
		return c.raise()
	case !c.mayDialBack(p.remote):
		c.srv.o.Log.Info("a server does not prove its domain", "domain", p.remote.Domain(), "to", p.local.Domain(), "address", c.t.Addr().String(), "error", c.certErr)
		why := "a certificate that is valid for the domain is required"
		if c.certErr != nil {
			why += ": " + c.certErr.Error()
		}
		return refuse("auth", "not-authorized", why)
	}
	if c.pairs++; c.pairs > set.DomainsPerStream {
		return refuse("wait", "resource-constraint", "too many pairs on one stream")
	}
	select {
	case c.srv.checks <- struct{}{}:
	default:
		return refuse("wait", "resource-constraint", "too many keys are being checked")
	}
	id, key := c.id, x.Text()
	ok := c.srv.goes(func() {
		defer func() { <-c.srv.checks }()
		c.check(p, id, key)
	})
	if !ok {
		<-c.srv.checks
	}
	return nil
}

// check asks the authoritative server about a key and tells the peer what came of it.
func (c *inStream) check(p pair, id, key string) {
	ctx, cancel := context.WithTimeout(c.srv.ctx, time.Duration(c.srv.settings().ConnectTimeout))
	defer cancel()
	valid, err := c.srv.verifyKey(ctx, p, id, key)
	var answer []byte
	switch {
	case err != nil:
		f := failureOf(err)
		c.srv.o.Log.Info("the key of a server cannot be checked", "domain", p.remote.Domain(), "to", p.local.Domain(), "error", err)
		answer = appendDialback(nil, "result", p.local.Domain(), p.remote.Domain(), "", "error", dialbackError("cancel", string(f.condition), f.text))
	case valid:
		c.prove(p, "dialback")
		answer = appendDialback(nil, "result", p.local.Domain(), p.remote.Domain(), "", "valid", "")
	default:
		c.srv.o.Log.Warn("the key of a server is not valid", "domain", p.remote.Domain(), "to", p.local.Domain(), "address", c.t.Addr().String())
		answer = appendDialback(nil, "result", p.local.Domain(), p.remote.Domain(), "", "invalid", "")
		if c.trusted.Load() { // XEP-0220 §2.2.1: `invalid` would end the stream for the others as well
			answer = appendDialback(nil, "result", p.local.Domain(), p.remote.Domain(), "", "error", dialbackError("auth", "forbidden", "the key is not valid"))
		}
	}
	if err := c.t.write(answer); err != nil {
		c.t.Close()
		return
	}
	if err == nil && !valid && !c.trusted.Load() {
		c.end(nil) // XEP-0220#multiplex: with no other pair there is nothing to go on with
	}
	if valid {
		c.t.wake() // the reader raises the limits
	}
}

// verifyKey asks the server of a domain, on a connection of its own, whether a key is good (XEP-0220, step 2).
func (s *Server) verifyKey(ctx context.Context, p pair, id, key string) (bool, error) {
	o, err := s.open(ctx, p)
	if err != nil {
		return false, err
	}
	defer o.tcp.Close()
	stop := context.AfterFunc(ctx, func() { o.tcp.Close() })
	defer stop()
	text := string(xmlstream.AppendText(nil, key))
	if err := o.tcp.Write(appendDialback(nil, "verify", p.local.Domain(), p.remote.Domain(), id, "", text)); err != nil {
		return false, err
	}
	for {
		f, err := o.tcp.Next()
		if err != nil {
			return false, errors.Join(err, ctx.Err())
		}
		x := f.Element()
		switch {
		case x.Is(stream.NS, "error"):
			return false, stream.ParseError(x)
		case x.Is(nsDialback, "verify") && x.Attr("id") == id && x.Attr("from") == p.remote.Domain() && x.Attr("to") == p.local.Domain():
			switch x.Attr("type") {
			case "valid":
				return true, o.tcp.CloseStream()
			case "error":
				return false, final("the server of that domain cannot check the key", stanza.ParseError(rescoped(x)))
			}
			return false, o.tcp.CloseStream()
		}
	}
}
