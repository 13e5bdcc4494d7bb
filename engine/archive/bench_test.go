//go:build unix

package archive

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// envRows names the sizes, in rows of archives, at which BenchmarkScale looks, such as "10000 1000000".
const envRows = "SABIR_BENCH_ARCHIVE"

const (
	benchArchives = 1000
	benchBatch    = 64 // messages in a Write that is measured; each goes into two archives
	benchFill     = 16 * benchBatch
	// benchStep is the time between two messages: 28,000 of them a day, so that 10 million rows are half a year.
	benchStep = 3125 * time.Millisecond
)

// bench is 1,000 archives, of which the first has a fifth of all messages. A message of some 500 bytes has 17 words.
type bench struct {
	*fixture
	archives []Archive
	peers    []jid.JID
	n        int
}

// batch writes some messages, and lets the time pass that they take to come.
func (b *bench) batch(messages int) {
	b.t.Helper()
	err := b.d.Write(ctx, func(tx mod.Tx) error {
		for i := range messages {
			n := b.n + i
			from, to := n*7919%benchArchives, n*104729%(benchArchives-1)+1
			if n%5 < 2 {
				from = 0
			}
			if from == to {
				to = (to + 1) % benchArchives
			}
			text := fmt.Sprintf("message %d of many words light through yonder window breaks it is the east and number%d topic%d", n, n%10007, n%97)
			m := Message{Text: text, Wire: "<message xmlns='jabber:client' type='chat' id='" + strconv.Itoa(n) + "'><body>" + text + "</body>" + strings.Repeat("x", 280) + "</message>"}
			_, err := b.l.Append(ctx, tx, m, Row{Archive: b.archives[from], Peer: b.peers[to]}, Row{Archive: b.archives[to], Peer: b.peers[from]})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.n += messages
	b.c.add(time.Duration(messages) * benchStep)
}

// BenchmarkScale lets archives grow and measures at each size what an append and some queries take. Run it with
// -benchtime 200x.
func BenchmarkScale(t *testing.B) {
	sizes := []int{10000, 100000}
	if s := os.Getenv(envRows); s != "" {
		sizes = nil
		for _, f := range strings.Fields(s) {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, n)
		}
	}
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.B) {
			d := dbtest.SQLite
			if engine == "postgres" {
				d = dbtest.Postgres
			}
			b := &bench{fixture: setup(t, d(t))}
			for i := range benchArchives {
				name := fmt.Sprintf("user%d@example.org", i)
				b.archives = append(b.archives, b.archive(name))
				b.peers = append(b.peers, address(t, name+"/phone"))
			}
			for _, size := range sizes {
				began, had := time.Now(), b.n
				for b.n*2 < size {
					b.batch(min(benchFill, size/2-b.n))
					if b.n/benchFill%64 == 0 {
						if err := b.l.Index(ctx); err != nil {
							t.Fatal(err)
						}
					}
				}
				if n := b.n - had; n > 0 {
					t.Logf("%s: %d rows; the last %d at %v each", engine, b.n*2, n*2, time.Since(began)/time.Duration(n*2))
				}
				if engine == "postgres" {
					b.settle()
				}
				b.measure(t, size)
			}
		})
	}
}

func (b *bench) measure(t *testing.B, size int) {
	name := func(s string) string { return fmt.Sprintf("rows=%d/%s", size, s) }
	t.Run(name("append-row"), func(t *testing.B) {
		began := b.cpu(t)
		for range t.N {
			b.batch(benchBatch)
		}
		if err := b.l.Index(ctx); err != nil {
			t.Fatal(err)
		}
		t.ReportMetric(float64(b.cpu(t)-began)/float64(t.N*benchBatch*2), "cpu-ns/row")
		t.ReportMetric(float64(t.Elapsed().Nanoseconds())/float64(t.N*benchBatch*2), "ns/row")
	})
	big := b.archives[0]
	mid := b.page(big, Query{Limit: 1, Start: newClock().t.Add(b.c.Now().Sub(newClock().t) / 2)}).Items[0].ID
	for _, q := range []struct {
		name string
		a    Archive
		q    Query
	}{
		{"page-last", big, Query{Last: true, Limit: 50}},
		{"page-first", big, Query{Limit: 50}},
		{"page-middle", big, Query{After: mid, Limit: 50}},
		{"page-small", b.archives[500], Query{Last: true, Limit: 50}},
		{"page-with", big, Query{With: b.peers[501].Bare(), Last: true, Limit: 50}},
		{"page-count", big, Query{Last: true, Limit: 50, Count: true}},
		{"search-rare", big, Query{Text: "number5005", Last: true, Limit: 50}},
		{"search-common", big, Query{Text: "yonder window", Last: true, Limit: 50}},
	} {
		t.Run(name(q.name), func(t *testing.B) {
			times := make([]time.Duration, 0, t.N)
			for range t.N {
				began := time.Now()
				if p, err := b.l.Page(ctx, q.a, q.q); err != nil || len(p.Items) == 0 && size > 100000 {
					t.Fatal(len(p.Items), err)
				}
				times = append(times, time.Since(began))
			}
			slices.Sort(times)
			t.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "median-ns")
		})
	}
	// Many at once, as a server has them.
	t.Run(name("append-parallel"), func(t *testing.B) {
		var mu sync.Mutex
		n := 1 << 40
		t.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				mu.Lock()
				n++
				k := n
				mu.Unlock()
				from, to := k*7919%benchArchives, k*104729%(benchArchives-1)+1
				if from == to {
					to = (to + 1) % benchArchives
				}
				m := Message{Text: "light through yonder window " + strconv.Itoa(k%1000), Wire: strings.Repeat("x", 450) + strconv.Itoa(k)}
				err := b.d.Write(ctx, func(tx mod.Tx) error {
					_, err := b.l.Append(ctx, tx, m, Row{Archive: b.archives[from], Peer: b.peers[to]}, Row{Archive: b.archives[to], Peer: b.peers[from]})
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	})
}

// cpu is what this process has used, and on PostgreSQL the processes that serve its connections, where they are on this
// machine; what PostgreSQL does in the background is missing.
func (b *bench) cpu(t *testing.B) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	sum := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	if b.d.Dialect() != mod.Postgres {
		return sum
	}
	rows, err := b.d.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			t.Fatal(err)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// utime and stime of proc_pid_stat(5), in hundredths of a second; the name before them ends with a bracket.
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, s := range f[11:13] {
			n, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

// settle gives PostgreSQL's planner the statistics that autovacuum would, were it given the time.
func (b *bench) settle() {
	b.t.Helper()
	err := b.d.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `ANALYZE`)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}
