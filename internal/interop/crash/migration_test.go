package crash

import (
	"testing"

	"sabir/internal/interop/ledger"
)

// TestMigration ends the first start before and after each version of each module's tables; the next one goes on, and at the
// end clients log in.
func TestMigration(t *testing.T) {
	eachDatabase(t, func(t *testing.T, database string) {
		s, err := ledger.NewSabir(t.TempDir(), 4, database)
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		ends := 0
		for { // what was made stays: each start passes fewer versions, and ends in the midst of them
			point := []string{"db.before-migration", "db.after-migration"}[ends%2]
			if err := s.Arm(point, 1+ends%3); err != nil {
				t.Fatal(err)
			}
			if err = s.Start(ctx); !ledger.Reached(err) {
				break
			}
			if ends++; ends > 500 {
				t.Fatal("the tables are never complete")
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		}()
		if ends < 5 {
			t.Errorf("the first start was ended %d times: that tests little", ends)
		}
		p, err := ledger.New(s, ledger.Options{Chatters: 4, Ping: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Connect(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("ended %d times", ends)
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
	})
}
