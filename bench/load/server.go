package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Setup is what a run asks of a server.
type Setup struct {
	// Dir is empty and the server's alone.
	Dir string
	// Port is free on loopback, and so are the few after it.
	Port int
	// Accounts is how many there must be.
	Accounts int
	// Password is that of every account.
	Password string
	// Archive stores every message in both archives.
	Archive bool
	// Subscribers is how many accounts, from 1, are to be subscribed to a node of the first at the publish-subscribe service. A server that
	// takes long for that may have it done before it starts, and says so by Running.Subscribed.
	Subscribers int
	// Database is the PostgreSQL that the server is to use; nil for what it has by itself.
	Database *Database
	// Domain is what the server is called; "" for localhost. With a name it talks to other servers, S2SPort being where they
	// come in.
	Domain string
}

// S2SPort is where other servers come in: as far above Port as the standard ports are apart.
func (s Setup) S2SPort() int { return s.Port + defaultS2S - defaultC2S }

// Server is something that can be measured.
type Server struct {
	Name string
	// Floor marks the one that reads no XML.
	Floor bool
	// Start runs it and returns once it accepts connections.
	Start func(context.Context, Setup) (*Running, error)
}

// Running is a started server.
type Running struct {
	Name, Addr, Domain, Password string
	// PIDs are the roots of its processes.
	PIDs  []int
	Floor bool
	// Archive says that every message is to be stored in both archives.
	Archive bool
	// Subscribed says that the node of Setup.Subscribers is there.
	Subscribed bool
	// NeverArchive has clients turn their archive off themselves (XEP-0441#prefs),
	// where the server has no switch for it.
	NeverArchive bool

	// Other is a second server of the same kind, on which every other account has its session; nil where there is none.
	// PIDs are those of both then.
	Other *Running

	prefix string
	first  int
	stop   func() error
}

// Account returns the localpart of account i, from 0.
func (r *Running) Account(i int) string { return r.prefix + strconv.Itoa(r.first+i) }

// JID returns the full address that a session of account i binds.
func (r *Running) JID(i int) string { return r.Bare(i) + "/" + resource }

// Bare returns the bare address of account i.
func (r *Running) Bare(i int) string { return r.Account(i) + "@" + r.Domain }

// at returns the server on which account i has its session.
func (r *Running) at(i int) *Running {
	if r.Other != nil && i%2 == 1 {
		return r.Other
	}
	return r
}

// Stop ends the server and waits for it.
func (r *Running) Stop() error { return r.stop() }

// Servers returns what can be measured. peerScript and floorBinary are paths;
// sabirCommand is the binary followed by further arguments for "sabir local".
func Servers(peerScript, floorBinary string, sabirCommand []string) []Server {
	list := []Server{{Name: "floor", Floor: true, Start: func(ctx context.Context, s Setup) (*Running, error) {
		return startFloor(ctx, floorBinary, s)
	}}}
	for _, name := range []string{"ejabberd", "prosody", "prosody-shipped"} {
		list = append(list, Server{Name: name, Start: func(ctx context.Context, s Setup) (*Running, error) {
			return startPeer(ctx, peerScript, name, s)
		}})
	}
	return append(list, Server{Name: "sabir", Start: func(ctx context.Context, s Setup) (*Running, error) {
		return startSabir(ctx, sabirCommand, s)
	}})
}

// ready is the line that bench/peers/peer.sh and bench/floor print.
type ready struct {
	Name   string `json:"name"`
	C2S    string `json:"c2s"`
	Domain string `json:"domain"`
	PIDs   []int  `json:"pids"`
	Prefix string `json:"account_prefix"`
	First  int    `json:"first_account"`
	// Subscribed is how many accounts are subscribed to the node.
	Subscribed int `json:"subscribed"`
}

func startPeer(ctx context.Context, script, name string, s Setup) (*Running, error) {
	args := []string{"start", name, "--dir", s.Dir, "--port", strconv.Itoa(s.Port),
		"--accounts", strconv.Itoa(s.Accounts), "--password", s.Password}
	if s.Archive {
		args = append(args, "--archive")
	}
	if s.Subscribers > 0 {
		args = append(args, "--node", benchNode, "--subscribers", strconv.Itoa(s.Subscribers))
	}
	if s.Domain != "" {
		args = append(args, "--domain", s.Domain, "--s2s-port", strconv.Itoa(s.S2SPort()))
	}
	if s.Database != nil {
		args = append(args, "--postgres", s.Database.URL)
	}
	cmd := exec.CommandContext(ctx, script, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// The server that the script leaves behind must not hold our pipe open.
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return nil, fmt.Errorf("%s: %w: %s", name, err, stderr.String())
	}
	var r ready
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, fmt.Errorf("%s printed %q: %w", script, out, err)
	}
	return &Running{
		Name: name, Addr: r.C2S, Domain: r.Domain, Password: s.Password, PIDs: s.Database.and(r.PIDs[:1]...), Archive: s.Archive,
		Subscribed: s.Subscribers > 0 && r.Subscribed == s.Subscribers, prefix: r.Prefix, first: r.First,
		stop: func() error {
			out, err := exec.Command(script, "stop", "--dir", s.Dir).CombinedOutput()
			if err != nil {
				return fmt.Errorf("stop %s: %w: %s", name, err, out)
			}
			return nil
		},
	}, nil
}

func startFloor(ctx context.Context, binary string, s Setup) (*Running, error) {
	line, cmd, err := startChild(ctx, s.Dir, binary, "-listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
	if err != nil {
		return nil, err
	}
	var r ready
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, errors.Join(fmt.Errorf("%s printed %q: %w", binary, line, err), stopChild(cmd))
	}
	return &Running{
		Name: "floor", Floor: true, Addr: r.C2S, Domain: r.Domain, PIDs: []int{cmd.Process.Pid},
		prefix: "u", stop: func() error { return stopChild(cmd) },
	}, nil
}

// Where sabir listens for clients and other servers unless told to shift its ports.
const (
	defaultC2S = 5222
	defaultS2S = 5269
)

func startSabir(ctx context.Context, command []string, s Setup) (*Running, error) {
	if len(command) == 0 {
		return nil, errors.New("no command for sabir")
	}
	args := append([]string{"local", "--dir", filepath.Join(s.Dir, "data"), "--accounts", strconv.Itoa(s.Accounts),
		"--password", s.Password, "--scram-iterations", "4096", "--json",
		"--port-offset", strconv.Itoa(s.Port - defaultC2S)}, command[1:]...)
	if s.Database != nil {
		args = append(args, "--database", s.Database.URL)
	}
	if s.Domain != "" {
		args = append(args, "--domain", s.Domain)
	}
	line, cmd, err := startChild(ctx, s.Dir, command[0], args...)
	if err != nil {
		return nil, err
	}
	if s.Domain != "" { // the first start has made the configuration
		if err := errors.Join(stopChild(cmd), federate(filepath.Join(s.Dir, "data", "sabir.toml"))); err != nil {
			return nil, err
		}
		if line, cmd, err = startChild(ctx, s.Dir, command[0], args...); err != nil {
			return nil, err
		}
	}
	// Decoded in two steps: of the addresses only one is ours to know.
	var r struct {
		PID       int                        `json:"pid"`
		Domain    string                     `json:"domain"`
		Addresses map[string]json.RawMessage `json:"addresses"`
		Accounts  []struct {
			JID string `json:"jid"`
		} `json:"accounts"`
	}
	var addr string
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, errors.Join(fmt.Errorf("sabir printed %.300q: %w", line, err), stopChild(cmd))
	}
	if err := json.Unmarshal(r.Addresses["c2s"], &addr); err != nil {
		return nil, errors.Join(fmt.Errorf("sabir's address for clients, %q: %w", r.Addresses["c2s"], err), stopChild(cmd))
	}
	if len(r.Accounts) < s.Accounts {
		return nil, errors.Join(fmt.Errorf("sabir made %d accounts of %d", len(r.Accounts), s.Accounts), stopChild(cmd))
	}
	return &Running{
		Name: "sabir", Addr: addr, Domain: r.Domain, Password: s.Password, PIDs: s.Database.and(cmd.Process.Pid),
		Archive: s.Archive, NeverArchive: !s.Archive, prefix: "user", first: 1, stop: func() error { return stopChild(cmd) },
	}, nil
}

// startChild runs a program in the foreground, as a child of ours, and returns
// the first line that it prints. What it says afterwards goes to DIR/out.log.
func startChild(ctx context.Context, dir, binary string, args ...string) ([]byte, *exec.Cmd, error) {
	log, err := os.Create(filepath.Join(dir, "out.log"))
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	type result struct {
		line []byte
		err  error
	}
	first := make(chan result, 1)
	go func() {
		r := bufio.NewReader(out)
		line, err := r.ReadBytes('\n')
		first <- result{line, err}
		// The pipe must be read on, or a talkative program would stop. It ends
		// with the program, and its end is no error.
		if _, err := io.Copy(io.Discard, r); err != nil {
			return
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case r := <-first:
		if r.err == nil {
			return r.line, cmd, nil
		}
		err = r.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	said, readErr := os.ReadFile(log.Name())
	err = fmt.Errorf("%s %s: %w: %s", binary, strings.Join(args, " "), err, tail(said, 2000))
	return nil, nil, errors.Join(err, readErr, stopChild(cmd))
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

// stopTime is how long a child may take to end, with ten thousand connections on a busy machine.
const stopTime = time.Minute

// stopChild asks a child to end, and ends it where it does not within that time.
func stopChild(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil // ended by the signal, or its way of saying so
		}
		return err
	case <-time.After(stopTime):
		err := cmd.Process.Kill()
		<-done
		return errors.Join(fmt.Errorf("%s did not end when asked to", cmd.Path), err)
	}
}
