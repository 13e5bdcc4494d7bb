package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sabir/internal/wiretest"
)

// gajim is Gajim, a client with a window. It does not run as root.
type gajim struct {
	*agent
	*desktop
	db string // of messages
}

// newGajim starts Gajim and logs an account in, by some way to the server, whose certificate alone it trusts.
func newGajim(t *testing.T, w *world, a Account, address string) *gajim {
	t.Helper()
	home := t.TempDir()
	local, domain, _ := strings.Cut(a.JID, "@")
	host, port, err := splitPort(address)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := json.Marshal(map[string]any{"contact": args{}, "group_chat": args{}, "account": args{"name": local, "hostname": domain, "password": a.Password, "active": true, "resource": "gajim",
		"use_custom_host": true, "custom_host": host, "custom_port": port, "custom_type": "START TLS", "publish_tune": true}})
	if err != nil {
		t.Fatal(err)
	}
	d := newDesktop(t, home)
	shell(t, `set -e
mkdir -p "$1/.config/gajim" "$1/.local/share/gajim/cert_store"
cp "$2" "$1/.local/share/gajim/cert_store/server"
cp testdata/agents/gajim.py "$1/agent.py"
/usr/bin/python3 -c 'import sqlite3, sys
from gajim.common.settings import CREATE_SQL
db = sqlite3.connect(sys.argv[1])
db.executescript(CREATE_SQL)
db.execute("UPDATE settings SET settings = ? WHERE name = ?", ("{\"use_keyring\": false}", "app"))
db.execute("INSERT INTO account_settings VALUES (?, ?)", sys.argv[2:])
db.commit()' "$1/.config/gajim/settings.sqlite" "$3" "$4"
sed "s#<listen>.*</listen>#<listen>unix:dir=$1</listen>#" /usr/share/dbus-1/session.conf >"$1/session.conf"
chown -R nobody "$1"
chmod 755 "$(dirname "$1")"
chmod 700 "$1"`, home, filepath.Join(filepath.Dir(w.CAFile), domain+".crt"), local, string(settings))
	g := &gajim{desktop: d, db: filepath.Join(home, ".local", "share", "gajim", "logs.db")}
	g.agent = startAgent(t, d.env, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "dbus-run-session", "--config-file", filepath.Join(home, "session.conf"), "--",
		"/usr/bin/python3", filepath.Join(home, "agent.py"))
	d.showFailure(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Gajim: %s", g.said)
		}
	})
	return g
}

// process returns the process of Gajim.
func (g *gajim) process(t *testing.T) int {
	t.Helper()
	pid, ok := g.do(t, "process", nil).(float64)
	if !ok {
		t.Fatal("Gajim has no process")
	}
	return int(pid)
}

// has waits until Gajim has a message of a text, and it has it once.
func (g *gajim) has(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() error {
		out, err := exec.Command("sqlite3", "-cmd", ".timeout 5000", g.db, "SELECT COUNT(*) FROM logs WHERE message = '"+text+"'").CombinedOutput()
		if n := strings.TrimSpace(string(out)); err != nil || n != "1" {
			return fmt.Errorf("Gajim has %q %s times: %v", text, n, err)
		}
		return nil
	})
}

// TestGajim has Gajim as the second device of an account: it has the history that another device has made (XEP-0313), gets what
// comes while it is stopped or the network is cut, once, in the same session (XEP-0198), and tells what its user hears (XEP-0118).
func TestGajim(t *testing.T) {
	w := enter(t)
	if os.Geteuid() != 0 {
		t.Skip("it starts Gajim as somebody else, which root can")
	}
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	laptop, friend := newSlix(t, w, amina, false, nil), newSlix(t, w, jonas, false, args{"pubsub": true})
	befriend(t, friend, laptop)
	talk(t, friend, laptop, "before Gajim came")
	talk(t, laptop, friend, "from the laptop")
	laptop.do(t, "logout", nil)
	friend.Sees(t, amina.JID, "offline", "")

	tunnel := wiretest.New(t, w.Addresses["c2s"])
	g := newGajim(t, w, amina, tunnel.Addr)
	friend.do(t, "sees", args{"jid": amina.JID, "show": "online", "within": patience.Seconds()})
	w.loggedIn(t, amina.JID, "SCRAM-", "tcp")
	g.has(t, "before Gajim came")
	g.has(t, "from the laptop")
	g.do(t, "play", args{"artist": "Umm Kulthum", "title": "Enta Omri"})
	friend.event(t, "user_tune_publish", amina.JID, nil, nil, "Umm Kulthum: Enta Omri")

	signal := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(g.process(t), s); err != nil {
			t.Fatal(err)
		}
	}
	write := func(text string) {
		t.Helper()
		friend.Send(t, amina.JID, text)
		friend.do(t, "ping", nil)
	}
	write("while it runs")
	g.has(t, "while it runs")
	signal(syscall.SIGSTOP)
	write("while it is stopped")
	signal(syscall.SIGCONT)
	g.has(t, "while it is stopped")
	tunnel.Shut(true)
	tunnel.Cut()
	write("while the network is cut")
	tunnel.Shut(false)
	g.has(t, "while the network is cut")
	eventually(t, func() error {
		if n := strings.Count(w.Log(), `msg="session resumed" jid=`+amina.JID); n < 1 {
			return fmt.Errorf("the session was resumed %d times", n)
		}
		return nil
	})
	if *update {
		g.do(t, "open", args{"account": "amina", "jid": jonas.JID})
		time.Sleep(3 * time.Second)                                            // it draws
		g.shot(t, picturePath(t, "gajim.png"), "--autoselect", "0,0,1000,500") // its window
	}
}
