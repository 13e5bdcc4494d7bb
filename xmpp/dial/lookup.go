package dial

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Service is what one wants of a domain.
type Service struct {
	srv, srvTLS string
	// Port is the one without SRV records (RFC 6120 §3.2.2); PortTLS is that of direct TLS, for addresses given by hand.
	Port, PortTLS uint16
	// ALPN is the protocol's name in direct TLS (XEP-0368#reqs).
	ALPN string
	rel  string // in host-meta (XEP-0487)
}

// Client returns the service for clients.
func Client() Service {
	return Service{"xmpp-client", "xmpps-client", 5222, 5223, "xmpp-client", RelClientTLS}
}

// Server returns the service for other servers.
func Server() Service {
	return Service{"xmpp-server", "xmpps-server", 5269, 5270, "xmpp-server", RelServerTLS}
}

// ErrNotOffered says that a domain declares by a target of "." that it does not offer the service (RFC 2782).
var ErrNotOffered = errors.New("the domain does not offer this service")

// Lookup returns the targets of a service of a domain, in the order in which to try them. The records for STARTTLS and
// for direct TLS are one set (XEP-0368#reqs). Without any the domain itself is the target, at the default port
// (RFC 6120 §3.2.2). domain is in the form of DNS: A-labels, or an IP literal, for which nothing is looked up.
func (d *Dialer) Lookup(ctx context.Context, s Service, domain string) ([]Target, error) {
	domain = trimBrackets(domain)
	if _, err := netip.ParseAddr(domain); err == nil {
		return []Target{{Host: domain, Port: s.Port}}, nil
	}
	type answer struct {
		targets []Target
		denied  bool
		err     error
	}
	ask := func(service string, direct bool, out chan<- answer) {
		records, secure, err := d.srv(ctx, service, domain)
		var a answer
		if err != nil && !notFound(err) {
			a.err = err
		}
		for _, r := range records {
			host := strings.TrimSuffix(r.Target, ".")
			if host == "" {
				a.denied = len(records) == 1
				continue
			}
			a.targets = append(a.targets, Target{Host: host, Port: r.Port, DirectTLS: direct, Secure: secure, priority: r.Priority, weight: r.Weight})
		}
		out <- a
	}
	plain, direct := make(chan answer, 1), make(chan answer, 1)
	go ask(s.srv, false, plain)
	go ask(s.srvTLS, true, direct)
	p, t := <-plain, <-direct
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("SRV records of %s: %w", domain, errors.Join(p.err, t.err, err))
	}
	targets := append(p.targets, t.targets...)
	if len(targets) > 0 {
		order(targets)
		return targets, nil
	}
	if p.denied {
		return nil, fmt.Errorf("%s: %w", domain, ErrNotOffered)
	}
	// RFC 6120 §3.2.1: no answer to the query leads to the fallback as well.
	return []Target{{Host: domain, Port: s.Port}}, nil
}

// srv asks for SRV records, and whether DNSSEC has validated them.
func (d *Dialer) srv(ctx context.Context, service, domain string) (records []*net.SRV, secure bool, err error) {
	if r, ok := d.resolver().(SecureResolver); ok {
		return r.SecureSRV(ctx, service, "tcp", domain)
	}
	_, records, err = d.resolver().LookupSRV(ctx, service, "tcp", domain)
	return records, false, err
}

func notFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

// order sorts by priority and, within one, draws by weight (RFC 2782: "Usage rules").
func order(t []Target) {
	slices.SortStableFunc(t, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.weight, b.weight)) // weight 0 stands first
	})
	for len(t) > 1 {
		n := groupLen(t)
		draw(t[:n])
		t = t[n:]
	}
}

// draw puts targets of one priority into a random order in which a larger weight comes first more often.
func draw(t []Target) {
	for ; len(t) > 1; t = t[1:] {
		sum := 0
		for i := range t {
			sum += int(t[i].weight)
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(sum)+1))
		if err != nil {
			panic(err) // crypto/rand does not fail
		}
		pick, run := 0, 0
		for i := range t {
			if run += int(t[i].weight); run >= int(n.Int64()) {
				pick = i
				break
			}
		}
		chosen := t[pick]
		copy(t[1:pick+1], t[:pick])
		t[0] = chosen
	}
}
