package c2s

import (
	"sync/atomic"
	"time"
)

const (
	// keepWorker is how long a goroutine waits for another login.
	keepWorker = 10 * time.Second
	// keepWorkers is how many of them wait at most. After a flood of connections the others go at once, and their stacks
	// with them.
	keepWorkers = 64
)

// workers run logins on goroutines that they keep for the next one. A login needs a deep stack, for the handshake and the
// database, which a new goroutine would have to grow, copy by copy.
type workers struct {
	idle    chan func()
	quit    chan struct{} // closed when the server stops
	waiting atomic.Int32
}

func newWorkers() *workers { return &workers{idle: make(chan func()), quit: make(chan struct{})} }

// do runs f on an idle goroutine, or on a new one.
func (w *workers) do(f func()) {
	select {
	case w.idle <- f:
	default:
		go w.run(f)
	}
}

func (w *workers) run(f func()) {
	t := time.NewTimer(keepWorker)
	defer t.Stop()
	for {
		f()
		f = nil // or it would keep what it has served
		if w.waiting.Add(1) > keepWorkers {
			w.waiting.Add(-1)
			return
		}
		t.Reset(keepWorker)
		select {
		case f = <-w.idle:
			w.waiting.Add(-1)
		case <-t.C:
			w.waiting.Add(-1)
			return
		case <-w.quit:
			return
		}
	}
}
