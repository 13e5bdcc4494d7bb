package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// psi is Psi+, a client with a window.
type psi struct {
	*desktop
	main string // its main window
	tune string // the file in which a player says what it plays
}

// newPsi starts Psi+ and logs an account in, with the server's authority alone to trust.
func newPsi(t *testing.T, w *world, a Account) *psi {
	t.Helper()
	home := t.TempDir()
	p := &psi{desktop: newDesktop(t, home), tune: filepath.Join(home, ".cache", "psi+", "tune")}
	host, port, err := net.SplitHostPort(w.Addresses["c2s"])
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(w.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	const form = `<%[1]s xmlns="http://psi-im.org/options" version="1.4">%[2]s</%[1]s>`
	config := filepath.Join(home, ".config", "psi+", "profiles", "default")
	for path, text := range map[string]string{
		p.tune: "",
		filepath.Join(home, ".local", "share", "psi+", "certs", "sabir.crt"): string(ca),
		filepath.Join(config, "options.xml"): fmt.Sprintf(form, "options", `<options><ui><tip><show type="bool">false</show></tip></ui>`+
			`<p2p><bytestreams><listen-port type="int">0</listen-port></bytestreams></p2p><keychain><enabled type="bool">false</enabled></keychain>`+
			`<extended-presence><tune><publish type="bool">true</publish></tune></extended-presence></options>`),
		filepath.Join(config, "accounts.xml"): fmt.Sprintf(form, "accounts", fmt.Sprintf(`<accounts><a0><name type="QString">harbour</name><enabled type="bool">true</enabled><auto type="bool">true</auto>`+
			`<reconn type="bool">true</reconn><jid type="QString">%s</jid><password type="QString">%s</password><resource type="QString">psi</resource><use-host type="bool">true</use-host>`+
			`<host type="QString">%s</host><port type="int">%s</port><ssl type="QString">yes</ssl><allow-plain type="QString">never</allow-plain></a0></accounts>`, a.JID, veiled(a), host, port)),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.background(t, "dbus-run-session", "--", "psi-plus", "--profile=default")
	p.main = p.window(t, "Psi+")
	return p
}

// veiled returns a password as Psi+ stores it: each character with one of the JID.
func veiled(a Account) (s string) {
	for i, c := range []byte(a.Password) {
		s += fmt.Sprintf("%04x", c^a.JID[i%len(a.JID)])
	}
	return s
}

// fill presses a button of the main window until a dialog opens, which it does once the server has said what it can do, and
// fills the dialog's fields, until another has the event. A list that is typed into too slowly chooses something else.
func (p *psi) fill(t *testing.T, x, y, dialog string, fields []string, has func() error) {
	t.Helper()
	eventually(t, func() error {
		d := p.window(t, dialog, "mousemove", "--window", p.main, x, y, "click", "1")
		p.xdo(t, "windowfocus", "--sync", d)
		for i, f := range fields {
			if i > 0 {
				p.xdo(t, "key", "Tab")
			}
			p.xdo(t, "type", "--delay", "20", f)
		}
		p.xdo(t, "key", "Return")
		return has()
	})
}

// TestPsi has Psi+ tell what its user feels, does and hears (XEP-0107, XEP-0108, XEP-0118), and others see it.
func TestPsi(t *testing.T) {
	w := enter(t)
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	other := newSlix(t, w, jonas, false, args{"pubsub": true})
	first := newSlix(t, w, amina, false, nil)
	befriend(t, first, other)
	first.do(t, "set_vcard", args{"name": "Amina Haddad", "nick": "Amina"}) // Psi+ asks who has none for it
	first.do(t, "logout", nil)
	other.Sees(t, amina.JID, "offline", "")

	p := newPsi(t, w, amina)
	other.Sees(t, amina.JID, "online", "")
	w.loggedIn(t, amina.JID, "SCRAM-", "tcp")
	sees := func(kind, what string) func() error {
		return func() error {
			_, err := other.try("event", args{"like": []any{kind, amina.JID, nil, nil, what}, "within": 5})
			return err
		}
	}
	p.fill(t, "153", "15", "Set Mood", []string{"happy", "fair wind"}, sees("user_mood_publish", "happy fair wind"))
	p.fill(t, "181", "15", "User Activity", []string{"exercising", "cycling", "along the quay"}, sees("user_activity_publish", "exercising cycling: along the quay"))
	if err := os.WriteFile(p.tune, []byte("Enta Omri\nUmm Kulthum\nLive\n1\n3600\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other.event(t, "user_tune_publish", amina.JID, nil, nil, "Umm Kulthum: Enta Omri")
}
