package sqlite

import (
	"context"
	"errors"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"sabir/internal/db/base"
	"sabir/mod"
)

// Codes of https://www.sqlite.org/rescode.html that are told apart below.
const (
	primary      = 0xff
	ioerrShmSize = lib.SQLITE_IOERR | 19<<8 // the shared memory file could not grow: the disk is full
)

// code returns the extended result code of err, or 0 if it is not SQLite's.
func code(err error) int {
	var e *driver.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// wrap gives err its kinds. Errors that are not SQLite's stay as they are.
func wrap(op string, err error) error {
	var known *base.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	c := code(err)
	if c == 0 {
		return err
	}
	e := &base.Error{Op: op, Cause: err}
	switch {
	case c&primary == lib.SQLITE_FULL || c == ioerrShmSize:
		e.Kinds = []error{mod.ErrFull}
	case c&primary == lib.SQLITE_CONSTRAINT:
		e.Kinds = []error{base.ErrConstraint}
	case c&primary == lib.SQLITE_CORRUPT || c&primary == lib.SQLITE_NOTADB:
		e.Kinds = []error{base.ErrCorrupt, mod.ErrUnavailable}
	case c&primary == lib.SQLITE_INTERRUPT:
		e.Kinds = []error{context.Canceled}
	case isDisk(c) || isPassing(c):
		e.Kinds = []error{mod.ErrUnavailable}
	}
	return e
}

// isDisk reports codes after which the file cannot be trusted to keep what it is given.
func isDisk(c int) bool {
	switch c & primary {
	case lib.SQLITE_IOERR:
		return c != ioerrShmSize
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return true
	}
	return false
}

// isPassing reports codes that say "not now": locks of other processes, memory, the file gone.
func isPassing(c int) bool {
	switch c & primary {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_NOMEM, lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY, lib.SQLITE_PROTOCOL:
		return true
	}
	return false
}

// endsTransaction reports codes after which SQLite may have rolled back the whole transaction by itself
// (https://www.sqlite.org/lang_transaction.html §3.3): all Writes in it are lost then.
func endsTransaction(c int) bool {
	switch c & primary {
	case lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_NOMEM, lib.SQLITE_BUSY, lib.SQLITE_INTERRUPT,
		lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_READONLY, lib.SQLITE_ABORT:
		return true
	}
	return false
}
