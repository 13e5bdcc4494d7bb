package archive

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"sabir/internal/db/dbtest"
	"sabir/mod"
)

// TestMerge: a conversation is the same before, while and after it gets into its index, in which all rows arrive once.
func TestMerge(t *testing.T) {
	f := setup(t, dbtest.SQLite(t))
	a, b := f.archive("juliet@example.org"), f.archive("nurse@example.org")
	romeo, nurse, juliet := address(t, "romeo@example.net/garden"), address(t, "nurse@example.org/hall"), address(t, "juliet@example.org/balcony")
	var want []string
	add := func(n int) {
		for i := range n {
			wire := fmt.Sprint("to the nurse ", len(want))
			f.add(Message{Wire: wire, Ref: wire}, Row{Archive: a, Peer: nurse}, Row{Archive: b, Peer: juliet})
			want = append(want, wire)
			if i%2 == 0 {
				f.add(Message{Wire: "from Romeo"}, Row{Archive: a, Peer: romeo})
			}
		}
	}
	check := func(when string) {
		t.Helper()
		for _, q := range []struct {
			a Archive
			q Query
		}{{a, Query{With: nurse.Bare(), Limit: 100}}, {b, Query{With: juliet, Limit: 100}}, {a, Query{With: nurse, Last: true, Limit: 100}}} {
			p := f.page(q.a, q.q)
			var got []string
			for _, i := range p.Items {
				got = append(got, i.Wire)
			}
			if strings.Join(got, "|") != strings.Join(want, "|") {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
		}
		for _, ref := range []string{want[0], want[len(want)-1]} {
			if i, err := f.l.Refer(ctx, a, nurse, ref); err != nil || i.Wire != ref {
				t.Errorf("%s: %q refers to %q, %v", when, ref, i.Wire, err)
			}
		}
		if _, err := f.l.Refer(ctx, a, romeo, want[0]); err != ErrNotFound {
			t.Errorf("%s: a ref of another conversation: %v", when, err)
		}
		f.want(a, Query{With: nurse.Bare(), Limit: 2, Last: true}, want[len(want)-2:]...)
		f.want(a, Query{With: nurse.Bare(), Limit: 2}, want[:2]...)
	}
	add(5)
	check("fresh")
	if err := f.l.merge(ctx, 1000); err != nil {
		t.Fatal(err)
	}
	if n := f.count(`SELECT count(*) FROM archive_talk`); n != 0 {
		t.Errorf("%d rows are merged, though there are few", n)
	}
	if err := f.l.merge(ctx, 0); err != nil {
		t.Fatal(err)
	}
	check("merged")
	if n := f.count(`SELECT count(*) FROM archive_fresh`); n != 0 {
		t.Errorf("%d rows are still fresh", n)
	}
	add(3)
	check("some fresh")
	// As after a merge that was cut short.
	list, err := f.l.unmerged(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.l.chunks(ctx, list[:4], intoTalk, fresh.talk); err != nil {
		t.Fatal(err)
	}
	check("cut short")
	if err := f.l.chunks(ctx, list[:3], outOfFresh, fresh.key); err != nil {
		t.Fatal(err)
	}
	check("cut short later")
	if err := f.l.merge(ctx, 0); err != nil {
		t.Fatal(err)
	}
	check("done again")
	if rows, entries := f.count(`SELECT count(*) FROM archive_talk`), f.count(`SELECT count(*) FROM archive_entry`); rows != entries {
		t.Errorf("%d rows for %d entries", rows, entries)
	}
}

// TestUpgrade fills the tables of version 1, in which the index of conversations was one of archive_entry.
func TestUpgrade(t *testing.T) {
	d := dbtest.SQLite(t)
	first := fstest.MapFS{}
	err := fs.WalkDir(Schema, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.Contains(path, "0001_") {
			return err
		}
		b, err := Schema.ReadFile(path)
		first[path] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	dbtest.Migrate(t, d, Module, first)
	f := &fixture{t: t, d: d, c: newClock()}
	f.l = f.open("mam example.org")
	a, nurse := f.archive("juliet@example.org"), address(t, "nurse@example.org/hall")
	err = d.Write(ctx, func(tx mod.Tx) error {
		for i := range int64(3) {
			stamp := f.c.Now().UnixMicro() + i
			seq := stamp << openerBits
			for _, s := range []struct {
				query string
				args  []any
			}{
				{`INSERT INTO archive_span (owner, segment, count, low, last_seq, lead) VALUES (?, ?, 1, ?, ?, 0)
					ON CONFLICT (owner, segment) DO UPDATE SET count = archive_span.count + 1, last_seq = excluded.last_seq`, []any{a.num, seq >> segmentBits, seq, seq}},
				{`INSERT INTO archive_entry (segment, owner, seq, stamp, peer, resource, kind, ref) VALUES (?, ?, ?, ?, ?, 'hall', 0, ?)`,
					[]any{seq >> segmentBits, a.num, seq, stamp, peerKey(a, nurse), refKey(fmt.Sprint("m", i))}},
				{`INSERT INTO archive_body (seq, segment, owner, other, wire) VALUES (?, ?, ?, 0, ?)`, []any{seq, seq >> segmentBits, a.num, fmt.Sprint("old ", i)}},
			} {
				if _, err := tx.Exec(ctx, s.query, s.args...); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dbtest.Migrate(t, d, Module, Schema)
	f.c.add(3600e9)
	f.add(Message{Wire: "new"}, Row{Archive: a, Peer: nurse})
	f.want(a, Query{With: nurse.Bare(), Limit: 10}, "old 0", "old 1", "old 2", "new")
	if i, err := f.l.Refer(ctx, a, nurse, "m1"); err != nil || i.Wire != "old 1" {
		t.Errorf("m1 refers to %q, %v", i.Wire, err)
	}
}
