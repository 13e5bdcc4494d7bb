package sqlite

import (
	"errors"
	"fmt"
	"sync/atomic"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// checkpointPages is how much the log grows before it is moved into the file, in pages: 32 MiB. That is eight times what
// SQLite does by itself: pages that change often, as those of an index do, are then moved once instead of eight times.
const checkpointPages = 8192

// checkpointer moves the log into the file while writes go on. It alone never gets to the end of a log that grows
// meanwhile, and only then can the log begin anew: so after its work it asks the writer to move what is left between
// two batches, which is little.
type checkpointer struct {
	d    *DB
	c    *conn
	wake chan struct{}
	quit chan struct{}
	done chan struct{}

	limit int64        // pages after which the log is moved
	pages int64        // written since the log was moved; the writer's
	state atomic.Int32 // whose turn it is; two checkpoints at once would keep each other from the end
}

// States of the checkpointer.
const (
	idle   int32 = iota
	moving       // the checkpointer is at work
	tail         // the writer is asked for the rest
)

func newCheckpointer(d *DB, c *conn) *checkpointer {
	k := &checkpointer{d: d, c: c, limit: checkpointPages, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	go k.loop()
	return k
}

func (k *checkpointer) loop() {
	defer close(k.done)
	for {
		select {
		case <-k.quit:
			return
		case <-k.wake:
		}
		if err := checkpoint(k.c, "PASSIVE"); err != nil {
			k.failed(err)
		}
		k.state.Store(tail)
	}
}

func (k *checkpointer) stop() {
	close(k.quit)
	<-k.done
}

// committed is called by the writer after each batch, on the writer's goroutine.
func (k *checkpointer) committed(w *conn) {
	n, _, err := w.d.Status(driver.DBStatusCacheWrite, true)
	if err != nil {
		k.d.opts.Log.Error("the size of the write-ahead log cannot be told", "err", err)
		n = 1
	}
	k.pages += int64(n)
	switch k.state.Load() {
	case idle:
		if k.pages >= k.limit {
			k.state.Store(moving)
			k.wake <- struct{}{}
		}
	case tail:
		if err := checkpoint(w, "PASSIVE"); err != nil {
			k.failed(err)
		}
		k.pages = 0
		k.state.Store(idle)
	}
}

// failed judges the error of a checkpoint. What was acknowledged is still in the log. A full disk or a lock of another
// process passes, and the next checkpoint does it all again.
func (k *checkpointer) failed(err error) {
	if isDisk(code(err)) {
		k.d.fail("checkpoint", err)
		return
	}
	k.d.opts.Log.Warn("the write-ahead log was not moved into the database; it will be tried again", "err", err)
}

// checkpoint runs one checkpoint. A PASSIVE one that is held up by readers or another checkpoint is no error.
func checkpoint(c *conn, mode string) error {
	var busy, frames, moved int64
	var err error
	switch mode {
	case "TRUNCATE":
		err = c.one(bg, "PRAGMA wal_checkpoint(TRUNCATE)", &busy, &frames, &moved)
	default:
		err = c.one(bg, "PRAGMA wal_checkpoint(PASSIVE)", &busy, &frames, &moved)
	}
	if c := code(err); c&primary == lib.SQLITE_BUSY && mode == "PASSIVE" {
		return nil
	}
	if err == nil && busy != 0 && mode == "TRUNCATE" {
		return errors.Join(errBusy, fmt.Errorf("%d of %d pages moved", moved, frames))
	}
	return err
}

var errBusy = errors.New("the log was not moved in whole: another process or open rows read it")
