package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
)

// skip skips a test for what the machine lacks, and fails where nothing may be lacking.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI needs it: "+format, args...)
	}
	t.Skipf(format, args...)
}

// enabled skips a test that scripts/fault.sh has not asked for.
func enabled(t *testing.T) {
	t.Helper()
	if os.Getenv("SABIR_FAULT") != "1" {
		t.Skip("scripts/fault.sh runs it, with SABIR_FAULT=1")
	}
}

// server starts a server with accounts. It is stopped at the end where it still runs.
func server(t *testing.T, dir string, accounts int, database string, before ...func(s *ledger.Sabir)) *ledger.Sabir {
	t.Helper()
	enabled(t)
	s, err := ledger.NewSabir(dir, accounts, database)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range before {
		f(s)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-s.Done():
		default:
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.Log())
		}
	})
	return s
}

// restart stops the server and starts it with another configuration.
func restart(t *testing.T, s *ledger.Sabir, change func(text string) string) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		if err := s.Configure(change); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// players connects devices to a server.
func players(t *testing.T, s ledger.Server, o ledger.Options) *ledger.Play {
	t.Helper()
	p, err := ledger.New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// load has all devices write until stop is called, which returns their errors.
func load(t *testing.T, p *ledger.Play) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Load(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		cancel()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

// await waits until a condition holds.
func await(t *testing.T, within time.Duration, what string, f func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !f() {
		if time.Since(start) > within {
			t.Fatalf("%s: not within %v", what, within)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}

// settle connects all devices anew and compares the ledger with the server.
func settle(t *testing.T, p *ledger.Play) ledger.Report {
	t.Helper()
	if err := p.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return compare(t, p)
}

func compare(t *testing.T, p *ledger.Play) ledger.Report {
	t.Helper()
	r, err := p.Settle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Bad() {
		t.Errorf("%v\n%s", &r, ledger.Lines(r.Faults, 20))
	}
	return r
}

// onlyWaits asks that each message that came back did so with an error that says to try later.
func onlyWaits(t *testing.T, refused map[string]int) {
	t.Helper()
	for why, n := range refused {
		if !strings.HasPrefix(why, "wait ") {
			t.Errorf("%d messages came back with %q, which does not say to try later", n, why)
		}
	}
}

func running(t *testing.T, s *ledger.Sabir) {
	t.Helper()
	select {
	case <-s.Done():
		t.Fatalf("the server has ended: %v", s.Err())
	default:
	}
}

// strace attaches strace to the server and returns what detaches it, and the file with what it saw.
func strace(t *testing.T, pid int, args ...string) (file string, detach func()) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		skip(t, "strace is not installed")
	}
	file = t.TempDir() + "/strace"
	c := exec.Command(path, append(args, "-f", "-ttt", "-o", file, "-p", strconv.Itoa(pid))...)
	var said buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Wait(); err != nil {
			t.Logf("strace: %v", err) // the server has ended before it
		}
	}()
	detach = sync.OnceFunc(func() {
		if err := c.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		<-ended
	})
	t.Cleanup(detach)
	await(t, 30*time.Second, "strace attaches", func() bool {
		select {
		case <-ended:
			skip(t, "strace cannot attach: %s", said.String())
		default:
		}
		return strings.Contains(said.String(), "attached")
	})
	return file, detach
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// memory returns a line of the process's status, in KiB: VmRSS, or VmHWM for the most that VmRSS was.
func memory(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name+":" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no %s in\n%s", name, text)
	return 0
}

// processor returns the processor time that a process has used.
func processor(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	var ticks int64
	for _, i := range []int{11, 12} { // utime and stime
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go knows
}
