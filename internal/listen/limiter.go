package listen

import (
	"net/netip"
	"sync"
)

// Limiter bounds the connections that are open at a time, from one address and in all. A nil *Limiter has no bounds.
type Limiter struct {
	mu         sync.Mutex
	perAddress int
	total      int
	open       int
	by         map[netip.Addr]int // by IPv4 address or first address of the IPv6 /64
}

// NewLimiter returns a limiter; 0 stands for no limit.
func NewLimiter(perAddress, total int) *Limiter {
	return &Limiter{perAddress: perAddress, total: total, by: make(map[netip.Addr]int)}
}

// Set changes the limits. Connections that are open stay so.
func (l *Limiter) Set(perAddress, total int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.perAddress, l.total = perAddress, total
}

// network returns what counts as one address: a customer of IPv6 has a whole /64 (RFC 6177).
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// take counts a connection. reason is "" where there is room, and release gives it back, to be called once.
func (l *Limiter) take(a netip.Addr) (release func(), reason string) {
	if l == nil {
		return func() {}, ""
	}
	a = network(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total > 0 && l.open >= l.total {
		return nil, "limit"
	}
	if l.perAddress > 0 && l.by[a] >= l.perAddress {
		return nil, "address-limit"
	}
	l.open++
	l.by[a]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		if l.by[a]--; l.by[a] == 0 {
			delete(l.by, a)
		}
	}, ""
}
