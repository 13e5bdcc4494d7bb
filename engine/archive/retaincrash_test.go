package archive

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
)

// Environment of the program that retains until it ends itself: the database, the crash point and how many times it is
// passed.
const (
	envRetain = "SABIR_ARCHIVE_RETAIN"
	envPoint  = "SABIR_ARCHIVE_POINT"
	envPasses = "SABIR_ARCHIVE_PASSES"
)

const (
	retainStep  = 12 * time.Hour
	retainTotal = 120 // messages: two months
	shortKept   = 15 * 24 * time.Hour
	longKept    = 40 * 24 * time.Hour
)

// retained drops what is old: of one archive more than of the other, so that segments go as a whole and row by row.
func retained(l *Log, now time.Time) error {
	return l.Retain(ctx, func(name string) time.Time {
		if name == "juliet@example.org" {
			return now.Add(-shortKept)
		}
		return now.Add(-longKept)
	})
}

// retainNow is the time after the last message.
func retainNow() time.Time { return newClock().t.Add(retainTotal * retainStep) }

// TestRetainChild retains, and ends itself in the midst of it as by SIGKILL.
func TestRetainChild(t *testing.T) {
	u := os.Getenv(envRetain)
	if u == "" {
		t.Skip("run by TestRetainCrash")
	}
	left, err := strconv.Atoi(os.Getenv(envPasses))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	armed := false
	d, err := db.Open(ctx, u, db.Options{Writers: 1, CrashPoint: func(name string) {
		if !armed || name != os.Getenv(envPoint) {
			return
		}
		if left--; left <= 0 {
			if err := self.Kill(); err == nil {
				select {} // the signal is on its way
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, d: d, c: newClock()}
	f.c.t = retainNow()
	f.l = f.open("mam example.org")
	armed = true
	if err := retained(f.l, f.c.t); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRetainCrash ends the dropping of old messages at each of its commits, before and after. What is to be kept is there
// each time, nothing is there by half, and at the end all of the old is gone.
func TestRetainCrash(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, u string) {
		d := dbtest.Open(t, u, db.Options{})
		f := setup(t, d)
		a, b := f.archive("juliet@example.org"), f.archive("romeo@example.org")
		peer := address(t, "x@example.com")
		for i := range retainTotal {
			f.add(Message{Wire: fmt.Sprint(i), Text: "word"}, Row{Archive: a, Peer: peer}, Row{Archive: b, Peer: peer})
			f.c.add(retainStep)
		}
		killed := 0
		for {
			point := []string{"db.before-commit", "db.after-commit"}[killed%2]
			c := exec.Command(os.Args[0], "-test.run=^TestRetainChild$")
			c.Env = append(os.Environ(), envRetain+"="+u, envPoint+"="+point, envPasses+"="+strconv.Itoa(1+killed%3))
			out, err := c.CombinedOutput()
			if err != nil && !strings.Contains(err.Error(), "killed") {
				t.Fatalf("%v: %s", err, out)
			}
			f.l = f.open("mam example.org")
			f.whole(a, shortKept)
			f.whole(b, longKept)
			if err == nil {
				break
			}
			if killed++; killed > 500 {
				t.Fatal("it never comes to an end")
			}
		}
		if killed < 3 {
			t.Errorf("it was ended %d times: that tests little", killed)
		}
		rows := f.count(`SELECT count(*) FROM archive_body`)
		if err := retained(f.l, f.c.t); err != nil || f.count(`SELECT count(*) FROM archive_body`) != rows {
			t.Errorf("the last run had left something: %v", err)
		}
		if rows >= retainTotal {
			t.Errorf("%d messages are left: nothing was dropped", rows)
		}
		t.Logf("ended %d times; %d of %d messages are left", killed, rows, retainTotal)
	})
}

// whole asks that an archive has all that it is to keep, and nothing by half.
func (f *fixture) whole(a Archive, keep time.Duration) {
	f.t.Helper()
	p := f.page(a, Query{Limit: 1000, Count: true})
	if p.Count != int64(len(p.Items)) {
		f.t.Errorf("%s: the count is %d of %d", a.name, p.Count, len(p.Items))
	}
	next := retainTotal - len(p.Items) // the oldest go first
	for _, item := range p.Items {
		if item.Wire != strconv.Itoa(next) {
			f.t.Errorf("%s: %q in place of %d", a.name, item.Wire, next)
			break
		}
		next++
	}
	if kept, want := f.page(a, Query{Limit: 1000, Start: f.c.t.Add(-keep)}), int(keep/retainStep); len(kept.Items) != want {
		f.t.Errorf("%s: %d are left of %d that are to be kept", a.name, len(kept.Items), want)
	}
	if s := f.page(a, Query{Limit: 1000, Text: "word"}); len(s.Items) != len(p.Items) {
		f.t.Errorf("%s: search finds %d of %d", a.name, len(s.Items), len(p.Items))
	}
}
