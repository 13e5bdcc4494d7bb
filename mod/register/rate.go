package register

import (
	"net/netip"
	"sync"
	"time"

	"sabir/engine/lru"
)

// rate bounds attempts per network and hour.
type rate struct {
	perHour int
	mu      sync.Mutex
	recent  *lru.Cache[netip.Prefix, []time.Time] // of the last hour, oldest first
}

// networks is how many networks are remembered. An attacker with more of them is not held off by such a limit.
const networks = 10000

func newRate(perHour int) *rate {
	return &rate{perHour: perHour, recent: lru.New[netip.Prefix, []time.Time](networks)}
}

// allow counts an attempt and tells whether it is within the limit. An address that cannot be read shares one place with
// all others of its kind.
func (r *rate) allow(addr string, now time.Time) bool {
	if r.perHour == 0 {
		return true
	}
	n := network(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	was, _ := r.recent.Get(n)
	for len(was) > 0 && now.Sub(was[0]) >= time.Hour {
		was = was[1:]
	}
	if len(was) >= r.perHour {
		r.recent.Put(n, was)
		return false
	}
	r.recent.Put(n, append(was, now))
	return true
}

// network returns an IPv4 address or the /64 of an IPv6 address: one customer has as much.
func network(addr string) netip.Prefix {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
