// Package sqlite is the embedded engine of package db: one file in WAL mode with synchronous=FULL, one goroutine that
// writes in group commits, a pool of connections that read, and one goroutine that moves the log into the file.
//
// Goroutines: writer.loop owns the connection for writes; checkpointer.loop owns one for checkpoints. Reads run on the
// goroutine of their caller.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"

	"sabir/internal/db/base"
	"sabir/mod"
)

const (
	// applicationID marks the file as Sabir's (PRAGMA application_id), "Sabr" in ASCII.
	applicationID = 0x53616272
	// quickCheckMax bounds the size of a file that is read in whole when it is opened. Reading takes about a second
	// per gigabyte, and SQLite needs no check to be safe after a crash: the check finds faults of the disk.
	quickCheckMax = 64 << 20
	// busyTimeout is how long a statement waits for another process, such as a command of the administrator.
	busyTimeout = 5 * time.Second
)

// DB is an open SQLite database. It implements base.DB.
type DB struct {
	path string
	opts base.Options

	readers *readers
	queue   *base.Queue
	writer  *writer
	check   *checkpointer

	failOnce sync.Once
	failed   chan struct{}
	failure  error // set before failed is closed

	closed   chan struct{} // closed when Close is done
	closeErr error         // set before closed is closed
}

var _ base.DB = (*DB)(nil)

// Open opens the database in the file path, and makes the file (mode 0600) and its folder (0700) if they are missing. A
// file that belongs to another application, or is damaged, is refused.
func Open(ctx context.Context, path string, o base.Options) (*DB, error) {
	if path == "" {
		return nil, errors.New("db: sqlite: needs the path of a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("db: %w", err)
	}
	if err := makeFile(path); err != nil {
		return nil, &base.Error{Op: "open " + path, Kinds: []error{mod.ErrUnavailable}, Cause: err}
	}
	o = o.WithDefaults(256)
	d := &DB{path: path, opts: o, failed: make(chan struct{}), closed: make(chan struct{})}
	w, err := d.connect(ctx, writerPragmas)
	if err != nil {
		return nil, wrap("open "+path, err)
	}
	if err := d.accept(ctx, w); err != nil {
		return nil, errors.Join(wrap("open "+path, err), w.close())
	}
	c, err := d.connect(ctx, checkpointPragmas)
	if err != nil {
		return nil, errors.Join(wrap("open "+path, err), w.close())
	}
	d.readers = newReaders(o.Readers, o.Wait, func(ctx context.Context) (*conn, error) { return d.connect(ctx, readerPragmas) })
	d.queue = base.NewQueue(4*o.MaxBatch, o.Wait)
	d.check = newCheckpointer(d, c)
	d.writer = newWriter(d, w)
	return d, nil
}

// makeFile makes path readable for its owner alone. SQLite gives its -wal and -shm files the same mode.
func makeFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil && st.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	if err = errors.Join(err, f.Close()); err != nil || st.Size() > 0 {
		return err
	}
	// The name of a new file must be as durable as what will be in it.
	df, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(df.Sync(), df.Close())
}

// Settings of the connections by their work. auto_vacuum counts only before the first table, and lets Reclaim give room
// back; it is the writer's alone, because setting it takes the lock for writing even where it changes nothing, and a reader
// that is opened while the disk is slow would wait for that in vain. The log is moved by the checkpointer, not inside of a COMMIT (wal_autocheckpoint=0). temp_store keeps the pages
// that savepoints save in memory.
var (
	commonPragmas = []string{
		"journal_mode=WAL", "synchronous=FULL", "fullfsync=1", "checkpoint_fullfsync=1",
		"foreign_keys=1", "temp_store=MEMORY", "trusted_schema=0", "cell_size_check=1",
	}
	writerPragmas     = append([]string{"auto_vacuum=INCREMENTAL"}, append(commonPragmas[:len(commonPragmas):len(commonPragmas)], "wal_autocheckpoint=0", "journal_size_limit=67108864", "cache_size=-16384")...)
	checkpointPragmas = append(commonPragmas[:len(commonPragmas):len(commonPragmas)], "wal_autocheckpoint=0", "journal_size_limit=67108864", "cache_size=-64")
	readerPragmas     = append(commonPragmas[:len(commonPragmas):len(commonPragmas)], "query_only=1", "cache_size=-4096")
)

// dsn names the file and the settings for the driver.
func (d *DB) dsn(pragmas []string) string {
	q := url.Values{
		"_busy_timeout": {strconv.FormatInt(busyTimeout.Milliseconds(), 10)},
		"_pragma":       pragmas,
		"_dqs":          {"0"},
		"_defensive":    {"1"},
		"_txlock":       {"immediate"},
		"_error_rc":     {"1"},
	}
	return (&url.URL{Scheme: "file", Path: d.path, RawQuery: q.Encode()}).String()
}

func (d *DB) connect(ctx context.Context, pragmas []string) (*conn, error) {
	k, err := driver.NewConnector(d.dsn(pragmas))
	if err != nil {
		return nil, err
	}
	dc, err := k.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newConn(dc)
	if err != nil {
		return nil, errors.Join(err, dc.Close())
	}
	return c, nil
}

// accept refuses what is not a healthy database of ours, and marks a new one.
func (d *DB) accept(ctx context.Context, c *conn) error {
	var mode string
	if err := c.one(ctx, "PRAGMA journal_mode", &mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file system does not allow a write-ahead log (journal_mode is %q): use a local disk", mode)
	}
	var id, tables, pages, size int64
	if err := c.one(ctx, "PRAGMA application_id", &id); err != nil {
		return err
	}
	if err := c.one(ctx, "SELECT count(*) FROM sqlite_schema", &tables); err != nil {
		return err
	}
	switch {
	case id == applicationID:
	case id == 0 && tables == 0:
		if _, err := c.exec("PRAGMA application_id=" + strconv.Itoa(applicationID)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("the file belongs to another application (application_id %#x, %d tables): name another one", id, tables)
	}
	if err := c.one(ctx, "PRAGMA page_count", &pages); err != nil {
		return err
	}
	if err := c.one(ctx, "PRAGMA page_size", &size); err != nil {
		return err
	}
	if pages*size > quickCheckMax {
		return nil
	}
	return verify(ctx, c, "PRAGMA quick_check(1)")
}

// verify runs one of SQLite's checks, which answers "ok" or with what it found.
func verify(ctx context.Context, c *conn, pragma string) error {
	r, err := c.query(ctx, pragma, nil, nil)
	if err != nil {
		return err
	}
	var found []error
	for r.Next() {
		var s string
		if err := r.Scan(&s); err != nil {
			return errors.Join(err, r.Close())
		}
		if s != "ok" {
			found = append(found, errors.New(s))
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	if len(found) > 0 {
		return &base.Error{Op: "check", Kinds: []error{base.ErrCorrupt}, Cause: errors.Join(found...)}
	}
	return nil
}

// Check reads every page and every index, and looks for rows whose foreign keys point nowhere.
func (d *DB) Check(ctx context.Context) error {
	c, err := d.readers.get(ctx)
	if err != nil {
		return wrap("check", err)
	}
	defer d.readers.put(c)
	if err := verify(ctx, c, "PRAGMA integrity_check(20)"); err != nil {
		return wrap("check", err)
	}
	r, err := c.query(ctx, "PRAGMA foreign_key_check", nil, nil)
	if err != nil {
		return wrap("check", err)
	}
	if r.Next() {
		var table, parent, rowid, fkid any
		err = r.Scan(&table, &rowid, &parent, &fkid)
		if err == nil {
			err = &base.Error{Op: "check", Kinds: []error{base.ErrCorrupt},
				Cause: fmt.Errorf("row %v of %v points to no row of %v", rowid, table, parent)}
		}
		return errors.Join(err, r.Close())
	}
	return r.Err()
}

// Reclaim gives unused pages back to the file system, 256 in a Write, so that others are not held up for long.
func (d *DB) Reclaim(ctx context.Context) error {
	for {
		var free int64
		if err := d.QueryRow(ctx, "PRAGMA freelist_count").Scan(&free); err != nil || free == 0 {
			return err
		}
		err := d.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, "PRAGMA incremental_vacuum(256)")
			return err
		})
		if err != nil {
			return err
		}
		var left int64
		if err := d.QueryRow(ctx, "PRAGMA freelist_count").Scan(&left); err != nil || left >= free {
			return err
		}
	}
}

// Migrator opens a connection of its own for goose. It waits for the group commit like another process would.
func (d *DB) Migrator(ctx context.Context) (*base.Migrator, error) {
	if err := d.Err(); err != nil {
		return nil, err
	}
	k, err := driver.NewConnector(d.dsn(commonPragmas))
	if err != nil {
		return nil, wrap("migrate", err)
	}
	s := sql.OpenDB(k)
	s.SetMaxOpenConns(1)
	return &base.Migrator{DB: s, Dialect: goose.DialectSQLite3, CrashPoint: d.opts.CrashPoint}, nil
}

// Dialect returns mod.SQLite.
func (d *DB) Dialect() mod.Dialect { return mod.SQLite }

// Failed is closed after a commit could not be made durable.
func (d *DB) Failed() <-chan struct{} { return d.failed }

// Err returns the cause of Failed, ErrClosed after Close, or nil.
func (d *DB) Err() error {
	select {
	case <-d.failed:
		return d.failure
	default:
	}
	select {
	case <-d.closed:
		return base.Closed("use")
	default:
		return nil
	}
}

// fail puts the database into its failed state, in which it stays: after an fsync has failed, the kernel may have
// dropped the pages and reports success from then on, so nothing that a later commit says can be believed.
func (d *DB) fail(op string, cause error) {
	d.failOnce.Do(func() {
		d.failure = &base.Error{Op: op, Kinds: []error{base.ErrFailed, mod.ErrUnavailable}, Cause: cause}
		d.opts.Log.Error("the database has failed and takes no more writes until it is opened anew", "op", op, "err", cause)
		close(d.failed)
	})
}

// Close implements base.DB.
func (d *DB) Close() error {
	if !d.queue.Close() {
		<-d.closed
		return d.closeErr
	}
	<-d.writer.done
	d.check.stop()
	errs := []error{d.readers.close(d.opts.Wait), d.check.c.close()}
	w := d.writer.c
	if d.Err() == nil {
		errs = append(errs, d.tidy(w))
	}
	d.closeErr = wrap("close", errors.Join(append(errs, w.close())...))
	close(d.closed)
	return d.closeErr
}

// tidy leaves a database that opens without recovery. On a full disk there is no room for that: the log stays, with
// all that was acknowledged, and the next Open reads it.
func (d *DB) tidy(w *conn) error {
	_, err := w.exec("PRAGMA optimize")
	err = wrap("close", errors.Join(err, checkpoint(w, "TRUNCATE")))
	if errors.Is(err, mod.ErrFull) {
		d.opts.Log.Warn("the write-ahead log was left beside the database: there is no room to move it", "err", err)
		return nil
	}
	return err
}
