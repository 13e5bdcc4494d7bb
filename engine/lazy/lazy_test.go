package lazy_test

import (
	"context"
	"errors"
	"testing"

	"sabir/engine/lazy"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
)

func TestWriter(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		ctx := t.Context()
		if err := d.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, `CREATE TABLE lazy_test (k TEXT PRIMARY KEY, v BIGINT NOT NULL)`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		var w *lazy.Writer
		modtest.New(t, mod.Info{Name: "lazytest", New: func(h mod.Host, _ any) (*mod.Hooks, error) {
			w = lazy.New(h)
			return &mod.Hooks{Start: w.Start, Stop: w.Stop}, nil
		}}, modtest.WithDB(d, nil))
		put := func(key string, v int) {
			w.Put(key, func(tx mod.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO lazy_test (k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v`, key, v)
				return err
			})
		}
		value := func(key string) int {
			t.Helper()
			v := -1
			if err := d.QueryRow(ctx, `SELECT v FROM lazy_test WHERE k = ?`, key).Scan(&v); err != nil && !errors.Is(err, mod.ErrNoRows) {
				t.Fatal(err)
			}
			return v
		}
		put("a", 1)
		put("a", 2) // the newest counts
		put("b", 3)
		w.Drop("b")
		if err := w.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if a, b := value("a"), value("b"); a != 2 || b != -1 {
			t.Errorf("a is %d and b is %d", a, b)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		put("a", 4)
		if err := w.Flush(gone); err == nil {
			t.Fatal("a write without time succeeded")
		}
		w.Stop() // what failed is still there
		if a := value("a"); a != 4 {
			t.Errorf("a is %d after Stop", a)
		}
	})
}
