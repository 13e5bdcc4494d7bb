package db_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
)

// The test binary plays the process that is killed: these variables tell it what to do.
const (
	envChild = "SABIR_DB_TEST_CHILD" // the name of a crash point, or "run" to write until killed from outside
	envURL   = "SABIR_DB_TEST_URL"
	envAfter = "SABIR_DB_TEST_AFTER" // how many times the crash point is passed before it strikes
)

// child writes rows from several goroutines and prints the name of each after its Write has returned.
func child(job string) {
	after, err := strconv.ParseInt(os.Getenv(envAfter), 10, 64)
	if err != nil {
		after = 0
	}
	var passed atomic.Int64
	o := db.Options{CrashPoint: func(name string) {
		if name == job && passed.Add(1) > after {
			kill(os.Getpid())
			select {} // the signal is on its way
		}
	}}
	ctx := context.Background()
	d, err := db.Open(ctx, os.Getenv(envURL), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for c := range 16 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), c, i)
				if err := d.Write(ctx, func(tx mod.Tx) error { return insert(ctx, tx, name, int64(i)) }); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Println(name)
			}
		}()
	}
	select {}
}

func kill(pid int) {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		panic(err)
	}
}

// TestKill ends a process at random and at each crash point while it writes, and finds all that it had acknowledged.
func TestKill(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		d := openPairs(t, url, db.Options{})
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		acked := map[string]bool{}
		for _, job := range []string{"run", "db.before-commit", "db.after-commit", "run", "db.before-commit", "db.after-commit"} {
			for _, name := range runChild(t, url, job) {
				acked[name] = true
			}
		}
		if len(acked) < 100 {
			t.Errorf("only %d rows were acknowledged: the test tests nothing", len(acked))
		}
		d = dbtest.Open(t, url, db.Options{})
		rows, err := d.Query(t.Context(), "SELECT name FROM pair")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			delete(acked, name)
			n++
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		for name := range acked {
			t.Errorf("%s was acknowledged and is lost", name)
		}
		t.Logf("%d rows survived", n)
		if err := d.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
	})
}

// runChild runs a process until it dies, or kills it, and returns what it acknowledged.
func runChild(t *testing.T, url, job string) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envChild+"="+job, envURL+"="+url, envAfter+"=10")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(20*time.Second, func() { kill(cmd.Process.Pid) })
	var names []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		names = append(names, lines.Text())
		if job == "run" && len(names) == 200 {
			kill(cmd.Process.Pid)
		}
	}
	// The last line may be cut off by the signal, but then the pipe had it from a write of a whole line: each Println is
	// one write of less than PIPE_BUF.
	err = cmd.Wait()
	if !limit.Stop() {
		t.Fatalf("%s: the process had to be ended: %s", job, stderr.String())
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("%s: %v: %s", job, err, stderr.String())
	}
	return names
}
