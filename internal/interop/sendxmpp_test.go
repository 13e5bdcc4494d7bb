package interop

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sender is go-sendxmpp as an account.
type sender struct {
	file string // of its configuration
	tls  bool   // direct TLS
	ca   string
}

func newSender(t *testing.T, w *world, a Account, direct bool) *sender {
	t.Helper()
	address := w.Addresses["c2s"]
	if direct {
		address = w.Addresses["c2s_tls"]
	}
	s := &sender{file: filepath.Join(t.TempDir(), "sendxmpprc"), tls: direct, ca: w.CAFile}
	text := fmt.Sprintf("username: %s\npassword: %s\njserver: %s\n", a.JID, a.Password, address)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// command returns the program with flags. It knows the server's authority and no other.
func (s *sender) command(ctx context.Context, args ...string) *exec.Cmd {
	flags := []string{"-f", s.file}
	if s.tls {
		flags = append(flags, "-t")
	}
	c := exec.CommandContext(ctx, "go-sendxmpp", append(flags, args...)...)
	c.Env = append(os.Environ(), "SSL_CERT_FILE="+s.ca, "SSL_CERT_DIR=")
	return c
}

func (s *sender) send(t *testing.T, to, text string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := s.command(ctx, to)
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go-sendxmpp: %w: %s", err, out)
	}
	return nil
}

// sendxmpp exchanges messages, by STARTTLS and by direct TLS, between go-sendxmpp and the others, which see it come and go.
func sendxmpp(t *testing.T, w *world, peers []peer) {
	a := w.account(t, "gilda")
	// Another client of the account subscribes, which go-sendxmpp cannot.
	own := newSlix(t, w, a, false, nil)
	for _, p := range peers {
		befriend(t, own, p)
	}
	own.do(t, "logout", nil)
	for _, p := range peers {
		p.Sees(t, a.JID, "offline", "")
	}

	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("go-sendxmpp, direct TLS %v", direct), func(t *testing.T) {
			s := newSender(t, w, a, direct)
			for _, p := range peers {
				text := fmt.Sprintf("a line for %s, direct TLS %v", p, direct)
				if err := s.send(t, p.JID(), text); err != nil {
					t.Fatal(err)
				}
				p.Receive(t, a.JID, text)
			}
			// That of Debian 12 knows no SCRAM, and `sabir local` offers PLAIN under TLS to such.
			transport := "tcp"
			if direct {
				transport = "tls"
			}
			if how := w.opened(a.JID); !strings.HasSuffix(how, " over "+transport) {
				t.Errorf("go-sendxmpp has logged in by %s", how)
			} else {
				t.Logf("go-sendxmpp: %s", how)
			}
			s.listens(t, a, peers)
		})
	}
	t.Run("go-sendxmpp, stranger's authority", func(t *testing.T) {
		s := newSender(t, w, a, false)
		s.ca = "/dev/null"
		if err := s.send(t, peers[0].JID(), "never"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("got %v", err)
		}
	})
}

// listens starts go-sendxmpp as a listener, which the others see and write to.
func (s *sender) listens(t *testing.T, a Account, peers []peer) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := s.command(ctx, "-l")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	for _, p := range peers {
		p.Sees(t, a.JID, "online", "")
		text := "to the listener, from " + p.String()
		p.Send(t, a.JID, text)
		hears(t, lines, p.JID(), text)
	}
	if err := c.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := c.Wait(); err != nil && ctx.Err() != nil {
		t.Errorf("go-sendxmpp -l: %v", err)
	}
	for _, p := range peers {
		p.Sees(t, a.JID, "offline", "")
	}
}

func hears(t *testing.T, lines <-chan string, from, text string) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				t.Fatal("go-sendxmpp -l has ended")
			}
			if strings.Contains(l, from) && strings.HasSuffix(l, text) {
				return
			}
		case <-late:
			t.Fatalf("go-sendxmpp does not print %q from %s", text, from)
		}
	}
}
