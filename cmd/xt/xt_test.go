package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sabir/internal/config"
	"sabir/internal/xmpptest"
)

// localJSON writes what `sabir local --json` would print for a test server.
func localJSON(t *testing.T, accounts int) string {
	t.Helper()
	s := xmpptest.NewServer(t, xmpptest.Options{})
	l := local{Domain: xmpptest.Domain, CAFile: s.CAFile, Addresses: map[string]string{
		"c2s": s.Addr(config.C2S), "c2s_tls": s.Addr(config.C2STLS), "https": s.Addr(config.HTTPS),
	}}
	for range accounts {
		a := s.MustAccount(t, "user")
		l.Accounts = append(l.Accounts, struct {
			JID      string `json:"jid"`
			Password string `json:"password"`
		}{a.JID.String(), a.Password})
	}
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "local.json")
	if err := os.WriteFile(path, append([]byte("a line before\n"), b...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func xt(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := root()
	c.SetOut(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const people = `[Client] Romeo
	jid: romeo@localhost/orchard
	password: secret

[Client] Juliet
	jid: juliet@localhost
	password: secret

-----
`

const hello = people + `
Romeo connects

Juliet connects

Romeo sends:
	<message to="${Juliet's full JID}" type='chat'><body>Hello</body></message>

Juliet receives:
	<message from="${Romeo's full JID}" type='chat'><body>%</body></message>
`

// TestRun runs good, bad and unreadable scripts over all transports, each several times on the same accounts.
func TestRun(t *testing.T) {
	path := localJSON(t, 3)
	good := script(t, "good.xt", strings.Replace(hello, "%", "Hello", 1))
	plain := script(t, "good.scs", strings.Replace(hello, "%", "Hello", 1))
	bad := script(t, "bad.xt", strings.Replace(hello, "%", "Farewell", 1))
	for _, transport := range []string{"tcp", "tls", "websocket"} {
		out, err := xt(t, "run", "--json", path, "--transport", transport, good, plain, good)
		if err != nil || !strings.Contains(out, "3 passed, 0 failed, 0 skipped") {
			t.Errorf("%s: %v\n%s", transport, err, out)
		}
	}
	out, err := xt(t, "run", "--json", path, good, bad)
	if !errors.Is(err, errFailed) || !strings.Contains(out, "1 passed, 1 failed") {
		t.Errorf("a failing script: %v\n%s", err, out)
	}
	for _, want := range []string{"bad.xt:18: Juliet received something else", "the text is 'Hello', not 'Farewell'", "expected: <message", "got:      <message", "→ Romeo: <message"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	out, err = xt(t, "run", "--json", path, script(t, "broken.xt", people+"\nRomeo dances\n"))
	if !errors.Is(err, errFailed) || !strings.Contains(out, "broken.xt:11: Romeo cannot do this") {
		t.Errorf("a broken script: %v\n%s", err, out)
	}
	out, err = xt(t, "run", "--json", path, script(t, "config.xt", "## config: auth.plain = true\n"+people+"\nRomeo connects\n"))
	if err != nil || !strings.Contains(out, "1 skipped") {
		t.Errorf("a script with settings: %v\n%s", err, out)
	}
	out, err = xt(t, "run", "--json", path, script(t, "without.xt", "## without: urn:example\n"+people+"\nRomeo connects\n"))
	if err != nil || !strings.Contains(out, "1 skipped") {
		t.Errorf("a script for a server without a feature: %v\n%s", err, out)
	}
}

// TestCheck reads without running.
func TestCheck(t *testing.T) {
	if out, err := xt(t, "check", script(t, "good.xt", hello)); err != nil || out != "" {
		t.Errorf("%v %s", err, out)
	}
	out, err := xt(t, "check", script(t, "bad.xt", people+"\nRomeo sends:\n\t<message>\n"))
	if !errors.Is(err, errFailed) || !strings.Contains(out, "bad.xt:12: ") {
		t.Errorf("%v %s", err, out)
	}
}

// TestRecord records a script that expects nothing, and runs what was recorded.
func TestRecord(t *testing.T) {
	path := localJSON(t, 2)
	silent, _, _ := strings.Cut(hello, "Juliet receives")
	to := filepath.Join(t.TempDir(), "recorded.xt")
	if _, err := xt(t, "record", "--json", path, "--quiet", "200ms", "-o", to, script(t, "silent.xt", silent)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `from="${Romeo's full JID}"`) {
		t.Errorf("recorded:\n%s", b)
	}
	if out, err := xt(t, "run", "--json", path, to); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, b)
	}
}

func TestLoad(t *testing.T) {
	path := localJSON(t, 2)
	for _, rate := range []string{"200", "0"} {
		out, err := xt(t, "load", "--json", path, "--clients", "6", "--duration", "500ms", "--rate", rate)
		if err != nil || !strings.Contains(out, " 0 errors") || strings.Contains(out, " 0 received") {
			t.Errorf("rate %s: %v\n%s", rate, err, out)
		}
	}
	if _, err := xt(t, "load", "--json", path, "--clients", "1000000"); err == nil {
		t.Error("a million clients are allowed")
	}
}

func TestSplitAccount(t *testing.T) {
	for in, want := range map[string][2]string{
		"a@b:c": {"a@b", "c"}, "a@b:c:d": {"a@b", "c:d"}, "a@[::1]:p": {"a@[::1]", "p"}, "a@b:": {"a@b", ""},
	} {
		a, p, err := splitAccount(in)
		if err != nil || a != want[0] || p != want[1] {
			t.Errorf("%s: %s %s %v", in, a, p, err)
		}
	}
	if _, _, err := splitAccount("a@b"); err == nil {
		t.Error("an account without password is accepted")
	}
}
