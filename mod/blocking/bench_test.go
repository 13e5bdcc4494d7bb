package blocking

import (
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
)

// BenchmarkAdmit measures what blocking costs each message: both sides ask once.
func BenchmarkAdmit(b *testing.B) {
	h := modtest.New(b, Info, modtest.WithDB(dbtest.SQLite(b), db.Migrate))
	s := modtest.Stanza(b, "<message type='chat' from='romeo@localhost/garden' to='juliet@localhost'><body>b</body></message>")
	out, in := h.Pass(mod.Out, s), h.Pass(mod.In, s)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if h.Admit(out) != nil || h.Admit(in) != nil {
				b.Fatal("refused")
			}
		}
	})
}
