package base

import (
	"errors"
	"fmt"

	"sabir/mod"
)

// Kinds of error besides mod.ErrNoRows, mod.ErrFull and mod.ErrUnavailable; test with errors.Is.
var (
	// ErrConstraint says that a statement broke a constraint of the schema (unique, foreign key, check, not null).
	ErrConstraint = errors.New("a constraint of the schema is broken")
	// ErrCorrupt says that the database's own structures are damaged.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrFailed says that an earlier commit could not be made durable and the database must be opened anew. It comes
	// together with mod.ErrUnavailable.
	ErrFailed = errors.New("the database failed earlier")
	// ErrClosed says that the database has been closed. It comes together with mod.ErrUnavailable.
	ErrClosed = errors.New("the database is closed")
	// ErrTxDone says that a Tx was used after the function of its Write returned.
	ErrTxDone = errors.New("the transaction of this Write has ended")
	// ErrNewer says that the database was migrated by a newer program.
	ErrNewer = errors.New("the database is newer than this program")
	// ErrArguments says that a statement was given another number of arguments than it has placeholders.
	ErrArguments = errors.New("wrong number of arguments")
)

// Error is an error of the database with its kinds and its cause.
type Error struct {
	Op    string  // what failed: "commit", "exec", "open" ...
	Kinds []error // the sentinels that it is; may be empty
	Cause error   // the engine's own error; may be nil
}

// Error says what failed, how, and the engine's own words.
func (e *Error) Error() string {
	s := "db: " + e.Op
	if len(e.Kinds) > 0 {
		s += ": " + e.Kinds[0].Error()
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the kinds and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return e.Kinds
	}
	return append(e.Kinds[:len(e.Kinds):len(e.Kinds)], e.Cause)
}

// Closed is the error of a call to a closed database.
func Closed(op string) error {
	return &Error{Op: op, Kinds: []error{ErrClosed, mod.ErrUnavailable}}
}

// Unavailable is the error of a database that cannot be used at this moment.
func Unavailable(op string, cause error) error {
	return &Error{Op: op, Kinds: []error{mod.ErrUnavailable}, Cause: cause}
}

// PanicError is what a Write returns whose function panicked. Nothing of that Write was kept.
type PanicError struct {
	Value any
	Stack []byte
}

// Error names the value of the panic; the stack is in the field.
func (e *PanicError) Error() string { return fmt.Sprintf("db: panic in a Write: %v", e.Value) }

// Unwrap returns the value of the panic where it is an error.
func (e *PanicError) Unwrap() error {
	err, ok := e.Value.(error)
	if !ok {
		return nil
	}
	return err
}

// errGoexit answers a Write whose function called runtime.Goexit (t.FailNow in a test does).
var errGoexit = errors.New("db: the function of a Write ended its goroutine")
