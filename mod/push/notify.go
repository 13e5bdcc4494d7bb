package push

import (
	"context"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// sweep is how often the store is asked for notifications that are owed.
const sweep = 10 * time.Minute

// run sends notifications until the host stops.
func (p *push) run(ctx context.Context) {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	p.sweep(ctx)
	for {
		next := p.round(ctx)
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(max(next.Sub(p.h.Clock().Now()), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-p.jobs.wake:
		case <-timer:
		case <-tick.C:
			p.sweep(ctx)
		}
	}
}

// sweep finds what is owed and forgotten: after a restart, or because there was too much at once.
func (p *push) sweep(ctx context.Context) {
	list, err := p.store.due(ctx, maxJobs/2)
	if err != nil {
		if ctx.Err() == nil {
			p.h.Log().Error("push services cannot be read", "error", err)
		}
		return
	}
	for _, k := range list {
		if !p.jobs.has(k) { // its own time will come
			p.jobs.add(k, p.h.Clock().Now(), news{messages: true})
		}
	}
}

// round settles results and sends what is due. It returns when the next is due.
func (p *push) round(ctx context.Context) time.Time {
	p.settle(ctx, p.jobs.take())
	due, next := p.jobs.start(p.h.Clock().Now())
	for _, s := range due {
		p.notify(ctx, s.key, s.news)
	}
	return next
}

// settle takes results into account, and writes down those that are to outlive the process.
func (p *push) settle(ctx context.Context, rs []result) {
	now := p.h.Clock().Now()
	var keep []result
	for _, r := range rs {
		if r.seen {
			keep = append(keep, r)
			continue
		}
		p.trace(r)
		switch n := p.jobs.finish(r, now, time.Duration(p.c.Every)); {
		case r.transient != "" && n >= p.c.Tries:
			p.jobs.forget(r.key, now)
			r.permanent = r.transient
			keep = append(keep, r)
		case r.transient != "":
			p.h.Log().Debug("a push service could not be told", "service", target(r.key), "why", r.transient)
		case r.permanent != "" || r.told > 0:
			keep = append(keep, r)
		}
		if r.permanent != "" {
			p.h.Log().Info("a push service is disabled", "account", r.key.account.String(), "service", target(r.key), "why", r.permanent)
		}
	}
	if len(keep) == 0 {
		return
	}
	err := p.h.DB().Write(ctx, func(tx mod.Tx) error {
		for _, r := range keep {
			if err := p.settleOne(ctx, tx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		// What is lost is that a service was told, so it will be told again.
		p.h.Log().Error("results of push notifications not stored", "error", err)
	}
	for _, r := range keep {
		if r.permanent != "" {
			p.changed(r.key.account)
		}
	}
}

// trace notes at the message what became of the notification for it.
func (p *push) trace(r result) {
	switch why := r.permanent + r.transient; {
	case why != "":
		p.h.Trace(r.mark, mod.TraceFailed, target(r.key), why)
	case r.told > 0:
		p.h.Trace(r.mark, mod.TraceNotified, target(r.key), "")
	}
}

func (p *push) settleOne(ctx context.Context, tx mod.Tx, r result) error {
	switch {
	case r.seen:
		return p.store.seen(ctx, tx, r.key)
	case r.permanent != "":
		return p.store.fail(ctx, tx, r.key, r.permanent)
	}
	return p.store.told(ctx, tx, r.key, r.told)
}

// notify tells a service, or finds that there is no need any more. The result comes by jobs.done.
func (p *push) notify(ctx context.Context, k key, n news) {
	s, err := p.store.get(ctx, k)
	switch {
	case err != nil:
		p.jobs.done(result{key: k, transient: err.Error()})
		return
	case s == nil: // disabled meanwhile
		p.jobs.done(result{key: k})
		return
	case p.awake(s):
		if s.waiting > 0 {
			p.jobs.seen(k, p.h.Clock().Now())
		}
		p.jobs.done(result{key: k})
		return
	}
	if err := p.count(ctx, s, n); err != nil {
		p.jobs.done(result{key: k, transient: err.Error()})
		return
	}
	sum := summary{account: k.account, messages: s.waiting, sender: n.sender, body: n.body, mark: n.mark}
	if sum.requests, err = p.h.Roster().Requests(ctx, k.account); err != nil {
		p.h.Log().Error("requests cannot be counted", "error", err)
	}
	if s.waiting <= s.told && (!n.requests || sum.requests == 0) { // all of it was told
		p.jobs.done(result{key: k})
		return
	}
	if k.kind == kindWeb {
		p.h.Go("web push", func(ctx context.Context) {
			r := p.sendWeb(ctx, s, sum)
			r.mark = sum.mark
			p.jobs.done(r)
		})
		return
	}
	p.publish(ctx, s, sum)
}

// count adds to what waits the messages of which it was in doubt whether the client has got them. One that came while the client
// lost its connection was counted by nobody.
func (p *push) count(ctx context.Context, s *service, n news) error {
	waiting := s.waiting + n.check
	if n.messages {
		waiting = max(waiting, 1)
	}
	if waiting == s.waiting {
		return nil
	}
	s.waiting = waiting
	p.unread(s.key)
	return p.h.DB().Write(ctx, func(tx mod.Tx) error {
		_, err := p.store.raise(ctx, tx, s.key, waiting)
		return err
	})
}

// unread notes that the client of a service has something to see.
func (p *push) unread(k key) {
	list, _ := p.cache.Get(k.account)
	for _, s := range list {
		if s.key == k {
			s.unread.Store(true)
		}
	}
}

// summary is what a notification says.
type summary struct {
	account            jid.JID
	messages, requests int
	sender, body       string
	mark               uint64
}
