// Package base owns what the two database engines share: the options, the kinds of error, the queue of a group commit
// and the migrations. Package db is the door; only db, db/sqlite and db/postgres import this one.
package base

import (
	"context"
	"database/sql"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"sabir/mod"
)

// DB is an open database: what extensions see of it, and what the server alone needs.
type DB interface {
	mod.DB

	// Failed is closed once the database can no longer be trusted to keep what it is given (a failed fsync, a corrupt
	// file). From then on every Write returns the cause, which Err tells too, until the database is opened anew.
	// PostgreSQL stops itself in that case, so there the channel never closes.
	Failed() <-chan struct{}

	// Err tells why Writes fail at this moment, and nil while they work: the cause of Failed, or that PostgreSQL
	// cannot be reached (which passes).
	Err() error

	// Check reads the whole database and returns what is wrong with it. It takes as long as reading every page does.
	Check(ctx context.Context) error

	// Reclaim gives the room of deleted rows back to the file system. It works in small Writes and may take long.
	Reclaim(ctx context.Context) error

	// Close waits for the Writes that were queued before it, then for the rows that are still being read (for a few
	// seconds), and leaves a database that opens without recovery. Calls after it return ErrClosed.
	Close() error

	// Migrator opens the connection that Migrate works on.
	Migrator(ctx context.Context) (*Migrator, error)
}

// Migrator is an engine's side of Migrate.
type Migrator struct {
	DB      *sql.DB // closed by Migrate
	Dialect goose.Dialect
	// Locker keeps other processes from migrating the same module. Nil where the engine has no such lock.
	Locker func(module string) lock.SessionLocker
	// CrashPoint is that of the Options.
	CrashPoint func(name string)
}

// Observer is told how long the database takes. Its methods are called on the path of every statement, from several
// goroutines: they must be quick and not call the database.
type Observer interface {
	// Commit is told of each transaction of the group commit: the time that COMMIT itself took (the part that waits
	// for the disk), how many Writes shared it, and its error.
	Commit(d time.Duration, n int, err error)
	// Query is told of each read outside of a Write: the time until its first row was there, waiting for a
	// connection included, and its error.
	Query(d time.Duration, err error)
}

// Names of the crash points, where a test may end the process.
const (
	// BeforeCommit: all statements of the batch have run, COMMIT has not been sent. Nothing of the batch may survive.
	BeforeCommit = "db.before-commit"
	// AfterCommit: the batch is durable, no participant knows yet. All of the batch must survive.
	AfterCommit = "db.after-commit"
	// BeforeMigration: the next version of a module's tables is about to be made.
	BeforeMigration = "db.before-migration"
	// AfterMigration: it was made, later ones and those of other modules were not.
	AfterMigration = "db.after-migration"
)

// Options are the settings of an open database. The zero value is good for production.
type Options struct {
	// Observer gets timings; nil for none.
	Observer Observer
	// Log gets what an operator should know; nil discards it. It never holds values of rows.
	Log *slog.Logger
	// CrashPoint is called at the named points above, on the goroutine that writes; nil for none.
	CrashPoint func(name string)

	// Readers bounds the connections for reads. Default 8.
	Readers int
	// Writers is how many connections run group commits on PostgreSQL. Default 2: one fills its batch while the other
	// waits for the disk, and more of them make smaller batches. SQLite has always one.
	Writers int
	// MaxBatch bounds the Writes that share a commit. Default 256 on SQLite, 64 on PostgreSQL.
	MaxBatch int
	// BatchTime bounds the time for which a transaction takes up further Writes before it commits; on SQLite it is longer where
	// the commit before took longer. Default 5 ms.
	BatchTime time.Duration
	// Wait bounds how long a call waits for a free connection, or a Write for its turn and for a lost PostgreSQL to
	// come back; then it fails with mod.ErrUnavailable. Default 5 s.
	Wait time.Duration
	// StatementTimeout bounds one statement on PostgreSQL. Default 10 s.
	StatementTimeout time.Duration
}

// WithDefaults returns o with every unset field filled in; maxBatch is the engine's default.
func (o Options) WithDefaults(maxBatch int) Options {
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CrashPoint == nil {
		o.CrashPoint = func(string) {}
	}
	setInt(&o.Readers, 8)
	setInt(&o.Writers, 2)
	setInt(&o.MaxBatch, maxBatch)
	setDuration(&o.BatchTime, 5*time.Millisecond)
	setDuration(&o.Wait, 5*time.Second)
	setDuration(&o.StatementTimeout, 10*time.Second)
	return o
}

func setInt(p *int, v int) {
	if *p <= 0 {
		*p = v
	}
}

func setDuration(p *time.Duration, v time.Duration) {
	if *p <= 0 {
		*p = v
	}
}

type noObserver struct{}

func (noObserver) Commit(time.Duration, int, error) {}
func (noObserver) Query(time.Duration, error)       {}
