package sqlite

import (
	"context"
	"errors"
	"sync"
	"time"

	"sabir/internal/db/base"
	"sabir/mod"
)

// readers is a pool of connections that only read. The one that was used last is taken first, so that few of them are
// warm when little is asked.
type readers struct {
	open   func(context.Context) (*conn, error)
	places chan struct{} // one token for each connection that may be in use
	wait   time.Duration
	stop   chan struct{}

	mu   sync.Mutex
	free []*conn
}

func newReaders(n int, wait time.Duration, open func(context.Context) (*conn, error)) *readers {
	return &readers{open: open, places: make(chan struct{}, n), wait: wait, stop: make(chan struct{})}
}

var errReaders = errors.New("all connections for reads are in use")

// get returns a connection, which put takes back.
func (p *readers) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.places <- struct{}{}:
	default:
		if err := p.await(ctx); err != nil {
			return nil, err
		}
	}
	select {
	case <-p.stop:
		<-p.places
		return nil, base.Closed("query")
	default:
	}
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open(ctx)
	if err != nil {
		<-p.places
		return nil, err
	}
	return c, nil
}

func (p *readers) await(ctx context.Context) error {
	t := time.NewTimer(p.wait)
	defer t.Stop()
	select {
	case p.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.stop:
		return base.Closed("query")
	case <-t.C:
		return base.Unavailable("query", errReaders)
	}
}

func (p *readers) put(c *conn) {
	p.mu.Lock()
	p.free = append(p.free, c)
	p.mu.Unlock()
	<-p.places
}

// close waits for the connections that are in use, but not for longer than wait, and closes all.
func (p *readers) close(wait time.Duration) error {
	close(p.stop)
	t := time.NewTimer(wait)
	defer t.Stop()
	var errs []error
	for range cap(p.places) {
		select {
		case p.places <- struct{}{}:
			continue
		case <-t.C:
			errs = append(errs, errors.New("rows of a query were still open"))
		}
		break
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.free {
		errs = append(errs, c.close())
	}
	p.free = nil
	return errors.Join(errs...)
}

// start runs a query on a connection of the pool, which the rows give back when they are closed.
func (d *DB) start(ctx context.Context, query string, args []any) (*rows, error) {
	begin := time.Now()
	c, err := d.readers.get(ctx)
	if err == nil {
		var r *rows
		if r, err = c.query(ctx, query, args, func() { d.readers.put(c) }); err == nil {
			d.opts.Observer.Query(time.Since(begin), nil)
			return r, nil
		}
		d.readers.put(c)
	}
	err = wrap("query", err)
	d.opts.Observer.Query(time.Since(begin), err)
	return nil, err
}

// Query implements mod.DB. The rows keep a connection until they are closed or read to the end.
func (d *DB) Query(ctx context.Context, query string, args ...any) (mod.Rows, error) {
	r, err := d.start(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// QueryRow implements mod.DB. Scan must be called: it gives the connection back.
func (d *DB) QueryRow(ctx context.Context, query string, args ...any) mod.Row {
	r, err := d.start(ctx, query, args)
	if err != nil {
		return failedRow{err}
	}
	return &row{r: r}
}
