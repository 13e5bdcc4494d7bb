package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// dialHost connects to one of the addresses of a host: both families are looked up at once, IPv6 has a short head start,
// addresses of the families alternate, and an attempt that takes long is overtaken by the next (RFC 8305).
func (d *Dialer) dialHost(ctx context.Context, host string, port uint16) (net.Conn, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return d.connect(ctx, netip.AddrPortFrom(a, port))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := race{d: d, ctx: ctx, port: port, results: make(chan result), found: d.lookup(ctx, host)}
	return r.run()
}

// addresses is the answer of one family.
type addresses struct {
	v6    bool
	addrs []netip.Addr
	err   error
}

func (d *Dialer) lookup(ctx context.Context, host string) <-chan addresses {
	found := make(chan addresses, 2)
	for _, network := range []string{"ip6", "ip4"} {
		go func() {
			a, err := d.resolver().LookupNetIP(ctx, network, host)
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
	delay := r.d.AttemptDelay
	if delay == 0 {
		delay = DefaultAttemptDelay
	}
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
