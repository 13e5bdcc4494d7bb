package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

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

	entryInto = `archive_entry (segment, owner, seq, stamp, peer, resource, kind, ref) VALUES `
	entryRow  = `(?, ?, ?, ?, ?, ?, ?, ?)`

	bodyInto         = `archive_body (seq, segment, owner, other, wire) VALUES `
	bodyRow          = `(?, ?, ?, ?, ?)`
	bodyIntoPostgres = `archive_body (seq, segment, owner, other, wire, words) VALUES `
	bodyRowPostgres  = `(?, ?, ?, ?, ?, array_to_tsvector(string_to_array(CAST(? AS text), ' ')))`

	pendingInto = `archive_pending (seq, words) VALUES `
	pendingRow  = `(?, ?)`

	// On SQLite a statement that fails leaves the rows before: the Writes are undone in any case, and it need not keep the pages as
	// they were.
	insert         = `INSERT OR FAIL INTO `
	insertPostgres = `INSERT INTO `
)

// Rows of some.
const (
	spanRow4  = spanRow + `, ` + spanRow + `, ` + spanRow + `, ` + spanRow
	spanRow16 = spanRow4 + `, ` + spanRow4 + `, ` + spanRow4 + `, ` + spanRow4

	entryRow4  = entryRow + `, ` + entryRow + `, ` + entryRow + `, ` + entryRow
	entryRow16 = entryRow4 + `, ` + entryRow4 + `, ` + entryRow4 + `, ` + entryRow4

	bodyRow4  = bodyRow + `, ` + bodyRow + `, ` + bodyRow + `, ` + bodyRow
	bodyRow16 = bodyRow4 + `, ` + bodyRow4 + `, ` + bodyRow4 + `, ` + bodyRow4

	bodyRowPostgres4  = bodyRowPostgres + `, ` + bodyRowPostgres + `, ` + bodyRowPostgres + `, ` + bodyRowPostgres
	bodyRowPostgres16 = bodyRowPostgres4 + `, ` + bodyRowPostgres4 + `, ` + bodyRowPostgres4 + `, ` + bodyRowPostgres4

	pendingRow4  = pendingRow + `, ` + pendingRow + `, ` + pendingRow + `, ` + pendingRow
	pendingRow16 = pendingRow4 + `, ` + pendingRow4 + `, ` + pendingRow4 + `, ` + pendingRow4
)

// statement is an INSERT of one row and of some.
type statement struct{ one, many string }

var (
	intoSpan          = statement{spanInto + spanRow + spanElse, spanInto + spanRow16 + spanElse}
	intoEntry         = statement{insert + entryInto + entryRow, insert + entryInto + entryRow16}
	intoEntryPostgres = statement{insertPostgres + entryInto + entryRow, insertPostgres + entryInto + entryRow16}
	intoBody          = statement{insert + bodyInto + bodyRow, insert + bodyInto + bodyRow16}
	intoBodyPostgres  = statement{insertPostgres + bodyIntoPostgres + bodyRowPostgres, insertPostgres + bodyIntoPostgres + bodyRowPostgres16}
	intoPending       = statement{insert + pendingInto + pendingRow, insert + pendingInto + pendingRow16}
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
	if err := shares(tx, all); err != nil {
		return err
	}
	if l.db.Dialect() == mod.Postgres {
		if err := inserts(tx, intoEntryPostgres, entries, line.args); err != nil {
			return err
		}
		return inserts(tx, intoBodyPostgres, all, func(v any, args []any) []any { return append(v.(*stored).body(args), v.(*stored).words) })
	}
	if err := inserts(tx, intoEntry, entries, line.args); err != nil {
		return err
	}
	if err := inserts(tx, intoBody, all, func(v any, args []any) []any { return v.(*stored).body(args) }); err != nil {
		return err
	}
	if err := inserts(tx, intoFresh, entries, func(e line, args []any) []any { return fresh{e.k.seq, e.owner, e.peer, e.k.ref}.args(args) }); err != nil {
		return err
	}
	all = slices.DeleteFunc(slices.Clone(all), func(v any) bool { return v.(*stored).words == "" })
	return inserts(tx, intoPending, all, func(v any, args []any) []any { return append(args, v.(*stored).seq, v.(*stored).words) })
}

// inserts runs a statement for each of list, as many rows at a time as there is a statement for.
func inserts[T any](tx mod.Tx, into statement, list []T, args func(T, []any) []any) error {
	buf := make([]any, 0, 8*some)
	for len(list) > 0 {
		query, n := into.one, 1
		if len(list) >= some {
			query, n = into.many, some
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
	return inserts(tx, intoSpan, list, change.args)
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
const indexAtOnce = 1000

// indexEvery is how often new messages are put into the indexes, but for those that a search waits for.
const indexEvery = 5 * time.Second

// KeepIndexed calls Index every few seconds, until ctx ends. All that use a database may do it.
func (l *Log) KeepIndexed(ctx context.Context, log *slog.Logger) {
	if l.db.Dialect() == mod.Postgres {
		return
	}
	tick := time.NewTicker(indexEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.Index(ctx); err != nil && ctx.Err() == nil {
			log.Error("new messages are not in the indexes of the archives yet", "error", err)
		}
	}
}

// Index puts the messages that wait for it into the index of words, and where they are many into that of conversations:
// those of all Logs of the database. It is called every few seconds. On PostgreSQL nothing waits.
func (l *Log) Index(ctx context.Context) error {
	if l.db.Dialect() == mod.Postgres {
		return nil
	}
	if err := l.merge(ctx, mergeAt); err != nil {
		return fmt.Errorf("archive: index: %w", err)
	}
	return l.indexWords(ctx)
}

// indexWords does the first half. A search does so itself.
func (l *Log) indexWords(ctx context.Context) error {
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
