package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// maxTargets is how many targets are tried at a time.
const maxTargets = 4

// attempt is the outcome of one at a target.
type attempt struct {
	conn net.Conn
	t    Target
	err  error
}

// dialGroup connects to one of the targets of a priority. Each has a head start over the next, long enough for both of its
// address families to be tried, and ends it by failing (XEP-0495#connecting).
func (d *Dialer) dialGroup(ctx context.Context, targets []Target, conf *tls.Config) (*Conn, []error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, len(targets))
	open := 0
	start := func() {
		if open == maxTargets || len(targets) == 0 || ctx.Err() != nil {
			return
		}
		t := targets[0]
		targets = targets[1:]
		open++
		go func() {
			c, err := d.dialTarget(ctx, t, conf)
			results <- attempt{c, t, err}
		}()
	}
	next := time.NewTicker(2 * d.attemptDelay())
	defer next.Stop()
	start()
	var errs []error
	for open > 0 {
		select {
		case a := <-results:
			open--
			if a.err == nil {
				go closeLosers(results, open)
				return &Conn{a.conn, a.t}, nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", a.t, a.err))
			next.Reset(2 * d.attemptDelay())
			start()
		case <-next.C:
			start()
		}
	}
	return nil, errs
}

// closeLosers closes what the attempts still under way come to.
func closeLosers(results <-chan attempt, n int) {
	for range n {
		if a := <-results; a.err == nil {
			a.conn.Close() // nobody has seen it, so there is nobody to tell
		}
	}
}

func (d *Dialer) attemptDelay() time.Duration {
	if d.AttemptDelay > 0 {
		return d.AttemptDelay
	}
	return DefaultAttemptDelay
}

// dialHost connects to one of the addresses of a host: both families are looked up at once, IPv6 has a short head start,
// addresses of the families alternate, and an attempt that takes long is overtaken by the next (RFC 8305).
func (d *Dialer) dialHost(ctx context.Context, t Target) (net.Conn, error) {
	host, port := t.Host, t.Port
	if a, err := netip.ParseAddr(host); err == nil && len(t.Addrs) == 0 {
		return d.connect(ctx, netip.AddrPortFrom(a, port))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := race{d: d, ctx: ctx, port: port, results: make(chan result), found: d.lookup(ctx, t)}
	return r.run()
}

// addresses is the answer of one family.
type addresses struct {
	v6    bool
	addrs []netip.Addr
	err   error
}

func (d *Dialer) lookup(ctx context.Context, t Target) <-chan addresses {
	found := make(chan addresses, 2)
	if len(t.Addrs) > 0 {
		known := [2]addresses{{v6: true}, {}}
		for _, a := range t.Addrs {
			i := 0
			if a.Unmap().Is4() {
				i = 1
			}
			known[i].addrs = append(known[i].addrs, a)
		}
		found <- known[0]
		found <- known[1]
		return found
	}
	for _, network := range []string{"ip6", "ip4"} {
		go func() {
			a, err := d.resolver().LookupNetIP(ctx, network, t.Host)
			found <- addresses{network == "ip6", a, err}
		}()
	}
	return found
}

type result struct {
	conn net.Conn
	err  error
}

// race is a running attempt at one host. Only run touches its fields; attempts send to results.
type race struct {
	d       *Dialer
	ctx     context.Context
	port    uint16
	found   <-chan addresses
	results chan result

	waiting [2][]netip.Addr // not tried yet: IPv4, IPv6
	lookups int             // answered
	last4   bool            // the family of the last attempt
	open    int             // attempts under way
	errs    []error
}

func (r *race) run() (net.Conn, error) {
	delay := r.d.attemptDelay()
	r.last4 = true // IPv6 first
	next := time.NewTimer(time.Hour)
	next.Stop()
	defer next.Stop()
	started := false
	for {
		select {
		case a := <-r.found:
			r.lookups++
			r.add(a)
			switch {
			case started || a.err != nil && r.lookups < 2:
			case a.v6 || r.lookups == 2:
				started = true
				r.start()
				next.Reset(delay)
			default: // IPv4 came first: RFC 8305 §3 waits a moment for IPv6
				next.Reset(resolutionDelay)
			}
		case <-next.C:
			started = true
			r.start()
			next.Reset(delay)
		case res := <-r.results:
			r.open--
			if res.err == nil {
				r.abandon()
				return res.conn, nil
			}
			r.errs = append(r.errs, res.err)
			if r.start() { // RFC 8305 §5: a failed attempt makes room for the next at once
				next.Reset(delay)
			}
		case <-r.ctx.Done():
			r.abandon()
			return nil, errors.Join(append(r.errs, context.Cause(r.ctx))...)
		}
		if r.lookups == 2 && r.open == 0 && len(r.waiting[0])+len(r.waiting[1]) == 0 {
			return nil, r.failure()
		}
		if started && r.open == 0 && r.start() {
			next.Reset(delay)
		}
	}
}

func (r *race) add(a addresses) {
	if a.err != nil {
		r.errs = append(r.errs, a.err)
		return
	}
	i := 0
	if a.v6 {
		i = 1
	}
	r.waiting[i] = append(r.waiting[i], a.addrs...)
}

// start makes the next attempt, of the other family than the last where it has one. It tells whether there was one.
func (r *race) start() bool {
	i := 0
	if r.last4 {
		i = 1
	}
	if len(r.waiting[i]) == 0 {
		i = 1 - i
	}
	if len(r.waiting[i]) == 0 {
		return false
	}
	addr := netip.AddrPortFrom(r.waiting[i][0].Unmap(), r.port)
	r.waiting[i] = r.waiting[i][1:]
	r.last4 = i == 0
	r.open++
	go func() {
		c, err := r.d.connect(r.ctx, addr)
		if err != nil {
			err = fmt.Errorf("%s: %w", addr, err)
		}
		r.results <- result{c, err}
	}()
	return true
}

// abandon closes what the attempts still under way come to. Their context ends when dialHost returns.
func (r *race) abandon() {
	n := r.open
	go func() {
		for range n {
			if res := <-r.results; res.err == nil {
				res.conn.Close() // nobody has seen it, so there is nobody to tell
			}
		}
	}()
}

// failure joins what went wrong: the attempts, or the look-ups where no address was found.
func (r *race) failure() error {
	if len(r.errs) == 0 {
		return errors.New("the name has no address")
	}
	return errors.Join(r.errs...)
}
