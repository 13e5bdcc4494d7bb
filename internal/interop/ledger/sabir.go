package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sabir/internal/interop"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// Sabir is a Server: `sabir local`.
type Sabir struct {
	*interop.Local

	o     interop.Options
	keys  *sasl.KeyCache
	point string // the file that arms crash points
}

// domain and password of the accounts, which live on loopback, for minutes.
const (
	domain   = "crash.test"
	password = "secret"
)

// NewSabir prepares a server with accounts in a new folder. database is "" for SQLite in that folder; env is added to the
// environment of the process.
func NewSabir(dir string, accounts int, database string, env ...string) (*Sabir, error) {
	s := &Sabir{keys: sasl.NewKeyCache(10_000), point: filepath.Join(dir, "crash-point")}
	s.o = interop.Options{
		Dir: dir, Within: time.Minute, Env: append(env, "SABIR_CRASH_POINT_FILE="+s.point),
		Args: []string{"--domain", domain, "--accounts", strconv.Itoa(accounts), "--password", password, "--scram-iterations", "4096"},
	}
	if database != "" {
		s.o.Args = append(s.o.Args, "--database", database)
	}
	return s, nil
}

// Wrap has the next starts run by a command; see interop.Options.
func (s *Sabir) Wrap(command ...string) { s.o.Wrap = command }

// Env adds to the environment of the next starts.
func (s *Sabir) Env(env ...string) { s.o.Env = append(s.o.Env, env...) }

// Configure changes the configuration for the next starts. The server was started once, which has made it.
func (s *Sabir) Configure(change func(text string) string) error {
	path := filepath.Join(s.o.Dir, "sabir.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	now := change(string(text))
	if now == string(text) {
		return errors.New("the change changes nothing")
	}
	return os.WriteFile(path, []byte(now), 0o600)
}

// Start implements Server.
func (s *Sabir) Start(ctx context.Context) error {
	// The process outlives ctx, which bounds the start.
	l, err := interop.Start(context.WithoutCancel(ctx), s.o)
	if err != nil {
		return err
	}
	s.Local = l
	s.o.PortOffset, s.o.Args = l.PortOffset, nil
	return nil
}

// Arm has the server kill itself when it passes a crash point for the nth time from now on; where it does not run, from its
// next start on.
func (s *Sabir) Arm(point string, n int) error {
	tmp := s.point + ".new"
	if err := os.WriteFile(tmp, []byte(fmt.Sprintf("%s %d\n", point, n)), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.point)
}

// Account implements Server.
func (s *Sabir) Account(n int) (jid.JID, *client.Config, error) {
	address := fmt.Sprintf("user%d@%s", n+1, domain)
	cfg, err := s.ClientConfig(interop.Account{JID: address, Password: password})
	if err != nil {
		return jid.JID{}, nil, err
	}
	cfg.Keys = s.keys
	return cfg.JID, cfg, nil
}

// PIDs implements Server.
func (s *Sabir) PIDs() []int { return []int{s.PID} }

// Log implements Server. It leaves out what is logged for every session.
func (s *Sabir) Log() string {
	var out []string
	for line := range strings.Lines(s.Local.Log()) {
		if !strings.Contains(line, "level=INFO") {
			out = append(out, line)
		}
	}
	return strings.Join(out[max(0, len(out)-20):], "")
}

// Died tells whether the server has ended because of the crash point that was armed.
func (s *Sabir) Died() bool { return strings.Contains(s.Log(), reached) }

const reached = "crash point reached"

// Reached tells whether a start failed because of the crash point that was armed.
func Reached(err error) bool { return err != nil && strings.Contains(err.Error(), reached) }
