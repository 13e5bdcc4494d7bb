package archive

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sabir/internal/db/dbtest"
	"sabir/mod"
)

func BenchmarkMessage(t *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.B) {
			d := dbtest.SQLite
			if engine == "postgres" {
				d = dbtest.Postgres
			}
			b := &bench{fixture: setup(t, d(t))}
			for i := range 400 {
				name := fmt.Sprintf("user%d@example.org", i)
				b.archives = append(b.archives, b.archive(name))
				b.peers = append(b.peers, address(t, name+"/phone"))
			}
			t.ResetTimer()
			began := cpu(t)
			var wg sync.WaitGroup
			n := t.N / 200
			for w := range 200 {
				wg.Go(func() {
					for k := range n + 1 {
						from, to := 2*w, 2*w+1
						if k%2 == 1 {
							from, to = to, from
						}
						text := strings.Repeat("x", 90) + " " + strconv.Itoa(k)
						m := Message{Text: text, Wire: "<message from='" + b.peers[from].String() + "' to='" + b.peers[to].String() + "' id='" + strconv.Itoa(k) + "'><body>" + text + "</body></message>"}
						err := b.d.Write(ctx, func(tx mod.Tx) error {
							for range 2 {
								if _, err := b.l.Append(ctx, tx, m, Row{Archive: b.archives[to], Peer: b.peers[from]}); err != nil {
									return err
								}
								if _, err := b.l.Append(ctx, tx, m, Row{Archive: b.archives[from], Peer: b.peers[to]}); err != nil {
									return err
								}
							}
							return nil
						})
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			t.ReportMetric(float64(cpu(t)-began)/float64(200*(n+1)*2), "cpu-ns/msg")
		})
	}
}
