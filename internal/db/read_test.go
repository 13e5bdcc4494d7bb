package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
)

func TestConcurrentReaders(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		var c counter
		d := openPairs(t, url, db.Options{Observer: &c, Readers: 4})
		ctx := t.Context()
		for i := range 10 {
			put(t, d, fmt.Sprint("name", i), 1)
		}
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() { // each Write keeps the sum
			for i := 0; !stop.Load(); i++ {
				err := d.Write(ctx, func(tx mod.Tx) error {
					from, to := fmt.Sprint("name", i%10), fmt.Sprint("name", (i+3)%10)
					_, err := tx.Exec(ctx, "UPDATE pair SET n = n - 1 WHERE name = ?", from)
					if err == nil {
						_, err = tx.Exec(ctx, "UPDATE pair SET n = n + 1 WHERE name = ?", to)
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		var readers sync.WaitGroup
		for range 16 { // more than there are connections
			readers.Go(func() {
				for range 30 {
					var sum, rows int64
					if err := d.QueryRow(ctx, "SELECT sum(n), count(*) FROM pair").Scan(&sum, &rows); err != nil || sum != 10 || rows != 10 {
						t.Errorf("sum %d of %d rows, %v", sum, rows, err)
						return
					}
				}
			})
		}
		readers.Wait()
		stop.Store(true)
		wg.Wait()
		if c.queries.Load() < 16*30 {
			t.Errorf("the observer saw %d reads of %d", c.queries.Load(), 16*30)
		}
	})
}

// Rows that are open keep a connection; who finds none left waits, but not for ever.
func TestReadersBound(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, db.Options{Readers: 2, Wait: 500 * time.Millisecond})
		ctx := t.Context()
		put(t, d, "a", 1)
		put(t, d, "b", 1)
		var open []mod.Rows
		for range 2 {
			rows, err := d.Query(ctx, "SELECT name FROM pair") // the same statement twice
			if err != nil || !rows.Next() {
				t.Fatal(err)
			}
			open = append(open, rows)
		}
		begin := time.Now()
		if err := d.QueryRow(ctx, "SELECT 1").Scan(new(int)); !errors.Is(err, mod.ErrUnavailable) {
			t.Errorf("a third: %v, want ErrUnavailable", err)
		}
		if took := time.Since(begin); took < 450*time.Millisecond || took > 30*time.Second {
			t.Errorf("it waited for %v, not 500 ms", took)
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		if err := d.QueryRow(short, "SELECT 1").Scan(new(int)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a shorter deadline: %v", err)
		}
		for _, rows := range open {
			n := 1
			for rows.Next() {
				n++
			}
			if err := errors.Join(rows.Err(), rows.Close(), rows.Close()); err != nil || n != 2 {
				t.Errorf("%d rows, %v", n, err)
			}
		}
		if err := d.QueryRow(ctx, "SELECT 1").Scan(new(int)); err != nil {
			t.Errorf("after the rows were read: %v", err)
		}
	})
}

// A read that takes long ends with its context, and its connection works for the next.
func TestReadInterrupted(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, db.Options{Readers: 1})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begin := time.Now()
		err := d.QueryRow(ctx, `WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000000)
			SELECT count(*) FROM c`).Scan(new(int64))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("it went on for %v", took)
		}
		for range 3 {
			if err := d.QueryRow(t.Context(), "SELECT 1").Scan(new(int)); err != nil {
				t.Fatalf("the next read: %v", err)
			}
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, url := range []string{"", "sqlite:", "mysql://localhost/x", "postgres://%zz", t.TempDir()} {
		if d, err := db.Open(t.Context(), url, db.Options{}); err == nil {
			t.Errorf("%q was opened: %v", url, d.Close())
		}
	}
	// Nobody listens: an error at once, not a wait.
	if _, err := db.Open(t.Context(), "postgres://x@127.0.0.1:1/x?sslmode=disable", db.Options{}); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("no server: %v, want ErrUnavailable", err)
	}
	d := dbtest.SQLite(t)
	if d.Dialect() != mod.SQLite || d.Err() != nil {
		t.Errorf("%v %v", d.Dialect(), d.Err())
	}
}
