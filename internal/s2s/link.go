package s2s

import (
	"context"
	"slices"
	"sync"
	"time"

	"sabir/internal/route"
	"sabir/xmpp/stanza"
)

// link is the way from a domain of ours to another one: what waits, and the sender that carries it.
//
// Its lock may be taken while that of a sender is held, and never the other way round.
type link struct {
	srv *Server
	pair

	mu      sync.Mutex
	waiting []*item
	bytes   int     // of what waits, and of what a sender has not got acknowledged
	kept    int     // bytes of what was accepted and is not committed yet
	on      *sender // nil while nothing waits and no stream is open
	spare   *sender // of a stream that the peer has opened and that goes both ways, for when there is no other

	// While a domain is known to be out of reach, senders get its error at once.
	closedUntil time.Time
	failure     *stanza.Error
	used        time.Time // when a stanza came last
	alone       time.Time // until when it asks for no place on the stream of another pair
}

func newLink(s *Server, p pair) *link { return &link{srv: s, pair: p} }

// accept tells whether a stanza may be queued.
func (l *link) accept(s *stanza.Stanza) (route.Departure, *stanza.Error) {
	set := l.srv.settings()
	now := l.srv.o.Clock.Now()
	i := &item{l: l, s: s, size: s.Wire().Size() + overhead, expires: now.Add(time.Duration(set.QueueTime))}
	// Chat states and the like are worth nothing after a restart (XEP-0334).
	i.volatile = s.Kind != stanza.Message || s.Type == stanza.TypeHeadline || s.Has(nsHints, "no-store") || s.Has(nsHints, "no-permanent-store")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = now
	if l.failure != nil && now.Before(l.closedUntil) {
		return nil, l.failure
	}
	if full := l.bytes + l.kept; full+i.size > set.QueueBytes && full > 0 {
		return nil, stanza.Err(stanza.ResourceConstraint, "too much waits for that server").OfType(stanza.Wait)
	}
	if !i.volatile {
		i.id = l.srv.nextID()
	}
	i.holds = true
	l.kept += i.size
	return i, nil
}

const nsHints = "urn:xmpp:hints"

// put queues an item, and sees to it that somebody sends it.
func (l *link) put(i *item) {
	l.mu.Lock()
	i.freeLocked()
	l.waiting = append(l.waiting, i)
	l.bytes += i.size
	l.mu.Unlock()
	l.start()
}

// start sees to it that what waits is sent: by the sender that there is, on a stream of the peer that is at hand, or by a new
// one. While the server stops there is none: what has a row stays there.
func (l *link) start() {
	for {
		l.mu.Lock()
		on, spare := l.on, l.spare
		if on == nil && len(l.waiting) > 0 && spare == nil {
			on = newSender(l)
			l.on = on
		}
		waits := len(l.waiting) > 0
		l.mu.Unlock()
		switch {
		case on != nil:
			on.start()
			return
		case !waits || spare.ride(l, nil):
			return
		}
		l.mu.Lock()
		if l.on == nil && l.spare == spare {
			l.spare = nil // it is over
		}
		l.mu.Unlock()
	}
}

// offer gives the link a stream that the peer has opened.
func (l *link) offer(s *sender) {
	l.mu.Lock()
	if l.on != s {
		l.spare = s
	}
	l.mu.Unlock()
	l.start()
}

// other returns the stream that was offered, or nil.
func (l *link) other() *sender {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spare
}

// retract takes it away again.
func (l *link) retract(s *sender) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare == s {
		l.spare = nil
	}
}

// left notes that a sender carries the link no more. What it has not got rid of was given back before.
func (l *link) left(s *sender) {
	l.mu.Lock()
	if l.on == s {
		l.on = nil
	}
	l.mu.Unlock()
	l.start()
}

// take returns what waits, up to a number of stanzas, until about most bytes are there.
func (l *link) take(most, stanzas int) []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes := 0, 0
	for n < min(stanzas, len(l.waiting)) && bytes < most {
		bytes += l.waiting[n].size - overhead
		n++
	}
	batch := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	return batch
}

// back puts items first in the queue again: nobody has got them, as far as is known.
func (l *link) back(items []*item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(items, l.waiting...)
}

// waits tells how much waits.
func (l *link) waits() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// oldest returns when the first of what waits expires; ok is false where nothing waits.
func (l *link) oldest() (expires time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return time.Time{}, false
	}
	return l.waiting[0].expires, true
}

// reached notes that the domain is there.
func (l *link) reached() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = nil
}

// shut notes that the domain cannot be reached, until a time, and returns what waits.
func (l *link) shut(e *stanza.Error, until time.Time) []*item {
	l.mu.Lock()
	l.failure, l.closedUntil = e, until
	l.mu.Unlock()
	return l.withdraw(func(*item) bool { return true })
}

// withdraw takes out of the queue what is meant.
func (l *link) withdraw(meant func(*item) bool) []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*item
	l.waiting = slices.DeleteFunc(l.waiting, func(i *item) bool {
		if !meant(i) {
			return false
		}
		out = append(out, i)
		l.bytes -= i.size
		return true
	})
	return out
}

// bounce answers the senders of what waits no longer, and forgets the stanzas.
func (s *Server) bounce(items []*item, e *stanza.Error) {
	for _, i := range items {
		if r := i.s.ErrorReply(e); r != nil {
			s.router.Route(context.WithoutCancel(s.ctx), r)
		}
	}
	s.reaper.done(items)
}

// refuse answers all that waits and was not acknowledged, and ends the stream where it has no other use.
func (l *link) refuse(e *stanza.Error) {
	l.mu.Lock()
	on := l.on
	l.mu.Unlock()
	var all []*item
	if on != nil {
		all = on.dismiss(l, e.Text)
	}
	all = append(all, l.withdraw(func(*item) bool { return true })...)
	l.srv.bounce(all, e)
}

// bounceLarge answers what is larger than the peer takes (XEP-0478#rules).
func (l *link) bounceLarge(most int) {
	large := l.withdraw(func(i *item) bool {
		return i.size-overhead > most-namespaceRoom && len(i.s.AppendServer(nil)) > most
	})
	if len(large) > 0 {
		l.srv.bounce(large, stanza.Errf(stanza.PolicyViolation, "the server of %s takes stanzas of up to %d bytes", l.remote.Domain(), most))
	}
}

// namespaceRoom is how many bytes the form of a stanza between servers may have more than that which is counted.
const namespaceRoom = 256

// giveBack gives each link what is its own, in order, and sees to it that somebody sends it: links may have it that ride elsewhere by now.
func giveBack(items []*item) {
	for len(items) > 0 {
		l := items[0].l
		var its, others []*item
		for _, i := range items {
			if i.l == l {
				its = append(its, i)
			} else {
				others = append(others, i)
			}
		}
		l.back(its)
		l.start()
		items = others
	}
}

// release accounts for items that are done with.
func release(items []*item) {
	for _, i := range items {
		i.l.mu.Lock()
		i.l.bytes -= i.size
		i.l.mu.Unlock()
	}
}
