package route

import (
	"context"
	"runtime"
	"strconv"
	"sync/atomic"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// A fan (mod.Fan) is one journey with as many branches as there are recipients. What they have in common is done once: the
// encoding, the mark in the trace, the commit, the round of writing. Each branch is a stanza of its own as far as the phases
// and RFC 6121 §8 are concerned: a recipient may block it, be away, or be on another server.

// RouteAll sends what the server itself made on its way, in one batch. See mod.Host.
func (r *Router) RouteAll(ctx context.Context, list []mod.Fan) {
	b := Batch{r: r, list: true}
	for i := range list {
		b.spread(ctx, &list[i])
	}
	b.Flush(ctx)
}

// spread takes a fan apart. A branch that has nothing to wait for is delivered at once, so that it leaves no journey behind:
// where stanzas before the fan wait for a commit, it does, too, or it would overtake them.
func (b *Batch) spread(ctx context.Context, f *mod.Fan) {
	atOnce := len(b.j) == 0
	f.Stanza.Wire() // WithTo shares what is there
	switch {
	case len(f.To) == 0 && f.Stanza.To.IsZero():
		return
	case len(f.To) == 0:
		b.branch(ctx, f.Stanza, atOnce)
		return
	case len(f.To) == 1:
		b.branch(ctx, f.Stanza.WithTo(f.To[0]), atOnce)
		return
	}
	s := f.Stanza.WithTo(jid.JID{})
	if s.Kind == stanza.Message {
		b.begin(s, strconv.Itoa(len(f.To))+" addresses")
	}
	b.fanned = true
	for _, to := range f.To {
		b.branch(ctx, s.WithTo(to), atOnce)
	}
	b.fanned = false
}

// branch is Do for one recipient.
func (b *Batch) branch(ctx context.Context, s *stanza.Stanza, atOnce bool) {
	n := len(b.j)
	b.Do(ctx, s)
	if !atOnce || len(b.j) != n+1 || !b.free(&b.j[n]) {
		return
	}
	b.deliverOne(ctx, &b.j[n])
	b.j[n] = journey{}
	b.j = b.j[:n]
}

// free tells whether a journey has nothing to wait for: neither a commit nor what a service or another server does with it.
func (b *Batch) free(j *journey) bool {
	return j.inHost != nil && len(j.writes) == 0 && !anyDurable(j.there) && (j.outHost == nil || !b.mayKeep(j.out.Account))
}

// detail is what the trace is told of what became of a branch. The stanzas of a fan share a mark.
func (b *Batch) detail(s *stanza.Stanza, text string) string {
	if !b.fanned {
		return text
	}
	return s.To.String() + ": " + text
}

const (
	// maxInline is how many sessions the goroutine of a batch writes to itself. Beyond, others do the work.
	maxInline = 8
	// stint is to how many sessions a writer writes before it lets others have the processor.
	stint = 32
)

// start lets the sessions write to which the batch has queued. However many they are, it leaves a processor to those who have
// something to say: they are not behind thousands of goroutines, and what they add for a session that has not had its turn is
// written together with what waits there already. No session waits for the peer of another, since Queue.Start leaves what the
// socket does not take to a goroutine of its own.
func (b *Batch) start() {
	if len(b.started) <= maxInline {
		for i, t := range b.started {
			t.Queue.Start()
			b.started[i] = nil
		}
		b.started = b.started[:0]
		return
	}
	w := &writers{all: b.started}
	b.started = nil
	for range max(1, min(runtime.GOMAXPROCS(0)-1, len(w.all)/maxInline)) {
		go w.run()
	}
}

// writers share the sessions of a batch.
type writers struct {
	all  []*session.Session
	next atomic.Int64
}

func (w *writers) run() {
	for {
		for range stint {
			i := int(w.next.Add(1)) - 1
			if i >= len(w.all) {
				return
			}
			w.all[i].Queue.Start()
		}
		runtime.Gosched()
	}
}
