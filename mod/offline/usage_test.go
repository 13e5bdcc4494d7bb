package offline

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/payload/delay"
)

// agrees checks that what is kept about each account is what a count gives.
func agrees(t *testing.T, d mod.DB, when string) {
	t.Helper()
	ctx := context.Background()
	all := func(query string) string {
		rows, err := d.Query(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			b.WriteString(line + "\n")
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	kept := all(`SELECT account || ' ' || CAST(messages AS TEXT) || ' ' || CAST(bytes AS TEXT) FROM offline_usage ORDER BY account`)
	counted := all(`SELECT account || ' ' || CAST(count(*) AS TEXT) || ' ' || CAST(sum(size) AS TEXT) FROM offline_message GROUP BY account ORDER BY account`)
	if kept != counted {
		t.Errorf("%s: kept\n%scounted\n%s", when, kept, counted)
	}
}

func TestUsage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d, modtest.WithConfig(func(c *Config) { c.Keep = mod.Duration(24 * time.Hour) }))
		for _, body := range []string{"1", "22", "333"} {
			send(t, h, msg(body))
			send(t, h, strings.ReplaceAll(msg(body), "juliet@", "nurse@"))
		}
		agrees(t, d, "stored")
		s := h.Login("juliet@localhost/narrow")
		s.Fill(2)
		h.Available(s, 0)
		agrees(t, d, "delivered in part")
		h.Advance(23 * time.Hour)
		send(t, h, msg("4444"))
		h.Advance(2 * time.Hour)
		o := &offline{h: h, c: &Config{}, store: store{d}}
		if err := o.expire(h.Context()); err != nil {
			t.Fatal(err)
		}
		agrees(t, d, "expired in part")
		if n, _, err := o.store.usage(h.Context(), modtest.Stanza(t, msg("")).To); err != nil || n != 1 {
			t.Errorf("%d messages are left, %v; want 1", n, err)
		}
		h.Remove("juliet")
		agrees(t, d, "removed")
		if got := h.Online("nurse@localhost/hall", 0).Take(); len(got) != 0 {
			t.Errorf("expired messages were delivered: %v", got)
		}
		agrees(t, d, "at the end")
	})
}

// TestExpireMany deletes more than one Write does.
func TestExpireMany(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		o := &offline{h: h, c: &Config{}, store: store{d}}
		to := modtest.Stanza(t, msg("")).To
		err := d.Write(h.Context(), func(tx mod.Tx) error {
			for range 2*expireAtOnce + 1 {
				if err := o.store.add(h.Context(), tx, to, h.Clock().Now(), h.Clock().Now(), false, "<message/>"); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.expire(h.Context()); err != nil {
			t.Fatal(err)
		}
		if n, b, err := o.store.usage(h.Context(), to); err != nil || n != 0 || b != 0 {
			t.Errorf("%d messages of %d bytes are left, %v", n, b, err)
		}
	})
}

// TestUpgrade fills the tables of version 2, in which nothing was kept about an account.
func TestUpgrade(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		old := fstest.MapFS{}
		err := fs.WalkDir(schema, ".", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.Contains(path, "0001_") && !strings.Contains(path, "0002_") {
				return err
			}
			b, err := schema.ReadFile(path)
			old[path] = &fstest.MapFile{Data: b}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		dbtest.Migrate(t, d, Info.Name, old)
		err = d.Write(t.Context(), func(tx mod.Tx) error {
			for _, m := range []string{"juliet@localhost 1", "juliet@localhost 22", "nurse@localhost 333"} {
				account, wire, _ := strings.Cut(m, " ")
				if _, err := tx.Exec(t.Context(), `INSERT INTO offline_message (account, expires, size, archived, stanza) VALUES (?, ?, ?, 0, ?)`,
					account, time.Now().Add(time.Hour), len(wire), wire); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		dbtest.Migrate(t, d, Info.Name, schema)
		agrees(t, d, "after the upgrade")
		if n, b, err := (store{d}).usage(t.Context(), modtest.Stanza(t, msg("")).To); err != nil || n != 2 || b != 3 {
			t.Errorf("%d messages of %d bytes, %v; want 2 of 3", n, b, err)
		}
	})
}

// TestOrder stores what a session gives back after what came meanwhile: it was sent before, and is delivered before. What is
// committed late under an id that lies between those of a page is not deleted with the page.
func TestOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		sent := h.Clock().Now()
		h.Advance(time.Minute)
		send(t, h, msg("3"))
		for i, text := range []string{"1", "2"} {
			m := modtest.Stanza(t, msg(text)).Add(delay.Delay{From: h.Domain(), Stamp: sent.Add(time.Duration(i) * time.Second)}.Element())
			if err := h.Record(h.Pass(mod.In, m)); err != nil {
				t.Fatal(err)
			}
		}
		p := h.Pass(mod.In, modtest.Stanza(t, msg("0")))
		p.At = sent.Add(-time.Microsecond) // to a session that did not take it any more
		if err := h.Record(p); err != nil {
			t.Fatal(err)
		}
		s := h.Online("juliet@localhost/balcony", 0)
		var got []string
		for _, m := range s.Take() {
			got = append(got, m.Body())
		}
		if strings.Join(got, " ") != "0 1 2 3" {
			t.Errorf("delivered %v", got)
		}
		if s.CatchingUp() {
			t.Error("new messages wait for ever")
		}
		st, to := store{d}, s.JID().Bare()
		ids := func() (ids []int64) {
			list, _, err := st.page(h.Context(), to, sent, 100, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				ids = append(ids, m.id)
			}
			return ids
		}
		h.Logout(s)
		for range 40 {
			send(t, h, msg("x"))
		}
		all := ids()
		page := append(slices.Clone(all[:20]), all[21:]...) // the one between is committed now
		if err := d.Write(h.Context(), func(tx mod.Tx) error { return st.delete(h.Context(), tx, page) }); err != nil {
			t.Fatal(err)
		}
		if left := ids(); !slices.Equal(left, all[20:21]) {
			t.Errorf("left is %v, want %v", left, all[20:21])
		}
		if n, _, err := st.usage(h.Context(), to); err != nil || n != 1 {
			t.Errorf("%d are counted, %v", n, err)
		}
	})
}
