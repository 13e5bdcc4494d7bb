package sqlite

import (
	"path/filepath"
	"testing"

	"sabir/internal/db/base"
	"sabir/mod"
)

// BenchmarkStatement tells what the cache of prepared statements saves: the same small insert in one transaction, with
// the statement prepared once and each time.
func BenchmarkStatement(b *testing.B) {
	for _, cached := range []bool{true, false} {
		name := "prepared once"
		if !cached {
			name = "prepared each time"
		}
		b.Run(name, func(b *testing.B) {
			d, err := Open(b.Context(), filepath.Join(b.TempDir(), "x.db"), base.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			err = d.Write(b.Context(), func(tx mod.Tx) error {
				_, err := tx.Exec(b.Context(), "CREATE TABLE x (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, peer TEXT NOT NULL, at BIGINT NOT NULL, body BYTEA)")
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			const insert = "INSERT INTO x (owner, peer, at, body) VALUES (?, ?, ?, ?)"
			err = d.Write(b.Context(), func(tx mod.Tx) error {
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					if _, err := tx.Exec(b.Context(), insert, "romeo@example.org", "juliet@example.org", i, []byte("<body/>")); err != nil {
						return err
					}
					if cached {
						continue
					}
					c := d.writer.c // fn runs on the goroutine that owns it
					e := c.stmts[insert]
					c.order.Remove(e)
					delete(c.stmts, insert)
					if err := e.Value.(*stmt).d.Close(); err != nil {
						return err
					}
				}
				b.StopTimer()
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
