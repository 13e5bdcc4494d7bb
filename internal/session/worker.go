package session

import "sync"

// maxWork bounds the slow requests that wait in one session.
const maxWork = 64

// worker runs the slow requests of a session one after the other, on a goroutine that lives while there are some.
type worker struct {
	mu      sync.Mutex
	queue   []func()
	running bool
}

// Work runs f on the session's worker. It returns false where too much waits already. f recovers from its own panics.
func (s *Session) Work(f func()) bool {
	w := &s.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) >= maxWork {
		return false
	}
	w.queue = append(w.queue, f)
	if !w.running {
		w.running = true
		go w.run()
	}
	return true
}

func (w *worker) run() {
	for {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.queue, w.running = nil, false
			w.mu.Unlock()
			return
		}
		f := w.queue[0]
		w.queue = w.queue[1:]
		w.mu.Unlock()
		f()
	}
}
