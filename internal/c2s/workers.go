package c2s

import "time"

// keepWorker is how long a goroutine waits for another login.
const keepWorker = 10 * time.Second

// workers run logins on goroutines that they keep for the next one. A login needs a deep stack, for the handshake and the
// database, which a new goroutine would have to grow, copy by copy.
type workers struct{ idle chan func() }

func newWorkers() *workers { return &workers{idle: make(chan func())} }

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
		t.Reset(keepWorker)
		select {
		case f = <-w.idle:
		case <-t.C:
			return
		}
	}
}
