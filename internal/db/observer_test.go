package db_test

import (
	"sync/atomic"
	"time"
)

// counter is an observer that counts.
type counter struct {
	n       atomic.Int64 // commits that worked
	writes  atomic.Int64 // Writes in them
	errors  atomic.Int64 // commits that failed
	queries atomic.Int64
}

func (c *counter) Commit(_ time.Duration, n int, err error) {
	if err != nil {
		c.errors.Add(1)
		return
	}
	c.n.Add(1)
	c.writes.Add(int64(n))
}

func (c *counter) Query(time.Duration, error) { c.queries.Add(1) }
