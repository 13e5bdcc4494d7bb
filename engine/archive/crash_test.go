package archive

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// envCrash tells the test program to be the one that is killed, on the database of this URL.
const envCrash = "SABIR_ARCHIVE_CRASH"

// TestCrashChild appends until it is killed, and says of each Write that it is accepted.
func TestCrashChild(t *testing.T) {
	u := os.Getenv(envCrash)
	if u == "" {
		t.Skip("run by TestCrash")
	}
	d, err := db.Open(ctx, u, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, d: d, c: newClock()} // the clock starts anew with each child
	f.l = f.open("mam example.org")
	a, b := f.archive("juliet@example.org"), f.archive("romeo@example.org")
	ja, jb := address(t, "juliet@example.org"), address(t, "romeo@example.org")
	var out sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				m := Message{Wire: fmt.Sprintf("%d %d %d", os.Getpid(), w, i), Text: "word"}
				var pa, pb []Place
				err := d.Write(ctx, func(tx mod.Tx) (err error) {
					if pa, err = f.l.Append(ctx, tx, m, Row{Archive: a, Peer: jb}); err != nil {
						return err
					}
					pb, err = f.l.Append(ctx, tx, m, Row{Archive: b, Peer: ja})
					return err
				})
				if err != nil {
					continue
				}
				out.Lock()
				fmt.Printf("ACK %s %s\n", pa[0].ID, pb[0].ID)
				out.Unlock()
			}
		}()
	}
	for { // so that kills hit this, too
		if d.Dialect() == mod.SQLite {
			if err := f.l.merge(ctx, 20); err != nil {
				t.Error(err)
			}
		}
		if err := f.l.Index(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestCrash kills a process that appends, again and again. What it said is accepted is there, in both archives with the
// same body; what it did not say is there in whole or not at all; ids only grow.
func TestCrash(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, u string) {
		f := setup(t, dbtest.Open(t, u, db.Options{}))
		accepted := map[string]bool{}
		for range 5 {
			kill(t, u, accepted)
		}
		if len(accepted) < 10 {
			t.Fatalf("only %d ids were accepted", len(accepted))
		}
		f.l = f.open("mam example.org")
		var wires [2]string
		names := []string{"juliet@example.org", "romeo@example.org"}
		for i, name := range names {
			a := f.archive(name)
			p := f.page(a, Query{Limit: 1 << 20, Count: true})
			var b strings.Builder
			for _, item := range p.Items {
				if item.Wire == "" {
					t.Fatal("an entry without a body")
				}
				b.WriteString(item.Wire + "\n")
				delete(accepted, item.ID)
			}
			wires[i] = b.String()
			if w := f.page(a, Query{Limit: 1 << 20, With: address(t, names[1-i])}); !slices.Equal(w.Items, p.Items) {
				t.Errorf("%d items, %d in the conversation", len(p.Items), len(w.Items))
			}
			if s := f.page(a, Query{Limit: 1 << 20, Text: "word"}); len(s.Items) != len(p.Items) || p.Count != int64(len(p.Items)) {
				t.Errorf("%d items, search finds %d, the count is %d", len(p.Items), len(s.Items), p.Count)
			}
		}
		if wires[0] != wires[1] {
			t.Error("the archives differ")
		}
		if len(accepted) > 0 {
			t.Errorf("%d accepted messages are lost", len(accepted))
		}
		orphans := f.count(`SELECT count(*) FROM archive_body b WHERE NOT EXISTS (SELECT 1 FROM archive_entry e WHERE e.segment = b.segment AND e.seq = b.seq)`)
		if orphans != 0 {
			t.Errorf("%d bodies without an entry", orphans)
		}
	})
}

// kill runs a child until it has accepted something, and kills it some time later.
func kill(t *testing.T, u string, accepted map[string]bool) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	c.Env = append(os.Environ(), envCrash+"="+u)
	r, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() {
		if err := c.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	defer late.Stop()
	n := 0
	for s := bufio.NewScanner(r); s.Scan(); {
		var a, b string
		if _, err := fmt.Sscanf(s.Text(), "ACK %s %s", &a, &b); err != nil {
			continue // the line that the kill has cut
		}
		if len(a) == 22 && len(b) == 22 {
			accepted[a], accepted[b] = true, true
		}
		if n++; n == 37 {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
}

// TestOrderIsCommitOrder: while many append to the same archives, one who reads on from the last id it has seen misses
// nothing (XEP-0313#archive_order).
func TestOrderIsCommitOrder(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a, b := f.archive("juliet@example.org"), f.archive("romeo@example.org")
		peers := []jid.JID{address(t, "juliet@example.org"), address(t, "romeo@example.org")}
		const writers, each = 8, 25
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					err := f.d.Write(ctx, func(tx mod.Tx) error {
						_, err := f.l.Append(ctx, tx, Message{Wire: fmt.Sprint(w, " ", i)}, Row{Archive: a, Peer: peers[1]}, Row{Archive: b, Peer: peers[0]})
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		seen, after := 0, ""
		for end := false; ; {
			p := f.page(a, Query{Limit: 10, After: after})
			if seen += len(p.Items); len(p.Items) > 0 {
				after = p.Items[len(p.Items)-1].ID
				continue
			}
			if end {
				break
			}
			select {
			case <-done:
				end = true
			default:
			}
		}
		if want := int(f.count(`SELECT count(*) FROM archive_body`)); seen != want || want == 0 {
			t.Errorf("a reader saw %d of %d", seen, want)
		}
	})
}
