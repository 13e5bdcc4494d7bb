package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"sabir/internal/db/base"
	"sabir/mod"
)

// A full disk refuses writes with ErrFull, loses nothing, and works again when there is room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small file system needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	d := open(t, filepath.Join(dir, "x.db"), base.Options{})
	mustWrite(t, d, "CREATE TABLE x (id INTEGER PRIMARY KEY, body BYTEA)")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 300<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	kept := 0
	var err error
	for range 200 {
		if err = write(t, d, "INSERT INTO x (body) VALUES (?)", make([]byte, 8<<10)); err != nil {
			break
		}
		kept++
	}
	if !errors.Is(err, mod.ErrFull) || errors.Is(err, mod.ErrUnavailable) {
		t.Fatalf("after %d rows: %v, want ErrFull", kept, err)
	}
	for range 3 {
		if err := write(t, d, "INSERT INTO x (body) VALUES (?)", make([]byte, 8<<10)); !errors.Is(err, mod.ErrFull) {
			t.Errorf("once more: %v, want ErrFull", err)
		}
	}
	if err := d.Err(); err != nil {
		t.Errorf("a full disk is no failure of the database: %v", err)
	}
	if n := count(t, d); n != kept {
		t.Errorf("%d rows while full, want %d", n, kept)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, d, "INSERT INTO x (body) VALUES (?)", make([]byte, 8<<10))
	if n := count(t, d); n != kept+1 {
		t.Errorf("%d rows after there was room, want %d", n, kept+1)
	}
}
