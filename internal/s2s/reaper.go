package s2s

import (
	"context"
	"sync"

	"sabir/mod"
)

// reaper deletes what is not needed any more, many rows at a time. A message whose row is still there when the server is
// killed is sent once more, unless a stream that is resumed tells that it has arrived: so what is noted of streams goes together
// with the messages or after them.
type reaper struct {
	s    *Server
	wake chan struct{}
	quit chan struct{}
	gone chan struct{}

	flushing sync.Mutex
	mu       sync.Mutex
	next     waste

	started bool
}

// waste is what is to be deleted.
type waste struct {
	messages []int64 // of s2s_outgoing
	notes    []int64 // of s2s_sent
	unnoted  []int64 // streams of which no notes are needed
	streams  []int64
}

func (r *waste) empty() bool {
	return len(r.messages)+len(r.notes)+len(r.unnoted)+len(r.streams) == 0
}

func (r *reaper) init(s *Server) {
	r.s, r.wake, r.quit, r.gone = s, make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
}

func (r *reaper) start() {
	r.started = true
	go r.run()
}

// add notes what is to be deleted.
func (r *reaper) add(f func(*waste)) {
	r.mu.Lock()
	f(&r.next)
	some := !r.next.empty()
	r.mu.Unlock()
	if some {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// done notes that items have left or were answered.
func (r *reaper) done(items []*item) {
	r.add(func(w *waste) {
		for _, i := range items {
			if !i.volatile {
				w.messages = append(w.messages, i.id)
			}
		}
	})
}

// unneeded notes that all of some writes has arrived.
func (r *reaper) unneeded(notes []int64) {
	r.add(func(w *waste) { w.notes = append(w.notes, notes...) })
}

// unnote notes that all notes of a stream that are there now are void.
func (r *reaper) unnote(stream int64) {
	r.add(func(w *waste) { w.unnoted = append(w.unnoted, stream) })
}

// end notes that a stream is over.
func (r *reaper) end(stream int64) {
	r.add(func(w *waste) { w.unnoted, w.streams = append(w.unnoted, stream), append(w.streams, stream) })
}

func (r *reaper) run() {
	defer close(r.gone)
	for {
		select {
		case <-r.wake:
		case <-r.quit:
			r.try()
			return
		}
		r.try()
	}
}

func (r *reaper) try() {
	if err := r.flush(); err != nil {
		r.s.o.Log.Error("messages that have left could not be forgotten; after a restart they are sent once more", "error", err)
	}
}

// flush deletes at once. What could not be deleted is tried again with what comes next.
func (r *reaper) flush() error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	r.mu.Lock()
	w := r.next
	r.next = waste{}
	r.mu.Unlock()
	if w.empty() {
		return nil
	}
	ctx := context.Background()
	err := r.s.o.DB.Write(ctx, func(tx mod.Tx) error { return w.delete(ctx, tx) })
	if err != nil {
		r.mu.Lock()
		n := r.next
		r.next = waste{append(w.messages, n.messages...), append(w.notes, n.notes...), append(w.unnoted, n.unnoted...), append(w.streams, n.streams...)}
		r.mu.Unlock()
	}
	return err
}

func (w *waste) delete(ctx context.Context, tx mod.Tx) error {
	for _, id := range w.messages {
		if _, err := tx.Exec(ctx, `DELETE FROM s2s_outgoing WHERE id = ?`, id); err != nil {
			return err
		}
	}
	for _, id := range w.notes {
		if _, err := tx.Exec(ctx, `DELETE FROM s2s_sent WHERE id = ?`, id); err != nil {
			return err
		}
	}
	for _, num := range w.unnoted {
		if _, err := tx.Exec(ctx, `DELETE FROM s2s_sent WHERE stream = ?`, num); err != nil {
			return err
		}
	}
	for _, num := range w.streams {
		if _, err := tx.Exec(ctx, `DELETE FROM s2s_stream WHERE num = ?`, num); err != nil {
			return err
		}
	}
	return nil
}

func (r *reaper) stop() {
	if !r.started {
		return
	}
	close(r.quit)
	<-r.gone
}
