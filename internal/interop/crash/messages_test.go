package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
)

var (
	kills   = flag.Int("kills", 25, "how many times the server is killed under messages, on each database")
	sm      = flag.Bool("sm", true, "half of the devices use stream management")
	archive = flag.Bool("archive", true, "the server must have an archive")
)

// points are how the rounds end, in turn: at random (""), at the crash points that chatting passes, at those of a stop in good
// order, and by such a stop itself.
var points = []string{
	"", "db.before-commit", "db.after-commit", "", "route.before-delivery", "c2s.before-ack", "", "route.before-copies",
	"route.after-delivery", "", "c2s.before-resumed", "server.before-save", "server.after-save", stop,
}

const stop = "stop"

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
		p, err := ledger.New(s, ledger.Options{Chatters: 28, Sleepers: 12, Pause: 120 * time.Millisecond, Most: 8000, Visits: true, SM: *sm, Ping: true})
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
		byPoint, refused := make(map[string]int), make(map[string]int)
		start := time.Now()
		for n := range *kills {
			point := points[n%len(points)]
			log := ""
			r, err := p.Round(ctx, func(ctx context.Context) error {
				err := kill(ctx, s, p, point)
				log = s.Log()
				return err
			})
			if err != nil {
				t.Fatalf("round %d (%s): %v\nthe server's log:\n%s", n, point, err, s.Log())
			}
			all.Add(r)
			for why, n := range p.Book.Refused() {
				refused[why] += n
				t.Logf("round %d (%s): %d messages came back: %s; the log up to the kill:\n%s", n, point, n, why, log)
			}
			byPoint[point]++
			if r.Bad() {
				t.Errorf("round %d (%s): %v\n%s\nthe log up to the kill:\n%s", n, point, &r, ledger.Lines(r.Faults, 20), log)
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
		t.Logf("%d kills in %v: %v %v; sessions resumed %d, not resumed %d; at %v", *kills, time.Since(start).Round(time.Second), &all, refused, resumed, failed, byPoint)
	})
}

// kill ends the server as points say.
func kill(ctx context.Context, s *ledger.Sabir, p *ledger.Play, point string) error {
	rest(ctx, time.Duration(300+below(700))*time.Millisecond)
	times := 1 + below(100)
	switch {
	case point == "":
		rest(ctx, time.Duration(below(500))*time.Millisecond)
		return s.Kill()
	case point == stop:
		return s.Stop()
	case strings.HasPrefix(point, "server."):
		if err := s.Arm(point, 1); err != nil {
			return err
		}
		if err := s.Stop(); !ledger.Reached(err) {
			return fmt.Errorf("the stop did not end at %s: %w", point, err)
		}
		return nil
	case point == "c2s.before-resumed": // some devices lose their connection and come back
		if times = 1 + below(4); !*sm {
			return s.Kill()
		}
	}
	if err := s.Arm(point, times); err != nil {
		return err
	}
	if point == "c2s.before-resumed" {
		for _, d := range p.Devices() {
			if err := p.Reconnect(ctx, d); err != nil {
				break // the server has ended
			}
		}
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
