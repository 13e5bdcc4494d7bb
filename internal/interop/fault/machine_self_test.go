package fault

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hexed writes a string as strace -xx does.
func hexed(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}

// TestRecord reads what strace writes: calls that end at once, calls that another thread interrupts, those that fail, and one
// that the end of the process has cut short.
func TestRecord(t *testing.T) {
	f := "8<" + hexed("/d/sabir.db-wal") + ">"
	text := strings.Join([]string{
		`7 1000.000001 open("` + hexed("/d/sabir.db-wal") + `", O_RDWR|O_CREAT|O_NOFOLLOW|O_CLOEXEC, 0600) = ` + f + ` <0.000010>`,
		`7 1000.000002 open("` + hexed("/d/other") + `", O_RDONLY) = -1 ENOENT (No such file or directory) <0.000010>`,
		`7 1000.100000 pwrite64(` + f + `, "` + hexed("abc") + `", 3, 512 <unfinished ...>`,
		`8 1000.150000 --- SIGURG {si_signo=SIGURG} ---`,
		`8 1000.200000 fsync(9<` + hexed("/d") + `>) = 0 <0.500000>`,
		`7 1000.300000 <... pwrite64 resumed>) = 3 <0.200000>`,
		`7 1000.400000 ftruncate(` + f + `, 100) = 0 <0.000001>`,
		`7 1000.500000 fsync(` + f + ` <unfinished ...>`,
	}, "\n") + "\n" + `8 1000.6`
	ops, err := readOps(strings.NewReader(text), func(path string) bool { return strings.HasPrefix(path, "/d") })
	if err != nil {
		t.Fatal(err)
	}
	at := func(s float64) time.Time { return time.UnixMicro(int64(s * 1e6)) }
	want := []op{
		{create, "/d/sabir.db-wal", 0, nil, at(1000.000001), at(1000.000011)},
		{write, "/d/sabir.db-wal", 512, []byte("abc"), at(1000.1), at(1000.3)},
		{syncs, "/d", 0, nil, at(1000.2), at(1000.7)},
		{truncate, "/d/sabir.db-wal", 100, nil, at(1000.4), at(1000.400001)},
		{syncs, "/d/sabir.db-wal", 0, nil, at(1000.5), time.Time{}},
	}
	if len(ops) != len(want) {
		t.Fatalf("%d calls: %+v", len(ops), ops)
	}
	for i, o := range ops {
		if fmt.Sprintf("%v", o) != fmt.Sprintf("%v", want[i]) {
			t.Errorf("call %d is\n%+v, want\n%+v", i, o, want[i])
		}
	}
}

// TestMachine cuts the power where it is known what may be left: what was synced is there, whatever the disk does with the
// rest; what began behind the sync, or had not ended when it began, need not be.
func TestMachine(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	do := func(k opKind, path string, off int64, data string, start, end int) op {
		return op{k, path, off, []byte(data), at(start), at(end)}
	}
	const db, wal = "/d/sabir.db", "/d/sabir.db-wal"
	base := t.TempDir()
	if err := os.WriteFile(filepath.Join(base, "sabir.db"), []byte("base"), 0o600); err != nil {
		t.Fatal(err)
	}
	ops := []op{
		do(write, db, 0, "B", 1, 2),
		do(create, wal, 0, "", 3, 4),
		do(write, wal, 0, strings.Repeat("x", 1024), 5, 6),
		do(syncs, wal, 0, "", 10, 20),
		do(write, wal, 0, strings.Repeat("y", 1024), 12, 13), // while the sync runs
		do(syncs, "/d", 0, "", 30, 40),
		do(syncs, wal, 0, "", 50, 60),
		do(truncate, wal, 512, "", 70, 71),
	}
	left := func(now int, c cut) map[string]int { // how often what is left
		seen := make(map[string]int)
		for seed := range uint64(80) {
			m, err := newMachine(base, "/d", ops)
			if err != nil {
				t.Fatal(err)
			}
			m.until(at(now))
			dir := t.TempDir()
			if err := m.image(dir, c, rand.New(rand.NewPCG(seed, 1))); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, name := range []string{"sabir.db", "sabir.db-wal"} {
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					got += "none"
					continue
				}
				var kinds []byte // the first byte of each sector
				for i := 0; i < len(b); i += sector {
					kinds = append(kinds, b[i])
				}
				got += string(kinds) + " "
			}
			seen[got]++
		}
		return seen
	}
	for _, c := range []struct {
		now  int
		c    cut
		want string // all that may be left
	}{
		{0, cuts[0], "b none"},
		{7, cuts[0], "b none"},
		{7, cut{100, 0}, "B xx "},
		{25, cuts[0], "b none"}, // synced, but its name is not
		{45, cuts[0], "b xx "},
		{45, cut{100, 0}, "B yy "},
		{65, cuts[0], "b yy "},
		{65, cut{100, 0}, "B yy "},
		{75, cut{100, 0}, "B y "},
		{75, cuts[0], "b yy "},
	} {
		if seen := left(c.now, c.c); len(seen) != 1 || seen[c.want] == 0 {
			t.Errorf("after %d ms, %+v: %v, want %q alone", c.now, c.c, seen, c.want)
		}
	}
	if seen := left(45, cut{50, 100}); seen["b xx "] == 0 || seen["B xx "] == 0 || seen["b yy "] == 0 || seen["b xy "] == 0 || seen["b yx "] == 0 {
		t.Errorf("not everything that may be is left: %v", seen)
	}
}
