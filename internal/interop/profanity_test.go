package interop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// profanity is the terminal client, in a terminal of its own that tmux keeps.
type profanity struct {
	jid  string
	sock string // of tmux
}

var _ peer = (*profanity)(nil)

// newProfanity starts profanity and logs it in over STARTTLS, with the server's authority as the only one to trust.
func newProfanity(t *testing.T, w *world, a Account) *profanity {
	t.Helper()
	return newProfanityVia(t, w, a, w.Addresses["c2s"])
}

// newProfanityVia is newProfanity by some way to the server, after some commands.
func newProfanityVia(t *testing.T, w *world, a Account, address string, settings ...string) *profanity {
	t.Helper()
	dir := t.TempDir()
	p := &profanity{jid: a.JID, sock: filepath.Join(dir, "tmux")}
	if len(p.sock) > 100 { // a socket's path is short
		short, err := os.MkdirTemp("", "tmux")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(short); err != nil {
				t.Error(err)
			}
		})
		p.sock = filepath.Join(short, "s")
	}
	trust := trustFolder(t, dir, w.CAFile)
	p.tmux(t, "-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "50",
		"env", "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_DATA_HOME="+filepath.Join(dir, "data"), "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TERM=screen-256color", "profanity")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("profanity shows:\n%s", p.screen(t))
		}
		p.tmux(t, "kill-server")
	})
	p.shows(t, "Type '/help' to show complete help")
	p.command(t, "/tls certpath set "+trust)
	p.shows(t, "Certificate path set")
	for _, line := range settings {
		p.command(t, line)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p.command(t, fmt.Sprintf("/connect %s server %s port %s tls force", a.JID, host, port))
	p.shows(t, "(?m)^ *Enter password:|Enter password")
	p.command(t, a.Password)
	p.shows(t, "logged in successfully")
	p.shows(t, `\[TLS\] \[online\]`)
	w.loggedIn(t, a.JID, "SCRAM-", "tcp")
	p.command(t, "/presence console all")
	return p
}

// trustFolder makes a folder with an authority under the name by which OpenSSL looks for it.
func trustFolder(t *testing.T, dir, ca string) string {
	t.Helper()
	out, err := exec.Command("openssl", "x509", "-noout", "-hash", "-in", ca).Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	trust := filepath.Join(dir, "trust")
	text, err := os.ReadFile(ca)
	if err == nil {
		err = os.Mkdir(trust, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(trust, strings.TrimSpace(string(out))+".0"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func (p *profanity) tmux(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", p.sock}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// screen returns what is to be seen.
func (p *profanity) screen(t *testing.T) string {
	t.Helper()
	return p.tmux(t, "capture-pane", "-p", "-J")
}

// command types a line.
func (p *profanity) command(t *testing.T, line string) {
	t.Helper()
	p.tmux(t, "send-keys", "-l", line)
	p.tmux(t, "send-keys", "Enter")
}

// shows waits until a pattern is on the screen.
func (p *profanity) shows(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	eventually(t, func() error {
		if s := p.screen(t); !re.MatchString(s) {
			return fmt.Errorf("profanity does not show %q:\n%s", pattern, s)
		}
		return nil
	})
}

// ask gives a command in the console, again and again, until the console shows a pattern.
func (p *profanity) ask(t *testing.T, line, pattern string) {
	t.Helper()
	p.asks(t, line, regexp.MustCompile(pattern).MatchString, pattern)
}

func (p *profanity) asks(t *testing.T, line string, ok func(screen string) bool, what string) {
	t.Helper()
	eventually(t, func() error {
		p.command(t, "/win 1")
		p.command(t, "/clear")
		p.command(t, line)
		var s string
		for range 5 {
			time.Sleep(60 * time.Millisecond)
			if s = p.screen(t); ok(s) {
				return nil
			}
		}
		return errors.New("profanity does not show " + what + " after " + line + ":\n" + s)
	})
}

func (p *profanity) String() string { return "profanity" }
func (p *profanity) JID() string    { return p.jid }

func (p *profanity) Subscribe(t *testing.T, to string) {
	t.Helper()
	p.command(t, "/sub request "+to)
}

func (p *profanity) Approve(t *testing.T, from string) bool {
	t.Helper()
	p.ask(t, "/sub received", `(?s)Outstanding subscription requests from:.*`+regexp.QuoteMeta(from))
	p.command(t, "/sub allow "+from)
	return false
}

func (p *profanity) Send(t *testing.T, to, text string) {
	t.Helper()
	p.command(t, "/msg "+to+" "+text)
	p.shows(t, "me: "+regexp.QuoteMeta(text))
}

func (p *profanity) Receive(t *testing.T, from, text string) {
	t.Helper()
	p.ask(t, "/msg "+from, regexp.QuoteMeta(text))
	if n := strings.Count(p.screen(t), text); n != 1 {
		t.Errorf("%q from %s is on the screen %d times", text, from, n)
	}
}

// remembers opens a chat, which asks for its history. Profanity does that only once it has learnt what the server can do, and
// says so in the console otherwise.
func (p *profanity) remembers(t *testing.T, contact string) {
	t.Helper()
	chat := "(?m)^ *" + regexp.QuoteMeta(contact) + ` \[`
	eventually(t, func() error {
		p.command(t, "/msg "+contact)
		p.shows(t, chat)
		p.command(t, "/win 1")
		p.shows(t, "(?m)^ *Profanity")
		if s := p.screen(t); strings.Contains(s, "Server doesn't support MAM") {
			p.command(t, "/clear")
			p.command(t, "/close 2")
			return errors.New(s)
		}
		return nil
	})
	p.command(t, "/msg "+contact)
	p.shows(t, chat)
}

// once waits until texts are on the screen, in this order and each once.
func (p *profanity) once(t *testing.T, texts ...string) {
	t.Helper()
	var quoted []string
	for _, text := range texts {
		quoted = append(quoted, regexp.QuoteMeta(text))
	}
	p.shows(t, "(?s)"+strings.Join(quoted, ".*"))
	for _, text := range texts {
		if n := strings.Count(p.screen(t), text); n != 1 {
			t.Errorf("profanity shows %q %d times:\n%s", text, n, p.screen(t))
		}
	}
}

// process returns the process of profanity.
func (p *profanity) process(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(p.tmux(t, "display-message", "-p", "#{pane_pid}")))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// enter enters a room.
func (p *profanity) enter(t *testing.T, room, nick string) {
	t.Helper()
	joined := regexp.MustCompile("-> You have joined the room as " + regexp.QuoteMeta(nick))
	eventually(t, func() error { // where the room is of another server, that one may have to be reached again
		p.command(t, "/join "+room+" nick "+nick)
		var s string
		for range 50 {
			if s = p.screen(t); joined.MatchString(s) {
				return nil
			}
			time.Sleep(100 * time.Millisecond)
		}
		return errors.New("profanity has not joined " + room + ":\n" + s)
	})
}

// hears waits for what an occupant of the room of the current window has said.
func (p *profanity) hears(t *testing.T, nick, text string) {
	t.Helper()
	p.shows(t, regexp.QuoteMeta(nick)+": "+regexp.QuoteMeta(text))
	if n := strings.Count(p.screen(t), text); n != 1 {
		t.Errorf("%q of %s is on the screen %d times", text, nick, n)
	}
}

func (p *profanity) Show(t *testing.T, show, status string) {
	t.Helper()
	p.command(t, fmt.Sprintf("/status set %s %q", show, status))
}

func (p *profanity) Sees(t *testing.T, contact, show, status string) {
	t.Helper()
	if show == "offline" { // or no contact any more
		p.asks(t, "/who any", func(s string) bool {
			return strings.Contains(s, "All contacts:") && !regexp.MustCompile(regexp.QuoteMeta(contact)+" is (online|chat|away|xa|dnd)").MatchString(s)
		}, contact+" offline")
		return
	}
	want := regexp.QuoteMeta(contact + " is " + show)
	if status != "" {
		want += regexp.QuoteMeta(`, "` + status + `"`)
	}
	p.ask(t, "/who any", `(?m)`+want+` *(\(|,|$| )`)
}

func (p *profanity) Remove(t *testing.T, contact string) {
	t.Helper()
	p.command(t, "/roster remove "+contact)
	p.asks(t, "/roster", func(s string) bool {
		return regexp.MustCompile(`Roster: jid|No contacts`).MatchString(s) && !strings.Contains(s, "  "+contact+" - ")
	}, "a roster without "+contact)
}
