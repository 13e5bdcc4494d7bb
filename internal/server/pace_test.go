package server

import "testing"

func TestPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 8 << 20: 400, 16 << 20: 200, 32 << 20: 100, 1 << 40: 100} {
		if got := percent(live); got != want {
			t.Errorf("percent(%d) = %d, want %d", live, got, want)
		}
	}
}

func TestGrowth(t *testing.T) {
	for live, want := range map[uint64]int{0: 60, 31 << 20: 60, 32 << 20: 100, 1 << 40: 100} {
		if got := growth(live); got != want {
			t.Errorf("growth(%d) = %d, want %d", live, got, want)
		}
	}
}

func TestGrows(t *testing.T) {
	for _, c := range []struct {
		now, before int
		want        bool
	}{{16, 0, false}, {65, 0, true}, {5300, 5000, false}, {5400, 5000, true}, {0, 5000, false}} {
		if got := grows(c.now, c.before); got != c.want {
			t.Errorf("from %d to %d: %v", c.before, c.now, got)
		}
	}
}
