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
	// settleTime is enough for what settle has set off; what comes later is for the next collection.
	settleTime = time.Second / 2
)

// trim gives memory back to the system when it has become quiet after a rush, such as the logins after a restart: the
// garbage of a login is several times what stays of it, and without new garbage the collector does not run.
//
// Before it does so it calls settle, which has goroutines that have grown stacks replaced and tells their number.
func trim(ctx context.Context, settle func() int) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	allocated := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	last, trimmed := allocated(), allocated()
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
			if settle() > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(settleTime):
				}
			}
			debug.FreeOSMemory()
			now = allocated()
			trimmed = now
		}
		last = now
	}
}
