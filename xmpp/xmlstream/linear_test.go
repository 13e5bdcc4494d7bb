//go:build unix

package xmlstream

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpuTime is the processor time that the process has had, collector included: on a busy machine the time on the clock says little.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// An element that comes byte by byte costs what it costs in one piece, times a constant: eight times the bytes must not
// cost much more than eight times the time, whatever token they make.
func TestDripIsLinear(t *testing.T) {
	for name, c := range map[string]struct{ start, unit string }{
		"text":       {"<a>", "x"},
		"wide":       {"<a>", "\u20ac"},
		"attribute":  {"<a b='", "x"},
		"wide value": {"<a b='", "\u20ac"},
		"tag":        {"<a ", "x"},
		"white":      {"<a", " "},
		"end tag":    {"<a></a", " "},
		"reference":  {"<a>&#", "0"},
		"entity":     {"<a>&", "a"},
		"CDATA":      {"<a><![CDATA[", "x"},
		"brackets":   {"<a><![CDATA[", "]"},
		"references": {"<a>", "&lt;"},
		"children":   {"<a>", "<b/>"},
	} {
		drip := func(n int) time.Duration {
			d := openStream(t, Limits{Bytes: 1 << 20, Name: 1 << 20, Children: 1 << 20})
			whole := []byte(c.start + strings.Repeat(c.unit, n/len(c.unit)))
			start := cpuTime(t)
			for i := range whole {
				d.Feed(whole[i : i+1])
				if ev, err := d.Next(); err != ErrMore {
					t.Fatalf("%s: %v, %v", name, ev, err)
				}
			}
			return cpuTime(t) - start
		}
		best := func(n int) time.Duration {
			least := time.Hour
			for range 3 {
				least = min(least, drip(n))
			}
			return least
		}
		small, large := best(8<<10), best(64<<10)
		if large > 40*small+10*time.Millisecond { // quadratic would be 64 times
			t.Errorf("%s: %v for 8 KiB, %v for 64 KiB", name, small, large)
		}
	}
}
