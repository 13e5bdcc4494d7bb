package room

import "sync"

// Loop is a list of things to do for one owner goroutine, which lives while there are some. What is put in is handled in
// order, by one goroutine at a time; what came together is handed over together, so that it can share a commit.
type Loop[T any] struct {
	handle func([]T)
	spawn  func(func())
	limit  int

	mu      sync.Mutex
	waiting []T
	running bool
	closed  bool
}

// NewLoop returns an empty loop. spawn starts a goroutine. handle gets what waits and does not keep the slice. More than limit
// waiting things are not taken.
func NewLoop[T any](limit int, spawn func(func()), handle func([]T)) *Loop[T] {
	return &Loop[T]{handle: handle, spawn: spawn, limit: limit}
}

// Put adds something. It never blocks. taken is false where too much waits; closed where the loop was closed, and somebody else
// has to take it.
func (l *Loop[T]) Put(t T) (taken, closed bool) {
	l.mu.Lock()
	if l.closed || len(l.waiting) >= l.limit {
		closed = l.closed
		l.mu.Unlock()
		return false, closed
	}
	l.waiting = append(l.waiting, t)
	start := !l.running
	l.running = true
	l.mu.Unlock()
	if start {
		l.spawn(l.run)
	}
	return true, false
}

// Close ends the loop if nothing waits: afterwards nothing is taken any more. own says that handle itself calls it.
func (l *Loop[T]) Close(own bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 || l.running && !own {
		return l.closed
	}
	l.closed = true
	return true
}

func (l *Loop[T]) run() {
	var spare []T
	for {
		l.mu.Lock()
		batch := l.waiting
		if len(batch) == 0 {
			l.running = false
			l.waiting = nil
			l.mu.Unlock()
			return
		}
		l.waiting = spare[:0]
		l.mu.Unlock()
		l.handle(batch)
		clear(batch)
		spare = batch
	}
}
