package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
)

// Options say how to start a Local.
type Options struct {
	// Binary is the path of sabir; "" means bin/sabir of this tree.
	Binary string
	// Dir is the folder of the server. A second start with the same one goes on with its data.
	Dir string
	// Args are further flags of `sabir local`. The flags --dir, --port-offset and --json are added.
	Args []string
	// Env is added to the environment of the process.
	Env []string
	// Wrap is a command that ends by executing the one that it is given as further arguments, such as prlimit.
	Wrap []string
	// PortOffset is used as it is; 0 means one at random whose ports are free.
	PortOffset int
	// Within bounds the start; 0 means 30 seconds.
	Within time.Duration
}

// Local is a `sabir local` that runs as a process of its own.
type Local struct {
	PID       int               `json:"pid"`
	Domain    string            `json:"domain"`
	CAFile    string            `json:"ca_file"`
	Addresses map[string]string `json:"addresses"` // by purpose: c2s, c2s_tls, https …
	Accounts  []Account         `json:"accounts"`
	WebURL    string            `json:"web_url"`
	Config    string            `json:"config"`

	// PortOffset is the one that was chosen, for a start again on the same ports.
	PortOffset int `json:"-"`

	binary string
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process has ended
	err    error         // how, once done is closed
	log    *tail
}

// Account is an account that the server has made.
type Account struct {
	JID      string `json:"jid"`
	Password string `json:"password"`
}

// tail keeps the end of what a process logs.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// Root returns the folder of the module that holds the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, serr := os.Stat(filepath.Join(dir, "go.mod")); serr == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
	return "", err
}

// Start starts a server and waits until it accepts connections. The process ends at the latest with the ctx.
func Start(ctx context.Context, o Options) (*Local, error) {
	if o.Binary == "" {
		root, err := Root()
		if err != nil {
			return nil, err
		}
		o.Binary = filepath.Join(root, "bin", "sabir")
	}
	if _, err := os.Stat(o.Binary); err != nil {
		return nil, fmt.Errorf("no server to start (make build): %w", err)
	}
	if o.Within == 0 {
		o.Within = 30 * time.Second
	}
	if o.PortOffset != 0 {
		return start(ctx, o)
	}
	var errs []error
	for range 5 { // another may take a port between the look and the start
		// Above the ports of most services and below those that systems hand out: 10222 to 30443.
		n, err := rand.Int(rand.Reader, big.NewInt(20000))
		if err != nil {
			return nil, err
		}
		o.PortOffset = 5000 + int(n.Int64())
		l, err := start(ctx, o)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
		if !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func start(ctx context.Context, o Options) (*Local, error) {
	args := append([]string{"local", "--dir", o.Dir, "--port-offset", strconv.Itoa(o.PortOffset), "--json"}, o.Args...)
	l := &Local{PortOffset: o.PortOffset, binary: o.Binary, done: make(chan struct{}), log: new(tail)}
	all := append(append([]string(nil), o.Wrap...), append([]string{o.Binary}, args...)...)
	l.cmd = exec.CommandContext(ctx, all[0], all[1:]...)
	l.cmd.Stderr = l.log
	l.cmd.Env = append(os.Environ(), o.Env...)
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, err
	}
	line := make(chan []byte, 1)
	go func() {
		r := bufio.NewReader(out)
		text, err := r.ReadBytes('\n')
		if err == nil {
			line <- text
			if _, err = io.Copy(io.Discard, r); err != nil { // the process has ended
				l.log.Write([]byte("\n" + err.Error()))
			}
		}
		l.err = l.cmd.Wait()
		close(l.done)
	}()
	late := time.NewTimer(o.Within)
	defer late.Stop()
	select {
	case text := <-line:
		if err := json.Unmarshal(text, l); err != nil {
			return nil, errors.Join(fmt.Errorf("the line of --json: %w", err), l.Kill())
		}
		return l, nil
	case <-l.done:
		return nil, fmt.Errorf("sabir local ended: %w\n%s", errors.Join(l.err, ctx.Err()), l.log)
	case <-late.C:
		return nil, errors.Join(fmt.Errorf("sabir local was not ready after %v\n%s", o.Within, l.log), l.Kill())
	}
}

// Done is closed when the process has ended.
func (l *Local) Done() <-chan struct{} { return l.done }

// Err tells how the process has ended, once Done is closed: nil where it exited with 0.
func (l *Local) Err() error { return l.err }

// Log returns the end of what the server has logged.
func (l *Local) Log() string { return l.log.String() }

// Kill ends the server by SIGKILL, as a machine does that fails, and waits for its end.
func (l *Local) Kill() error {
	if err := l.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-l.done
	return nil
}

// Stop asks the server to end (SIGTERM), and waits. It must end by itself, without an error, within 20 seconds.
func (l *Local) Stop() error {
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-l.done:
	case <-time.After(20 * time.Second):
		return errors.Join(errors.New("the server did not stop within 20 s of SIGTERM\n"+l.Log()), l.Kill())
	}
	if l.err != nil {
		return fmt.Errorf("the server stopped with %w\n%s", l.err, l.Log())
	}
	return nil
}

// AddAccount makes an account by `sabir account add`, as an administrator does.
func (l *Local) AddAccount(ctx context.Context, local, password string) (Account, error) {
	a := Account{JID: local + "@" + l.Domain, Password: password}
	c := exec.CommandContext(ctx, l.binary, "account", "add", a.JID, "--password-stdin", "--config", l.Config)
	c.Stdin = strings.NewReader(password + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		return a, fmt.Errorf("sabir account add %s: %w: %s", a.JID, err, bytes.TrimSpace(out))
	}
	return a, nil
}

// Configure adds to the configuration, and has the server read it again.
func (l *Local) Configure(ctx context.Context, text string) error {
	f, err := os.OpenFile(l.Config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + text + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, l.binary, "reload", "--config", l.Config).CombinedOutput(); err != nil {
		return fmt.Errorf("sabir reload: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// ClientConfig returns what the client library needs to log an account in over STARTTLS, with the server's authority alone to
// trust.
func (l *Local) ClientConfig(a Account) (*client.Config, error) {
	j, err := jid.Parse(a.JID)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(l.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", l.CAFile)
	}
	return &client.Config{JID: j, Password: a.Password, Via: client.STARTTLS, Address: l.Addresses["c2s"], TLS: &tls.Config{RootCAs: pool}}, nil
}
