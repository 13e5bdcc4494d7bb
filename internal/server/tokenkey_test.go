package server

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sabir/internal/disk/disktest"
)

// TestTokenKey makes the key of tokens on a disk that is full at first, and reads it on one that fails.
func TestTokenKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, tokenKeyFile)
	var files disktest.FS
	files.Room(tokenKeyLen-1, syscall.ENOSPC)
	if _, err := tokenKey(&files, dir); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) {
		t.Errorf("on a full disk: %v", err)
	}
	files.Room(0, nil)
	key, err := tokenKey(&files, dir)
	if err != nil || len(key) != tokenKeyLen {
		t.Fatalf("%d bytes, %v", len(key), err)
	}
	if again, err := tokenKey(&files, dir); err != nil || !bytes.Equal(again, key) {
		t.Errorf("another key is read: %v", err)
	}
	files.Fail(func(op, _ string) error {
		if op == "ReadFile" {
			return syscall.EIO
		}
		return nil
	})
	if _, err := tokenKey(&files, dir); !errors.Is(err, syscall.EIO) {
		t.Errorf("a key that cannot be read: %v", err) // and not a new one, which would end all tokens
	}
	files.Fail(nil)
	if err := os.WriteFile(path, key[:7], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tokenKey(&files, dir); err == nil || !strings.Contains(err.Error(), "7 bytes") {
		t.Errorf("half a key: %v", err)
	}
}
