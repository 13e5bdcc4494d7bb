package muc_test

import (
	"fmt"
	"runtime"
	"testing"

	"sabir/internal/db/dbtest"
)

// crowd fills a room with n occupants, whose presence is not broadcast.
func crowd(b *testing.B, n int) *world {
	b.Helper()
	w := start(b, dbtest.SQLite(b))
	w.enter(romeo, "romeo")
	w.configure(romeo, "muc#roomconfig_presencebroadcast", "moderator", "muc#maxhistoryfetch", "0")
	for i := range n - 1 {
		w.enter(fmt.Sprintf("u%d@far.example/x", i), fmt.Sprint("u", i))
	}
	w.Routed()
	return w
}

// BenchmarkMessage is what the room itself does for a message to all: check, archive, commit, and a stanza for each occupant.
func BenchmarkMessage(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := crowd(b, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := w.say(romeo, fmt.Sprint("m", i)); err != nil {
					b.Fatal(err)
				}
				if got := len(w.Routed()); got != n {
					b.Fatalf("%d copies", got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/copy")
		})
	}
}

// BenchmarkEnter is what an entry costs in a room of n whose presence is broadcast to all.
func BenchmarkEnter(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := start(b, dbtest.SQLite(b))
			w.enter(romeo, "romeo")
			w.configure(romeo)
			for i := range n - 1 {
				w.enter(fmt.Sprintf("u%d@far.example/x", i), fmt.Sprint("u", i))
				w.Routed()
			}
			b.ReportAllocs()
			for b.Loop() {
				w.enter(juliet, "juliet")
				w.must(juliet, "<presence type='unavailable' to='"+garden+"/juliet'/>")
				w.settle(garden)
				clear(w.sent)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/occupant")
		})
	}
}

// BenchmarkOccupant is the memory that an occupant takes in the room.
func BenchmarkOccupant(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		w := crowd(b, 10000)
		b.ReportMetric(float64(heap()-before)/10000, "B/occupant")
		w.Stop()
	}
}
