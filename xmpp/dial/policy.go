package dial

import (
	"fmt"
	"net/netip"
)

// Policy says which addresses may be connected to. It keeps an outsider, who names a host for the server to connect to,
// away from the networks that only the server can reach. A nil policy allows all.
type Policy struct {
	// Allow opens ranges that are otherwise denied.
	Allow []netip.Prefix
	// Deny closes further ranges. What is in Allow stays open.
	Deny []netip.Prefix
	// Private opens all that are not public.
	Private bool
}

// special are the ranges of the IANA special-purpose registries (RFC 6890) and multicast: none is reachable as a public
// unicast address.
var special = parsePrefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "3fff::/20",
	"5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

// embedding are the ranges whose addresses hold an IPv4 address, to which a gateway may lead, and where it starts.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4, RFC 3056
	{netip.MustParsePrefix("::/96"), 12},        // IPv4-compatible, RFC 4291 §2.5.5.1
}

func parsePrefixes(s ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(s))
	for i := range s {
		p[i] = netip.MustParsePrefix(s[i])
	}
	return p
}

// DeniedError says that the policy forbids an address.
type DeniedError struct{ Addr netip.Addr }

// Error names the address.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("the policy for outbound connections denies %s", e.Addr)
}

// Check returns a *DeniedError where the policy forbids the address. It may be called on nil.
func (p *Policy) Check(a netip.Addr) error {
	if p == nil {
		return nil
	}
	a = a.Unmap().WithZone("")
	if contains(p.Allow, a) {
		return nil
	}
	if !a.IsValid() || contains(p.Deny, a) || !p.Private && !public(a) {
		return &DeniedError{a}
	}
	return nil
}

func public(a netip.Addr) bool {
	if contains(special, a) {
		return false
	}
	for _, e := range embedding {
		if a.Is6() && e.prefix.Contains(a) {
			b := a.As16()
			return public(netip.AddrFrom4([4]byte(b[e.at : e.at+4])))
		}
	}
	return true
}

func contains(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
