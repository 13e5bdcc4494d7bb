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
}

var _ route.Departure = (*item)(nil)

// overhead is about what a waiting stanza costs beside its encoded form, in bytes.
const overhead = 512

// Write implements route.Departure.
func (i *item) Write() func(tx mod.Tx) error {
	if i.volatile {
		return nil
	}
	return i.insert
}

// Go implements route.Departure.
func (i *item) Go() { i.l.put(i) }
