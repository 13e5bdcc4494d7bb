package fault

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/engine/archive"
	"sabir/internal/db"
	"sabir/internal/interop/ledger"
	"sabir/internal/session"
)

// cutsWithin bounds the time for images that are opened as databases.
var cutsWithin = flag.Duration("cuts", 30*time.Second, "for how long the power is cut, again and again")

const (
	// servedCuts is how many of the images a server serves.
	servedCuts = 3
	// recorded is how many messages are accepted while the server is recorded: enough for its log to be moved into the file.
	recorded = 4500
	// momentsAtOnce is at how many moments the power is cut while the record is played once.
	momentsAtOnce = 15
)

// powerCut is a record of what a server has written, and what it had promised meanwhile.
type powerCut struct {
	t     *testing.T
	s     *ledger.Sabir
	p     *ledger.Play
	data  string // the folder of the database
	base  string // a copy of it as it was at first
	ops   []op
	under []op // those of the load
	moves []op // those that move the log into the file
	r     *rand.Rand
}

// TestPowerCut records what the server writes and syncs under load, and cuts the power at random moments of that (row 2): of
// what was not synced then, any part reaches the disk, in any order, in single sectors. Each database that may be left opens
// without repair, and has everything that was accepted before the cut, once, in order and not by half.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	s := server(t, dir, 22, "") // makes the accounts
	if _, err := exec.LookPath("strace"); err != nil {
		skip(t, "strace is not installed")
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	x := &powerCut{t: t, s: s, data: filepath.Join(dir, "data"), base: t.TempDir(), r: rand.New(rand.NewPCG(seed, 0))}
	if err := os.CopyFS(x.base, os.DirFS(x.data)); err != nil {
		t.Fatal(err)
	}
	x.record(filepath.Join(t.TempDir(), "strace"))
	t.Logf("%d operations were recorded, %d messages accepted; seed %d", len(x.ops), x.p.Book.Accepted(), seed)

	var all ledger.Report
	n, folder := 0, t.TempDir()
	for start := time.Now(); time.Since(start) < *cutsWithin && !t.Failed(); {
		x.play(momentsAtOnce, func(m *machine, at time.Time) {
			for _, c := range cuts {
				all.Add(x.check(m, folder, at, c))
				n++
			}
		})
	}
	t.Logf("%d cuts: %v", n, &all)
	if lies := x.lying(folder); lies == 0 {
		t.Error("a disk that keeps nothing has lost nothing: the test tests nothing")
	} else {
		t.Logf("a disk that confirms syncs and does nothing would have lost %d", lies)
	}
	if n < 50 {
		t.Errorf("there were only %d cuts: that tests little", n)
	}
	for range servedCuts {
		x.play(1, func(m *machine, at time.Time) { x.serve(m, at, cuts[x.r.IntN(len(cuts))]) })
	}
}

// record has the server work until it is killed, and reads what it did to its files.
func (x *powerCut) record(file string) {
	x.t.Helper()
	x.s.Wrap(recorder(file)...)
	if err := x.s.Start(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	x.p = players(x.t, x.s, everyday)
	began := time.Now()
	stop := load(x.t, x.p)
	await(x.t, 3*time.Minute, "messages are accepted", func() bool { return x.p.Book.Accepted() > recorded })
	if err := x.s.Kill(); err != nil {
		x.t.Fatal(err)
	}
	if err := stop(); err != nil {
		x.t.Error(err)
	}
	x.s.Wrap()
	f, err := os.Open(file)
	if err != nil {
		x.t.Fatal(err)
	}
	defer f.Close()
	if x.ops, err = readOps(f, func(path string) bool { return path == x.data || filepath.Dir(path) == x.data && isDatabase(path) }); err != nil {
		x.t.Fatal(err)
	}
	for _, o := range x.ops {
		if o.start.After(began) {
			x.under = append(x.under, o)
			if o.path == filepath.Join(x.data, "sabir.db") {
				x.moves = append(x.moves, o)
			}
		}
	}
	if len(x.moves) == 0 {
		x.t.Error("the log was not moved into the file: that tests half of it")
	}
}

// isDatabase tells whether a file is one that SQLite relies on after a crash.
func isDatabase(path string) bool {
	return strings.HasPrefix(filepath.Base(path), "sabir.db") && !strings.HasSuffix(path, "-shm")
}

// play plays the record and calls f at some random moments of the load.
func (x *powerCut) play(moments int, f func(m *machine, at time.Time)) {
	x.t.Helper()
	m, err := newMachine(x.base, x.data, x.ops)
	if err != nil {
		x.t.Fatal(err)
	}
	var at []time.Time
	for range moments {
		under := x.under
		if len(x.moves) > 0 && x.r.IntN(2) == 0 {
			under = x.moves
		}
		switch o := under[x.r.IntN(len(under))]; {
		case o.end.IsZero() || x.r.IntN(2) == 0:
			at = append(at, o.start)
		default: // while it runs, or just after it
			at = append(at, o.start.Add(time.Duration(x.r.Int64N(int64(o.end.Sub(o.start))+int64(20*time.Microsecond)))))
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	for _, t := range at {
		m.until(t)
		f(m, t)
	}
}

// check opens what a cut has left, and compares it with what had been promised.
func (x *powerCut) check(m *machine, folder string, at time.Time, c cut) ledger.Report {
	x.t.Helper()
	x.image(m, folder, c)
	b := x.p.Book.Before(at)
	if err := readArchives(x.t.Context(), filepath.Join(folder, "sabir.db"), x.p, b); err != nil {
		x.t.Errorf("the database after a cut at %v, %+v: %v", at, c, err)
		return ledger.Report{}
	}
	r := b.Check(true)
	if r.Bad() {
		x.t.Errorf("after a cut at %v, %+v: %v\n%s", at, c, &r, ledger.Lines(r.Faults, 5))
	}
	return r
}

// lying returns how many messages are lost by a disk that forgets what it was asked to keep.
func (x *powerCut) lying(folder string) int {
	x.t.Helper()
	deaf := slices.DeleteFunc(slices.Clone(x.under), func(o op) bool { return o.kind == syncs })
	m, err := newMachine(x.base, x.data, deaf)
	if err != nil {
		x.t.Fatal(err)
	}
	at := deaf[len(deaf)-1].start
	m.until(at)
	x.image(m, folder, cuts[0])
	b := x.p.Book.Before(at)
	if err := readArchives(x.t.Context(), filepath.Join(folder, "sabir.db"), x.p, b); err != nil {
		x.t.Fatal(err)
	}
	r := b.Check(true)
	return r.Lost
}

// image puts what a cut has left of the database into a folder, in place of what was there.
func (x *powerCut) image(m *machine, folder string, c cut) {
	x.t.Helper()
	old, err := filepath.Glob(filepath.Join(folder, "sabir.db*"))
	for _, f := range old {
		err = errors.Join(err, os.Remove(f))
	}
	if err = errors.Join(err, m.image(folder, c, x.r)); err != nil {
		x.t.Fatal(err)
	}
}

// readArchives opens a database as the server does, checks it whole, and notes what the archives have.
func readArchives(ctx context.Context, path string, p *ledger.Play, b *ledger.Book) (err error) {
	d, err := db.Open(ctx, "sqlite:"+path, db.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Check(ctx); err != nil {
		return err
	}
	accounts := append(p.Chatters(), p.Sleepers()...)
	log, err := archive.Open(ctx, d, archive.Options{Space: "mam " + accounts[0].JID.Domain()})
	if err != nil {
		return err
	}
	for _, a := range accounts {
		all, err := readArchive(ctx, log, a.JID.String())
		if err != nil {
			return err
		}
		b.Archived(a.JID.String(), all)
	}
	return nil
}

func readArchive(ctx context.Context, log *archive.Log, name string) (all []ledger.Entry, err error) {
	a, err := log.Lookup(ctx, name)
	if errors.Is(err, archive.ErrNotFound) {
		return nil, nil
	}
	for q := (archive.Query{Limit: 500}); err == nil; {
		var page archive.Page
		if page, err = log.Page(ctx, a, q); err != nil {
			break
		}
		for _, i := range page.Items {
			m, err := session.ParseStanza(i.Wire)
			if err != nil {
				return nil, err
			}
			all = append(all, ledger.Entry{ID: m.Body(), ArchiveID: i.ID})
			q.After = i.ID
		}
		if page.Complete {
			return all, nil
		}
	}
	return nil, err
}

// serve has the server itself start with what a cut has left, and its clients read the archives and what was kept for them.
func (x *powerCut) serve(m *machine, at time.Time, c cut) {
	x.t.Helper()
	x.image(m, x.data, c)
	if err := x.s.Start(x.t.Context()); err != nil {
		x.t.Fatalf("after a cut at %v, %+v: %v", at, c, err)
	}
	o := everyday
	o.Book = x.p.Book.Before(at)
	p, err := ledger.New(x.s, o)
	if err != nil {
		x.t.Fatal(err)
	}
	if err := p.Connect(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	r := compare(x.t, p)
	x.t.Logf("served after a cut at %v, %+v: %v", at.Sub(x.under[0].start).Round(time.Millisecond), c, &r)
	if err := p.Abort(); err != nil {
		x.t.Error(err)
	}
	if err := x.s.Kill(); err != nil {
		x.t.Fatal(err)
	}
}
