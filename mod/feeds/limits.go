package feeds

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"sabir/xmpp/jid"
)

// rate bounds the requests of network addresses: each has a bucket that holds what it may ask for within ten seconds.
type rate struct {
	perSecond float64
	mu        sync.Mutex
	buckets   map[netip.Prefix]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// maxBuckets bounds the addresses that are remembered. Beyond it all begin anew.
const maxBuckets = 20000

func newRate(perSecond int) *rate {
	return &rate{perSecond: float64(perSecond), buckets: make(map[netip.Prefix]bucket)}
}

// take takes one from the bucket of an address, or returns how long it will be empty.
func (l *rate) take(addr string, now time.Time) time.Duration {
	if l.perSecond == 0 {
		return 0
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return 0 // no network: a test
	}
	ip = ip.Unmap()
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64 // one customer has as many
	}
	key, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buckets) >= maxBuckets {
		clear(l.buckets)
	}
	most := 10 * l.perSecond
	b, ok := l.buckets[key]
	if !ok {
		b = bucket{most, now}
	}
	b.left = min(most, b.left+now.Sub(b.at).Seconds()*l.perSecond)
	b.at = now
	wait := time.Duration(0)
	if b.left >= 1 {
		b.left--
	} else {
		wait = time.Duration((1 - b.left) / l.perSecond * float64(time.Second))
	}
	l.buckets[key] = b
	return wait
}

// news knows when nodes have changed last. What it does not know was not later than since.
type news struct {
	mu    sync.Mutex
	since time.Time
	when  map[topic]time.Time
}

// topic is a node whose changes are followed.
type topic struct {
	at   jid.JID
	node string
}

// maxNews bounds the nodes that are remembered.
const maxNews = 20000

func (n *news) note(at jid.JID, node string, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.when == nil || len(n.when) >= maxNews {
		n.when, n.since = make(map[topic]time.Time), now
	}
	n.when[topic{at, node}] = now
}

func (n *news) at(at jid.JID, node string) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t, ok := n.when[topic{at, node}]; ok {
		return t
	}
	return n.since
}
