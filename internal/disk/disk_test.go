package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"sabir/internal/disk"
	"sabir/internal/disk/disktest"
)

// TestReplace lets each step of replacing a file fail: the file before stays as it was, and nothing is left beside it.
func TestReplace(t *testing.T) {
	fault := func(op string) func(*disktest.FS) {
		return func(d *disktest.FS) {
			d.Fail(func(o, _ string) error {
				if o == op {
					return syscall.EIO
				}
				return nil
			})
		}
	}
	for _, c := range []struct {
		name string
		set  func(*disktest.FS)
		err  error
		want string
	}{
		{"no fault", func(*disktest.FS) {}, nil, "after"},
		{"no new file", fault("Create"), syscall.EIO, "before"},
		{"nothing can be written", fault("Write"), syscall.EIO, "before"},
		{"the disk is full", func(d *disktest.FS) { d.Room(2, syscall.ENOSPC) }, syscall.ENOSPC, "before"},
		{"not made durable", fault("Sync"), syscall.EIO, "before"},
		{"not closed", fault("Close"), syscall.EIO, "before"},
		{"not renamed", fault("Rename"), syscall.EIO, "before"},
		{"the folder is not made durable", fault("SyncDir"), syscall.EIO, "after"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, "token")
			if err := disk.Replace(disk.OS{}, name, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			var d disktest.FS
			c.set(&d)
			if err := disk.Replace(&d, name, []byte("after"), 0o600); !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			b, err := os.ReadFile(name)
			if err != nil || string(b) != c.want {
				t.Errorf("the file has %q (%v), want %q", b, err, c.want)
			}
			if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", fi.Mode(), err)
			}
			if _, err := os.Stat(name + ".new"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something is left: %v", err)
			}
		})
	}
}
