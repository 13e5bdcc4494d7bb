package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// envInside tells the test that it is within namespaces of its own already.
const envInside = "SABIR_INTEROP_INSIDE"

// TestOneRoom has profanity, slixmpp, the web client and Dino in one room: each hears what each of them says, once.
//
// Dino knows a domain and no address, so all of it runs within namespaces that give it a name and the standard ports.
func TestOneRoom(t *testing.T) {
	if os.Getenv("SABIR_INTEROP") == "" {
		t.Skip("make interop runs it")
	}
	if os.Getenv(envInside) != "" {
		oneRoom(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("it makes namespaces, which root can")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	argv := []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0], "-test.run=^TestOneRoom$", "-test.v"}
	if *update {
		argv = append(argv, "-update")
	}
	c := exec.CommandContext(ctx, "unshare", argv...)
	c.Env = append(os.Environ(), envInside+"=1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}

const namespace = `set -e
ip link set lo up
ip route add default dev lo     # what GLib takes for a network
ip addr add 192.0.2.1/32 dev lo # without another address than the loopback ones, names are not resolved (AI_ADDRCONFIG)
{ cat /etc/hosts; echo "127.0.0.1 $1"; } >"$2/hosts"
mount --bind "$2/hosts" /etc/hosts`

const trusting = `set -e
cat /etc/ssl/certs/ca-certificates.crt "$1" >"$2/authorities.crt"
mount --bind "$2/authorities.crt" /etc/ssl/certs/ca-certificates.crt`

func shell(t *testing.T, script string, args ...string) {
	t.Helper()
	if out, err := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// oneRoom is TestOneRoom, within namespaces.
func oneRoom(t *testing.T) {
	const domain, topic = "harbour.test", "quay@conference.harbour.test"
	dir := t.TempDir()
	shell(t, namespace, domain, dir)
	l, err := Start(context.Background(), Options{Dir: filepath.Join(dir, "server"), Args: []string{"--domain", domain, "--accounts", "1", "--port-offset", "0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := &world{Local: l, dir: dir}
	shell(t, trusting, l.CAFile, dir)

	jonas, zoe, amina, leila := w.account(t, "jonas"), w.account(t, "zoe"), w.account(t, "amina"), w.account(t, "leila")
	s := newSlix(t, w, zoe, false, nil)
	s.do(t, "enter", args{"room": topic, "nick": "Zoe"})
	s.do(t, "instant", args{"room": topic})
	p := newProfanity(t, w, jonas)
	p.enter(t, topic, "Jonas")
	b := newBrowser(t, w)
	web := b.login(t, w, amina)
	web.do(t, "enter", args{"room": topic, "nick": "amina"})
	prepare := newSlix(t, w, leila, false, args{"pubsub": true})
	prepare.do(t, "bookmark", args{"room": topic, "nick": "Leila", "name": "Quay"})
	prepare.do(t, "logout", nil)
	d := newDino(t, w, dir, leila)

	nicks := field[[]any](t, web.do(t, "occupants", args{"room": topic, "least": 4, "within": 60}), "nicks")
	for _, n := range []string{"Zoe", "Jonas", "amina", "Leila"} {
		if !slices.Contains(nicks, any(n)) {
			t.Errorf("the web client shows %v in the room", nicks)
		}
	}
	d.open(t)
	for _, line := range []struct{ nick, text string }{
		{"Jonas", "The ship from Tunis is at the quay."},
		{"amina", "Then let us unload before noon."},
		{"Leila", "I have the papers with me."},
		{"Zoe", "Bonjour, the crane is free from ten."},
	} {
		switch line.nick {
		case "Jonas":
			p.command(t, line.text)
		case "amina":
			web.do(t, "say", args{"room": topic, "text": line.text})
		case "Leila":
			d.say(t, line.text)
		case "Zoe":
			s.do(t, "say", args{"room": topic, "text": line.text})
		}
		for who, v := range map[string]any{
			"slixmpp":        s.do(t, "hears", args{"room": topic, "nick": line.nick, "text": line.text}),
			"the web client": web.do(t, "hears", args{"room": topic, "text": line.text}),
		} {
			if n := field[float64](t, v, "count"); n != 1 {
				t.Errorf("%s has %q of %s %v times", who, line.text, line.nick, n)
			}
		}
		p.hears(t, line.nick, line.text)
		d.hears(t, line.text)
	}
	path := picturePath(t, "room.png")
	web.do(t, "shot", args{"path": path, "settle": 800})
	if i, err := os.Stat(path); err != nil || i.Size() < 20_000 {
		t.Errorf("the picture: %v", err)
	}
	b.clean(t)
}

// dino is Dino, a client with a window.
type dino struct {
	*desktop
	db string
}

// newDino starts Dino, logs an account in, and lets it enter the rooms of the account's bookmarks.
func newDino(t *testing.T, w *world, dir string, a Account) *dino {
	t.Helper()
	home := filepath.Join(dir, "dino")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	d := &dino{newDesktop(t, home), filepath.Join(home, ".local", "share", "dino", "dino.db")}
	stop := d.background(t, "dbus-run-session", "--", "dino-im")
	eventually(t, func() error { // it makes its database
		out, err := exec.Command("sqlite3", d.db, ".schema account").CombinedOutput()
		if err != nil || len(out) == 0 {
			return fmt.Errorf("Dino has no database: %v %s", err, out)
		}
		return nil
	})
	stop()
	d.sql(t, fmt.Sprintf("INSERT INTO account (bare_jid, resourcepart, password, alias, enabled) VALUES ('%s', 'dino', '%s', '', 1)", a.JID, a.Password))
	d.background(t, "dbus-run-session", "--", "dino-im")
	w.loggedIn(t, a.JID, "SCRAM-", "tcp")
	return d
}

func (d *dino) sql(t *testing.T, query string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", "-cmd", ".timeout 5000", d.db, query).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", query, err, out)
	}
	return strings.TrimSpace(string(out))
}

// hears waits until Dino has a message of a text, and it has it once.
func (d *dino) hears(t *testing.T, text string) {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := d.sql(t, "SELECT COUNT(*) FROM message WHERE body = "+strings.ReplaceAll(string(quoted), `"`, "'")); n != "1" {
			return fmt.Errorf("Dino has %q %s times", text, n)
		}
		return nil
	})
}

// open shows the only conversation that there is.
func (d *dino) open(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		if n := d.sql(t, "SELECT COUNT(*) FROM conversation WHERE active = 1"); n == "0" {
			return fmt.Errorf("Dino has no conversation")
		}
		return nil
	})
	d.xdo(t, "search", "--sync", "--onlyvisible", "--name", "Dino", "windowfocus")
	d.xdo(t, "mousemove", "120", "75", "click", "1")
}

// say types something into the open conversation.
func (d *dino) say(t *testing.T, text string) {
	t.Helper()
	d.xdo(t, "type", "--delay", "20", text)
	d.xdo(t, "key", "Return")
}
