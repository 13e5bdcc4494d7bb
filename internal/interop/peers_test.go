package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the pictures of docs/images anew")

// peer is a client of somebody else, logged in. Its methods fail the test; those that wait do so for some seconds.
type peer interface {
	// String names the software, and tells it from another of its kind.
	String() string
	// JID is the bare JID.
	JID() string
	// Subscribe asks for the other's presence.
	Subscribe(t *testing.T, to string)
	// Approve waits for a request and grants it. mutual tells whether the client asks for the same in return by itself.
	Approve(t *testing.T, from string) (mutual bool)
	Send(t *testing.T, to, text string)
	// Receive waits for a message, which must have come once.
	Receive(t *testing.T, from, text string)
	// Show sends presence: online, away, dnd or xa.
	Show(t *testing.T, show, status string)
	// Sees waits for a presence of a contact; offline is one too. The status may be any where it is "".
	Sees(t *testing.T, contact, show, status string)
	// Remove takes a contact from the roster, and with it both subscriptions.
	Remove(t *testing.T, contact string)
}

// agent is a process that does what it is told, one line of JSON at a time.
type agent struct {
	mu   sync.Mutex
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said *tail
}

// startAgent starts a program of testdata/agents. It ends with the test.
func startAgent(t *testing.T, env []string, program string, args ...string) *agent {
	t.Helper()
	a := &agent{cmd: exec.Command(program, args...), said: new(tail)}
	a.cmd.Env = append(os.Environ(), env...)
	a.cmd.Stderr = a.said
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.stop(t) })
	return a
}

func (a *agent) stop(t *testing.T) {
	if err := a.in.Close(); err != nil {
		t.Errorf("%s: %v", a.cmd.Path, err)
	}
	late := time.AfterFunc(10*time.Second, func() {
		if err := a.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Logf("%s: %v", a.cmd.Path, err)
		}
	})
	defer late.Stop()
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("%s ended with %v\n%s", a.cmd.Path, err, a.said)
	}
}

// args are those of a command.
type args map[string]any

// limit bounds one command, whatever the agent does. Its own limits are shorter.
const limit = 60 * time.Second

// try gives a command and returns its result, or what the agent says is wrong.
func (a *agent) try(do string, with args) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	line := args{"do": do}
	for k, v := range with {
		line[k] = v
	}
	text, err := json.Marshal(line)
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(limit, func() {
		if err := a.cmd.Process.Kill(); err != nil {
			a.said.Write([]byte(err.Error()))
		}
	})
	defer late.Stop()
	if _, err := a.in.Write(append(text, '\n')); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", do, err, a.said)
	}
	reply, err := a.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("%s: the agent ended: %w\n%s", do, err, a.said)
	}
	var answer struct {
		Result any    `json:"result"`
		Error  string `json:"error"`
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", do, err, reply)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return answer.Result, nil
}

// do is try where an error ends the test.
func (a *agent) do(t *testing.T, do string, with args) any {
	t.Helper()
	v, err := a.try(do, with)
	if err != nil {
		t.Fatalf("%s %v: %v", do, with, err)
	}
	return v
}

// field returns a member of a result that is an object.
func field[T any](t *testing.T, result any, name string) T {
	t.Helper()
	m, ok := result.(map[string]any)
	if !ok {
		t.Fatalf("the result %v is no object", result)
	}
	v, ok := m[name].(T)
	if !ok {
		t.Fatalf("%s is %v (%T)", name, m[name], m[name])
	}
	return v
}

// needs returns the path of what scripts/interop.sh has prepared.
func needs(t *testing.T, env string) string {
	t.Helper()
	v := os.Getenv(env)
	if v == "" {
		t.Fatalf("%s is not set: run scripts/interop.sh", env)
	}
	if _, err := os.Stat(v); err != nil {
		t.Fatal(err)
	}
	return v
}

// world is the server with what all tests of the package share.
type world struct {
	*Local
	dir      string
	accounts int
	foreign  bool // it is a server of others, whose log says nothing to us
}

// enter starts the server. Without SABIR_INTEROP the test is skipped: it needs programs that not everybody has.
func enter(t *testing.T) *world {
	t.Helper()
	if os.Getenv("SABIR_INTEROP") != "1" {
		t.Skip("scripts/interop.sh runs it, with SABIR_INTEROP=1")
	}
	return serve(t, t.TempDir(), "harbour.test")
}

// serve starts a server for a domain, in a folder, with further flags. It ends with the test.
func serve(t *testing.T, dir, domain string, flags ...string) *world {
	t.Helper()
	l, err := Start(context.Background(), Options{Dir: filepath.Join(dir, "server"), Args: append([]string{"--domain", domain, "--accounts", "1"}, flags...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the log of %s:\n%s", domain, l.Log())
		}
	})
	return &world{Local: l, dir: dir}
}

// account makes an account with a password of its own.
func (w *world) account(t *testing.T, local string) Account {
	t.Helper()
	w.accounts++
	a, err := w.AddAccount(t.Context(), local, fmt.Sprintf("correct horse %d", w.accounts))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// opened returns how an account has logged in last, by the server's log: "SCRAM-SHA-512 over tcp". It is "" where it has not.
func (w *world) opened(jid string) string {
	how := ""
	for line := range strings.Lines(w.Log()) {
		if !strings.Contains(line, `msg="session opened"`) || !strings.Contains(line, " jid="+jid+"/") {
			continue
		}
		var mechanism, transport string
		for f := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(f, "mechanism="); ok {
				mechanism = v
			}
			if v, ok := strings.CutPrefix(f, "transport="); ok {
				transport = v
			}
		}
		how = mechanism + " over " + transport
	}
	return how
}

// loggedIn waits until the server's log says that an account has logged in by a mechanism whose name begins so. The client
// may know of it before the log does.
func (w *world) loggedIn(t *testing.T, jid, mechanism, transport string) {
	t.Helper()
	if w.foreign {
		return
	}
	eventually(t, func() error {
		if how := w.opened(jid); !strings.HasPrefix(how, mechanism) || !strings.HasSuffix(how, " over "+transport) {
			return fmt.Errorf("%s has logged in by %q, want %s over %s", jid, how, mechanism, transport)
		}
		return nil
	})
	t.Logf("%s: %s", jid, w.opened(jid))
}

// patience bounds how long a condition is waited for. It costs nothing where the condition comes true.
const patience = 45 * time.Second

// eventually tries until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
