package crash

import (
	"context"
	"testing"
	"time"

	"sabir/internal/interop/federation"
)

// TestFederation kills one of two servers under users who write to one another. What was accepted is delivered or comes back,
// never both, and never twice.
func TestFederation(t *testing.T) {
	for name, dialback := range map[string]bool{"dialback": true, "certificates": false} {
		t.Run(name, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, database string) { federate(t, database, dialback) })
		})
	}
}

func federate(t *testing.T, database string, dialback bool) {
	o := federation.Options{Users: 4, S2S: `queue_time = "2m"`, Dialback: dialback, Burst: 20}
	if database != "" {
		o.Databases = [2]string{database, newDatabase(t)}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	p, err := federation.New(ctx, t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range p.Sides {
			if t.Failed() {
				t.Logf("the log of %s:\n%s", s.Domain, s.Log())
			}
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	for n := range *rounds {
		stop := p.Write(ctx)
		time.Sleep(time.Duration(300+below(1500)) * time.Millisecond)
		victim := p.Sides[below(2)]
		if err := victim.Kill(); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		if err := victim.Login(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %s was killed", n, victim.Domain)
	}
	r, err := p.SettleArchived(ctx, 2*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if t.Log(r); r.Bad() {
		t.Error("what was accepted was lost, came twice, or was delivered and came back")
	}
	if r.Accepted < 100 {
		t.Error("that tests little")
	}
}
