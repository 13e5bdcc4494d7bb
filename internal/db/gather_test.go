package db_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/base"
	"sabir/internal/db/dbtest"
	"sabir/mod"
)

// TestGather: what Writes have gathered is written once for all of them and within their commit; what a failed one has
// gathered is not; what cannot be written fails the one that has gathered it, and no other.
func TestGather(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, "pair", pairs)
		type key struct{}
		var mu sync.Mutex
		calls, most := 0, 0
		write := func(tx mod.Tx, all []any) error {
			mu.Lock()
			calls++
			most = max(most, len(all))
			mu.Unlock()
			for _, v := range all {
				if err := insert(t.Context(), tx, v.(string), 1); err != nil {
					return err
				}
			}
			return nil
		}
		gather := func(names ...string) error {
			return d.Write(t.Context(), func(tx mod.Tx) error {
				for _, n := range names {
					if strings.HasPrefix(n, "bad") {
						return errors.New(n)
					}
					tx.Gather(key{}, n, write)
				}
				return nil
			})
		}
		// Writes that wait for one which is running share the transaction after it.
		running, go_ := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		var once sync.Once
		wg.Go(func() {
			err := d.Write(t.Context(), func(tx mod.Tx) error {
				once.Do(func() { close(running) })
				<-go_
				return insert(t.Context(), tx, "first", 1)
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-running
		for i := range 40 {
			wg.Go(func() {
				names := []string{fmt.Sprintf("n%02d", i)}
				switch {
				case i == 7:
					names = append(names, "bad7")
				case i == 9:
					names[0] = "n08" // breaks the constraint, unless it is first
				}
				err := gather(names...)
				switch {
				case i == 7 && (err == nil || !strings.Contains(err.Error(), "bad7")):
					t.Errorf("the failed Write got %v", err)
				case i == 8 || i == 9:
					if err != nil && !errors.Is(err, base.ErrConstraint) {
						t.Errorf("one of two with the same name got %v", err)
					}
				case i != 7 && err != nil:
					t.Errorf("Write %d got %v", i, err)
				}
			})
		}
		close(go_)
		wg.Wait()
		want := []string{"first"}
		for i := range 40 {
			if i != 7 && i != 9 {
				want = append(want, fmt.Sprintf("n%02d", i))
			}
		}
		wantNames(t, d, want...)
		if most < 2 {
			t.Logf("%d calls, at most %d together", calls, most)
		}
		// One alone, and beside statements of its own.
		err := d.Write(t.Context(), func(tx mod.Tx) error {
			tx.Gather(key{}, "o1", write)
			tx.Gather("another", "o2", write)
			return insert(t.Context(), tx, "o3", 1)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := gather("o1"); !errors.Is(err, base.ErrConstraint) {
			t.Errorf("a name that is there: %v", err)
		}
		if err := d.Write(t.Context(), func(tx mod.Tx) error {
			tx.Gather(key{}, "x", func(mod.Tx, []any) error { panic("gathered") })
			return nil
		}); err == nil {
			t.Error("a panic is no error")
		}
		put(t, d, "p", 1)
		wantNames(t, d, append(append([]string{}, want...), "o1", "o2", "o3", "p")...)
	})
}
