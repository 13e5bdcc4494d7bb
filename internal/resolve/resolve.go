// Package resolve asks DNS servers where other domains are, and what DNSSEC has validated (RFC 4035): SRV records,
// addresses and TLSA records (RFC 6698), over UDP and TCP, with bounds on everything that an answer can be.
//
// It validates nothing itself. A resolver that does so says it by the AD bit of its answers, which is believed where the way to
// it cannot be changed by others: see Options.
package resolve

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"sabir/xmpp/dial"
)

// Options say whom to ask.
type Options struct {
	// Servers are host:port, in the order in which to try them.
	Servers []string
	// Trust says that their word about DNSSEC is believed.
	Trust bool
	// Hosts knows addresses that DNS does not, such as those of a file of hosts; nil for nobody.
	Hosts *net.Resolver
	// Timeout is how long one server may take for one answer; 0 means DefaultTimeout.
	Timeout time.Duration
}

const (
	// DefaultTimeout is that of one question to one server.
	DefaultTimeout = 2 * time.Second
	// rounds is how often each server is tried.
	rounds = 2
	// maxAliases bounds the chain of CNAME records.
	maxAliases = 8
	// maxRecords bounds what is taken of an answer. More would only be more to try.
	maxRecords = 32
	// udpSize is what fits a packet everywhere, so that no answer comes in fragments, which others could put in place.
	udpSize = 1232
)

// Resolver is a dial.Resolver that knows what was validated. Any goroutine may use it.
type Resolver struct{ o Options }

var _ dial.SecureResolver = (*Resolver)(nil)

// New returns a resolver.
func New(o Options) *Resolver {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &Resolver{o}
}

// System returns a resolver that asks the servers of a file in the form of /etc/resolv.conf.
func System(file string, trust func(server string) bool) (*Resolver, error) {
	c, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, err
	}
	if len(c.Servers) == 0 {
		return nil, fmt.Errorf("%s names no server", file)
	}
	o := Options{Trust: true, Hosts: net.DefaultResolver}
	for _, s := range c.Servers {
		o.Servers = append(o.Servers, net.JoinHostPort(s, c.Port))
		o.Trust = o.Trust && trust(s)
	}
	return New(o), nil
}

// Loopback tells whether a server, an address with or without a port, is on this machine.
func Loopback(server string) bool {
	if host, _, err := net.SplitHostPort(server); err == nil {
		server = host
	}
	a, err := netip.ParseAddr(server)
	return err == nil && a.IsLoopback()
}

// answer is what came for a question.
type answer struct {
	records []dns.RR // of the type that was asked for
	name    string   // that they stand under, behind all aliases
	secure  bool     // DNSSEC has validated it, the aliases included
	missing error    // a *net.DNSError that says that there is nothing
}

// ask asks for the records of a name, and follows aliases. That there are none is no error.
func (r *Resolver) ask(ctx context.Context, name string, kind uint16) (*answer, error) {
	a := &answer{name: dns.CanonicalName(name), secure: r.o.Trust}
	seen := map[string]bool{a.name: true}
	for {
		m, err := r.exchange(ctx, a.name, kind)
		if err != nil {
			return nil, err
		}
		a.secure = a.secure && m.AuthenticatedData
		more, err := a.take(m, kind, seen)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if len(a.records) == 0 {
		a.missing = &net.DNSError{Err: "no such record", Name: strings.TrimSuffix(name, "."), IsNotFound: true}
	}
	return a, nil
}

// take reads a message: the aliases of the name in their order, and the records at their end. What stands there besides is
// nobody's business. It returns true where the chain leads out of the message.
func (a *answer) take(m *dns.Msg, kind uint16, seen map[string]bool) (more bool, err error) {
	for start := a.name; ; {
		alias := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || dns.CanonicalName(h.Name) != a.name {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok && alias == "" {
				alias = dns.CanonicalName(c.Target)
			}
			if h.Rrtype == kind && len(a.records) < maxRecords {
				a.records = append(a.records, rr)
			}
		}
		if alias == "" || len(a.records) > 0 || kind == dns.TypeCNAME {
			// A server that follows aliases has nothing at the end of this one, unless it has not come so far.
			return a.name != start && len(a.records) == 0 && m.Rcode == dns.RcodeSuccess && !m.RecursionAvailable, nil
		}
		if seen[alias] || len(seen) > maxAliases {
			return false, &net.DNSError{Err: "the aliases of the name have no end", Name: strings.TrimSuffix(a.name, "."), IsTemporary: true}
		}
		seen[alias] = true
		a.name = alias
	}
}

// exchange asks the servers in turn until one knows.
func (r *Resolver) exchange(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, &net.DNSError{Err: "it is no domain name", Name: name, IsNotFound: true}
	}
	var errs []error
	for range rounds {
		for _, s := range r.o.Servers {
			m, err := r.once(ctx, s, name, kind)
			if err == nil {
				return m, nil
			}
			errs = append(errs, err)
			if ctx.Err() != nil {
				return nil, &net.DNSError{Err: errors.Join(errs...).Error(), Name: strings.TrimSuffix(name, "."), IsTimeout: true, IsTemporary: true, UnwrapErr: ctx.Err()}
			}
		}
	}
	return nil, &net.DNSError{Err: errors.Join(errs...).Error(), Name: strings.TrimSuffix(name, "."), IsTemporary: true}
}

// once asks one server: over UDP, and over TCP where the answer does not fit.
func (r *Resolver) once(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(name, kind)
	q.AuthenticatedData = true // RFC 6840 §5.7: tell whether it was validated
	q.SetEdns0(udpSize, false)
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	for network := "udp"; ; network = "tcp" {
		c := dns.Client{Net: network, UDPSize: udpSize, Timeout: r.o.Timeout}
		m, _, err := c.ExchangeContext(ctx, q, server)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", server, err)
		case !m.Response || len(m.Question) != 1 || m.Question[0].Qtype != kind || !strings.EqualFold(m.Question[0].Name, name):
			return nil, fmt.Errorf("%s answers another question", server)
		case m.Truncated && network == "udp":
			continue
		case m.Truncated:
			return nil, fmt.Errorf("%s: an answer over TCP is cut off", server)
		case m.Rcode == dns.RcodeNameError:
			return m, nil
		case m.Rcode != dns.RcodeSuccess:
			return nil, fmt.Errorf("%s: %s", server, dns.RcodeToString[m.Rcode])
		case len(m.Answer) == 0 && !m.RecursionAvailable && !m.Authoritative:
			return nil, fmt.Errorf("%s refers to others: it is not responsible", server)
		}
		return m, nil
	}
}

// Validates implements dial.SecureResolver.
func (r *Resolver) Validates() bool { return r.o.Trust }

// SecureSRV implements dial.SecureResolver.
func (r *Resolver) SecureSRV(ctx context.Context, service, proto, name string) ([]*net.SRV, bool, error) {
	a, err := r.ask(ctx, "_"+service+"._"+proto+"."+name, dns.TypeSRV)
	if err != nil {
		return nil, false, err
	}
	var list []*net.SRV
	for _, rr := range a.records {
		s := rr.(*dns.SRV)
		list = append(list, &net.SRV{Target: s.Target, Port: s.Port, Priority: s.Priority, Weight: s.Weight})
	}
	return list, a.secure, a.missing
}

// LookupSRV implements dial.Resolver.
func (r *Resolver) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	list, _, err := r.SecureSRV(ctx, service, proto, name)
	return name, list, err
}

// LookupNetIP implements dial.Resolver.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	kind := dns.TypeA
	if network == "ip6" {
		kind = dns.TypeAAAA
	}
	a, err := r.ask(ctx, host, kind)
	if err == nil {
		err = a.missing
	}
	if err != nil {
		if r.o.Hosts != nil && ctx.Err() == nil {
			if found, other := r.o.Hosts.LookupNetIP(ctx, network, host); other == nil {
				return found, nil
			}
		}
		return nil, err
	}
	var list []netip.Addr
	for _, rr := range a.records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			list = append(list, addr.Unmap())
		}
	}
	return list, nil
}

// LookupTLSA implements dial.SecureResolver.
func (r *Resolver) LookupTLSA(ctx context.Context, host string, port uint16) ([]dial.TLSA, error) {
	if !r.o.Trust {
		return nil, nil
	}
	at, secure, err := r.base(ctx, host)
	if err != nil || !secure {
		return nil, err
	}
	names := []string{at}
	if own := dns.CanonicalName(host); own != at {
		names = append(names, own)
	}
	for _, n := range names { // RFC 7671 §7: where the alias leads, and else where it starts
		a, err := r.ask(ctx, fmt.Sprintf("_%d._tcp.%s", port, n), dns.TypeTLSA)
		if err != nil {
			return nil, err
		}
		if !a.secure || len(a.records) == 0 {
			continue
		}
		var list []dial.TLSA
		for _, rr := range a.records {
			t := rr.(*dns.TLSA)
			data, err := hex.DecodeString(t.Certificate)
			if err != nil {
				return nil, fmt.Errorf("TLSA record of %s: %w", n, err)
			}
			list = append(list, dial.TLSA{Usage: t.Usage, Selector: t.Selector, Matching: t.MatchingType, Data: data})
		}
		return list, nil
	}
	return nil, nil
}

// base returns the name under which the TLSA records of a host are, and whether its addresses were validated: where they were
// not, its servers may not understand the question (RFC 7672 §2.2.2).
func (r *Resolver) base(ctx context.Context, host string) (name string, secure bool, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		a, err := r.ask(ctx, host, kind)
		if err != nil {
			return "", false, err
		}
		if a.missing == nil {
			return a.name, a.secure, nil
		}
	}
	return "", false, nil
}
