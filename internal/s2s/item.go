package s2s

import (
	"time"

	"sabir/internal/route"
	"sabir/mod"
	"sabir/xmpp/stanza"
)

// item is a stanza on its way to another domain.
type item struct {
	l       *link
	s       *stanza.Stanza
	size    int
	id      int64 // of its row
	expires time.Time
	// volatile says that it has no row: it does not survive a restart.
	volatile bool
	// holds says that room is kept for it in its link, from accept until it is queued or stays.
	holds bool
}

var _ route.Departure = (*item)(nil)

// overhead is about what a waiting stanza costs beside its encoded form, in bytes.
const overhead = 512

// durable tells whether it has a row, so that it survives a restart.
func (i *item) durable() bool { return !i.volatile }

// Write implements route.Departure.
func (i *item) Write() func(tx mod.Tx) error {
	if i.volatile {
		return nil
	}
	return i.insert
}

// Go implements route.Departure.
func (i *item) Go() { i.l.put(i) }

// Stay implements route.Departure.
func (i *item) Stay() {
	i.l.mu.Lock()
	defer i.l.mu.Unlock()
	i.freeLocked()
}

// freeLocked gives up the room that is kept for it. i.l.mu is held.
func (i *item) freeLocked() {
	if i.holds {
		i.holds = false
		i.l.kept -= i.size
	}
}
