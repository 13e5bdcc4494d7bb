package interop

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// browser is Chromium with the web client, in which several people may be logged in.
type browser struct {
	*agent
	url  string
	host string
	who  []string
}

// person is one who is logged in to the web client.
type person struct {
	b   *browser
	who string
	jid string
}

var _ peer = (*person)(nil)

// newBrowser starts Chromium. It trusts the server's authority, and no other way of certificates is open to it.
func newBrowser(t *testing.T, w *world) *browser {
	t.Helper()
	home := t.TempDir()
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-t", "C,,", "-n", "sabir", "-i", w.CAFile}} {
		if out, err := exec.Command("certutil", append([]string{"-d", "sql:" + db}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("certutil (Debian: libnss3-tools): %v: %s", err, out)
		}
	}
	u, err := url.Parse(w.WebURL)
	if err != nil {
		t.Fatal(err)
	}
	b := startBrowser(t, home)
	b.url, b.host = w.WebURL, u.Host
	return b
}

func startBrowser(t *testing.T, home string) *browser {
	t.Helper()
	env := []string{"HOME=" + home, "XDG_DATA_HOME=", "SABIR_INTEROP_NODE=" + needs(t, "SABIR_INTEROP_NODE")}
	return &browser{agent: startAgent(t, env, "node", "testdata/agents/browser.mjs")}
}

// login logs an account in as a person does, by the page's form.
func (b *browser) login(t *testing.T, w *world, a Account) *person {
	t.Helper()
	return b.loginWith(t, w, a, nil)
}

// loginWith is login on a device that more describes.
func (b *browser) loginWith(t *testing.T, w *world, a Account, more args) *person {
	t.Helper()
	p := &person{b, strings.Split(a.JID, "@")[0], a.JID}
	m := args{"url": b.url, "user": p.who, "password": a.Password}
	for k, v := range more {
		m[k] = v
	}
	r := b.do(t, "login", b.with(p.who, m))
	if socket := field[string](t, r, "socket"); socket != "wss://"+b.host+"/xmpp-websocket" {
		t.Errorf("the WebSocket is %s", socket)
	}
	b.who = append(b.who, p.who)
	w.loggedIn(t, a.JID, "SCRAM-", "websocket")
	return p
}

func (b *browser) with(who string, more args) args {
	m := args{"who": who}
	for k, v := range more {
		m[k] = v
	}
	return m
}

// clean asserts that the pages have kept to their policy, have asked no other host for anything, and that our
// part of them has not failed.
func (b *browser) clean(t *testing.T) {
	t.Helper()
	for _, who := range b.who {
		r := b.do(t, "log", args{"who": who})
		for _, kind := range []string{"violations", "foreign"} {
			if list := field[[]any](t, r, kind); len(list) > 0 {
				t.Errorf("%s of %s's page: %v", kind, who, list)
			}
		}
		if n := field[float64](t, r, "requests"); n < 5 {
			t.Errorf("%s's page has made %v requests: they were not seen", who, n)
		}
		for _, e := range field[[]any](t, r, "errors") {
			// The client's complaints are about extensions that the server does not have; those of our page would be ours.
			if s := e.(string); strings.HasPrefix(s, "uncaught: ") && strings.Contains(s, "/app.js") {
				t.Errorf("%s's page: %s", who, s)
			} else if !strings.Contains(s, "form is not connected") {
				t.Logf("%s's page: %s", who, s)
			}
		}
	}
}

func (p *person) do(t *testing.T, do string, with args) any {
	t.Helper()
	return p.b.do(t, do, p.b.with(p.who, with))
}

func (p *person) String() string { return "web client (" + p.who + ")" }
func (p *person) JID() string    { return p.jid }

func (p *person) Subscribe(t *testing.T, to string) {
	t.Helper()
	p.do(t, "subscribe", args{"to": to})
}

// Approve accepts a request. The web client asks for the same in return.
func (p *person) Approve(t *testing.T, from string) bool {
	t.Helper()
	p.do(t, "approve", args{"from": from})
	return true
}

func (p *person) Send(t *testing.T, to, text string) {
	t.Helper()
	p.do(t, "send", args{"to": to, "text": text})
}

func (p *person) Receive(t *testing.T, from, text string) {
	t.Helper()
	if n := field[float64](t, p.do(t, "receive", args{"from": from, "text": text}), "count"); n != 1 {
		t.Errorf("%q from %s is shown %v times", text, from, n)
	}
}

func (p *person) Show(t *testing.T, show, status string) {
	t.Helper()
	p.do(t, "presence", args{"show": show, "status": status})
}

func (p *person) Sees(t *testing.T, contact, show, _ string) {
	t.Helper()
	if show == "offline" {
		p.do(t, "unseen", args{"jid": contact})
		return
	}
	p.do(t, "sees", args{"jid": contact, "show": show})
}

// Remove uses the contact's menu. The web client removes by itself a contact who takes back the subscription: then there is
// nothing to remove.
func (p *person) Remove(t *testing.T, contact string) {
	t.Helper()
	if p.do(t, "remove", args{"jid": contact}) == false {
		t.Logf("%s had removed %s by itself", p, contact)
	}
}

// TestWebClient asserts what is of the browser alone: certificates, the page's policy, a wrong password.
func TestWebClient(t *testing.T) {
	w := enter(t)
	t.Run("certificate", func(t *testing.T) {
		b := newBrowser(t, w)
		r := b.do(t, "load", args{"url": b.url})
		if field[float64](t, r, "status") != 200 || field[string](t, r, "tls") != "TLS 1.3" || field[string](t, r, "issuer") != "Sabir local CA" {
			t.Errorf("the page came with %v", r)
		}
		// The same browser, which does not know the authority: it verifies indeed.
		stranger := startBrowser(t, t.TempDir())
		if _, err := stranger.try("load", args{"url": b.url}); err == nil || !strings.Contains(err.Error(), "ERR_CERT_AUTHORITY_INVALID") {
			t.Errorf("a browser that does not know the authority: %v", err)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		b := newBrowser(t, w)
		said, ok := b.do(t, "refused", args{"who": "amina", "url": b.url, "user": "amina", "password": "wrong"}).(string)
		if !ok || !strings.Contains(said, "password is incorrect") {
			t.Errorf("the page says %q", said)
		}
	})
	t.Run("picture", func(t *testing.T) { picture(t, w) })
}

// TestProfile: what somebody writes into the form of their profile is their vCard, and the other way round.
func TestProfile(t *testing.T) {
	w := enter(t)
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	b := newBrowser(t, w)
	web := b.login(t, w, amina)
	web.do(t, "set_profile", args{"fields": args{"fn": "Amina Haddad", "nickname": "Amina", "email": "amina@harbour.test", "url": "https://harbour.test/"}})
	other := newSlix(t, w, jonas, false, nil)
	if name := field[string](t, other.do(t, "vcard", args{"jid": amina.JID}), "name"); name != "Amina Haddad" {
		t.Errorf("the vCard says %q", name)
	}
	own := newSlix(t, w, amina, false, nil)
	own.do(t, "set_vcard", args{"name": "Amina H.", "nick": "Mina"})
	own.do(t, "logout", nil)
	second := newBrowser(t, w)
	second.login(t, w, amina).do(t, "profile", args{"fields": args{"fn": "Amina H.", "nickname": "Mina"}})
	b.clean(t)
	second.clean(t)
}

// picture makes the picture of the README: two people chat, one in the browser, one in a terminal.
func picture(t *testing.T, w *world) {
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	leila := w.account(t, "leila")
	for _, s := range []struct {
		of         Account
		name, nick string
	}{{amina, "Amina Haddad", "Amina"}, {jonas, "Jonas Berg", "Jonas"}, {leila, "Leïla Ben Ali", "Leïla"}} {
		c := newSlix(t, w, s.of, false, nil)
		c.do(t, "set_vcard", args{"name": s.name, "nick": s.nick})
		c.do(t, "logout", nil)
	}
	b := newBrowser(t, w)
	web := b.login(t, w, amina)
	term := newProfanity(t, w, jonas)
	third := newSlix(t, w, leila, false, nil)

	term.Subscribe(t, web.JID())
	web.do(t, "approve", args{"from": jonas.JID, "name": "Jonas Berg"})
	term.Approve(t, web.JID())
	third.Subscribe(t, web.JID())
	web.do(t, "approve", args{"from": leila.JID, "name": "Leïla Ben Ali"})
	third.Approve(t, web.JID())
	third.Show(t, "away", "at sea")
	web.Sees(t, jonas.JID, "online", "")
	web.Sees(t, leila.JID, "away", "at sea")

	web.Show(t, "online", "On the quay")
	for _, line := range []struct {
		from peer
		text string
	}{
		{term, "Good morning, Amina! Has the ship from Tunis come in?"},
		{web, "Good morning Jonas. Yes, an hour ago, she lies at the east quay."},
		{term, "And the papers? The captain wrote them in four languages."},
		{web, "I have read two of them 😊 Leïla is on board and does the others."},
		{term, "Then we can unload before noon. I am on my way."},
		{web, "See you there. Bring coffee!"},
		{term, "I would not dare to come without."},
	} {
		to := peer(web)
		if line.from == to {
			to = term
		}
		line.from.Send(t, to.JID(), line.text)
		to.Receive(t, line.from.JID(), line.text)
	}
	path := picturePath(t, "web-client.png")
	web.do(t, "shot", args{"path": path, "settle": 800})
	if i, err := os.Stat(path); err != nil || i.Size() < 20_000 {
		t.Errorf("the picture: %v", errors.Join(err, errors.New("too small")))
	}
	b.clean(t)
}

// picturePath returns where a picture for the documentation goes: to its folder where that was asked for.
func picturePath(t *testing.T, name string) string {
	t.Helper()
	if !*update {
		return filepath.Join(t.TempDir(), name)
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "docs", "images", name)
}
