package fault

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
)

// everyday is an ordinary load: a bounded number of devices that write now and then.
var everyday = ledger.Options{Chatters: 14, Sleepers: 8, Pause: 60 * time.Millisecond, Most: 20_000, Ping: true}

// TestSyncFails has fsync fail under load (row 3 of the table in docs/durability.md): nothing is accepted from then on, the
// node says why and ends with an error, and after a restart everything that was accepted is there.
func TestSyncFails(t *testing.T) {
	s := server(t, t.TempDir(), 22, "")
	p := players(t, s, everyday)
	stop := load(t, p)
	await(t, 30*time.Second, "messages are accepted", func() bool { return p.Book.Accepted() > 100 })
	file, _ := strace(t, s.PID, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		t.Fatal("the server goes on after its disk has failed")
	}
	ended := time.Now()
	if s.Err() == nil {
		t.Error("the server has ended without an error")
	}
	if !strings.Contains(s.Log(), "the database failed") {
		t.Error("the log does not say that the database failed")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	first := firstInjected(t, file)
	if late := p.Book.AcceptedAfter(first, !p.Archive); len(late) > 0 {
		t.Errorf("%d messages were accepted after the first fsync failed, such as %+v", len(late), late[0])
	}
	t.Logf("ended %v after the first EIO; came back: %v", ended.Sub(first).Round(time.Millisecond), p.Book.Refused())
	onlyWaits(t, p.Book.Refused())
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := settle(t, p)
	t.Logf("after the restart: %v", &r)
}

// firstInjected returns the time of the first call that strace made fail.
func firstInjected(t *testing.T, file string) time.Time {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if !strings.Contains(line, "(INJECTED)") || len(f) < 2 {
			continue
		}
		seconds, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		return time.UnixMicro(int64(seconds * 1e6))
	}
	t.Fatal("strace made nothing fail: the test tests nothing")
	return time.Time{}
}

// small mounts a small file system.
func small(t *testing.T, size string) string {
	t.Helper()
	enabled(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		skip(t, "a small file system needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the room that is left but so many bytes.
func fill(t *testing.T, dir string, leave int64) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	n := int64(st.Bavail)*st.Bsize - leave
	if n <= 0 {
		return ballast
	}
	if err := os.WriteFile(ballast, make([]byte, n), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) { // the server takes room, too
		t.Fatal(err)
	}
	return ballast
}

// TestDiskFull fills the disk under load (row 4): senders are told to try later, clients still log in and read, the server
// stays up, and works again when there is room.
func TestDiskFull(t *testing.T) {
	dir := small(t, "64m")
	s := server(t, dir, 24, "")
	p := players(t, s, everyday)
	stop := load(t, p)
	await(t, 30*time.Second, "messages are accepted", func() bool { return p.Book.Accepted() > 100 })
	ballast := fill(t, dir, 64<<10)
	count := func() (n int) {
		for _, k := range p.Book.Refused() {
			n += k
		}
		return n
	}
	await(t, time.Minute, "the disk is full", func() bool { return count() > 20 })
	running(t, s)
	onlyWaits(t, p.Book.Refused())
	if p.Book.Refused()["wait resource-constraint"] == 0 {
		t.Errorf("came back: %v, want resource-constraint", p.Book.Refused())
	}
	if !strings.Contains(s.Log(), "the store is full") {
		t.Error("the log does not say that the store is full")
	}
	another := players(t, s, ledger.Options{Chatters: 2, Ping: true}) // clients log in while it is full
	for _, d := range another.Devices() {
		if err := d.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	full := count()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	room := time.Now()
	back := await(t, 30*time.Second, "messages are accepted again", func() bool { return len(p.Book.AcceptedAfter(room, true)) > 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	running(t, s)
	r := compare(t, p)
	t.Logf("%d messages came back while the disk was full (%v), accepted again %v after there was room; %v", full, p.Book.Refused(), back.Round(time.Millisecond), &r)
}

var senders = flag.Int("senders", 100, "how many accounts, of two devices each, write while the disk is slow; from 200 on the rate of row 5 is asked for")

// TestSlowDisk has every sync take half a second (row 5): acknowledgements wait, memory does not grow, nobody is cut off, and all
// who wait at a moment share a sync.
func TestSlowDisk(t *testing.T) {
	s := server(t, t.TempDir(), *senders+8, "")
	p := players(t, s, ledger.Options{Chatters: *senders, Sleepers: 8, Pause: 60 * time.Millisecond, Most: 100_000, Ping: true, SettleWithin: 3 * time.Minute})
	stop := load(t, p)
	await(t, time.Minute, "messages are accepted", func() bool { return p.Book.Accepted() > 100 })
	before := memory(t, s.PID, "VmRSS")
	_, detach := strace(t, s.PID, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_exit=500000")
	slow, from := time.Now(), p.Book.Accepted()
	time.Sleep(6 * time.Second)
	n, took := p.Book.Accepted()-from, time.Since(slow)
	after := memory(t, s.PID, "VmRSS")
	detach()
	if err := stop(); err != nil {
		t.Error(err)
	}
	running(t, s)
	rate := float64(n) / took.Seconds()
	if n == 0 || *senders >= 200 && rate < 500 {
		t.Errorf("%.0f messages a second were accepted on a slow disk", rate)
	}
	if refused := p.Book.Refused(); len(refused) > 0 {
		t.Errorf("messages came back: %v", refused)
	}
	if after > before*3/2+16<<10 {
		t.Errorf("memory grew from %d to %d KiB", before, after)
	}
	r := compare(t, p)
	t.Logf("%.0f messages a second of %d devices that wait for each burst; memory %d, then %d KiB; %v", rate, len(p.Devices()), before, after, &r)
}

// TestNoSpaceOnce has single writes fail with ENOSPC (row 4): what they belong to comes back, the rest goes on.
func TestNoSpaceOnce(t *testing.T) {
	s := server(t, t.TempDir(), 22, "")
	p := players(t, s, everyday)
	stop := load(t, p)
	await(t, 30*time.Second, "messages are accepted", func() bool { return p.Book.Accepted() > 100 })
	file, detach := strace(t, s.PID, "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=ENOSPC:when=20+40")
	await(t, time.Minute, "writes fail", func() bool { return len(p.Book.Refused()) > 0 })
	detach()
	first := firstInjected(t, file)
	room := time.Now()
	await(t, 30*time.Second, "messages are accepted again", func() bool { return len(p.Book.AcceptedAfter(room, true)) > 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	running(t, s)
	onlyWaits(t, p.Book.Refused())
	r := compare(t, p)
	t.Logf("%d were accepted from the first ENOSPC on, came back: %v; %v", len(p.Book.AcceptedAfter(first, true)), fmt.Sprint(p.Book.Refused()), &r)
}
