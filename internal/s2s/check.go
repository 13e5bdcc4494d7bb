package s2s

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stream"
)

// Finding is one thing that a check has found. Status is ok, warning or error.
type Finding struct {
	Check  string `json:"check"` // policy, dns, connection, tls, certificate, stream
	Status string `json:"status"`
	Text   string `json:"text"`
	Cure   string `json:"cure,omitempty"`
}

// checker collects what is found about a domain.
type checker struct {
	s        *Server
	p        pair
	findings []Finding
}

func (c *checker) say(check, status, cure, format string, args ...any) {
	c.findings = append(c.findings, Finding{check, status, fmt.Sprintf(format, args...), cure})
}

// maxChecked bounds the targets that a check looks at.
const maxChecked = 8

// Check looks at the way from a domain of ours to another one, step by step: policy, DNS, addresses, TLS, certificate, and
// what the server there offers.
func (s *Server) Check(ctx context.Context, local, remote jid.JID) []Finding {
	c := &checker{s: s, p: pair{local, remote}}
	if c.policy() {
		for i, t := range c.dns(ctx) {
			if i == maxChecked {
				c.say("dns", "warning", "", "there are more targets; the others were not looked at")
				break
			}
			c.target(ctx, t)
		}
	}
	return c.findings
}

func (c *checker) policy() bool {
	d := c.p.remote.Domain()
	switch {
	case c.s.hosted(c.p.remote):
		c.say("policy", "ok", "", "%s is served here: nothing goes over the network", d)
		return false
	case !c.s.settings().Enabled:
		c.say("policy", "error", "write enabled = true in [s2s]", "this server does not talk to other servers")
		return false
	case c.s.policy.Load().refuses(d):
		c.say("policy", "error", "look at allow, deny and the blocks [[s2s.domain]] of the configuration, and at `sabir s2s unblock`", "this server does not talk to %s", d)
		return false
	}
	need := map[authRule]string{
		authCertificate: "a certificate that is valid for it", authDialback: "dialback, if it has no certificate that is valid for it", authPin: "a pinned certificate",
	}[c.s.policy.Load().rule(d).auth]
	c.say("policy", "ok", "", "%s must show %s", d, need)
	return true
}

func (c *checker) dns(ctx context.Context) []dial.Target {
	d := c.p.remote.Domain()
	targets, err := c.s.targets(ctx, c.p.remote)
	switch {
	case errors.Is(err, dial.ErrNotOffered):
		c.say("dns", "error", "its owner has to remove the record of _xmpp-server._tcp with the target \".\"", "%s declares that it has no XMPP server", d)
		return nil
	case err != nil:
		c.say("dns", "error", "try again later; if it stays so, look at the resolver of this machine, or name one in s2s.resolver", "DNS does not answer: %v", err)
		return nil
	}
	var names []string
	for _, t := range targets {
		names = append(names, t.String())
	}
	switch {
	case len(c.s.policy.Load().rule(d).address) > 0:
		c.say("dns", "ok", "", "not asked: the configuration names %s", strings.Join(names, ", "))
	case len(targets) == 1 && targets[0].Host == certname.ASCII(d) && targets[0].Port == dial.Server().Port:
		c.say("dns", "warning", fmt.Sprintf("its owner should publish: _xmpp-server._tcp.%s. SRV 0 5 5269 host.", certname.ASCII(d)), "there are no SRV records, so the domain itself is tried: %s", names[0])
	default:
		c.say("dns", "ok", "", "SRV records lead to %s", strings.Join(names, ", "))
	}
	return targets
}

// oneTarget bounds the look at one target.
const oneTarget = 15 * time.Second

func (c *checker) target(ctx context.Context, t dial.Target) {
	ctx, cancel := context.WithTimeout(ctx, oneTarget)
	defer cancel()
	if _, err := netip.ParseAddr(t.Host); err != nil {
		c.addresses(ctx, t)
	}
	o, err := c.s.openAt(ctx, c.p, []dial.Target{t}, nil)
	if err != nil {
		c.failed(t, err)
		return
	}
	defer o.tcp.Close()
	c.say("connection", "ok", "", "%s answers from %s", t, o.conn.RemoteAddr())
	if st := o.tcp.TLS(); st != nil {
		c.say("tls", "ok", "", "%s speaks %s", t, tlsVersion(st.Version))
	}
	c.certificate(t, o)
	c.offers(t, o)
	if err := o.tcp.CloseStream(); err != nil {
		c.say("stream", "warning", "", "%s: closing the stream: %v", t, err)
	}
}

func (c *checker) addresses(ctx context.Context, t dial.Target) {
	var found []string
	for _, network := range []string{"ip6", "ip4"} {
		addrs, err := c.s.resolver().LookupNetIP(ctx, network, t.Host)
		if err != nil {
			continue // the connection tells
		}
		for _, a := range addrs {
			if err := c.s.o.Dialer.Policy.Check(a); err != nil {
				c.say("dns", "warning", "if that is meant, open the range in outbound.allow", "%s has the address %s, which this server does not connect to", t.Host, a.Unmap())
				continue
			}
			found = append(found, a.Unmap().String())
		}
	}
	if len(found) > 0 {
		c.say("dns", "ok", "", "%s has the addresses %s", t.Host, strings.Join(found, ", "))
	}
}

func (c *checker) failed(t dial.Target, err error) {
	var se *stream.Error
	switch f := failureOf(err); {
	case errors.As(err, &se) && se.Condition == stream.HostUnknown:
		c.say("stream", "error", "its owner has to correct the records, or to add the domain there", "%s does not serve %s", t, c.p.remote.Domain())
	case errors.As(err, &se):
		c.say("stream", "error", "its text and the log of that server tell more", "%s ends the stream: %v", t, se)
	case f.final && f.err == nil:
		c.say("tls", "error", "its owner has to switch TLS on", "%s: %s", t, f.text)
	case all(err, nameless):
		c.say("dns", "error", "check how the domain is spelled; its owner has to publish an address for that name", "DNS has no address for %s", t.Host)
	default:
		c.say("connection", "error", "look at the firewalls on both sides; its owner sees whether the server runs", "%s cannot be reached: %v", t, err)
	}
}

func tlsVersion(v uint16) string {
	if v == 0x0304 {
		return "TLS 1.3"
	}
	return "TLS 1.2"
}

func (c *checker) certificate(t dial.Target, o *peerStream) {
	if len(o.chain) > 0 {
		leaf := o.chain[0]
		c.say("certificate", "ok", "", "%s shows one for %s, by %s, until %s, in a chain of %d, SHA-256 %s", t, namesOf(leaf), leaf.Issuer, leaf.NotAfter.UTC().Format(time.DateOnly), len(o.chain), certname.Fingerprint(leaf))
		if left := leaf.NotAfter.Sub(c.s.o.Clock.Now()); o.bad == nil && left < 14*24*time.Hour {
			c.say("certificate", "warning", "its owner has to renew it", "%s: the certificate ends within %d days", t, int(left.Hours()/24))
		}
	}
	if len(o.tlsa) > 0 {
		c.say("certificate", "ok", "", "%s has TLSA records that DNSSEC has validated: %d", t, len(o.tlsa))
	}
	switch dialback := c.s.policy.Load().rule(c.p.remote.Domain()).auth == authDialback && len(o.tlsa) == 0; {
	case o.bad == nil:
		c.say("certificate", "ok", "", "%s proves that it is the server of %s", t, c.p.remote.Domain())
	case dialback:
		c.say("certificate", "warning", "its owner should get a certificate for the domain", "%s: %v; the policy goes without", t, o.bad)
	default:
		c.say("certificate", "error", `its owner has to get a certificate for the domain; or trust its authority in outbound.ca, pin it, or allow auth = "dialback" in a block [[s2s.domain]]`, "%s: %v", t, o.bad)
	}
}

func (c *checker) offers(t dial.Target, o *peerStream) {
	offers := slices.Clone(o.features.Mechanisms)
	external := len(offers) > 0
	for _, f := range []struct{ ns, name, shown string }{
		{nsDialbackFeature, "dialback", "dialback"}, {nsBidiFeature, "bidi", "streams both ways"}, {sm.NS, "sm", "acknowledgements"},
	} {
		if o.features.Element.Child(f.ns, f.name) != nil {
			offers = append(offers, f.shown)
		}
	}
	if external {
		c.say("stream", "ok", "", "%s offers %s", t, strings.Join(offers, ", "))
		return
	}
	text := "nothing"
	if len(offers) > 0 {
		text = strings.Join(offers, ", ")
	}
	c.say("stream", "warning", "see whether our certificate is one that others trust: `sabir doctor`", "%s does not offer EXTERNAL, so it does not accept our certificate; it offers %s", t, text)
}

// resolver is the part of DNS that checks ask.
func (s *Server) resolver() dial.Resolver { return s.o.Dialer.Names() }
