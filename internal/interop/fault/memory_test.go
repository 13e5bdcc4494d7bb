package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
	"sabir/xmpp/client"
)

// cage is a control group that bounds memory; version 1 or 2.
type cage struct {
	dir string
	v1  bool
}

func newCage(t *testing.T, limit int) *cage {
	t.Helper()
	enabled(t)
	c := &cage{dir: filepath.Join("/sys/fs/cgroup", fmt.Sprintf("sabir-fault-%d", os.Getpid()))}
	file := "memory.max"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		c.v1, c.dir, file = true, filepath.Join("/sys/fs/cgroup/memory", filepath.Base(c.dir)), "memory.limit_in_bytes"
	}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		skip(t, "a limit on memory needs root and control groups: %v", err)
	}
	t.Cleanup(func() {
		// The kernel takes a moment to see that the last process has gone.
		await(t, 30*time.Second, "the control group ends", func() bool { return os.Remove(c.dir) == nil })
	})
	if err := os.WriteFile(filepath.Join(c.dir, file), []byte(strconv.Itoa(limit)), 0o600); err != nil {
		skip(t, "memory cannot be bounded here: %v", err)
	}
	return c
}

// kills tells how often the kernel has ended a process of the group.
func (c *cage) kills(t *testing.T) int {
	t.Helper()
	file := "memory.events"
	if c.v1 {
		file = "memory.oom_control"
	}
	text, err := os.ReadFile(filepath.Join(c.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0 // an old kernel does not tell; that the server runs on is looked at beside
}

// TestMemory runs the server in 256 MiB, with GOMEMLIMIT below as docs/operating.md advises, under two thousand sessions, a
// load and floods of bytes that are no stanza (row 16).
func TestMemory(t *testing.T) {
	const sessions, each = 2000, 10
	c := newCage(t, 256<<20)
	s := server(t, t.TempDir(), 22+sessions/each, "", func(s *ledger.Sabir) {
		s.Wrap("sh", "-c", `echo $$ > `+c.dir+`/cgroup.procs && exec "$@"`, "sh")
		s.Env("GOMEMLIMIT=200MiB")
	})
	var mu sync.Mutex
	var idle []*client.Stream
	var wg sync.WaitGroup
	gate := make(chan struct{}, 32)
	for n := range sessions {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			st, err := login(t.Context(), s, 22+n/each)
			if err != nil {
				t.Errorf("session %d: %v", n, err)
				return
			}
			mu.Lock()
			idle = append(idle, st)
			mu.Unlock()
		})
	}
	wg.Wait()
	defer func() {
		for _, st := range idle {
			st.Conn.Close() // the server may have ended it
		}
	}()
	p := players(t, s, everyday)
	stop := load(t, p)
	// Each sends a stanza that never ends.
	flood := []byte("<message><body>" + strings.Repeat("x", 1<<16))
	for i := range 200 {
		wg.Go(func() {
			for range 8 {
				if err := idle[i].Conn.Write(flood); err != nil {
					return // it is cut off, as it should be
				}
			}
		})
	}
	wg.Wait()
	from := p.Book.Accepted()
	await(t, time.Minute, "messages are accepted", func() bool { return p.Book.Accepted() > from+200 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	running(t, s)
	if n := c.kills(t); n > 0 {
		t.Errorf("the kernel has ended %d processes", n)
	}
	r := compare(t, p)
	t.Logf("%d sessions in 256 MiB: memory %d KiB, at most %d; %v", sessions+len(p.Devices()), memory(t, s.PID, "VmRSS"), memory(t, s.PID, "VmHWM"), &r)
}
