package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
)

var (
	kills   = flag.Int("kills", 25, "how many times the server is killed under messages, on each database")
	sm      = flag.Bool("sm", true, "half of the devices use stream management")
	archive = flag.Bool("archive", true, "the server must have an archive")
)

// points are the named crash points that chatting passes. A round without one kills at random.
var points = []string{
	"", "db.before-commit", "db.after-commit", "", "route.before-delivery", "route.before-copies", "", "route.after-delivery",
}

// TestMessages kills the server under clients that write to one another, with two devices each, and to accounts that are
// offline: at random and at each crash point.
func TestMessages(t *testing.T) {
	eachDatabase(t, func(t *testing.T, database string) {
		s, err := ledger.NewSabir(t.TempDir(), 40, database)
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() {
			select {
			case <-s.Done(): // a round has failed
			default:
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			}
		}()
		p, err := ledger.New(s, ledger.Options{Chatters: 28, Sleepers: 12, Pause: 120 * time.Millisecond, Most: 8000, SM: *sm, Ping: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		if *archive && !p.Archive {
			t.Fatal("the server has no archive")
		}
		var all ledger.Report
		byPoint := make(map[string]int)
		start := time.Now()
		for n := range *kills {
			point := points[n%len(points)]
			r, err := p.Round(ctx, func(ctx context.Context) error { return kill(ctx, s, point) })
			if err != nil {
				t.Fatalf("round %d (%s): %v\nthe server's log:\n%s", n, point, err, s.Log())
			}
			all.Add(r)
			byPoint[point]++
			if r.Bad() {
				t.Errorf("round %d (%s): %v\n%s", n, point, &r, ledger.Lines(r.Faults, 20))
			}
			if r.Accepted < 20 {
				t.Errorf("round %d (%s): only %d messages were accepted: that tests little", n, point, r.Accepted)
			}
		}
		resumed, failed := 0, 0
		for _, d := range p.Devices() {
			resumed += d.Resumed
			failed += d.Failed
		}
		t.Logf("%d kills in %v: %v; sessions resumed %d, not resumed %d; at %v", *kills, time.Since(start).Round(time.Second), &all, resumed, failed, byPoint)
	})
}

// kill ends the server, at a crash point or, without one, at random.
func kill(ctx context.Context, s *ledger.Sabir, point string) error {
	if point == "" {
		rest(ctx, time.Duration(300+below(1200))*time.Millisecond)
		return s.Kill()
	}
	rest(ctx, time.Duration(200+below(300))*time.Millisecond)
	if err := s.Arm(point, 1+below(100)); err != nil {
		return err
	}
	select {
	case <-s.Done():
		if !s.Died() {
			return errors.New("the server ended by itself")
		}
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(fmt.Errorf("%s was not passed often enough", point), s.Kill())
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
