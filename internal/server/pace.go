package server

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"

	"sabir/internal/observe"
)

const (
	// small is the live heap below which memory is cheaper than processor time, and mostPercent how much further than by
	// default it may grow then.
	small       = 32 << 20
	mostPercent = 400
	byDefault   = 100
	// growing is the percentage for a small heap while the number of sessions grows.
	growing = 60
)

// percent is how much garbage there may be, in percent of the live heap, before it is collected. By default a small server
// collects its few megabytes over and over.
func percent(live uint64) int {
	return int(min(max(small*100/max(live, 1), byDefault), mostPercent))
}

// growth is percent while the number of sessions grows. In a large heap the holes are few in proportion, and each collection
// costs more.
func growth(live uint64) int {
	if live < small {
		return growing
	}
	return byDefault
}

// grows tells whether it matters that there are now so many more sessions than at the collection before.
func grows(now, before int) bool { return now > before+before/16+64 }

// pacer says how much garbage there may be: as much as percent says while the number of sessions stays about what it is, and less
// while it grows. For what a session keeps is laid down between the garbage of its login, and what is left
// around it when that is collected serves nobody until there are more sessions: of 1,000 each would cost a third more.
type pacer struct {
	ctx    context.Context
	sample []metrics.Sample

	mu            sync.Mutex
	off           bool
	grows         bool
	current       int
	sessions, was int // now, and at the last collection
}

// newPacer returns a pacer that does nothing before start.
func newPacer() *pacer { return &pacer{off: true} }

// start paces the collector until ctx ends, unless GOGC is set.
func (p *pacer) start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx, p.sample = ctx, []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
	metrics.Read(p.sample)
	if p.current = int(p.sample[1].Value.Uint64()); p.current != byDefault {
		return
	}
	p.off = false
	context.AfterFunc(ctx, p.stop)
	p.adjust()
	p.watch()
}

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	p.set(byDefault)
}

// sentinel is large enough to be collected by itself.
type sentinel [32]byte

// watch has collected called behind the next collection.
func (p *pacer) watch() { runtime.AddCleanup(new(sentinel), (*pacer).collected, p) }

func (p *pacer) collected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return
	}
	p.adjust()
	p.watch()
}

// adjust sets the percentage for what comes until the next collection. p.mu is held.
func (p *pacer) adjust() {
	metrics.Read(p.sample)
	live := p.sample[0].Value.Uint64()
	if p.grows = grows(p.sessions, p.was); p.grows {
		p.set(growth(live))
	} else {
		p.set(percent(live))
	}
	p.was = p.sessions
}

// session counts a session that opens or closes.
func (p *pacer) session(delta int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions += delta
	if !p.off && !p.grows && grows(p.sessions, p.was) {
		p.grows = true
		metrics.Read(p.sample)
		p.set(growth(p.sample[0].Value.Uint64()))
	}
}

// set stops the world for a moment. p.mu is held.
func (p *pacer) set(percent int) {
	if percent != p.current {
		debug.SetGCPercent(percent)
		p.current = percent
	}
}

// pacedMetrics are the metrics of streams, which the pacer hears of as well.
type pacedMetrics struct {
	*observe.Metrics
	pacer *pacer
}

// Session implements c2s.Metrics.
func (m pacedMetrics) Session(transport string, delta int) {
	m.Metrics.Session(transport, delta)
	m.pacer.session(delta)
}
