// Package postgres is the engine of package db for PostgreSQL 14 and newer, on pgx without database/sql: a pool of
// connections that read, and a few that each run group commits.
//
// Goroutines: writer.loop owns one connection each; pgxpool keeps one of its own. Reads run on the goroutine of their
// caller.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"sabir/internal/db/base"
	"sabir/mod"
)

// minVersion is the oldest server that works, as server_version_num says it.
const minVersion = 140000

// grace is what the program adds to the server's own time limit before it gives a connection up as dead.
const grace = 2 * time.Second

// DB is an open PostgreSQL database. It implements base.DB.
type DB struct {
	opts    base.Options
	config  *pgx.ConnConfig // of the writers
	pool    *pgxpool.Pool   // of the readers
	queries base.RewriteCache

	queue   *base.Queue
	writers sync.WaitGroup
	quit    context.Context // ends when Close has waited for the writers long enough
	stop    context.CancelFunc
	// serial is held for reading by every batch, and for writing by one that met a conflict and is run again: then none
	// of this process can be in its way.
	serial sync.RWMutex

	downSince atomic.Int64 // UnixNano of the first failure to connect since the last success; 0 while up
	downCause atomic.Pointer[error]

	failed   chan struct{} // never closed
	closed   chan struct{} // closed when Close is done
	closeErr error
}

var _ base.DB = (*DB)(nil)

// Open connects to the server that u names (see pgx.ParseConfig for its parameters, PGPASSFILE and the like included) and
// checks that it is one to rely on. ctx bounds the opening alone.
func Open(ctx context.Context, u string, o base.Options) (*DB, error) {
	o = o.WithDefaults(64)
	pc, err := pgxpool.ParseConfig(u)
	if err != nil {
		return nil, fmt.Errorf("db: the database URL is not understood: %w", err) // pgx hides the password
	}
	if !strings.Contains(u, "pool_max_conns=") {
		pc.MaxConns = int32(min(o.Readers, 1<<15))
	}
	wc := pc.ConnConfig.Copy()
	for _, c := range []*pgx.ConnConfig{pc.ConnConfig, wc} {
		if c.ConnectTimeout == 0 {
			c.ConnectTimeout = max(o.Wait, 5*time.Second)
		}
		setDefault(c.RuntimeParams, "application_name", "sabir")
		setDefault(c.RuntimeParams, "statement_timeout", millis(o.StatementTimeout))
		setDefault(c.RuntimeParams, "lock_timeout", millis(o.StatementTimeout/2))
		setDefault(c.RuntimeParams, "idle_in_transaction_session_timeout", millis(3*o.StatementTimeout))
		c.RuntimeParams["timezone"] = "UTC"
	}
	pc.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	wc.RuntimeParams["synchronous_commit"] = durable(wc.RuntimeParams["synchronous_commit"])

	d := &DB{opts: o, config: wc, failed: make(chan struct{}), closed: make(chan struct{})}
	d.quit, d.stop = context.WithCancel(context.Background())
	if err := d.accept(ctx); err != nil {
		return nil, wrap(ctx, "open", err)
	}
	if d.pool, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return nil, wrap(ctx, "open", err)
	}
	d.queue = base.NewQueue(4*o.MaxBatch, o.Wait)
	for range o.Writers {
		w := &writer{d: d}
		d.writers.Go(w.loop)
	}
	return d, nil
}

// durable returns the setting of synchronous_commit: what the operator chose if it waits for the disk, else on.
func durable(s string) string {
	switch s {
	case "remote_apply", "remote_write":
		return s
	}
	return "on"
}

func setDefault(m map[string]string, key, value string) {
	if _, ok := m[key]; !ok {
		m[key] = value
	}
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// accept refuses servers that cannot do what is needed, and warns of those that do it badly.
func (d *DB) accept(ctx context.Context) error {
	c, err := pgx.ConnectConfig(ctx, d.config)
	if err != nil {
		return err
	}
	var version int
	var encoding, collation, fsync, pages string
	err = c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		current_setting('fsync'), current_setting('full_page_writes'), datcollate
		FROM pg_database WHERE datname = current_database()`).Scan(&version, &encoding, &fsync, &pages, &collation)
	if cerr := c.Close(ctx); err == nil {
		err = cerr
	}
	switch {
	case err != nil:
		return err
	case version < minVersion:
		return fmt.Errorf("the PostgreSQL server has version %d.%d; 14 or newer is needed", version/10000, version%10000)
	case encoding != "UTF8":
		return fmt.Errorf("the PostgreSQL database has the encoding %s: make it with ENCODING 'UTF8'", encoding)
	}
	if fsync != "on" || pages != "on" {
		d.opts.Log.Warn("PostgreSQL runs without fsync or full_page_writes: what was accepted is lost when the machine stops", "fsync", fsync, "full_page_writes", pages)
	}
	if collation != "C" && collation != "POSIX" && !strings.HasPrefix(collation, "C.") {
		d.opts.Log.Warn("the PostgreSQL database sorts by a locale: make it with LOCALE 'C' to have the order of text in bytes and indexes that survive upgrades of the system", "locale", collation)
	}
	return nil
}

// Migrator opens a connection of its own for goose, without time limits.
func (d *DB) Migrator(ctx context.Context) (*base.Migrator, error) {
	if err := d.quit.Err(); err != nil {
		return nil, base.Closed("migrate")
	}
	c := d.config.Copy()
	for _, p := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		c.RuntimeParams[p] = "0"
	}
	s := stdlib.OpenDB(*c)
	s.SetMaxOpenConns(1)
	return &base.Migrator{
		DB: s, Dialect: goose.DialectPostgres,
		Locker:     func(module string) lock.SessionLocker { return advisoryLock(module) },
		CrashPoint: d.opts.CrashPoint,
	}, nil
}

// advisoryLock lets one session at a time migrate a module in a schema. Its value is the module.
type advisoryLock string

const advisoryKey = `hashtextextended('sabir migration ' || coalesce(current_schema(), '') || ' ' || $1, 0)`

// SessionLock waits for the lock until ctx ends.
func (l advisoryLock) SessionLock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, "SELECT pg_advisory_lock("+advisoryKey+")", string(l))
	return err
}

// SessionUnlock gives the lock back.
func (l advisoryLock) SessionUnlock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, "SELECT pg_advisory_unlock("+advisoryKey+")", string(l))
	return err
}

// Dialect returns mod.Postgres.
func (d *DB) Dialect() mod.Dialect { return mod.Postgres }

// Failed returns a channel that never closes: PostgreSQL stops itself when it cannot trust its disk.
func (d *DB) Failed() <-chan struct{} { return d.failed }

// Err tells why the server cannot be reached at the moment.
func (d *DB) Err() error {
	if d.quit.Err() != nil {
		return base.Closed("use")
	}
	if cause := d.downCause.Load(); cause != nil {
		return base.Unavailable("connect", *cause)
	}
	return nil
}

// setDown remembers since when and why the server cannot be reached; nil says that it can.
func (d *DB) setDown(err error) {
	if err == nil {
		d.downCause.Store(nil)
		if since := d.downSince.Swap(0); since != 0 {
			d.opts.Log.Info("PostgreSQL is reachable again", "after", time.Since(time.Unix(0, since)))
		}
		return
	}
	d.downCause.Store(&err)
	if d.downSince.CompareAndSwap(0, time.Now().UnixNano()) {
		d.opts.Log.Error("PostgreSQL cannot be reached", "err", err)
	}
}

// downFor returns an error if the server has been out of reach for so long that nobody should wait for it any more.
func (d *DB) downFor() error {
	since := d.downSince.Load()
	if since == 0 || time.Since(time.Unix(0, since)) < d.opts.Wait {
		return nil
	}
	return d.Err()
}

// Check reads every table and compares every B-tree with it, if the server has the extension amcheck; without it, it
// only asks the server for a sign of life: PostgreSQL looks after its own pages.
func (d *DB) Check(ctx context.Context) error {
	var has bool
	if err := d.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'amcheck')").Scan(&has); err != nil || !has {
		return err
	}
	rows, err := d.Query(ctx, `SELECT bt_index_check(c.oid, true)::text FROM pg_index i
		JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
		WHERE a.amname = 'btree' AND c.relnamespace = current_schema()::regnamespace AND i.indisvalid`)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

// Reclaim has nothing to do: autovacuum does it.
func (d *DB) Reclaim(ctx context.Context) error { return ctx.Err() }

// Close implements base.DB. Writes that wait for a server that is out of reach are not waited for.
func (d *DB) Close() error {
	if !d.queue.Close() {
		<-d.closed
		return d.closeErr
	}
	// A server that answers ends this soon; one that does not is given as long as any caller would wait.
	limit := time.AfterFunc(d.opts.Wait+grace, d.stop)
	if d.downSince.Load() != 0 {
		d.stop()
	}
	d.writers.Wait()
	limit.Stop()
	d.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.pool.Close()
	}()
	t := time.NewTimer(d.opts.Wait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		d.closeErr = errors.New("db: close: rows of a query were still open")
	}
	close(d.closed)
	return d.closeErr
}

// isNet reports errors of the connection itself.
func isNet(err error) bool {
	var ne net.Error
	var ue *url.Error
	return errors.As(err, &ne) || errors.As(err, &ue) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "conn closed")
}
