// Package lazy owns writes that may come a little late: values of which the newest counts and of which nobody was told that
// they are durable, such as the time of a logout. They are gathered and share a commit, so that ten thousand clients that
// leave at once cost a few commits and not ten thousand.
package lazy

import (
	"context"
	"sync"
	"time"

	"sabir/mod"
)

// Every is for how long writes are gathered. What a killed process loses is not older.
const Every = 2 * time.Second

// maxWaiting is the number of writes that are not waited with.
const maxWaiting = 1000

// Writer gathers writes by key. Its methods may be called from any goroutine.
type Writer struct {
	h mod.Host

	mu      sync.Mutex
	waiting map[string]func(tx mod.Tx) error
	some    chan struct{} // holds a token from the first write that waits on
	many    chan struct{} // holds a token when maxWaiting is reached
	writing sync.Mutex    // held while a batch is written, so that Flush returns behind it
}

// New returns a writer of an extension.
func New(h mod.Host) *Writer {
	return &Writer{h: h, waiting: make(map[string]func(mod.Tx) error), some: make(chan struct{}, 1), many: make(chan struct{}, 1)}
}

// Start begins to write. It belongs into Hooks.Start.
func (w *Writer) Start(context.Context) error {
	w.h.Go("lazy", w.run)
	return nil
}

// Put gathers a write, in place of an earlier one with this key. fn obeys the rules of mod.DB.Write.
func (w *Writer) Put(key string, fn func(tx mod.Tx) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := len(w.waiting)
	w.waiting[key] = fn
	if len(w.waiting) == before {
		return // it took the place of an earlier one, for which somebody was woken already
	}
	switch before + 1 {
	case 1:
		wake(w.some)
	case maxWaiting:
		wake(w.many)
	}
}

// wake leaves a token, if there is none.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Drop forgets what waits under a key.
func (w *Writer) Drop(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, key)
}

// Flush writes what waits. Whoever reads what Put was to write calls it first. After an error the writes wait on. If nothing
// waits it returns nil, whatever ctx says.
func (w *Writer) Flush(ctx context.Context) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	batch := w.waiting
	w.waiting = make(map[string]func(mod.Tx) error)
	w.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := w.h.DB().Write(ctx, func(tx mod.Tx) error {
		for _, fn := range batch {
			if err := fn(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		for key, fn := range batch {
			if _, newer := w.waiting[key]; !newer && len(w.waiting) < 10*maxWaiting {
				w.waiting[key] = fn
			}
		}
	}
	return err
}

// Stop writes what waits. It belongs into Hooks.Stop.
func (w *Writer) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w.flush(ctx)
}

func (w *Writer) flush(ctx context.Context) {
	if err := w.Flush(ctx); err != nil {
		w.h.Log().Error("values were not written yet", "error", err)
	}
}

// run writes a while after the first Put, as long as there are some.
func (w *Writer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.some:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(Every):
		case <-w.many:
		}
		w.flush(ctx)
		w.mu.Lock()
		left := len(w.waiting) > 0
		w.mu.Unlock()
		if left {
			wake(w.some)
		}
	}
}
