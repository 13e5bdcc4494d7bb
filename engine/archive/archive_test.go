package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/xmpp/jid"
)

var ctx = context.Background()

// clock is one that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// fixture is a Log on an empty database with its clock.
type fixture struct {
	t testing.TB
	d mod.DB
	c *clock
	l *Log
}

func setup(t testing.TB, d db.DB) *fixture {
	t.Helper()
	dbtest.Migrate(t, d, Module, Schema)
	f := &fixture{t: t, d: d, c: newClock()}
	f.l = f.open("mam example.org")
	return f
}

func (f *fixture) open(space string) *Log {
	f.t.Helper()
	l, err := Open(ctx, f.d, Options{Space: space, Now: f.c.Now})
	if err != nil {
		f.t.Fatal(err)
	}
	return l
}

func (f *fixture) archive(name string) Archive {
	f.t.Helper()
	a, err := f.l.Archive(ctx, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func address(t testing.TB, s string) jid.JID {
	t.Helper()
	j, err := jid.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// add appends one message in a Write of its own.
func (f *fixture) add(m Message, rows ...Row) []Place {
	f.t.Helper()
	var places []Place
	err := f.d.Write(ctx, func(tx mod.Tx) (err error) {
		places, err = f.l.Append(ctx, tx, m, rows...)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return places
}

func (f *fixture) page(a Archive, q Query) Page {
	f.t.Helper()
	p, err := f.l.Page(ctx, a, q)
	if err != nil {
		f.t.Fatalf("%+v: %v", q, err)
	}
	return p
}

func (f *fixture) count(query string) (n int64) {
	f.t.Helper()
	if err := f.d.QueryRow(ctx, query).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fixture) want(a Archive, q Query, wires ...string) Page {
	f.t.Helper()
	p := f.page(a, q)
	var got []string
	for _, i := range p.Items {
		got = append(got, i.Wire)
	}
	if !slices.Equal(got, wires) {
		f.t.Fatalf("%+v: %q, want %q", q, got, wires)
	}
	return p
}

func each(t *testing.T, fn func(t *testing.T, f *fixture)) {
	dbtest.Each(t, func(t *testing.T, d db.DB) { fn(t, setup(t, d)) })
}

func TestPaging(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, peer := f.archive("juliet@example.org"), address(t, "romeo@example.net/orchard")
		if p := f.page(a, Query{Limit: 5, Count: true}); len(p.Items) != 0 || !p.Complete || p.Count != 0 {
			t.Fatalf("empty archive: %+v", p)
		}
		if _, _, err := f.l.Metadata(ctx, a); !errors.Is(err, ErrNotFound) {
			t.Fatalf("metadata of an empty archive: %v", err)
		}
		var ids []string
		for i := range 7 {
			ids = append(ids, f.add(Message{Wire: fmt.Sprint(i)}, Row{Archive: a, Peer: peer})[0].ID)
			f.c.add(3 * 24 * time.Hour) // over four segments
		}
		for _, c := range []struct {
			q        Query
			want     string
			complete bool
			index    int64
		}{
			{Query{Limit: 3}, "012", false, 0},
			{Query{Limit: 7}, "0123456", true, 0},
			{Query{Limit: 0}, "", false, -1},
			{Query{Limit: 3, After: ids[2]}, "345", false, -1},
			{Query{Limit: 4, After: ids[2]}, "3456", true, -1},
			{Query{Limit: 4, After: ids[6]}, "", true, -1},
			{Query{Limit: 3, Last: true}, "456", false, 4},
			{Query{Limit: 9, Last: true}, "0123456", true, 0},
			{Query{Limit: 2, Before: ids[4]}, "23", false, -1},
			{Query{Limit: 4, Before: ids[4]}, "0123", true, 0},
			{Query{Limit: 4, Before: ids[0]}, "", true, -1},
		} {
			c.q.Count = true
			p := f.want(a, c.q, strings.Split(c.want, "")...)
			if p.Complete != c.complete || p.Count != 7 || p.Index != c.index {
				t.Errorf("%+v: complete %v, count %d, index %d", c.q, p.Complete, p.Count, p.Index)
			}
		}
		first, last, err := f.l.Metadata(ctx, a)
		if err != nil || first.ID != ids[0] || last.ID != ids[6] || !first.Stamp.Equal(newClock().t) {
			t.Errorf("metadata %v %v %v", first, last, err)
		}
		f.want(a, Query{Limit: 9, AfterID: ids[1], BeforeID: ids[4]}, "2", "3")
		f.want(a, Query{Limit: 1, AfterID: ids[1], BeforeID: ids[4], Last: true}, "3")
		f.want(a, Query{Limit: 9, AfterID: ids[4], BeforeID: ids[1]})
		f.want(a, Query{Limit: 9, IDs: []string{ids[5], ids[0], ids[5]}}, "0", "5")
		f.want(a, Query{Limit: 1, IDs: []string{ids[5], ids[0]}, Last: true}, "5")
		f.want(a, Query{Limit: 9, IDs: []string{}})
		if i, err := f.l.Find(ctx, a, ids[3]); err != nil || i.Wire != "3" || i.ID != ids[3] {
			t.Errorf("find: %+v %v", i, err)
		}
	})
}

func TestUnknownID(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, b := f.archive("juliet@example.org"), f.archive("romeo@example.org")
		row := Row{Archive: a, Peer: address(t, "x@example.net")}
		mine := f.add(Message{Wire: "m"}, row)[0].ID
		his := f.add(Message{Wire: "h"}, Row{Archive: b, Peer: row.Peer})[0].ID
		flipped := []byte(mine)
		flipped[3] ^= 1
		never := f.l.id(a, 1<<60)
		for _, id := range []string{"x", his, string(flipped), never, mine + "A", mine[:21] + "\n", strings.Repeat("?", 22), strings.Repeat("A", 4000)} {
			for _, q := range []Query{{After: id}, {Before: id}, {AfterID: id}, {BeforeID: id}, {IDs: []string{mine, id}}} {
				q.Limit = 5
				if _, err := f.l.Page(ctx, a, q); !errors.Is(err, ErrNotFound) {
					t.Errorf("%+v: %v", q, err)
				}
			}
		}
		if _, err := f.l.Page(ctx, a, Query{IDs: []string{""}, Limit: 1}); !errors.Is(err, ErrNotFound) {
			t.Error("empty id:", err)
		}
		for _, q := range []Query{{Limit: -1}, {Limit: 1, After: mine, Before: mine}, {Limit: 1, Last: true, Before: mine}, {Limit: 1, Last: true, After: mine}} {
			if _, err := f.l.Page(ctx, a, q); !errors.Is(err, ErrQuery) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if _, err := f.l.Lookup(ctx, "nobody@example.org"); !errors.Is(err, ErrNotFound) {
			t.Error("lookup:", err)
		}
	})
}

func TestFilters(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a := f.archive("juliet@example.org")
		at := f.c.t
		for i, s := range []string{"romeo@example.net/a", "nurse@example.org", "romeo@example.net/b", "juliet@example.org/x", "room@muc.example.org/n"} {
			f.add(Message{Wire: fmt.Sprint(i)}, Row{Archive: a, Peer: address(t, s), Groupchat: i == 4})
			f.c.add(time.Hour)
		}
		f.want(a, Query{Limit: 9, With: address(t, "romeo@example.net")}, "0", "2")
		f.want(a, Query{Limit: 1, With: address(t, "romeo@example.net"), Last: true}, "2")
		f.want(a, Query{Limit: 9, With: address(t, "romeo@example.net/b")}, "2")
		f.want(a, Query{Limit: 9, With: address(t, "juliet@example.org")}, "3")
		f.want(a, Query{Limit: 9, With: address(t, "nobody@example.org")})
		f.want(a, Query{Limit: 9, NoGroupchat: true}, "0", "1", "2", "3")
		f.want(a, Query{Limit: 9, Start: at.Add(time.Hour), End: at.Add(3 * time.Hour)}, "1", "2", "3")
		f.want(a, Query{Limit: 9, Start: at.Add(time.Hour + 1)}, "2", "3", "4")
		f.want(a, Query{Limit: 9, End: at.Add(time.Hour - 1)}, "0")
		f.want(a, Query{Limit: 9, Start: at.Add(time.Hour), End: at})
		f.want(a, Query{Limit: 9, Start: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)})
		f.want(a, Query{Limit: 9, Start: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), End: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, "0", "1", "2", "3", "4")
		f.want(a, Query{Limit: 9, End: time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)})
		if p := f.page(a, Query{Limit: 9, With: address(t, "nurse@example.org"), Count: true}); p.Count != -1 || p.Index != -1 {
			t.Errorf("filtered count: %+v", p)
		}
	})
}

func TestSearch(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, b, c := f.archive("juliet@example.org"), f.archive("romeo@example.org"), f.archive("tybalt@example.org")
		ja, jb, jc := address(t, "juliet@example.org/a"), address(t, "romeo@example.org"), address(t, "tybalt@example.org")
		f.add(Message{Wire: "0", Text: "What light through yonder WINDOW breaks, Café"}, Row{Archive: a, Peer: jb}, Row{Archive: b, Peer: ja})
		f.c.add(20 * 24 * time.Hour)
		f.add(Message{Wire: "1", Text: "the light is out"}, Row{Archive: a, Peer: jc}, Row{Archive: c, Peer: ja})
		f.add(Message{Wire: "2", Text: "東京都に住む"}, Row{Archive: a, Peer: jb})
		f.add(Message{Wire: "3"}, Row{Archive: a, Peer: jb})
		f.add(Message{Wire: "4", Text: "… !"}, Row{Archive: a, Peer: jb})
		for _, q := range []struct {
			a    Archive
			text string
			with jid.JID
			want string
		}{
			{a, "light", jid.JID{}, "01"}, {b, "light", jid.JID{}, "0"}, {c, "light", jid.JID{}, "1"},
			{c, "window", jid.JID{}, ""}, {a, "light", jb, "0"}, {a, "light out", jid.JID{}, "1"},
			{a, "LIGHT win*", jid.JID{}, "0"}, {a, "LIGHT win", jid.JID{}, ""}, {a, "win light*", jid.JID{}, ""}, {a, "cafe", jid.JID{}, "0"},
			{a, "京都", jid.JID{}, "2"}, {a, "京", jid.JID{}, "2"}, {a, "都京", jid.JID{}, ""}, {a, "' OR 1=1 --", jid.JID{}, ""},
			{a, `" * NOT NEAR( :`, jid.JID{}, ""}, {a, "!!", jid.JID{}, ""}, {a, "light\x00", jid.JID{}, "01"},
		} {
			f.want(q.a, Query{Limit: 9, Text: q.text, With: q.with}, strings.Split(q.want, "")...)
		}
		f.want(a, Query{Limit: 1, Text: "light", Last: true}, "1")
		p := f.want(a, Query{Limit: 1, Text: "light"}, "0")
		if p.Complete {
			t.Error("a page of one of two is complete")
		}
		f.want(a, Query{Limit: 1, Text: "light", After: p.Items[0].ID}, "1")
		f.want(a, Query{Limit: 9, Text: "light", Start: f.c.t}, "1")
		f.add(Message{Wire: "5", Text: strings.Repeat("long ", 40000) + strings.Repeat("x", 5000)}, Row{Archive: b, Peer: ja})
		f.want(b, Query{Limit: 9, Text: "long"}, "5")
	})
}

func TestSharing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, b := f.archive("juliet@example.org"), f.archive("romeo@example.org")
		ra, rb := Row{Archive: a, Peer: address(t, "romeo@example.org")}, Row{Archive: b, Peer: address(t, "juliet@example.org")}
		m := Message{Wire: "hello", Text: "hello"}
		var pa, pb []Place
		err := f.d.Write(ctx, func(tx mod.Tx) (err error) {
			if pb, err = f.l.Append(ctx, tx, m, rb); err != nil {
				return err
			}
			pa, err = f.l.Append(ctx, tx, m, ra)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := f.count(`SELECT count(*) FROM archive_body`); n != 1 {
			t.Errorf("%d bodies", n)
		}
		if pa[0].ID == pb[0].ID {
			t.Error("two archives have the same id")
		}
		f.want(a, Query{Limit: 9, Text: "hello"}, "hello")
		f.want(b, Query{Limit: 9, Text: "hello"}, "hello")
		// The same message twice in one archive is two messages.
		f.add(m, ra)
		f.add(m, ra)
		f.want(a, Query{Limit: 9}, "hello", "hello", "hello")

		// A tombstone in one archive leaves the other alone; in both, the text is gone.
		replace := func(a Archive, id string) error {
			return f.d.Write(ctx, func(tx mod.Tx) error { return f.l.Replace(ctx, tx, a, id, "gone") })
		}
		if err := replace(a, pb[0].ID); !errors.Is(err, ErrNotFound) {
			t.Error("another's id:", err)
		}
		if err := replace(a, f.l.id(a, 1<<60)); !errors.Is(err, ErrNotFound) {
			t.Error("unknown id:", err)
		}
		if err := replace(a, pa[0].ID); err != nil {
			t.Fatal(err)
		}
		p := f.want(a, Query{Limit: 9, Count: true}, "gone", "hello", "hello")
		if !p.Items[0].Tombstone || p.Items[1].Tombstone || p.Items[0].ID != pa[0].ID || p.Items[0].Stamp != pa[0].Stamp || p.Count != 3 {
			t.Errorf("%+v", p)
		}
		f.want(b, Query{Limit: 9}, "hello")
		f.want(a, Query{Limit: 9, Text: "hello"}, "hello", "hello")
		f.want(b, Query{Limit: 9, Text: "hello"}, "hello")
		if n := f.count(`SELECT count(*) FROM archive_body`); n != 3 {
			t.Errorf("%d bodies", n)
		}
		if err := replace(b, pb[0].ID); err != nil {
			t.Fatal(err)
		}
		f.want(b, Query{Limit: 9}, "gone")
		f.want(b, Query{Limit: 9, Text: "hello"})
		if n := f.count(`SELECT count(*) FROM archive_body`); n != 2 {
			t.Errorf("%d bodies, the retracted one is still there", n)
		}
	})
}

// TestClock: ids go on where the clock jumps, the process restarts, or both, and are not used again after a removal
// (XEP-0313#business-ids).
func TestClock(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, peer := f.archive("juliet@example.org"), address(t, "romeo@example.net")
		row := Row{Archive: a, Peer: peer}
		last := int64(0)
		seen := map[int64]bool{}
		n := 0
		add := func() {
			t.Helper()
			for range 3 {
				p := f.add(Message{Wire: fmt.Sprint(n)}, row)[0]
				n++
				seq, err := f.l.seq(a, p.ID)
				if err != nil || seq <= last || seen[seq] {
					t.Fatalf("seq %d after %d: %v", seq, last, err)
				}
				if !p.Stamp.Equal(f.c.Now()) {
					t.Fatalf("stamp %v at %v", p.Stamp, f.c.Now())
				}
				last, seen[seq] = seq, true
			}
		}
		for _, jump := range []time.Duration{0, -time.Hour, time.Hour, -10 * 365 * 24 * time.Hour, 11 * 365 * 24 * time.Hour, -365 * 24 * time.Hour} {
			f.c.add(jump)
			add()
			f.l = f.open("mam example.org")
			add()
		}
		if f.l.Lead() < 300*24*time.Hour {
			t.Error("lead:", f.l.Lead())
		}
		// Time filters hold although the order is not that of time.
		p := f.page(a, Query{Limit: 100, Start: f.c.t.Add(-2 * time.Hour), End: f.c.t.Add(2 * time.Hour)})
		for _, i := range p.Items {
			if i.Stamp.Before(f.c.t.Add(-2*time.Hour)) || i.Stamp.After(f.c.t.Add(2*time.Hour)) {
				t.Errorf("%v is outside", i.Stamp)
			}
		}
		if len(p.Items) != 24 {
			t.Errorf("%d items", len(p.Items))
		}
		// Nothing is left of the archive; the ids of its successor go on, with the clock an hour back.
		if err := f.d.Write(ctx, func(tx mod.Tx) error { return f.l.Remove(ctx, tx, a.Name()) }); err != nil {
			t.Fatal(err)
		}
		if err := f.l.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		f.c.add(-time.Hour)
		f.l = f.open("mam example.org")
		a = f.archive("juliet@example.org")
		row.Archive = a
		add()

		f.c.t = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
		err := f.d.Write(ctx, func(tx mod.Tx) error {
			_, err := f.l.Append(ctx, tx, Message{Wire: "x"}, row)
			return err
		})
		if !errors.Is(err, ErrClock) {
			t.Error("the year 2200:", err)
		}
	})
}

// TestRefer finds a message by what its sender called it, in its conversation.
func TestRefer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, b := f.archive("juliet@example.org"), f.archive("romeo@example.org")
		romeo, juliet, nurse := address(t, "romeo@example.org/orchard"), address(t, "juliet@example.org"), address(t, "nurse@example.org")
		first := f.add(Message{Wire: "<m1/>", Ref: "romeo 1"}, Row{Archive: a, Peer: romeo}, Row{Archive: b, Peer: juliet})
		f.c.add(20 * 24 * time.Hour) // another segment
		f.add(Message{Wire: "<m2/>", Ref: "romeo 2"}, Row{Archive: a, Peer: romeo})
		again := f.add(Message{Wire: "<m3/>", Ref: "romeo 2"}, Row{Archive: a, Peer: romeo})
		f.add(Message{Wire: "<m4/>"}, Row{Archive: a, Peer: romeo})
		for _, c := range []struct {
			in   Archive
			peer jid.JID
			ref  string
			want string
		}{
			{a, romeo, "romeo 1", first[0].ID + " <m1/>"},
			{a, romeo.Bare(), "romeo 1", first[0].ID + " <m1/>"},
			{b, juliet, "romeo 1", first[1].ID + " <m1/>"},
			{a, romeo, "romeo 2", again[0].ID + " <m3/>"},
			{a, nurse, "romeo 1", ""},
			{b, romeo, "romeo 1", ""},
			{a, romeo, "juliet 1", ""},
		} {
			got := ""
			i, err := f.l.Refer(ctx, c.in, c.peer, c.ref)
			if err == nil {
				got = i.ID + " " + i.Wire
			} else if !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("%q in %s with %s: %q, want %q", c.ref, c.in.Name(), c.peer, got, c.want)
			}
		}
	})
}

// TestPlainWords: the quick way for ASCII finds the words that the other one finds.
func TestPlainWords(t *testing.T) {
	for _, s := range []string{"", "One two,three", "a-b_c  D4", "x", "!?", strings.Repeat("long", 20) + " end", "tail "} {
		slow := words(s + " é")
		if got := plain(s); !slices.Equal(got, slow[:len(slow)-1]) {
			t.Errorf("%q: %q, want %q", s, got, slow[:len(slow)-1])
		}
	}
}
