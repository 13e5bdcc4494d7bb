package auth

import (
	"testing"

	"sabir/internal/config"
	"sabir/internal/db/dbtest"
	"sabir/internal/observe"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// BenchmarkChallenge is the server's part of a login up to its challenge. The times for a user who exists and for one who does not must
// not tell them apart.
func BenchmarkChallenge(b *testing.B) {
	d := dbtest.SQLite(b)
	dbtest.Migrate(b, d, "auth", Schema)
	c := config.Default().Auth
	c.Iterations, c.MinPassword = sasl.MinIterations, 1
	a, err := New(b.Context(), d, Options{Config: c, Clock: observe.SystemClock{}, Metrics: observe.NewMetrics()})
	if err != nil {
		b.Fatal(err)
	}
	h := a.Host(jid.MustParse("example.org"), false)
	if err := h.Create(b.Context(), "known", "secret"); err != nil {
		b.Fatal(err)
	}
	for _, user := range []string{"known", "other"} {
		b.Run(user, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x, err := h.Start(sasl.ScramSHA256, plainConn("192.0.2.1"))
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := x.Next(b.Context(), []byte("n,,n="+user+",r=abcdefgh")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkExists is what routing asks for each message.
func BenchmarkExists(b *testing.B) {
	d := dbtest.SQLite(b)
	dbtest.Migrate(b, d, "auth", Schema)
	a, err := New(b.Context(), d, Options{Config: config.Default().Auth, Clock: observe.SystemClock{}, Metrics: observe.NewMetrics()})
	if err != nil {
		b.Fatal(err)
	}
	h := a.Host(jid.MustParse("example.org"), false)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := h.Exists(b.Context(), "romeo"); err != nil {
				b.Error(err)
			}
		}
	})
}
