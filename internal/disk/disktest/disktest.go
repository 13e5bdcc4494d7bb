// Package disktest owns a disk that fails when a test says so.
package disktest

import (
	"io/fs"
	"sync"

	"sabir/internal/disk"
)

// FS is the file system of the operating system with faults. The zero value has none.
type FS struct {
	disk.OS

	mu   sync.Mutex
	fail func(op, name string) error
	room int // bytes that fit, where limited
	full error
}

// Fail lets an operation fail for which f returns an error. op is the name of a method of disk.FS, or Write, Sync or Close of a
// file. nil ends the faults.
func (d *FS) Fail(f func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = f
}

// Room bounds how many bytes can be written from now on. A Write beyond writes what fits and fails with err, as on a full disk.
// With err nil there is no bound.
func (d *FS) Room(bytes int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room, d.full = bytes, err
}

func (d *FS) ask(op, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	return d.fail(op, name)
}

// Stat implements disk.FS.
func (d *FS) Stat(name string) (fs.FileInfo, error) {
	if err := d.ask("Stat", name); err != nil {
		return nil, err
	}
	return d.OS.Stat(name)
}

// ReadFile implements disk.FS.
func (d *FS) ReadFile(name string) ([]byte, error) {
	if err := d.ask("ReadFile", name); err != nil {
		return nil, err
	}
	return d.OS.ReadFile(name)
}

// MkdirAll implements disk.FS.
func (d *FS) MkdirAll(name string, perm fs.FileMode) error {
	if err := d.ask("MkdirAll", name); err != nil {
		return err
	}
	return d.OS.MkdirAll(name, perm)
}

// Create implements disk.FS.
func (d *FS) Create(name string, perm fs.FileMode) (disk.File, error) {
	if err := d.ask("Create", name); err != nil {
		return nil, err
	}
	f, err := d.OS.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return &file{f, d, name}, nil
}

// Rename implements disk.FS; faults go by the new name.
func (d *FS) Rename(from, to string) error {
	if err := d.ask("Rename", to); err != nil {
		return err
	}
	return d.OS.Rename(from, to)
}

// Remove implements disk.FS.
func (d *FS) Remove(name string) error {
	if err := d.ask("Remove", name); err != nil {
		return err
	}
	return d.OS.Remove(name)
}

// SyncDir implements disk.FS.
func (d *FS) SyncDir(name string) error {
	if err := d.ask("SyncDir", name); err != nil {
		return err
	}
	return d.OS.SyncDir(name)
}

type file struct {
	disk.File
	d    *FS
	name string
}

// Write implements disk.File.
func (f *file) Write(p []byte) (int, error) {
	if err := f.d.ask("Write", f.name); err != nil {
		return 0, err
	}
	f.d.mu.Lock()
	fits, full := f.d.room, f.d.full
	if full != nil {
		f.d.room = max(0, fits-len(p))
	}
	f.d.mu.Unlock()
	if full == nil || fits >= len(p) {
		return f.File.Write(p)
	}
	n, err := f.File.Write(p[:fits])
	if err == nil {
		err = full
	}
	return n, err
}

// Sync implements disk.File.
func (f *file) Sync() error {
	if err := f.d.ask("Sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

// Close implements disk.File.
func (f *file) Close() error {
	err := f.File.Close()
	if fault := f.d.ask("Close", f.name); fault != nil {
		return fault
	}
	return err
}
