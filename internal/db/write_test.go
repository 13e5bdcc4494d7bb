package db_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
)

// pairs is a table of unique names with a number, and one whose rows must point to a name when the commit comes.
var pairs = fstest.MapFS{
	"0001_pair.sql": {Data: []byte(`CREATE TABLE pair (name TEXT PRIMARY KEY, n BIGINT NOT NULL);
CREATE TABLE tag (name TEXT NOT NULL REFERENCES pair (name) DEFERRABLE INITIALLY DEFERRED);
`)},
}

const insertPair = "INSERT INTO pair (name, n) VALUES (?, ?)"

func insert(ctx context.Context, tx mod.Tx, name string, n int64) error {
	_, err := tx.Exec(ctx, insertPair, name, n)
	return err
}

func put(t *testing.T, d mod.DB, name string, n int64) {
	t.Helper()
	if err := d.Write(t.Context(), func(tx mod.Tx) error { return insert(t.Context(), tx, name, n) }); err != nil {
		t.Fatal(err)
	}
}

// wantNames compares the names in the table pair, in order.
func wantNames(t *testing.T, d mod.DB, want ...string) {
	t.Helper()
	rows, err := d.Query(t.Context(), "SELECT name FROM pair ORDER BY name")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("names are %q, want %q", got, want)
	}
}

// together runs each of fns in a Write of its own such that they share a transaction: it holds the only writer until
// all of them wait in the queue. It returns their errors.
func together(t *testing.T, d mod.DB, fns ...func(tx mod.Tx) error) []error {
	t.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	var hold sync.Once
	holder := make(chan error, 1)
	go func() {
		holder <- d.Write(t.Context(), func(mod.Tx) error {
			hold.Do(func() { close(held) })
			<-release
			return nil
		})
	}()
	<-held
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() { errs[i] = d.Write(t.Context(), fn) })
		time.Sleep(5 * time.Millisecond) // they queue in this order
	}
	close(release)
	wg.Wait()
	if err := <-holder; err != nil {
		t.Fatal(err)
	}
	return errs
}

// one are options under which PostgreSQL has a single writer too, so that batches can be foreseen.
func one(c *counter) db.Options { return db.Options{Writers: 1, Observer: c, BatchTime: time.Second} }

func openPairs(t *testing.T, url string, o db.Options) db.DB {
	t.Helper()
	d := dbtest.Open(t, url, o)
	dbtest.Migrate(t, d, "pair", pairs)
	return d
}

func TestGroupCommitShares(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		var c counter
		d := openPairs(t, url, one(&c))
		c.n.Store(0)
		var fns []func(mod.Tx) error
		for i := range 20 {
			fns = append(fns, func(tx mod.Tx) error { return insert(t.Context(), tx, fmt.Sprintf("n%02d", i), int64(i)) })
		}
		for i, err := range together(t, d, fns...) {
			if err != nil {
				t.Errorf("Write %d: %v", i, err)
			}
		}
		// Two, unless the machine is so busy that some have not queued when the first are let go.
		if n := c.n.Load(); n < 1 || n > 5 {
			t.Errorf("20 Writes took %d commits, want 1 or 2", n)
		}
		var n int
		if err := d.QueryRow(t.Context(), "SELECT count(*) FROM pair").Scan(&n); err != nil || n != 20 {
			t.Errorf("%d rows, %v; want 20", n, err)
		}
	})
}

var errRefused = errors.New("refused")

func TestFailureUndoesOnlyItself(t *testing.T) {
	ctx := context.Background()
	fails := map[string]func(mod.Tx) error{
		"returns an error": func(tx mod.Tx) error {
			if err := insert(ctx, tx, "bad", 1); err != nil {
				return err
			}
			return errRefused
		},
		"breaks a constraint": func(tx mod.Tx) error {
			if err := insert(ctx, tx, "bad", 1); err != nil {
				return err
			}
			return insert(ctx, tx, "here", 2)
		},
		"keeps silent about a broken constraint": func(tx mod.Tx) error {
			if err := insert(ctx, tx, "bad", 1); err != nil {
				return err
			}
			if err := insert(ctx, tx, "here", 2); err == nil {
				return errors.New("a second row of the same name was taken")
			}
			return nil
		},
		"has a wrong statement": func(tx mod.Tx) error {
			if err := insert(ctx, tx, "bad", 1); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "INSERT INTO nowhere VALUES (?)", 1)
			return err
		},
		"begins with a wrong statement": func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO nowhere VALUES (?)", 1)
			return err
		},
		"breaks a deferred constraint": func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO tag (name) VALUES (?)", "nobody")
			return err
		},
		"panics": func(tx mod.Tx) error {
			if err := insert(ctx, tx, "bad", 1); err != nil {
				return err
			}
			panic("as it does")
		},
		"ends its goroutine": func(tx mod.Tx) error {
			if err := insert(ctx, tx, "bad", 1); err != nil {
				return err
			}
			runtime.Goexit()
			return nil
		},
	}
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, one(&counter{}))
		for name, fail := range fails {
			for place := range 3 {
				t.Run(fmt.Sprintf("%s at %d", name, place), func(t *testing.T) {
					err := d.Write(ctx, func(tx mod.Tx) error {
						_, err := tx.Exec(ctx, "DELETE FROM pair")
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
					put(t, d, "here", 0)
					fns := []func(mod.Tx) error{
						func(tx mod.Tx) error { return insert(ctx, tx, "a", 1) },
						func(tx mod.Tx) error { return insert(ctx, tx, "b", 2) },
					}
					fns = append(fns[:place:place], append([]func(mod.Tx) error{fail}, fns[place:]...)...)
					for i, err := range together(t, d, fns...) {
						if (err != nil) != (i == place) {
							t.Errorf("Write %d: %v", i, err)
						}
					}
					wantNames(t, d, "a", "b", "here")
					put(t, d, "later", 3)
				})
			}
		}
	})
}

func TestKindsOfErrors(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		d := openPairs(t, url, db.Options{})
		put(t, d, "here", 1)
		write := func(fn func(tx mod.Tx) error) error { return d.Write(ctx, fn) }
		if err := write(func(mod.Tx) error { return errRefused }); !errors.Is(err, errRefused) {
			t.Errorf("the function's own error became %v", err)
		}
		if err := write(func(tx mod.Tx) error { return insert(ctx, tx, "here", 2) }); !errors.Is(err, db.ErrConstraint) {
			t.Errorf("a second row of the same name: %v, want ErrConstraint", err)
		}
		err := write(func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO tag (name) VALUES (?)", "nobody")
			return err
		})
		if !errors.Is(err, db.ErrConstraint) {
			t.Errorf("a deferred foreign key: %v, want ErrConstraint", err)
		}
		var pe *db.PanicError
		if err := write(func(mod.Tx) error { panic(errRefused) }); !errors.As(err, &pe) || !errors.Is(err, errRefused) || len(pe.Stack) == 0 {
			t.Errorf("a panic became %v", err)
		}
		err = write(func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, insertPair, "few")
			return err
		})
		if !errors.Is(err, db.ErrArguments) {
			t.Errorf("too few arguments: %v, want ErrArguments", err)
		}
		if err := d.QueryRow(ctx, "SELECT n FROM pair WHERE name = ?", "here", 2).Scan(new(int)); !errors.Is(err, db.ErrArguments) {
			t.Errorf("too many arguments: %v, want ErrArguments", err)
		}
		if err := d.QueryRow(ctx, "SELECT n FROM pair WHERE name = ?", "nobody").Scan(new(int)); !errors.Is(err, mod.ErrNoRows) {
			t.Errorf("no row: %v, want ErrNoRows", err)
		}
		if err := d.QueryRow(ctx, "SELECT n FROM nowhere").Scan(new(int)); err == nil || errors.Is(err, mod.ErrUnavailable) {
			t.Errorf("no table: %v", err)
		}
		if rows, err := d.Query(ctx, "DELETE FROM pair RETURNING name"); err == nil {
			t.Errorf("a read could write: %v", rows.Close())
		}
		wantNames(t, d, "here")
	})
}

func TestTxEndsWithItsFunction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		ctx := t.Context()
		dbtest.Migrate(t, d, "pair", pairs)
		var kept mod.Tx
		err := d.Write(ctx, func(tx mod.Tx) error {
			kept = tx
			rows, err := tx.Query(ctx, "SELECT name FROM pair") // left open
			if err != nil {
				return err
			}
			rows.Next()
			return insert(ctx, tx, "a", 1)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kept.Exec(ctx, "DELETE FROM pair"); !errors.Is(err, db.ErrTxDone) {
			t.Errorf("Exec after the end: %v, want ErrTxDone", err)
		}
		if err := kept.QueryRow(ctx, "SELECT 1").Scan(new(int)); !errors.Is(err, db.ErrTxDone) {
			t.Errorf("QueryRow after the end: %v, want ErrTxDone", err)
		}
		wantNames(t, d, "a")
	})
}

// A function may write while it reads rows, and sees what it wrote.
func TestTxReadsAndWrites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		ctx := t.Context()
		dbtest.Migrate(t, d, "pair", pairs)
		for _, n := range []string{"a", "b", "c"} {
			put(t, d, n, 1)
		}
		err := d.Write(ctx, func(tx mod.Tx) error {
			rows, err := tx.Query(ctx, "SELECT name FROM pair WHERE n = ? ORDER BY name", 1)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					return err
				}
				res, err := tx.Exec(ctx, "UPDATE pair SET n = n + ? WHERE name = ?", 10, name)
				if err != nil {
					return err
				}
				if n, err := res.RowsAffected(); err != nil || n != 1 {
					return fmt.Errorf("%d rows affected: %w", n, err)
				}
			}
			var sum int64
			if err := tx.QueryRow(ctx, "SELECT sum(n) FROM pair").Scan(&sum); err != nil || sum != 33 {
				return fmt.Errorf("the sum is %d: %w", sum, err)
			}
			var n int64
			return errors.Join(rows.Err(), tx.QueryRow(ctx, "UPDATE pair SET n = 0 WHERE name = ? RETURNING n", "a").Scan(&n))
		})
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		if err := d.QueryRow(ctx, "SELECT n FROM pair WHERE name = ?", "a").Scan(&n); err != nil || n != 0 {
			t.Errorf("n of a is %d, %v; want 0: the row was returned but not kept", n, err)
		}
	})
}

// A Write whose caller gives up while it waits is not run; one that has begun is waited for.
func TestCancellation(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, one(&counter{}))
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.Write(done, func(mod.Tx) error { t.Error("it was run"); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
		if err := d.QueryRow(done, "SELECT 1").Scan(new(int)); !errors.Is(err, context.Canceled) {
			t.Errorf("a read with an ended context: %v", err)
		}

		held, release := make(chan struct{}), make(chan struct{})
		var hold sync.Once
		running, cancelRunning := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() {
			first <- d.Write(running, func(tx mod.Tx) error {
				hold.Do(func() { close(held) })
				<-release
				return insert(t.Context(), tx, "begun", 1)
			})
		}()
		<-held
		waiting, cancelWaiting := context.WithCancel(t.Context())
		second := make(chan error, 1)
		go func() {
			second <- d.Write(waiting, func(tx mod.Tx) error { return insert(t.Context(), tx, "waiting", 1) })
		}()
		time.Sleep(10 * time.Millisecond)
		cancelWaiting()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while it waited: %v", err)
		}
		cancelRunning()
		time.Sleep(10 * time.Millisecond)
		close(release)
		if err := <-first; err != nil {
			t.Errorf("cancelled while it ran: %v; it was committed, so it must say so", err)
		}
		// A statement with an ended context fails, and its Write with it.
		err := d.Write(t.Context(), func(tx mod.Tx) error {
			if err := insert(t.Context(), tx, "half", 1); err != nil {
				return err
			}
			if err := insert(done, tx, "other half", 1); err == nil {
				t.Error("a statement with an ended context was run")
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled statement: %v", err)
		}
		wantNames(t, d, "begun")
	})
}

// A Write that comes too late in a long queue fails with ErrUnavailable instead of waiting for ever.
func TestBoundedWait(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, db.Options{Writers: 1, Wait: time.Second})
		held, release := make(chan struct{}), make(chan struct{})
		var hold sync.Once
		first := make(chan error, 1)
		go func() {
			first <- d.Write(t.Context(), func(tx mod.Tx) error {
				hold.Do(func() { close(held) })
				<-release
				return insert(t.Context(), tx, "slow", 1)
			})
		}()
		<-held
		if err := d.Write(t.Context(), func(mod.Tx) error { return nil }); !errors.Is(err, mod.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
		close(release)
		if err := <-first; err != nil {
			t.Errorf("the slow one: %v", err)
		}
	})
}

func TestClose(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, db.Options{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		kept := 0
		for i := range 50 {
			wg.Go(func() {
				err := d.Write(context.Background(), func(tx mod.Tx) error { return insert(t.Context(), tx, fmt.Sprint(i), 1) })
				switch {
				case err == nil:
					mu.Lock()
					kept++
					mu.Unlock()
				case !errors.Is(err, db.ErrClosed) || !errors.Is(err, mod.ErrUnavailable):
					t.Errorf("while closing: %v", err)
				}
			})
		}
		time.Sleep(time.Millisecond)
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
		if err := d.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
		if err := d.Write(t.Context(), func(mod.Tx) error { return nil }); !errors.Is(err, db.ErrClosed) {
			t.Errorf("a Write after Close: %v", err)
		}
		if err := d.QueryRow(t.Context(), "SELECT 1").Scan(new(int)); !errors.Is(err, db.ErrClosed) {
			t.Errorf("a read after Close: %v", err)
		}
		if err := d.Err(); !errors.Is(err, db.ErrClosed) {
			t.Errorf("Err after Close: %v", err)
		}
		again := dbtest.Open(t, url, db.Options{})
		var n int
		if err := again.QueryRow(t.Context(), "SELECT count(*) FROM pair").Scan(&n); err != nil || n != kept {
			t.Errorf("%d rows after reopening, %v; %d were acknowledged", n, err, kept)
		}
		if err := again.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
	})
}

// Read, modify, write from many callers loses no update: Writes are serialisable on both engines.
func TestSerialisable(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, db.Options{Writers: 4})
		put(t, d, "counter", 0)
		var wg sync.WaitGroup
		const callers, times = 8, 25
		for range callers {
			wg.Go(func() {
				for range times {
					err := d.Write(t.Context(), func(tx mod.Tx) error {
						var n int64
						if err := tx.QueryRow(t.Context(), "SELECT n FROM pair WHERE name = ?", "counter").Scan(&n); err != nil {
							return err
						}
						_, err := tx.Exec(t.Context(), "UPDATE pair SET n = ? WHERE name = ?", n+1, "counter")
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		var n int64
		if err := d.QueryRow(t.Context(), "SELECT n FROM pair WHERE name = ?", "counter").Scan(&n); err != nil || n != callers*times {
			t.Errorf("the counter is %d, %v; want %d", n, err, callers*times)
		}
	})
}

// A Write that begins after another returned sees what it wrote, whichever connection each gets.
func TestOrder(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, db.Options{Writers: 4})
		var wg sync.WaitGroup
		for c := range 8 {
			wg.Go(func() {
				name := fmt.Sprint("caller", c)
				for i := range 25 {
					err := d.Write(t.Context(), func(tx mod.Tx) error {
						var n int64 = -1
						if err := tx.QueryRow(t.Context(), "SELECT n FROM pair WHERE name = ?", name).Scan(&n); err != nil && !errors.Is(err, mod.ErrNoRows) {
							return err
						}
						if n != int64(i-1) {
							return fmt.Errorf("Write %d of %s sees %d", i, name, n)
						}
						_, err := tx.Exec(t.Context(), "INSERT INTO pair (name, n) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = excluded.n", name, i)
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
					var n int
					if err := d.QueryRow(t.Context(), "SELECT n FROM pair WHERE name = ?", name).Scan(&n); err != nil || n != i {
						t.Errorf("a read after Write %d of %s sees %d, %v", i, name, n, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// A function can tell why its statement failed and answer in its own words, on both engines.
func TestErrorInFunction(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		d := openPairs(t, url, one(&counter{}))
		put(t, d, "here", 1)
		add := func(name string) func(tx mod.Tx) error {
			return func(tx mod.Tx) error {
				err := insert(ctx, tx, name, 1)
				if errors.Is(err, db.ErrConstraint) {
					return errRefused
				}
				return err
			}
		}
		errs := together(t, d, add("a"), add("here"), add("b"), add("a"))
		for i, want := range []error{nil, errRefused, nil, errRefused} {
			if !errors.Is(errs[i], want) {
				t.Errorf("Write %d: %v, want %v", i, errs[i], want)
			}
		}
		wantNames(t, d, "a", "b", "here")
	})
}

// What an Exec was given is what is written, whatever happens to the buffers afterwards, and many fit in one Write.
func TestManyStatements(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		ctx := t.Context()
		dbtest.Migrate(t, d, "pair", pairs)
		dbtest.Migrate(t, d, "value", values)
		const n = 1000
		err := d.Write(ctx, func(tx mod.Tx) error {
			buf := make([]byte, 4)
			p := new(int64)
			var last mod.Result
			for i := range n {
				copy(buf, fmt.Sprintf("%04d", i))
				*p = int64(i)
				var err error
				if last, err = tx.Exec(ctx, "INSERT INTO value (i, b) VALUES (?, ?)", p, buf); err != nil {
					return err
				}
			}
			if got, err := last.RowsAffected(); err != nil || got != 1 {
				return fmt.Errorf("the last statement affected %d rows: %w", got, err)
			}
			res, err := tx.Exec(ctx, "UPDATE value SET f = 0.5 WHERE i < ?", n/2)
			if err != nil {
				return err
			}
			if got, err := res.RowsAffected(); err != nil || got != n/2 {
				return fmt.Errorf("the update affected %d rows: %w", got, err)
			}
			_, err = tx.Exec(ctx, "DELETE FROM value WHERE i = ?", n-1)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := d.Query(ctx, "SELECT i, b FROM value ORDER BY i")
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for ; rows.Next(); i++ {
			var got int
			var b []byte
			if err := rows.Scan(&got, &b); err != nil || got != i || string(b) != fmt.Sprintf("%04d", i) {
				t.Fatalf("row %d is %d %q, %v", i, got, b, err)
			}
		}
		if err := rows.Err(); err != nil || i != n-1 {
			t.Errorf("%d rows, %v; want %d", i, err, n-1)
		}
	})
}

// A function that fails after others and after its own reads and writes takes back what is its own, and no more.
func TestFailureAfterReads(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ctx := t.Context()
		d := openPairs(t, url, one(&counter{}))
		add := func(name string) func(tx mod.Tx) error {
			return func(tx mod.Tx) error { return insert(ctx, tx, name, 1) }
		}
		seen := -1
		fail := func(read, write bool) func(tx mod.Tx) error {
			return func(tx mod.Tx) error {
				if write {
					if err := insert(ctx, tx, "bad", 1); err != nil {
						return err
					}
				}
				if read {
					if err := tx.QueryRow(ctx, "SELECT count(*) FROM pair WHERE name <> 'bad'").Scan(&seen); err != nil {
						return err
					}
				}
				if write {
					if err := insert(ctx, tx, "worse", 1); err != nil {
						return err
					}
				}
				return errRefused
			}
		}
		errs := together(t, d, add("a"), fail(true, false), add("b"), fail(false, true), add("c"), fail(true, true), add("d"))
		for i, err := range errs {
			if want := i%2 == 1; errors.Is(err, errRefused) != want || (err != nil) != want {
				t.Errorf("Write %d: %v", i, err)
			}
		}
		if seen != 3 {
			t.Errorf("the last failure saw %d rows of its neighbours, want 3", seen)
		}
		wantNames(t, d, "a", "b", "c", "d")
	})
}
