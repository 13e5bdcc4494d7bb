package ledger

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sabir/internal/interop"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// Peer is a Server of others, as bench/peers/peer.sh runs it.
type Peer struct {
	script, dir string
	args        []string
	keys        *sasl.KeyCache

	c2s, domain, prefix string
	pids                []int
	done                chan struct{}
}

// NewPeer prepares a server in a new folder. name is one of peer.sh, flags are further ones of `peer.sh start`.
func NewPeer(name, dir string, accounts, port int, flags ...string) (*Peer, error) {
	root, err := interop.Root()
	if err != nil {
		return nil, err
	}
	args := append([]string{"start", name, "--dir", dir, "--port", strconv.Itoa(port), "--accounts", strconv.Itoa(accounts),
		"--password", password, "--archive"}, flags...)
	return &Peer{script: filepath.Join(root, "bench", "peers", "peer.sh"), dir: dir, args: args, keys: sasl.NewKeyCache(100)}, nil
}

// Start implements Server.
func (p *Peer) Start(ctx context.Context) error {
	// The servers outlive the script, and would keep a pipe of its open.
	out, err := os.Create(filepath.Join(p.dir, "started"))
	if err != nil {
		return err
	}
	defer out.Close()
	said, err := os.Create(filepath.Join(p.dir, "said"))
	if err != nil {
		return err
	}
	defer said.Close()
	c := exec.CommandContext(ctx, p.script, p.args...)
	c.Stdout, c.Stderr = out, said
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, p.Log())
	}
	line, err := os.ReadFile(out.Name())
	if err != nil {
		return err
	}
	var s struct {
		C2S           string `json:"c2s"`
		Domain        string `json:"domain"`
		PIDs          []int  `json:"pids"`
		AccountPrefix string `json:"account_prefix"`
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return fmt.Errorf("%s: %w: %s", p.script, err, line)
	}
	p.c2s, p.domain, p.prefix, p.pids = s.C2S, s.Domain, s.AccountPrefix, s.PIDs
	p.done = make(chan struct{})
	return nil
}

// Kill implements Server.
func (p *Peer) Kill() error {
	for _, pid := range p.pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	defer close(p.done)
	end := time.Now().Add(30 * time.Second)
	for _, pid := range p.pids {
		for alive(pid) {
			if time.Now().After(end) {
				return fmt.Errorf("process %d does not end", pid)
			}
			rest(context.Background(), 10*time.Millisecond)
		}
	}
	return nil
}

func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(state, "Z")
}

// PIDs implements Server.
func (p *Peer) PIDs() []int { return p.pids }

// Stop implements Server.
func (p *Peer) Stop() error {
	if out, err := exec.Command(p.script, "stop", "--dir", p.dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%s stop: %w: %s", p.script, err, out)
	}
	return nil
}

// Done implements Server. It knows of Kill alone.
func (p *Peer) Done() <-chan struct{} { return p.done }

// Log implements Server.
func (p *Peer) Log() string {
	var b strings.Builder
	for _, name := range []string{"said", "out.log", "ejabberd.log", "prosody.log"} {
		text, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil || len(text) == 0 {
			continue // not every server has every file
		}
		fmt.Fprintf(&b, "%s:\n%s\n", name, text[max(0, len(text)-4096):])
	}
	return b.String()
}

// Account implements Server.
func (p *Peer) Account(n int) (jid.JID, *client.Config, error) {
	j, err := jid.Parse(fmt.Sprintf("%s%d@%s", p.prefix, n, p.domain))
	if err != nil {
		return j, nil, err
	}
	pem, err := os.ReadFile(filepath.Join(p.dir, "cert.pem"))
	if err != nil {
		return j, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return j, nil, errors.New("the peer's certificate cannot be read")
	}
	return j, &client.Config{
		JID: j, Password: password, Via: client.STARTTLS, Address: p.c2s, TLS: &tls.Config{RootCAs: pool}, Keys: p.keys,
		NoBinding: true, // ejabberd refuses the binding that it is given over TLS 1.3
	}, nil
}
