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

	"sabir/internal/dnstest"
)

// envInside tells the test that it is within namespaces of its own already.
const envInside = "SABIR_INTEROP_INSIDE"

// TestOneRoom has profanity, slixmpp, the web client and Dino in one room: each hears what each of them says, once. Their users
// are of three servers, ejabberd, Prosody and Sabir, and each of these hosts such a room.
//
// Dino knows a domain and no address, and the servers find each other by DNS, so all of it runs within namespaces that give
// them names and the standard ports.
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
mount --bind "$2/hosts" /etc/hosts
echo 'nameserver 127.0.53.53' >"$2/resolv.conf"
mount --bind "$2/resolv.conf" /etc/resolv.conf`

const trusting = `set -e
cat /etc/ssl/certs/ca-certificates.crt "$1" >"$2/authorities.crt"
mount --bind "$2/authorities.crt" /etc/ssl/certs/ca-certificates.crt`

func shell(t *testing.T, script string, args ...string) {
	t.Helper()
	if out, err := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// room is a room with the client of its owner, who is of the same server.
type room struct {
	jid   string
	owner *slix
}

// newRoom has somebody open a room on their server.
func newRoom(t *testing.T, w *world, owner Account) room {
	t.Helper()
	r := room{"quay@conference." + w.Domain, newSlix(t, w, owner, false, args{"pubsub": !w.foreign})}
	r.owner.do(t, "enter", args{"room": r.jid, "nick": "owner"})
	r.owner.do(t, "instant", args{"room": r.jid})
	return r
}

// threeServers starts Sabir, Prosody and ejabberd within namespaces, where they find each other by DNS.
func threeServers(t *testing.T) (w, prosody, ejabberd *world) {
	t.Helper()
	const domain = "harbour.test"
	dir := t.TempDir()
	shell(t, namespace, domain, dir)
	zone := dnstest.New(t, "127.0.53.53:53")
	w = serve(t, dir, domain, "--port-offset", "0")
	shell(t, trusting, w.CAFile, dir)
	for _, d := range []string{domain, "conference." + domain} {
		zone.Point(t, d, w.Addresses["s2s"], "")
	}
	prosody, ejabberd = newForeign(t, zone, "prosody", "pier.test", "6222", "6269"), newForeign(t, zone, "ejabberd", "dock.test", "7222", "7269")
	for _, f := range []*world{prosody, ejabberd} {
		w.meet(t, f.Domain, f.Addresses["s2s"], `auth = "dialback"`)
	}
	return w, prosody, ejabberd
}

// oneRoom is TestOneRoom, within namespaces.
func oneRoom(t *testing.T) {
	w, prosody, ejabberd := threeServers(t)
	zoe, amina, leila := w.account(t, "zoe"), w.account(t, "amina"), w.account(t, "leila")
	rooms := []room{newRoom(t, prosody, prosody.user("u1")), newRoom(t, ejabberd, ejabberd.user("u1")), newRoom(t, w, zoe)}
	prepare := newSlix(t, w, leila, false, args{"pubsub": true})
	for _, r := range rooms {
		prepare.do(t, "bookmark", args{"room": r.jid, "nick": "Leila", "name": "Quay"})
	}
	prepare.do(t, "logout", nil)
	s := newSlix(t, prosody, prosody.user("u0"), false, nil)
	p := newProfanity(t, ejabberd, ejabberd.user("u0"))
	b := newBrowser(t, w)
	web := b.login(t, w, amina)
	d := newDino(t, w, w.dir, leila)
	for i, r := range rooms {
		s.do(t, "enter", args{"room": r.jid, "nick": "Zoe", "within": 30})
		p.enter(t, r.jid, "Jonas")
		web.do(t, "enter", args{"room": r.jid, "nick": "amina", "within": 30})
		nicks := field[[]any](t, web.do(t, "occupants", args{"room": r.jid, "least": 5, "within": 50}), "nicks")
		for _, n := range []string{"Zoe", "Jonas", "amina", "Leila"} {
			if !slices.Contains(nicks, any(n)) {
				t.Errorf("the web client shows %v in %s", nicks, r.jid)
			}
		}
		hear := func(nick, text string) {
			t.Helper()
			for who, v := range map[string]any{
				"slixmpp":        s.do(t, "hears", args{"room": r.jid, "nick": nick, "text": text, "within": 30}),
				"the web client": web.do(t, "hears", args{"room": r.jid, "text": text, "within": 30}),
				"the owner":      r.owner.do(t, "hears", args{"room": r.jid, "nick": nick, "text": text, "within": 30}),
			} {
				if n := field[float64](t, v, "count"); n != 1 {
					t.Errorf("%s has %q of %s in %s %v times", who, text, nick, r.jid, n)
				}
			}
			p.hears(t, nick, text)
			d.hears(t, text)
		}
		text := fmt.Sprintf("The ship from Tunis is at quay %d.", i+1)
		p.command(t, text)
		hear("Jonas", text)
		text = fmt.Sprintf("Then let us unload before noon, at quay %d.", i+1)
		web.do(t, "say", args{"room": r.jid, "text": text})
		hear("amina", text)
		// Dino shows the conversation on top in which something was said last.
		text = fmt.Sprintf("I have the papers of quay %d with me.", i+1)
		d.open(t, r.jid)
		d.say(t, text)
		hear("Leila", text)
		text = fmt.Sprintf("Bonjour, the crane of quay %d is free from ten.", i+1)
		s.do(t, "say", args{"room": r.jid, "text": text})
		hear("Zoe", text)
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
	d.window(t, "Dino") // it has made its database then; one that looks into it before makes it fail
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

// open shows the conversation of a room, in which something was said last, so that it is on top of the list.
func (d *dino) open(t *testing.T, room string) {
	t.Helper()
	eventually(t, func() error {
		if jid := d.sql(t, "SELECT j.bare_jid FROM conversation c JOIN jid j ON j.id = c.jid_id WHERE c.active = 1 ORDER BY c.last_active DESC LIMIT 1"); jid != room {
			return fmt.Errorf("Dino's last conversation is that with %q", jid)
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
