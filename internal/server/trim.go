package server

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// trimEvery is how often the rate of allocation is looked at.
	trimEvery = 3 * time.Second
	// quiet is the number of bytes allocated in that time below which the server counts as idle.
	quiet = 2 << 20
	// rush is the number of bytes allocated since the last trim that make one worth its cost.
	rush = 32 << 20
)

const (
	// small is the live heap below which memory is cheaper than processor time, and mostPercent how much further than by
	// default it may grow then.
	small       = 32 << 20
	mostPercent = 400
)

// percent is how much garbage there may be, in percent of the live heap, before it is collected. By default a small server
// collects its few megabytes over and over while many log in.
func percent(live uint64) int {
	return int(min(max(small*100/max(live, 1), 100), mostPercent))
}

// trim gives memory back to the system when it has become quiet after a rush, such as the logins after a restart: the
// garbage of a login is several times what stays of it, and without new garbage the collector does not run. It also sets how
// often that is, unless GOGC is set.
func trim(ctx context.Context) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
	allocated := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	last, trimmed := allocated(), allocated()
	current := int(sample[2].Value.Uint64())
	adjust := func() {}
	if byDefault := current; byDefault == 100 {
		adjust = func() {
			if p := percent(sample[1].Value.Uint64()); p != current {
				debug.SetGCPercent(p)
				current = p
			}
		}
		defer debug.SetGCPercent(byDefault)
	}
	adjust()
	t := time.NewTicker(trimEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := allocated()
		if now-last < quiet && now-trimmed > rush {
			debug.FreeOSMemory()
			now = allocated()
			trimmed = now
		}
		adjust()
		last = now
	}
}
