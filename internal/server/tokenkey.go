package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// tokenKeyFile holds the key from which tokens follow. It lies beside the database and not within, so that neither a copy of the database
// nor this file alone lets anybody log in.
const tokenKeyFile = "token.key"

const tokenKeyLen = 32

// tokenKey reads the key, and makes one at the first start. Without the file the tokens of before are worth nothing.
func tokenKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, tokenKeyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeTokenKey(dir, path)
	}
	if err == nil && len(key) != tokenKeyLen {
		err = fmt.Errorf("%s has %d bytes in place of %d: remove it, and clients need their passwords once", path, len(key), tokenKeyLen)
	}
	return key, err
}

// makeTokenKey writes a new key under another name first, so that a crash leaves no half of one.
func makeTokenKey(dir, path string) (_ []byte, err error) {
	key := make([]byte, tokenKeyLen)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, tokenKeyFile+".*") // with mode 0600
	if err != nil {
		return nil, err
	}
	_, err = f.Write(key)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return key, nil
}
