package crash

import (
	"context"
	"flag"
	"fmt"
	"os"
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
			dir := t.TempDir()
			if err := openUp(dir); err != nil {
				t.Fatal(err)
			}
			s, err := ledger.NewPeer(p.name, dir, accounts, *port, p.flags...)
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
	fmt.Println("| server | kills | accepted | lost | by half | duplicate | out of order | sessions resumed |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Println(r)
	}
}

// openUp lets the users of the other servers into a folder of the test's.
func openUp(dir string) error {
	for d := dir; d != os.TempDir() && len(d) > 1; d = d[:len(d)-1] {
		for d[len(d)-1] != '/' {
			d = d[:len(d)-1]
		}
		if len(d) <= len(os.TempDir())+1 {
			break
		}
		if err := os.Chmod(d, 0o755); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}

// accounts is how many there are.
const accounts = 40

type row struct {
	label           string
	kills           int
	r               ledger.Report
	resumed, failed int
}

func (r row) String() string {
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %d of %d |", r.label, r.kills, r.r.Accepted, r.r.Lost, r.r.Half, r.r.Duplicates, r.r.Reordered, r.resumed, r.resumed+r.failed)
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
	p, err := ledger.New(s, ledger.Options{Chatters: 28, Sleepers: 12, Pause: 400 * time.Millisecond, Most: 4000, SM: true, SettleWithin: 3 * time.Minute})
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
	for _, d := range p.Devices() {
		out.resumed += d.Resumed
		out.failed += d.Failed
	}
	if !p.Archive {
		t.Error("the server has no archive")
	}
	return out
}
