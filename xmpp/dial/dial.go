// Package dial owns the way from a domain to a connection: SRV records with priorities and weights and the fallback to
// addresses (RFC 6120 §3.2, RFC 2782), direct TLS beside STARTTLS (XEP-0368), the endpoints that a domain publishes for
// WebSocket (XEP-0156), connection attempts over both address families (RFC 8305), and the policy that says which
// addresses may be connected to. Every outbound connection of Sabir is made here.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Resolver is the part of DNS that a Dialer asks. A *net.Resolver is one. Implementations need not order SRV records.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
	// LookupNetIP returns the addresses of a host; network is "ip4" or "ip6".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var _ Resolver = (*net.Resolver)(nil)

// SecureResolver is a Resolver that knows what DNSSEC has validated.
type SecureResolver interface {
	// Validates tells whether an answer can be validated at all.
	Validates() bool
	Resolver
	// SecureSRV is LookupSRV, and tells whether the answer was validated.
	SecureSRV(ctx context.Context, service, proto, name string) (records []*net.SRV, secure bool, err error)
	// LookupTLSA returns the TLSA records for a port of a host. Where they, or the addresses of the host, were not validated
	// there are none; an error says that it is not known whether there are some.
	LookupTLSA(ctx context.Context, host string, port uint16) ([]TLSA, error)
}

// TLSA is a record that says which certificate a server shows (RFC 6698 §2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// The defaults of a Dialer.
const (
	DefaultTimeout      = 10 * time.Second       // for one target
	DefaultAttemptDelay = 250 * time.Millisecond // RFC 8305 §5
	resolutionDelay     = 50 * time.Millisecond  // RFC 8305 §3
	keepAliveIdle       = 2 * time.Minute
)

// Dialer makes connections. Its zero value is ready: the system's resolver, no policy. It is not changed once used and
// may be used by many goroutines.
type Dialer struct {
	// Resolver is asked for names; nil means the system's.
	Resolver Resolver
	// Policy says which addresses may be connected to; nil means all. It is applied to the address of the socket, so
	// that no name and no redirect leads around it.
	Policy *Policy
	// Timeout bounds the attempts at one target, name look-up and direct TLS included; 0 means DefaultTimeout.
	Timeout time.Duration
	// AttemptDelay is the head start that an address has over the next one; 0 means DefaultAttemptDelay.
	AttemptDelay time.Duration
	// Connect opens a socket, for tests; nil means TCP.
	Connect func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// Conn is a connection to a target.
type Conn struct {
	net.Conn // a *tls.Conn after its handshake where Target.DirectTLS is set
	Target   Target
}

// Dial connects to one of the targets, which are in the order in which to try them: those of one priority by happy eyeballs,
// those of the next where none of them answers (XEP-0495#algorithm). For those with direct TLS it makes the handshake with conf,
// which TLSConfig made; conf may be nil where there are none. The error names every target that was tried.
func (d *Dialer) Dial(ctx context.Context, targets []Target, conf *tls.Config) (*Conn, error) {
	if len(targets) == 0 {
		return nil, errors.New("there is no target to connect to")
	}
	var errs []error
	for len(targets) > 0 {
		n := groupLen(targets)
		c, bad := d.dialGroup(ctx, targets[:n], conf)
		if c != nil {
			return c, nil
		}
		errs = append(errs, bad...)
		if ctx.Err() != nil { // perhaps before anything was tried
			errs = append(errs, context.Cause(ctx))
			break
		}
		targets = targets[n:]
	}
	return nil, errors.Join(errs...)
}

// Reaches tells whether Dial of the targets would come, at its best, to where a connection leads already: to a target, at an
// address.
func (d *Dialer) Reaches(ctx context.Context, targets []Target, at Target, addr netip.AddrPort) bool {
	if len(targets) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	for _, t := range targets[:groupLen(targets)] {
		if t.DirectTLS != at.DirectTLS || t.Port != at.Port {
			continue
		}
		if t.Host == at.Host {
			return true
		}
		if a, err := netip.ParseAddr(t.Host); err == nil {
			if a.Unmap() == addr.Addr().Unmap() {
				return true
			}
			continue
		}
		found := d.lookup(ctx, t)
		for range 2 { // families
			if a := <-found; slices.ContainsFunc(a.addrs, func(a netip.Addr) bool { return a.Unmap() == addr.Addr().Unmap() }) {
				return true
			}
		}
	}
	return false
}

func (d *Dialer) timeout() time.Duration {
	if d.Timeout == 0 {
		return DefaultTimeout
	}
	return d.Timeout
}

// groupLen returns how many targets at the front are of one priority.
func groupLen(t []Target) int {
	n := 1
	for n < len(t) && t[n].priority == t[0].priority {
		n++
	}
	return n
}

func (d *Dialer) dialTarget(ctx context.Context, t Target, conf *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	c, err := d.dialHost(ctx, t)
	if err != nil || !t.DirectTLS {
		return c, err
	}
	if conf == nil {
		return nil, errors.Join(errors.New("direct TLS without a TLS configuration"), c.Close())
	}
	if len(t.Addrs) > 0 {
		conf = conf.Clone()
		conf.ServerName = t.Host
	}
	s := tls.Client(c, conf)
	if err := s.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake: %w", err), c.Close())
	}
	return s, nil
}

// DialContext connects to a host and port over TCP, in the manner of net.Dialer, for HTTP clients and the like.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, fmt.Errorf("the network is tcp, not %s", network)
	}
	t, err := ParseTarget(address, 0)
	if err != nil {
		return nil, err
	}
	return d.dialTarget(ctx, t, nil)
}

// TLSConfig returns a copy of base for a domain: its certificate is checked against the domain, not against the target
// that SRV records named (RFC 6120 §13.7.2.1), SNI carries the domain (XEP-0368#reqs), TLS is of version 1.2 or above.
// alpn is "xmpp-client" or "xmpp-server" for direct TLS and "" for STARTTLS. base may be nil.
func TLSConfig(base *tls.Config, domain, alpn string) *tls.Config {
	c := &tls.Config{}
	if base != nil {
		c = base.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = domain
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.NextProtos = nil
	if alpn != "" {
		c.NextProtos = []string{alpn}
	}
	return c
}

// HTTPClient returns a client whose connections are all made by d: no proxy of the environment, at most five redirects,
// none of which leaves https. base may be nil.
func (d *Dialer) HTTPClient(base *tls.Config) *http.Client {
	if base == nil {
		base = &tls.Config{}
	}
	base = base.Clone()
	base.MinVersion = max(base.MinVersion, tls.VersionTLS12)
	timeout := d.timeout()
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           d.DialContext,
			TLSClientConfig:       base,
			TLSHandshakeTimeout:   timeout,
			ResponseHeaderTimeout: timeout,
			MaxIdleConns:          16,
			IdleConnTimeout:       30 * time.Second,
			ForceAttemptHTTP2:     true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 5 {
				return errors.New("more than five redirects")
			}
			if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return errors.New("a redirect leads away from https")
			}
			return nil
		},
	}
}

// TLSA returns the records about the certificate of a target. There are none where DNSSEC does not reach from the domain to
// the target. An error forbids to connect: who could suppress the records could be anybody (RFC 7673 §3.3).
func (d *Dialer) TLSA(ctx context.Context, t Target) ([]TLSA, error) {
	r, ok := d.resolver().(SecureResolver)
	if !ok || !t.Secure {
		return nil, nil
	}
	return r.LookupTLSA(ctx, t.Host, t.Port)
}

// Validates tells whether DNSSEC can have validated an answer of the resolver.
func (d *Dialer) Validates() bool {
	r, ok := d.resolver().(SecureResolver)
	return ok && r.Validates()
}

// Names returns the Resolver that is asked.
func (d *Dialer) Names() Resolver { return d.resolver() }

func (d *Dialer) resolver() Resolver {
	if d.Resolver != nil {
		return d.Resolver
	}
	return net.DefaultResolver
}

// connect opens one socket. The policy is asked for the address before and, by Control, for the one that the kernel is
// given.
func (d *Dialer) connect(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	if err := d.Policy.Check(addr.Addr()); err != nil {
		return nil, err
	}
	if d.Connect != nil {
		return d.Connect(ctx, addr)
	}
	nd := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle},
		Control: func(_, address string, _ syscall.RawConn) error {
			got, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("the address of the socket: %w", err)
			}
			return d.Policy.Check(got.Addr())
		},
	}
	return nd.DialContext(ctx, "tcp", addr.String())
}

// Target is an endpoint that may answer for a domain.
type Target struct {
	Host      string // a name or an IP literal, without brackets
	Port      uint16
	DirectTLS bool // TLS from the first byte on (XEP-0368)

	// Secure says that DNSSEC has validated that the domain is served here (RFC 7673 §3.1).
	Secure bool
	// Addrs are the addresses of the host, where the domain itself has published them; then TLS asks for Host (XEP-0487).
	Addrs []netip.Addr

	priority, weight uint16
}

// String returns host:port, with "tls://" before it for direct TLS.
func (t Target) String() string {
	s := net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
	if t.DirectTLS {
		return "tls://" + s
	}
	return s
}

// ParseTarget reads host:port, or a host alone where port is not 0.
func ParseTarget(address string, port uint16) (Target, error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		if port == 0 {
			return Target{}, fmt.Errorf("an address is host:port: %w", err)
		}
		return Target{Host: trimBrackets(address), Port: port}, nil
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return Target{}, fmt.Errorf("%q is no port", p)
	}
	if host == "" {
		return Target{}, fmt.Errorf("%q names no host", address)
	}
	return Target{Host: host, Port: uint16(n)}, nil
}

func trimBrackets(s string) string {
	if n := len(s); n > 1 && s[0] == '[' && s[n-1] == ']' {
		return s[1 : n-1]
	}
	return s
}
