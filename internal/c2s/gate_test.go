package c2s

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// TestGate: turns are handed on one by one, to those that have begun first, and in the order in which they came.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quit := make(chan struct{})
		g := newGate(1, func() int { return 3 }, quit)
		if err := g.enter(false); err != nil {
			t.Fatal(err)
		}
		var order []string
		come := func(name string, begun bool) {
			go func() {
				if err := g.enter(begun); err != nil {
					name += " " + err.Error()
				}
				order = append(order, name)
			}()
			synctest.Wait()
		}
		come("one", false)
		come("two", false)
		come("three", false)
		come("four", false) // no room
		come("begun", true)
		come("begun too", true)
		if n := g.waiting(); n != 5 {
			t.Errorf("%d wait", n)
		}
		for range 5 {
			g.leave()
			synctest.Wait()
		}
		want := []string{"four " + errBusy.Error(), "begun", "begun too", "one", "two", "three"}
		if !slices.Equal(order, want) {
			t.Errorf("turns went to %q, want %q", order, want)
		}
		g.leave()
		if g.free != 1 || g.waiting() != 0 {
			t.Errorf("%d turns are free, %d wait", g.free, g.waiting())
		}
		if err := g.enter(true); err != nil {
			t.Error(err)
		}
		done := make(chan error)
		go func() { done <- g.enter(false) }()
		synctest.Wait()
		close(quit)
		if err := <-done; !errors.Is(err, errStopping) {
			t.Errorf("when the server stops: %v", err)
		}
	})
}
