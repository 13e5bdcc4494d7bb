package fault

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
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

var sessions = flag.Int("sessions", 2_000, "how many clients are there while memory is short")

// TestMemory runs the server in 256 MiB, with GOMEMLIMIT below as docs/operating.md advises, under thousands of sessions, a load
// and floods of bytes that are no stanza (row 16): no process is ended. Then something else takes all the memory, and the kernel
// ends the server: nothing is lost.
func TestMemory(t *testing.T) {
	const writers = 22
	c := newCage(t, 256<<20)
	s := server(t, t.TempDir(), writers+accounts(*sessions), "", func(s *ledger.Sabir) {
		s.Wrap("sh", "-c", `echo $$ > `+c.dir+`/cgroup.procs && exec "$@"`, "sh")
		s.Env("GOMEMLIMIT=200MiB")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	idle := &crowd{s: s, first: writers, n: *sessions}
	defer idle.leave()
	idle.come(ctx, t, 32)
	if t.Failed() {
		return
	}
	p := players(t, s, everyday)
	stop := load(t, p)
	// Each sends a stanza that never ends.
	flood := []byte("<message><body>" + strings.Repeat("x", 1<<16))
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			for range 8 {
				if err := idle.streams[i].Conn.Write(flood); err != nil {
					return // it is cut off, as it should be
				}
			}
		})
	}
	wg.Wait()
	from := p.Book.Accepted()
	await(t, time.Minute, "messages are accepted", func() bool { return p.Book.Accepted() > from+200 })
	running(t, s)
	if n := c.kills(t); n > 0 {
		t.Errorf("the kernel has ended %d processes", n)
	}
	used, most := memory(t, s.PID, "VmRSS"), memory(t, s.PID, "VmHWM")
	c.exhaust(t, s)
	if err := stop(); err != nil {
		t.Error(err)
	}
	idle.leave()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	r := settle(t, p)
	t.Logf("%d sessions in 256 MiB: memory %d KiB, at most %d; then ended by the kernel; %v", *sessions+len(p.Devices()), used, most, &r)
}

// exhaust takes all the memory of the group, until the kernel ends the server, which is named as the first to go.
func (c *cage) exhaust(t *testing.T, s *ledger.Sabir) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", s.PID), []byte("1000"), 0o600); err != nil {
		t.Fatal(err)
	}
	hog := exec.Command("sh", "-c", `echo $$ > `+c.dir+`/cgroup.procs && exec tail /dev/zero`)
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := hog.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if err := hog.Wait(); err != nil {
			t.Logf("what took the memory: %v", err)
		}
	}()
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		t.Fatal("the server is still there, without memory")
	}
	if n := c.kills(t); n == 0 {
		t.Errorf("the server has ended by itself: %v", s.Err())
	}
}
