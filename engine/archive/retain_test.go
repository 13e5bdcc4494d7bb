package archive

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
)

// tables are all that an archive has rows in.
func (f *fixture) rows() (n int64) {
	f.t.Helper()
	for _, q := range []string{`SELECT count(*) FROM archive_body`, `SELECT count(*) FROM archive_entry`, `SELECT count(*) FROM archive_share`, `SELECT count(*) FROM archive_span`} {
		n += f.count(q)
	}
	if f.d.Dialect() == mod.SQLite {
		n += f.count(`SELECT count(*) FROM archive_text`)
	}
	return n
}

func TestRemove(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, b := f.archive("juliet@example.org"), f.archive("romeo@example.org")
		ra, rb := Row{Archive: a, Peer: address(t, "romeo@example.org")}, Row{Archive: b, Peer: address(t, "juliet@example.org")}
		id := ""
		for i := range chunk + 20 { // more than one Write deletes
			id = f.add(Message{Wire: fmt.Sprint(i), Text: "word"}, ra)[0].ID
		}
		f.add(Message{Wire: "both", Text: "word"}, ra, rb)
		if err := f.d.Write(ctx, func(tx mod.Tx) error { return f.l.Remove(ctx, tx, a.Name()) }); err != nil {
			t.Fatal(err)
		}
		err := f.d.Write(ctx, func(tx mod.Tx) error {
			return f.l.Remove(ctx, tx, "nobody@example.org")
		})
		if err != nil {
			t.Error("removal of none:", err)
		}
		next := f.archive("juliet@example.org")
		f.want(next, Query{Limit: 9})
		if _, err := f.l.Page(ctx, next, Query{Limit: 9, After: id}); err == nil {
			t.Error("the successor knows an id of the one before")
		}
		if err := f.l.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		f.want(b, Query{Limit: 9, Text: "word"}, "both")
		f.want(next, Query{Limit: 9})
		want := int64(3) // body, entry, span
		if f.d.Dialect() == mod.SQLite {
			want++
		}
		if n := f.rows(); n != want {
			t.Errorf("%d rows are left, want %d", n, want)
		}
		err = f.d.Write(ctx, func(tx mod.Tx) error {
			_, err := f.l.Append(ctx, tx, Message{Wire: "late"}, ra)
			return err
		})
		if err == nil {
			t.Error("a removed archive took a message")
		}
		if n := f.rows(); n != want {
			t.Errorf("a refused message left rows: %d", n)
		}
	})
}

// TestRetain: what is dropped is the oldest of each archive, and leaves no holes (XEP-0313#archives_deletion).
func TestRetain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		other := f.open("mam example.net")
		a, b := f.archive("juliet@example.org"), f.archive("romeo@example.org")
		c, err := other.Archive(ctx, "tybalt@example.net")
		if err != nil {
			t.Fatal(err)
		}
		peer := address(t, "x@example.com")
		for i := range 30 {
			m := Message{Wire: fmt.Sprint(i), Text: "word"}
			f.add(m, Row{Archive: a, Peer: peer}, Row{Archive: b, Peer: peer})
			if i < 3 {
				err := f.d.Write(ctx, func(tx mod.Tx) error {
					_, err := other.Append(ctx, tx, m, Row{Archive: c, Peer: peer})
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			f.c.add(2 * 24 * time.Hour)
		}
		short, long := f.c.t.Add(-10*24*time.Hour), f.c.t.Add(-40*24*time.Hour)
		check := func(a Archive, cutoff time.Time) {
			t.Helper()
			p := f.page(a, Query{Limit: 99, Count: true})
			if p.Count != int64(len(p.Items)) {
				t.Errorf("%s: count %d of %d", a.name, p.Count, len(p.Items))
			}
			n := f.page(a, Query{Limit: 99, Start: cutoff})
			if want := int(f.c.t.Sub(cutoff).Hours()) / 48; len(n.Items) != min(30, want) {
				t.Errorf("%s: %d left of %d that are to be kept", a.name, len(n.Items), want)
			}
			if first := p.Items[0].Stamp; first.Before(cutoff.Add(-2 * time.Duration(width) * time.Microsecond)) {
				t.Errorf("%s: first is of %v, cutoff is %v", a.name, first, cutoff)
			}
			if s := f.page(a, Query{Limit: 99, Text: "word"}); len(s.Items) != len(p.Items) {
				t.Errorf("%s: search finds %d of %d", a.name, len(s.Items), len(p.Items))
			}
		}
		err = f.l.Retain(ctx, func(name string) time.Time {
			if name == a.name {
				return short
			}
			return long
		})
		if err != nil {
			t.Fatal(err)
		}
		check(a, short)
		check(b, long)
		if p, err := other.Page(ctx, c, Query{Limit: 9}); err != nil || len(p.Items) != 3 {
			t.Errorf("another space lost something: %v %v", p.Items, err)
		}
		// A policy that keeps all.
		before := f.rows()
		if err := f.l.Retain(ctx, func(string) time.Time { return time.Time{} }); err != nil || f.rows() != before {
			t.Errorf("%d of %d rows: %v", f.rows(), before, err)
		}
		// Nobody keeps anything: nothing is left, beside of what the segment of now holds.
		f.c.add(30 * 24 * time.Hour)
		for _, l := range []*Log{f.l, other} {
			if err := l.Retain(ctx, func(string) time.Time { return f.c.t }); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.rows(); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	})
}

// TestRetainAhead: messages that were written while ids were years ahead of the clock expire by their own time.
func TestRetainAhead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, peer := f.archive("juliet@example.org"), address(t, "x@example.com")
		f.c.add(10 * 365 * 24 * time.Hour)
		f.add(Message{Wire: "future"}, Row{Archive: a, Peer: peer})
		f.c.add(-10 * 365 * 24 * time.Hour)
		f.add(Message{Wire: "old"}, Row{Archive: a, Peer: peer})
		f.c.add(100 * 24 * time.Hour)
		f.add(Message{Wire: "new"}, Row{Archive: a, Peer: peer})
		if err := f.l.Retain(ctx, func(string) time.Time { return f.c.t.Add(-50 * 24 * time.Hour) }); err != nil {
			t.Fatal(err)
		}
		// Only the oldest in order may go, and the first one's time has not come.
		f.want(a, Query{Limit: 9}, "future", "old", "new")
		f.c.add(11 * 365 * 24 * time.Hour)
		if err := f.l.Retain(ctx, func(string) time.Time { return f.c.t.Add(-50 * 24 * time.Hour) }); err != nil {
			t.Fatal(err)
		}
		f.want(a, Query{Limit: 9})
	})
}

// TestDropCutShort: what a drop has left is taken by the next Retain.
func TestDropCutShort(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, peer := f.archive("juliet@example.org"), address(t, "x@example.com")
		for range 5 {
			f.add(Message{Wire: "w", Text: "word"}, Row{Archive: a, Peer: peer})
		}
		err := f.d.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM archive_span`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		f.want(a, Query{Limit: 9})
		f.want(a, Query{Limit: 9, Text: "word"})
		f.c.add(20 * 24 * time.Hour)
		if err := f.l.Retain(ctx, func(string) time.Time { return time.Time{} }); err != nil {
			t.Fatal(err)
		}
		if n := f.rows(); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	})
}

// TestDiskComesBack: after a drop the files are as small as without what was dropped.
func TestDiskComesBack(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, u string) {
		d := dbtest.Open(t, u, db.Options{})
		f := setup(t, d)
		a, peer := f.archive("juliet@example.org"), address(t, "x@example.com")
		fill := func() {
			for range 20 {
				err := f.d.Write(ctx, func(tx mod.Tx) error {
					for i := range 100 {
						m := Message{Wire: fmt.Sprint(strings.Repeat("x", 900), i), Text: fmt.Sprint("words of it ", i)}
						if _, err := f.l.Append(ctx, tx, m, Row{Archive: a, Peer: peer}); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		size := func() int64 {
			if f.d.Dialect() == mod.Postgres {
				return f.count(`SELECT CAST(sum(pg_total_relation_size(c.oid)) AS bigint) FROM pg_class c WHERE c.relkind = 'r' AND c.relname LIKE 'archive\_%' AND c.relnamespace = CAST(current_schema() AS regnamespace)`)
			}
			return f.count(`SELECT page_count * page_size FROM pragma_page_count, pragma_page_size`)
		}
		empty := size()
		fill()
		full := size()
		f.c.add(20 * 24 * time.Hour)
		if err := f.l.Retain(ctx, func(string) time.Time { return f.c.t }); err != nil {
			t.Fatal(err)
		}
		left := size()
		t.Logf("%d bytes empty, %d full, %d after the drop", empty, full, left)
		if full < empty+2<<20 || left > empty+(full-empty)/10 {
			t.Errorf("%d bytes empty, %d full, %d after the drop", empty, full, left)
		}
		if f.d.Dialect() == mod.SQLite {
			if err := d.Check(ctx); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(strings.TrimPrefix(u, "sqlite:")); err != nil {
				t.Error(err)
			}
		}
	})
}
