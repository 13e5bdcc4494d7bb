package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"sabir/mod"
)

// stored is a message with its rows on its way into the database.
type stored struct {
	seq, stamp int64
	ref        int64
	wire       string
	words      string // "" for none
	entries    []entry
}

// entry is a row of one archive.
type entry struct {
	owner     int64
	peer      int64
	resource  string
	groupchat bool
}

// gathered is the key under which all Logs of a database gather.
type gathered struct{}

// Rows go into the database as many in a statement as there are: some, or one by one.
const some = 16

const (
	spanInto = `INSERT INTO archive_span (owner, segment, count, low, last_seq, lead) VALUES `
	spanRow  = `(?, ?, ?, ?, ?, ?)`
	// A NULL for a seq that is not above the archive's highest fails the Writes; the database runs them again, one by
	// one, and then they get higher ones.
	spanElse = ` ON CONFLICT (owner, segment) DO UPDATE SET count = archive_span.count + excluded.count, low = excluded.low,
		last_seq = CASE WHEN archive_span.last_seq < excluded.low THEN excluded.last_seq END,
		lead = CASE WHEN archive_span.lead < excluded.lead THEN excluded.lead ELSE archive_span.lead END`

	entryInto = `INSERT INTO archive_entry (segment, owner, seq, stamp, peer, resource, kind, ref) VALUES `
	entryRow  = `(?, ?, ?, ?, ?, ?, ?, ?)`

	bodyInto         = `INSERT INTO archive_body (seq, segment, owner, other, wire) VALUES `
	bodyRow          = `(?, ?, ?, ?, ?)`
	bodyIntoPostgres = `INSERT INTO archive_body (seq, segment, owner, other, wire, words) VALUES `
	bodyRowPostgres  = `(?, ?, ?, ?, ?, array_to_tsvector(string_to_array(CAST(? AS text), ' ')))`

	pendingInto = `INSERT INTO archive_pending (seq, words) VALUES `
	pendingRow  = `(?, ?)`

	span1    = spanInto + spanRow + spanElse
	span16   = spanInto + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + `,` + spanRow + spanElse
	entry1   = entryInto + entryRow
	entry16  = entryInto + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow + `,` + entryRow
	body1    = bodyInto + bodyRow
	body16   = bodyInto + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow + `,` + bodyRow
	bodyP1   = bodyIntoPostgres + bodyRowPostgres
	bodyP16  = bodyIntoPostgres + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres + `,` + bodyRowPostgres
	pending1 = pendingInto + pendingRow
	pend16   = pendingInto + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow + `,` + pendingRow
)

// writeAll writes the messages that the Writes of a transaction have appended. Their neighbours in the tables are written one after
// the other.
func (l *Log) writeAll(tx mod.Tx, all []any) error {
	var entries []line
	for _, v := range all {
		k := v.(*stored)
		for _, e := range k.entries {
			entries = append(entries, line{k, e})
		}
	}
	slices.SortFunc(entries, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.k.seq>>segmentBits, b.k.seq>>segmentBits), cmp.Compare(a.owner, b.owner), cmp.Compare(a.k.seq, b.k.seq))
	})
	if err := spans(tx, entries); err != nil {
		return err
	}
	if err := inserts(tx, entry1, entry16, entries, line.args); err != nil {
		return err
	}
	if err := shares(tx, all); err != nil {
		return err
	}
	if l.db.Dialect() == mod.Postgres {
		return inserts(tx, bodyP1, bodyP16, all, func(v any, args []any) []any { return append(v.(*stored).body(args), v.(*stored).words) })
	}
	if err := inserts(tx, body1, body16, all, func(v any, args []any) []any { return v.(*stored).body(args) }); err != nil {
		return err
	}
	all = slices.DeleteFunc(slices.Clone(all), func(v any) bool { return v.(*stored).words == "" })
	return inserts(tx, pending1, pend16, all, func(v any, args []any) []any { return append(args, v.(*stored).seq, v.(*stored).words) })
}

// inserts runs a statement for each of list, as many rows at a time as there is a statement for.
func inserts[T any](tx mod.Tx, one, many string, list []T, args func(T, []any) []any) error {
	buf := make([]any, 0, 8*some)
	for len(list) > 0 {
		query, n := one, 1
		if len(list) >= some {
			query, n = many, some
		}
		buf = buf[:0]
		for _, v := range list[:n] {
			buf = args(v, buf)
		}
		if err := run(tx, query, buf); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// run runs one of the statements above. It is not interrupted when the sender of one of the messages leaves.
func run(tx mod.Tx, query string, args []any) error {
	_, err := tx.Exec(context.Background(), query, args...)
	return err
}

// line is an entry with its message.
type line struct {
	k *stored
	entry
}

func (l line) args(args []any) []any {
	kind := int64(0)
	if l.groupchat {
		kind = kindGroupchat
	}
	return append(args, l.k.seq>>segmentBits, l.owner, l.k.seq, l.k.stamp, l.peer, l.resource, kind, l.k.ref)
}

func (k *stored) body(args []any) []any {
	other := int64(0)
	if len(k.entries) > 1 {
		other = k.entries[1].owner
	}
	return append(args, k.seq, k.seq>>segmentBits, k.entries[0].owner, other, k.wire)
}

// change is what one transaction adds to the span of an archive.
type change struct{ owner, segment, count, low, last, lead int64 }

func (c change) args(args []any) []any {
	return append(args, c.owner, c.segment, c.count, c.low, c.last, c.lead)
}

// spans adds sorted entries to the spans, in the order of the archives, so that transactions elsewhere wait for each other
// in one direction.
func spans(tx mod.Tx, entries []line) error {
	var list []change
	for _, e := range entries {
		seq, lead := e.k.seq, e.k.seq>>openerBits-e.k.stamp
		if n := len(list) - 1; n >= 0 && list[n].owner == e.owner && list[n].segment == seq>>segmentBits {
			c := &list[n]
			c.count, c.last, c.lead = c.count+1, seq, max(c.lead, lead)
			continue
		}
		list = append(list, change{e.owner, seq >> segmentBits, 1, seq, seq, lead})
	}
	return inserts(tx, span1, span16, list, change.args)
}

// shares writes which archives have a message beside the two that its body names.
func shares(tx mod.Tx, all []any) error {
	for _, v := range all {
		k := v.(*stored)
		for _, e := range k.entries[min(2, len(k.entries)):] {
			_, err := tx.Exec(context.Background(), `INSERT INTO archive_share (segment, seq, owner) VALUES (?, ?, ?)`, k.seq>>segmentBits, k.seq, e.owner)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// indexAtOnce is how many messages go into the index of words in one Write, so that others do not wait for long.
const indexAtOnce = 200

// Index puts the messages that wait for it into the index of words, those of all Logs of the database. A search does so
// itself; called every few seconds, it leaves little to it. On PostgreSQL nothing waits.
func (l *Log) Index(ctx context.Context) error {
	if l.db.Dialect() == mod.Postgres {
		return nil
	}
	for n := int64(indexAtOnce); n == indexAtOnce; {
		var one int64
		err := l.db.QueryRow(ctx, `SELECT 1 FROM archive_pending LIMIT 1`).Scan(&one)
		if errors.Is(err, mod.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("archive: index: %w", err)
		}
		err = l.db.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO archive_text (rowid, words) SELECT seq, words FROM archive_pending ORDER BY seq LIMIT ?`, indexAtOnce)
			if err != nil {
				return err
			}
			r, err := tx.Exec(ctx, `DELETE FROM archive_pending WHERE seq IN (SELECT seq FROM archive_pending ORDER BY seq LIMIT ?)`, indexAtOnce)
			if err == nil {
				n, err = r.RowsAffected()
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("archive: index: %w", err)
		}
	}
	return nil
}
