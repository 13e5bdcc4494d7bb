package crash

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
)

var port = flag.Int("port", 15222, "the port of the other server")

// peers are the servers beside which Sabir is put, each with an archive and stream management on.
var peers = []struct {
	label, name string
	flags       []string
}{
	{"ejabberd, archive as shipped (Mnesia)", "ejabberd", nil},
	{"ejabberd, archive as advised (SQL: SQLite)", "ejabberd", []string{"--sqlite"}},
	{"Prosody, archive as shipped (files)", "prosody-shipped", nil},
	{"Prosody, archive as advised (SQL: SQLite)", "prosody-shipped", []string{"--sqlite"}},
}

// TestPeers plays the same game with other servers, at random kills alone, and counts. It judges nobody: the table is its
// result. It runs where SABIR_PEERS is 1: scripts/durability.sh sets it.
func TestPeers(t *testing.T) {
	if os.Getenv("SABIR_PEERS") != "1" {
		t.Skip("scripts/durability.sh runs it, with SABIR_PEERS=1")
	}
	var rows []row
	for _, p := range peers {
		t.Run(p.label, func(t *testing.T) {
			s, err := ledger.NewPeer(p.name, folder(t), accounts, *port, p.flags...)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, compare(t, p.label, s))
		})
	}
	t.Run("Sabir, SQLite", func(t *testing.T) {
		s, err := ledger.NewSabir(t.TempDir(), accounts, "")
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, compare(t, "Sabir, SQLite", s))
	})
	fmt.Println("| server | kills | accepted | lost | a kill loses | by half | duplicate | out of order | sessions resumed | syncs to disk per 100 messages |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Println(r)
	}
}

// folder makes a folder that the users of the other servers can reach.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sabir-peer-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// accounts is how many there are.
const accounts = 40

type row struct {
	label           string
	kills           int
	r               ledger.Report
	resumed, failed int
	syncs           string
}

func (r row) String() string {
	return fmt.Sprintf("| %s | %d | %d | %d | %.1f | %d | %d | %d | %d of %d | %s |", r.label, r.kills, r.r.Accepted, r.r.Lost, float64(r.r.Lost)/float64(max(r.kills, 1)), r.r.Half, r.r.Duplicates, r.r.Reordered, r.resumed, r.resumed+r.failed, r.syncs)
}

func compare(t *testing.T, label string, s ledger.Server) row {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		select {
		case <-s.Done():
		default:
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		}
	}()
	// The same devices everywhere: those that chat use stream management, and what counts is its <a/>.
	p, err := ledger.New(s, ledger.Options{Chatters: 28, Sleepers: 12, Pause: 400 * time.Millisecond, Most: 4000, SM: true, Tries: 10, SettleWithin: 3 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(ctx); err != nil {
		t.Fatalf("%v\n%s", err, s.Log())
	}
	out := row{label: label}
	for n := range *kills {
		r, err := p.Round(ctx, func(ctx context.Context) error {
			rest(ctx, time.Duration(1000+below(3000))*time.Millisecond)
			return s.Kill()
		})
		if err != nil {
			t.Fatalf("round %d: %v\n%s", n, err, s.Log())
		}
		t.Logf("round %d: %v\n%s", n, &r, ledger.Lines(r.Faults, 5))
		out.r.Add(r)
		out.kills++
	}
	out.syncs = syncs(t, ctx, p)
	for _, d := range p.Devices() {
		out.resumed += d.Resumed
		out.failed += d.Failed
	}
	if !p.Archive {
		t.Error("the server has no archive")
	}
	return out
}

// syncs has all devices write for some seconds and tells how often the server asks the disk to keep what it wrote: a kill of
// the process does not show whether it does, a power cut would.
func syncs(t *testing.T, ctx context.Context, p *ledger.Play) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		return "?"
	}
	file := filepath.Join(t.TempDir(), "strace")
	args := []string{"-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,msync,sync,syncfs", "-o", file}
	for _, pid := range p.Server.PIDs() {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	c := exec.Command(path, args...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	rest(ctx, time.Second)
	p.Book.Next()
	load, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := p.Load(load); err != nil {
		t.Fatal(err)
	}
	n := p.Book.Accepted()
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Logf("strace: %v", err) // it ends by the signal
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "(") && !strings.Contains(line, "resumed>") {
			calls++
		}
	}
	return fmt.Sprintf("%.1f (%d of %d)", float64(calls)*100/float64(max(n, 1)), calls, n)
}
