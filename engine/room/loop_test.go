package room_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"sabir/engine/room"
)

func spawn(f func()) { go f() }

// TestLoopOrder puts from many goroutines, and checks that what each has put is handled in order by one goroutine at a time.
func TestLoopOrder(t *testing.T) {
	type thing struct{ who, n int }
	next := make([]int, 8)
	var all sync.WaitGroup
	all.Add(8 * 1000)
	l := room.NewLoop(8*1000, spawn, func(batch []thing) {
		for _, x := range batch { // without a lock: the race detector checks that there is one owner
			if x.n != next[x.who] {
				t.Errorf("%d of %d comes where %d is due", x.n, x.who, next[x.who])
			}
			next[x.who]++
			all.Done()
		}
	})
	for who := range 8 {
		go func() {
			for n := range 1000 {
				if taken, closed := l.Put(thing{who, n}); !taken || closed {
					t.Errorf("taken %v, closed %v", taken, closed)
				}
			}
		}()
	}
	all.Wait()
}

// TestLoopGathers: what comes while it is busy is handed over together, and no more than the limit waits.
func TestLoopGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var sizes []int
		l := room.NewLoop(3, spawn, func(batch []int) {
			sizes = append(sizes, len(batch))
			<-gate
		})
		put := func() bool { taken, _ := l.Put(1); return taken }
		put()
		synctest.Wait()
		for range 3 {
			if !put() {
				t.Error("there is no room")
			}
		}
		if put() {
			t.Error("the limit is not kept")
		}
		gate <- struct{}{}
		gate <- struct{}{}
		synctest.Wait()
		if !slices.Equal(sizes, []int{1, 3}) {
			t.Errorf("batches of %v", sizes)
		}
	})
}

// TestLoopCloses: it closes when nothing is to be done, from outside or from its own handler, and takes nothing then.
func TestLoopCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := room.NewLoop(3, spawn, func([]int) { <-gate })
		l.Put(1)
		if l.Close(false) {
			t.Error("closed while it is busy")
		}
		gate <- struct{}{}
		synctest.Wait()
		for range 2 {
			if !l.Close(false) {
				t.Error("not closed although there is nothing to do")
			}
		}
		if taken, closed := l.Put(2); taken || !closed {
			t.Error("taken after the end")
		}

		var own *room.Loop[int]
		var results []bool
		own = room.NewLoop(3, spawn, func(batch []int) {
			if len(batch) == 1 && batch[0] == 1 {
				own.Put(2) // another waits: no end yet
			}
			results = append(results, own.Close(true))
		})
		own.Put(1)
		synctest.Wait()
		if !slices.Equal(results, []bool{false, true}) {
			t.Errorf("closed: %v", results)
		}
	})
}
