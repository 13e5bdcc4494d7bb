package lazy_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sabir/engine/lazy"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
)

// What is put is written by Flush and Stop: of each key the newest, and after an error not less. Nobody else writes here,
// for Start is not called.
func TestFlush(t *testing.T) {
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
			return &mod.Hooks{Stop: w.Stop}, nil
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
		if err := w.Flush(gone); !errors.Is(err, context.Canceled) {
			t.Fatalf("Flush with an ended context: %v", err)
		}
		if a := value("a"); a != 2 {
			t.Errorf("a is %d after a Flush that failed", a)
		}
		w.Stop() // what failed is still there
		if a := value("a"); a != 4 {
			t.Errorf("a is %d after Stop", a)
		}
	})
}

// counting is a database that counts the Writes and refuses the first few.
type counting struct {
	mod.DB
	mu             sync.Mutex
	writes, refuse int
}

func (c *counting) Write(_ context.Context, fn func(tx mod.Tx) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	if c.writes <= c.refuse {
		return mod.ErrUnavailable
	}
	return fn(nil)
}

// Writes are gathered for a while after the first, but not when many wait, and again after a failure.
func TestGather(t *testing.T) {
	type step struct {
		puts, keys int
		after      time.Duration
		writes     int // of the database, so far
	}
	for _, c := range []struct {
		name   string
		refuse int
		steps  []step
	}{
		{"a key over and over", 0, []step{{1000, 1, time.Second, 0}, {1000, 1, 2 * time.Second, 1}, {0, 0, time.Hour, 1}, {1, 1, time.Second, 1}, {0, 0, 2 * time.Second, 2}}},
		{"some keys", 0, []step{{999, 999, time.Second, 0}, {0, 0, time.Hour, 1}}},
		{"many keys", 0, []step{{1000, 1000, time.Millisecond, 1}, {1, 1, time.Second, 1}, {0, 0, 2 * time.Second, 2}}},
		{"a failure", 2, []step{{1, 1, 3 * time.Second, 1}, {0, 0, 2 * time.Second, 2}, {0, 0, time.Hour, 3}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &counting{refuse: c.refuse}
				var w *lazy.Writer
				modtest.New(t, mod.Info{Name: "lazytest", New: func(h mod.Host, _ any) (*mod.Hooks, error) {
					w = lazy.New(h)
					return &mod.Hooks{Start: w.Start, Stop: w.Stop}, nil
				}}, modtest.WithDB(d, nil))
				for i, s := range c.steps {
					for n := range s.puts {
						w.Put(fmt.Sprint(n%s.keys), func(mod.Tx) error { return nil })
						synctest.Wait() // the other goroutine has seen it
					}
					time.Sleep(s.after)
					synctest.Wait()
					d.mu.Lock()
					if d.writes != s.writes {
						t.Errorf("step %d: %d writes, want %d", i, d.writes, s.writes)
					}
					d.mu.Unlock()
				}
			})
		})
	}
}
