package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	lib "modernc.org/sqlite/lib"

	"sabir/internal/db/base"
	"sabir/mod"
)

const envChild = "SABIR_SQLITE_TEST_CHILD" // a path: the process writes there until its database fails

func TestMain(m *testing.M) {
	if path := os.Getenv(envChild); path != "" {
		child(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, path string, o base.Options) *DB {
	t.Helper()
	d, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

func write(t *testing.T, d *DB, query string, args ...any) error {
	t.Helper()
	return d.Write(t.Context(), func(tx mod.Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	})
}

func mustWrite(t *testing.T, d *DB, query string, args ...any) {
	t.Helper()
	if err := write(t, d, query, args...); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, d *DB) (n int) {
	t.Helper()
	if err := d.QueryRow(t.Context(), "SELECT count(*) FROM x").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	path := filepath.Join(dir, "a b?#%.db") // a name that needs quoting in a URL
	d := open(t, path, base.Options{})
	mustWrite(t, d, "CREATE TABLE x (n BIGINT)")
	for name, want := range map[string]os.FileMode{dir: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
		st, err := os.Stat(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := st.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", filepath.Base(name), got, want)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Close left a log: %v", err)
	}
	// One that was too open is closed.
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	d = open(t, path, base.Options{})
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", st.Mode(), err)
	}
	if n := count(t, d); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestSettings(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "x.db"), base.Options{})
	for pragma, want := range map[string]string{
		"PRAGMA journal_mode": "wal", "PRAGMA synchronous": "2", "PRAGMA foreign_keys": "1", "PRAGMA auto_vacuum": "2",
		"PRAGMA busy_timeout": "5000", "PRAGMA application_id": "1398891122",
	} {
		var got any
		if err := d.QueryRow(t.Context(), pragma).Scan(&got); err != nil || fmt.Sprint(got) != want {
			t.Errorf("reader: %s is %v, %v; want %s", pragma, got, err, want)
		}
		err := d.Write(t.Context(), func(tx mod.Tx) error { return tx.QueryRow(t.Context(), pragma).Scan(&got) })
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("writer: %s is %v, %v; want %s", pragma, got, err, want)
		}
	}
	if err := d.QueryRow(t.Context(), `SELECT "no identifier"`).Scan(new(string)); err == nil {
		t.Error("a string in double quotes was taken")
	}
}

func TestRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), text, base.Options{}); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("a text file: %v, want ErrCorrupt", err)
	}
	other := filepath.Join(dir, "other.db")
	d := open(t, other, base.Options{})
	mustWrite(t, d, "CREATE TABLE x (n BIGINT)")
	mustWrite(t, d, "PRAGMA application_id=7")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), other, base.Options{}); err == nil || !strings.Contains(err.Error(), "another application") {
		t.Errorf("another application's file: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(text, "below.db"), base.Options{}); !errors.Is(err, mod.ErrUnavailable) {
		t.Errorf("a folder that cannot be: %v, want ErrUnavailable", err)
	}
}

func TestFindsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	d := open(t, path, base.Options{})
	mustWrite(t, d, "CREATE TABLE x (n BIGINT, body TEXT)")
	mustWrite(t, d, "CREATE INDEX x_body ON x (body)")
	for i := range 500 {
		mustWrite(t, d, "INSERT INTO x VALUES (?, ?)", i, strings.Repeat("y", 100))
	}
	if err := d.Check(t.Context()); err != nil {
		t.Fatalf("a sound database: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt([]byte(strings.Repeat("\xa5", 4096)), 5*4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, base.Options{}); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("with a page overwritten: %v, want ErrCorrupt", err)
	}
}

// Statements are prepared once, reused, and dropped when there are too many.
func TestStatementCache(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "x.db"), base.Options{Readers: 1})
	mustWrite(t, d, "CREATE TABLE x (n BIGINT)")
	for i := range 5 {
		mustWrite(t, d, "INSERT INTO x VALUES (?)", i)
	}
	// All of it happens on one connection, which the test takes from the pool.
	c, err := d.readers.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.readers.put(c)
	const q = "SELECT n FROM x WHERE n >= ? ORDER BY n"
	outer, err := c.query(t.Context(), q, []any{0}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := c.stmts[q].Value.(*stmt)
	for n := 0; outer.Next(); n++ { // the same query inside of itself must not disturb it
		var got, least int
		if err := outer.Scan(&got); err != nil || got != n {
			t.Fatalf("outer row %d is %d, %v", n, got, err)
		}
		if err := c.one(t.Context(), q, &least); err == nil {
			t.Error("a query without its argument was run")
		}
		inner, err := c.query(t.Context(), q, []any{n}, nil)
		if err != nil || !inner.Next() {
			t.Fatal(err)
		}
		if err := errors.Join(inner.Scan(&least), inner.Close()); err != nil || least != n {
			t.Errorf("inner row %d, %v", least, err)
		}
	}
	if err := outer.Err(); err != nil {
		t.Fatal(err)
	}
	if c.stmts[q].Value.(*stmt) != first || first.busy {
		t.Error("the statement was not kept or not given back")
	}
	for i := range stmtMax + 10 {
		if err := c.one(t.Context(), fmt.Sprintf("SELECT %d", i), new(int)); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.stmts) != stmtMax || c.order.Len() != stmtMax {
		t.Errorf("%d and %d statements are kept, want %d", len(c.stmts), c.order.Len(), stmtMax)
	}
	if _, ok := c.stmts[q]; ok {
		t.Error("the oldest statement was kept")
	}
}

// The log does not grow without end while writes never pause, and rows that are read hold it up only while they are.
func TestCheckpoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	d := open(t, path, base.Options{})
	d.check.limit = 256
	mustWrite(t, d, "CREATE TABLE x (id INTEGER PRIMARY KEY, body BYTEA)")
	body := make([]byte, 40<<10)
	fill := func(n int) {
		t.Helper()
		for range n {
			mustWrite(t, d, "INSERT INTO x (body) VALUES (?)", body)
		}
	}
	size := func() int64 {
		t.Helper()
		st, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	limit := 8 * d.check.limit * 4096
	total := 3 * int(limit) / len(body)
	fill(total)
	if s := size(); s > limit {
		t.Errorf("the log has %d bytes after %d were written; it should begin anew from time to time", s, total*len(body))
	}
	if n := count(t, d); n != total {
		t.Errorf("%d rows, want %d", n, total)
	}
}

func TestReclaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	d := open(t, path, base.Options{})
	mustWrite(t, d, "CREATE TABLE x (body BYTEA)")
	for range 100 {
		mustWrite(t, d, "INSERT INTO x (body) VALUES (?)", make([]byte, 50<<10))
	}
	mustWrite(t, d, "DELETE FROM x")
	if err := d.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > 100<<10 {
		t.Errorf("the empty database has %d bytes, %v", st.Size(), err)
	}
}

// child writes rows, printing each that was acknowledged, until its database fails; then it says how it behaves.
func child(path string) {
	ctx := context.Background()
	d, err := Open(ctx, path, base.Options{})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	insert := func() error {
		return d.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO x (body) VALUES ('y')")
			return err
		})
	}
	for {
		if err := insert(); err != nil {
			fmt.Println("first:", kinds(err))
			break
		}
		fmt.Println("ack")
	}
	select {
	case <-d.Failed():
		fmt.Println("failed")
	case <-time.After(5 * time.Second):
	}
	fmt.Println("second:", kinds(insert()))
	var n int
	fmt.Println("read:", d.QueryRow(ctx, "SELECT count(*) FROM x").Scan(&n))
	os.Exit(0)
}

func kinds(err error) string {
	return fmt.Sprint(errors.Is(err, base.ErrFailed), errors.Is(err, mod.ErrUnavailable), errors.Is(err, mod.ErrFull))
}

// After an fsync that failed nothing is acknowledged any more, even where the next fsync would report success.
func TestFsyncFails(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace, which makes fsync fail, is not installed")
	}
	path := filepath.Join(t.TempDir(), "x.db")
	d := open(t, path, base.Options{})
	mustWrite(t, d, "CREATE TABLE x (id INTEGER PRIMARY KEY, body TEXT)")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, strace, "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=20", exe)
	cmd.Env = append(os.Environ(), envChild+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "ptrace") {
		t.Skipf("strace is not allowed to trace: %s", out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	acked := strings.Count(string(out), "ack\n")
	rest := strings.ReplaceAll(string(out), "ack\n", "")
	if want := "first: true true false\nfailed\nsecond: true true false\nread: <nil>\n"; rest != want || acked == 0 {
		t.Errorf("after %d acknowledged rows the process says\n%swant\n%s", acked, rest, want)
	}
	d = open(t, path, base.Options{})
	if n := count(t, d); n < acked {
		t.Errorf("%d rows of %d that were acknowledged", n, acked)
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCodes(t *testing.T) {
	for c, want := range map[int][3]bool{ // isDisk, isPassing, endsTransaction
		lib.SQLITE_IOERR | 4<<8: {true, false, true},
		lib.SQLITE_CORRUPT:      {true, false, true},
		lib.SQLITE_FULL:         {false, false, true},
		ioerrShmSize:            {false, false, true},
		lib.SQLITE_BUSY | 2<<8:  {false, true, true},
		lib.SQLITE_CONSTRAINT:   {false, false, false},
		lib.SQLITE_ERROR:        {false, false, false},
		lib.SQLITE_NOMEM:        {false, true, true},
	} {
		if got := [3]bool{isDisk(c), isPassing(c), endsTransaction(c)}; got != want {
			t.Errorf("code %d: %v, want %v", c, got, want)
		}
	}
}

// A read does not wait for a Write that takes long, not even one for which a connection must be opened.
func TestReadWhileWriting(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "x.db"), base.Options{})
	mustWrite(t, d, "CREATE TABLE x (id INTEGER PRIMARY KEY)")
	read := make(chan error)
	err := d.Write(t.Context(), func(tx mod.Tx) error {
		if _, err := tx.Exec(t.Context(), "INSERT INTO x (id) VALUES (1)"); err != nil {
			return err
		}
		go func() {
			var n int
			read <- d.QueryRow(t.Context(), "SELECT count(*) FROM x").Scan(&n)
		}()
		return <-read // the transaction is open for that long
	})
	if err != nil {
		t.Errorf("a read beside a Write: %v", err)
	}
}

// TestBatchTime: a batch takes up Writes for as long as the commit before took, within bounds.
func TestBatchTime(t *testing.T) {
	const set = 5 * time.Millisecond
	for took, want := range map[time.Duration]time.Duration{0: set, time.Millisecond: set, 500 * time.Millisecond: 500 * time.Millisecond, time.Minute: maxBatchTime} {
		if got := batchTime(set, took); got != want {
			t.Errorf("after a commit of %v a batch takes up Writes for %v, want %v", took, got, want)
		}
	}
}
