package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sabir/internal/interop"
)

// postgres is a database server of the test's own, which may be broken.
type postgres struct {
	t    *testing.T
	dir  string
	url  string
	bin  string
	port string
}

func startPostgres(t *testing.T) *postgres {
	t.Helper()
	enabled(t)
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		skip(t, "PostgreSQL is not installed")
	}
	root, err := interop.Root()
	if err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp("", "sabir-fault-") // short, because a socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &postgres{t: t, dir: filepath.Join(tmp, "pg"), bin: found[len(found)-1]}
	script := filepath.Join(root, "scripts", "postgres-test.sh")
	out, err := os.Create(filepath.Join(tmp, "url")) // no pipe: the server keeps what the script has open
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sh", script, "start", p.dir)
	c.Stdout = out
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.signal(syscall.SIGCONT)
		if out, err := exec.Command("sh", script, "stop", p.dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if err := os.RemoveAll(tmp); err != nil {
			t.Error(err)
		}
	})
	url, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	p.url = strings.TrimSpace(string(url))
	_, p.port, _ = strings.Cut(strings.TrimPrefix(p.url, "postgres://"), ":")
	p.port, _, _ = strings.Cut(p.port, "/")
	return p
}

// processes returns the server and its children.
func (p *postgres) processes() []int {
	text, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		return nil // it is down
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		p.t.Fatal(err)
	}
	all := []int{pid}
	children, err := os.ReadFile("/proc/" + first + "/task/" + first + "/children")
	if err != nil {
		return all
	}
	for f := range strings.FieldsSeq(string(children)) {
		if n, err := strconv.Atoi(f); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// signal sends a signal to all its processes.
func (p *postgres) signal(s syscall.Signal) {
	for _, pid := range p.processes() {
		if err := syscall.Kill(pid, s); err != nil && err != syscall.ESRCH {
			p.t.Error(err)
		}
	}
}

// kill ends it without a word. Nobody may be left to collect its processes, and then they would seem to run.
func (p *postgres) kill() {
	all := p.processes()
	p.signal(syscall.SIGKILL)
	for _, pid := range all {
		await(p.t, 30*time.Second, "PostgreSQL ends", func() bool {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(text), ") Z ")
		})
	}
	for _, lock := range []string{filepath.Join(p.dir, "data", "postmaster.pid"), filepath.Join(p.dir, ".s.PGSQL."+p.port+".lock")} {
		if err := os.Remove(lock); err != nil {
			p.t.Error(err)
		}
	}
}

// ctl runs pg_ctl as the user of the server.
func (p *postgres) ctl(args ...string) {
	p.t.Helper()
	all := append([]string{p.bin, "-D", filepath.Join(p.dir, "data"), "-s", "-w", "-l", filepath.Join(p.dir, "server.log")}, args...)
	if os.Getuid() == 0 {
		all = append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"}, all...)
	}
	c := exec.Command(all[0], all[1:]...)
	c.Dir = p.dir
	if err := c.Run(); err != nil { // without pipes, which the server would inherit
		log, rerr := os.ReadFile(filepath.Join(p.dir, "server.log"))
		p.t.Errorf("%v: %v\n%s", all, errors.Join(err, rerr), log[max(0, len(log)-2000):])
	}
}

// TestPostgreSQLGoesAway stops, freezes and kills the database server under load (row 7): nothing is accepted that is not
// committed, senders are told to try later, and it goes on by itself when the server is back.
func TestPostgreSQLGoesAway(t *testing.T) {
	pg := startPostgres(t)
	s := server(t, t.TempDir(), 22, pg.url)
	o := everyday
	o.Most = 100_000
	for _, c := range []struct {
		name        string
		away, comes func()
	}{
		{"its process is killed", pg.kill, func() { pg.ctl("-o", "-p "+pg.port, "start") }},
		{"it is stopped at once", func() { pg.ctl("-m", "immediate", "stop") }, func() { pg.ctl("-o", "-p "+pg.port, "start") }},
		{"it answers no more", func() { pg.signal(syscall.SIGSTOP) }, func() { pg.signal(syscall.SIGCONT) }},
		{"its connections are cut", func() {
			for _, pid := range pg.processes()[1:] {
				if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && err != syscall.ESRCH {
					t.Error(err)
				}
			}
		}, func() {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := players(t, s, o)
			stop := load(t, p)
			await(t, 30*time.Second, "messages are accepted", func() bool { return p.Book.Accepted() > 100 })
			c.away()
			gone := time.Now()
			if c.name != "its connections are cut" {
				await(t, time.Minute, "messages come back", func() bool { return len(p.Book.Refused()) > 0 })
			}
			first := time.Since(gone)
			late := p.Book.AcceptedAfter(gone, !p.Archive)
			if c.name != "its connections are cut" && len(late) > 0 {
				t.Errorf("%d messages were accepted while the database was away, such as %+v", len(late), late[0])
			}
			running(t, s)
			c.comes()
			there := time.Now()
			back := await(t, time.Minute, "messages are accepted again", func() bool { return len(p.Book.AcceptedAfter(there, true)) > 0 })
			if err := stop(); err != nil {
				t.Error(err)
			}
			running(t, s)
			onlyWaits(t, p.Book.Refused())
			r := compare(t, p)
			t.Logf("the first message came back after %v, accepted again %v after the return; came back: %v; %v", first.Round(time.Millisecond), back.Round(time.Millisecond), p.Book.Refused(), &r)
		})
	}
}
