package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Database is a running PostgreSQL that nobody else uses.
type Database struct {
	// URL is how a server reaches it.
	URL string

	pid  int // of the postmaster, from which all its other processes descend
	stop func() error
}

// and returns the processes of a server together with those of its database, if it has one.
func (d *Database) and(pids ...int) []int {
	if d == nil {
		return pids
	}
	return append(pids, d.pid)
}

// Stop ends the database and deletes it.
func (d *Database) Stop() error { return d.stop() }

// StartDatabase runs a PostgreSQL that syncs what it commits. script is the path of scripts/postgres-test.sh; dir does not
// exist yet.
func StartDatabase(ctx context.Context, script, dir string) (*Database, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", script, "start", dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// What the script leaves behind must not hold our pipe open.
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w: %s", err, stderr.String())
	}
	d := &Database{URL: strings.TrimSpace(string(out)), stop: func() error {
		out, err := exec.Command("/bin/sh", script, "stop", dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("stop PostgreSQL: %w: %s", err, out)
		}
		return nil
	}}
	if d.pid, err = postmaster(dir); err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", errors.Join(err, d.Stop()))
	}
	return d, nil
}

// postmaster reads the first line of the file that PostgreSQL keeps while it runs.
func postmaster(dir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strconv.Atoi(strings.TrimSpace(line))
}
