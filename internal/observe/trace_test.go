package observe_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sabir/internal/observe"
	"sabir/mod"
)

func story(events []mod.TraceEvent) string {
	var all []string
	for _, e := range events {
		all = append(all, strings.Join(strings.Fields(e.What+" "+e.Who+" "+e.Detail), " "))
	}
	return strings.Join(all, "; ")
}

func TestTrace(t *testing.T) {
	tr := observe.NewTrace(1 << 20)
	a, b := tr.Mark(), tr.Mark()
	tr.Note(a, mod.TraceReceived, "romeo@b/x", "juliet@b")
	tr.Note(a, mod.TraceID, "romeo@b/x", "m1")
	tr.Note(b, mod.TraceID, "nurse@b/x", "m2")
	tr.Note(a, mod.TraceArchived, "juliet@b", "archive-7")
	tr.Note(a, "held back", "csi", "")
	tr.Note(0, mod.TraceID, "", "none")
	for _, id := range []string{"m1", "archive-7"} {
		stories, ids := tr.Find(id)
		if len(stories) != 1 || len(ids) != 1 {
			t.Fatalf("%s: %v, also known as %v", id, stories, ids)
		}
		if got, want := story(stories[0]), "received romeo@b/x juliet@b; known as romeo@b/x m1; archived juliet@b archive-7; held back csi"; got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	for _, id := range []string{"", "none", "juliet@b", "m3"} {
		if stories, _ := tr.Find(id); len(stories) != 0 {
			t.Errorf("%q: %v", id, stories)
		}
	}
	tr.Note(b, mod.TraceID, "", "m1") // the same id, given by another
	if stories, _ := tr.Find("m1"); len(stories) != 2 {
		t.Errorf("%d messages of the same id", len(stories))
	}
}

// TestTraceRing writes far more than fits: the newest is whole, the oldest is gone, and nothing is half there.
func TestTraceRing(t *testing.T) {
	tr := observe.NewTrace(64 << 10)
	const n = 5000
	for i := range n {
		m := tr.Mark()
		tr.Note(m, mod.TraceID, strings.Repeat("w", i%300), fmt.Sprint("m", i))
		tr.Note(m, mod.TraceQueued, "juliet@b/y", strings.Repeat("d", i%77))
		tr.Note(m, "own word", "", fmt.Sprint("of m", i))
	}
	if stories, _ := tr.Find("m0"); len(stories) != 0 {
		t.Error("the first is still there")
	}
	whole := 0
	for i := 0; i < n; i += 7 { // shards forget at different times
		stories, _ := tr.Find(fmt.Sprint("m", i))
		if len(stories) == 0 {
			continue
		}
		e := stories[0]
		if len(e) != 3 || e[0].Who != strings.Repeat("w", min(i%300, 255)) || e[2].What != "own word" || e[2].Detail != fmt.Sprint("of m", i) {
			t.Fatalf("m%d: %v", i, e)
		}
		whole++
	}
	if whole < 10 || whole > 300 {
		t.Errorf("%d of %d messages are remembered within 64 KiB", whole, n/7)
	}
	if stories, _ := tr.Find(fmt.Sprint("m", n-1)); len(stories) != 1 {
		t.Error("the last is gone")
	}
}

func TestTraceRace(t *testing.T) {
	tr := observe.NewTrace(64 << 10)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				m := tr.Mark()
				tr.Note(m, mod.TraceID, "", fmt.Sprint(g, ".", i))
				if i%100 == 0 {
					tr.Find(fmt.Sprint(g, ".", i))
				}
			}
		})
	}
	wg.Wait()
}

func TestNoTrace(t *testing.T) {
	tr := observe.NewTrace(0)
	tr.Note(tr.Mark(), mod.TraceID, "", "m")
	if s, _ := tr.Find("m"); s != nil || tr.Mark() != 0 {
		t.Error("something is remembered")
	}
}

func BenchmarkTrace(b *testing.B) {
	tr := observe.NewTrace(8 << 20)
	b.ReportAllocs()
	for b.Loop() {
		tr.Note(tr.Mark(), mod.TraceQueued, "juliet@capulet.example/balcony", "")
	}
}

// BenchmarkTraceFind is a search in a full ring.
func BenchmarkTraceFind(b *testing.B) {
	tr := observe.NewTrace(8 << 20)
	n := 0
	for ; n < 200_000; n++ {
		m := tr.Mark()
		tr.Note(m, mod.TraceID, "romeo@capulet.example/orchard", fmt.Sprint("m", n))
		tr.Note(m, mod.TraceQueued, "juliet@capulet.example/balcony", "")
	}
	for b.Loop() {
		if s, _ := tr.Find(fmt.Sprint("m", n-1)); len(s) != 1 {
			b.Fatal("not found")
		}
	}
}
