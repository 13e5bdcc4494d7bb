// Package disk owns how the server reads and writes files of its own: configuration, certificates, keys and tokens. It is an
// interface, so that tests can let the disk fail; and a file is replaced whole, so that a crash or a full disk leaves the one
// before and never half of a new one.
//
// The database is not among these files: SQLite and PostgreSQL have their own way to the disk (docs/adr/0006-files.md).
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is a file system. Names are those of the operating system, as in package os, whose functions describe the methods.
type FS interface {
	Stat(name string) (fs.FileInfo, error)
	ReadFile(name string) ([]byte, error)
	MkdirAll(name string, perm fs.FileMode) error
	// Create makes a file, and empties one that is there.
	Create(name string, perm fs.FileMode) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes durable which files a folder has.
	SyncDir(name string) error
}

// File is a file that is written.
type File interface {
	io.WriteCloser
	// Sync makes durable what was written.
	Sync() error
}

// OS is the file system of the operating system.
type OS struct{}

var _ FS = OS{}

// Stat describes a file.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// ReadFile reads a file.
func (OS) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

// MkdirAll makes a folder and those above it.
func (OS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }

// Create makes or empties a file.
func (OS) Create(name string, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return nil, err // and no File that is not nil but holds a nil
	}
	return f, nil
}

// Rename gives a file another name, in place of the one that has it.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir makes durable which files a folder has.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Or returns f, or OS where it is nil.
func Or(f FS) FS {
	if f == nil {
		return OS{}
	}
	return f
}

// Replace puts a file in place whole and durably: afterwards it has this content, or there was an error and it is as before. One
// process at a time replaces a file.
func Replace(f FS, name string, data []byte, perm fs.FileMode) error {
	fresh := name + ".new"
	if err := write(f, fresh, data, perm); err != nil {
		// What is left of it would be overwritten the next time, but holds room that somebody may need.
		if rerr := f.Remove(fresh); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := f.Rename(fresh, name); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), f.Remove(fresh))
	}
	return f.SyncDir(filepath.Dir(name))
}

func write(f FS, name string, data []byte, perm fs.FileMode) error {
	w, err := f.Create(name, perm)
	if err != nil {
		return err
	}
	n, err := w.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}
