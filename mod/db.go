package mod

import (
	"context"
	"errors"
)

// Dialect names the SQL engine behind a DB, for the few statements on which the engines part.
type Dialect uint8

const (
	// SQLite is the embedded engine.
	SQLite Dialect = iota
	// Postgres is PostgreSQL 14 or newer.
	Postgres
)

// String returns "sqlite" or "postgres".
func (d Dialect) String() string {
	if d == Postgres {
		return "postgres"
	}
	return "sqlite"
}

// Errors that a DB returns, to be tested with errors.Is.
var (
	// ErrNoRows is returned by Row.Scan where the query found nothing.
	ErrNoRows = errors.New("no rows")
	// ErrFull says that the store has no room left. Nothing was written; the sender is owed <resource-constraint/> of type wait.
	ErrFull = errors.New("the store is full")
	// ErrUnavailable says that the store cannot be reached or has failed. Nothing was written, or it is not known to be durable.
	ErrUnavailable = errors.New("the store is unavailable")
)

// DB is what an extension sees of the database. Queries use `?` for parameters on both engines; their text is constant.
//
// Reads run concurrently on a pool. A read that follows a Write that returned nil sees what it wrote.
type DB interface {
	// Query runs a read and returns its rows, which the caller closes.
	Query(ctx context.Context, query string, args ...any) (Rows, error)
	// QueryRow runs a read of which only the first row is of interest; errors wait for Scan.
	QueryRow(ctx context.Context, query string, args ...any) Row
	// Write runs fn within a group commit and returns after what it wrote is durable on disk. Many Writes share one
	// transaction, each in a savepoint of its own, so the error of one undoes only that one. If the commit fails, all
	// that took part in it get the error. fn may run more than once: it has no effect besides those on tx. fn is quick:
	// while it runs the other writers wait.
	//
	// ctx bounds the time until fn begins. If it has ended before, at the call or while the Write waits for its turn, fn
	// is not run, nothing is written, and Write returns ctx.Err(). Once fn has begun, Write returns the outcome however ctx
	// ends meanwhile: nil means that it is durable. A statement is given a context of its own: where that one has ended
	// the statement fails, and the Write with it.
	Write(ctx context.Context, fn func(tx Tx) error) error
	// Dialect tells which engine it is.
	Dialect() Dialect
}

// Tx is the transaction handed to the function of a Write. It is valid until that function returns.
type Tx interface {
	Exec(ctx context.Context, query string, args ...any) (Result, error)
	Query(ctx context.Context, query string, args ...any) (Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) Row
	// Gather keeps v until the other Writes of the transaction have run, and hands it to write then, with what they have
	// gathered under an equal key, in order: so rows of many Writes become a few statements. What a failed Write has gathered is
	// left out. Nobody sees in the database what was gathered before write has run, not even this Write. write is that of the
	// first v; it obeys the rules of Write. If it fails, the Writes of the transaction are tried again one by one.
	Gather(key, v any, write func(tx Tx, all []any) error)
}

// Rows is the answer to a query, in the manner of database/sql.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// Row is the first row of an answer. Scan returns ErrNoRows where there is none.
type Row interface {
	Scan(dest ...any) error
}

// Result tells what an Exec did.
type Result interface {
	RowsAffected() (int64, error)
}
