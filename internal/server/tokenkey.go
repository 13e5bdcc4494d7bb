package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"sabir/internal/disk"
)

// tokenKeyFile holds the key from which tokens follow. It lies beside the database and not within, so that neither a copy of the database
// nor this file alone lets anybody log in.
const tokenKeyFile = "token.key"

const tokenKeyLen = 32

// tokenKey reads the key, and makes one at the first start. Without the file the tokens of before are worth nothing.
func tokenKey(files disk.FS, dir string) ([]byte, error) {
	path := filepath.Join(dir, tokenKeyFile)
	key, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, tokenKeyLen)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		return key, disk.Replace(files, path, key, 0o600)
	}
	if err == nil && len(key) != tokenKeyLen {
		err = fmt.Errorf("%s has %d bytes in place of %d: remove it, and clients need their passwords once", path, len(key), tokenKeyLen)
	}
	return key, err
}
