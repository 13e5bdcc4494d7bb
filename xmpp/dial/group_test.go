package dial

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestGroups tries targets of one priority by happy eyeballs, and those of the next only after all of them have failed
// (XEP-0495#serviceres).
func TestGroups(t *testing.T) {
	at := func(host string, priority uint16) Target { return Target{Host: host, Port: 5269, priority: priority} }
	hour := time.Hour
	for _, c := range []struct {
		name    string
		targets []Target
		net     *fakeNet
		want    string // the address that wins, or "" for failure
		tried   string
	}{
		{"the first answers", []Target{at("192.0.2.1", 1), at("192.0.2.2", 1)}, &fakeNet{}, "192.0.2.1", "192.0.2.1"},
		{"the second overtakes", []Target{at("192.0.2.1", 1), at("192.0.2.2", 1)}, &fakeNet{slow: map[string]time.Duration{"192.0.2.1": hour}}, "192.0.2.2", "192.0.2.1 192.0.2.2"},
		{"a failure goes on at once", []Target{at("192.0.2.1", 1), at("192.0.2.2", 1)}, &fakeNet{dead: map[string]bool{"192.0.2.1": true}}, "192.0.2.2", "192.0.2.1 192.0.2.2"},
		{"the first may still win", []Target{at("192.0.2.1", 1), at("192.0.2.2", 1)},
			&fakeNet{slow: map[string]time.Duration{"192.0.2.1": 100 * time.Millisecond, "192.0.2.2": hour}}, "192.0.2.1", "192.0.2.1 192.0.2.2"},
		{"a lower priority does not overtake", []Target{at("192.0.2.1", 1), at("192.0.2.9", 2)},
			&fakeNet{slow: map[string]time.Duration{"192.0.2.1": 2 * time.Second}}, "192.0.2.1", "192.0.2.1"},
		{"it comes when all before it have failed", []Target{at("192.0.2.1", 1), at("192.0.2.2", 1), at("192.0.2.9", 2)},
			&fakeNet{dead: map[string]bool{"192.0.2.1": true}, slow: map[string]time.Duration{"192.0.2.2": hour}}, "192.0.2.9", "192.0.2.1 192.0.2.2 192.0.2.9"},
		{"four at a time", []Target{at("192.0.2.1", 1), at("192.0.2.2", 1), at("192.0.2.3", 1), at("192.0.2.4", 1), at("192.0.2.5", 1)},
			&fakeNet{slow: map[string]time.Duration{"192.0.2.1": hour, "192.0.2.2": hour, "192.0.2.3": hour, "192.0.2.4": hour}}, "192.0.2.5",
			"192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5"},
		{"none", []Target{at("192.0.2.1", 1), at("192.0.2.2", 2)}, &fakeNet{dead: map[string]bool{"192.0.2.1": true, "192.0.2.2": true}}, "", "192.0.2.1 192.0.2.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &Dialer{Connect: c.net.connect, AttemptDelay: 30 * time.Millisecond, Timeout: 5 * time.Second}
				start := time.Now()
				conn, err := d.Dial(t.Context(), c.targets, nil)
				if (err == nil) != (c.want != "") {
					t.Fatalf("error %v, wanted %q", err, c.want)
				}
				if err == nil {
					if got := conn.Conn.(*fakeConn).addr; got != c.want || conn.Target.Host != c.want {
						t.Errorf("connected to %s as %v, not %s", got, conn.Target, c.want)
					}
				}
				c.net.mu.Lock()
				tried := strings.Join(c.net.tried, " ")
				c.net.mu.Unlock()
				if tried != c.tried {
					t.Errorf("tried %s, not %s", tried, c.tried)
				}
				if c.name == "four at a time" && time.Since(start) < 5*time.Second {
					t.Errorf("the fifth came after %v", time.Since(start))
				}
				synctest.Wait()
				c.net.mu.Lock()
				defer c.net.mu.Unlock()
				if want := len(strings.Fields(c.want)); c.net.open != want {
					t.Errorf("%d connections are open, want %d", c.net.open, want)
				}
			})
		})
	}
}
