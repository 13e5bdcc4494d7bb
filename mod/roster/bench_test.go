package roster_test

import (
	"fmt"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/mod/roster"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// filled returns a host on which romeo has n contacts.
func filled(b *testing.B, n int) *modtest.Host {
	b.Helper()
	h := modtest.New(b, roster.Info, modtest.WithDB(dbtest.SQLite(b), db.Migrate))
	h.Login(romeo + "/a")
	for i := range n {
		if a := h.Set(romeo+"/a", "", query(fmt.Sprintf("<item jid='c%d@localhost' name='Contact %d'><group>Friends</group></item>", i, i))); a == nil || a.Type != stanza.TypeResult {
			b.Fatalf("got %v", a)
		}
	}
	return h
}

// A login's roster get, encoded.
func BenchmarkGet(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := filled(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if a := h.Get(romeo+"/a", "", get); len(a.String()) < n {
					b.Fatal("no roster")
				}
			}
		})
	}
}

// What presence asks at each broadcast and probe.
func BenchmarkContacts(b *testing.B) {
	h := filled(b, 100)
	owner, contact := jid.MustParse(romeo), jid.MustParse("c50@localhost")
	b.ReportAllocs()
	for b.Loop() {
		if all, err := h.Roster().Contacts(b.Context(), owner); err != nil || len(all) != 100 {
			b.Fatal(err)
		}
		if _, ok, err := h.Roster().Contact(b.Context(), owner, contact); err != nil || !ok {
			b.Fatal(err)
		}
	}
}

// A change of one item of a large roster, with its commit.
func BenchmarkSet(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := filled(b, n)
			b.ReportAllocs()
			for b.Loop() {
				h.Set(romeo+"/a", "", query("<item jid='c5@localhost' name='New'/>"))
			}
		})
	}
}
