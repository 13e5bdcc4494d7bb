package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"sabir/internal/db/base"
	"sabir/mod"
)

// sqlstate returns the code of PostgreSQL's error in err (its appendix A), or "" if it has none.
func sqlstate(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// wrap gives err its kinds. ctx is the caller's: if it ended, that is the cause.
func wrap(ctx context.Context, op string, err error) error {
	var known *base.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if cerr := ctx.Err(); cerr != nil {
		return &base.Error{Op: op, Kinds: []error{cerr}, Cause: err}
	}
	e := &base.Error{Op: op, Cause: err}
	switch state := sqlstate(err); {
	case state == "53100": // disk_full
		e.Kinds = []error{mod.ErrFull}
	case isConstraint(state):
		e.Kinds = []error{base.ErrConstraint}
	case strings.HasPrefix(state, "XX"): // data or index corrupted, internal error
		e.Kinds = []error{base.ErrCorrupt, mod.ErrUnavailable}
	case isPassing(state), isConflict(state), state == "" && isConnection(err):
		e.Kinds = []error{mod.ErrUnavailable}
	}
	return e
}

// isPassing reports codes that say "not now": the connection (08), resources (53), an operator or a crash (57, 58), a
// lock that was not to be had in time, a server that only reads at the moment (a stand-by after a change of roles).
func isPassing(state string) bool {
	if len(state) != 5 {
		return false
	}
	switch state[:2] {
	case "08", "53", "57", "58":
		return true
	}
	return state == "55P03" || state == "25006" || state == "25P03"
}

// isConflict reports that a transaction met another one and is to be run again: serialization_failure, deadlock_detected.
func isConflict(state string) bool { return state == "40001" || state == "40P01" }

// isConstraint reports that a row is not as the schema wants it (23).
func isConstraint(state string) bool { return len(state) == 5 && state[:2] == "23" }

// isStalePlan reports that a prepared statement was outdated by a change of the schema. pgx drops it; the next try works.
func isStalePlan(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "0A000" && strings.Contains(e.Message, "cached plan")
}

// isConnection reports errors of the way to the server, or of its deadline.
func isConnection(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) || isNet(err)
}
