package fault

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sabir/internal/interop"
	"sabir/internal/interop/ledger"
	"sabir/internal/listen"
)

// program runs bin/sabir and returns what it has written and its exit code.
func program(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	root, err := interop.Root()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "sabir"), args...)
	text, err := c.CombinedOutput()
	if err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), c.ProcessState.ExitCode()
}

// doctor returns what `sabir doctor` finds about the certificates.
func doctor(t *testing.T, s *ledger.Sabir) (worst, all string) {
	t.Helper()
	out, _ := program(t, "doctor", "--json", "-c", s.Config)
	var d struct {
		Findings []struct{ Check, Status, Text, Cure string }
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	worst = "ok"
	for _, f := range d.Findings {
		if f.Check != "certificate" {
			continue
		}
		if worst == "ok" || f.Status == "error" {
			worst = f.Status
		}
		all += fmt.Sprintf("%s: %s (%s)\n", f.Status, f.Text, f.Cure)
	}
	return worst, all
}

// shown returns the serial number of the certificate that a new connection is shown.
func shown(t *testing.T, s *ledger.Sabir) string {
	t.Helper()
	c, err := tls.Dial("tcp", s.Addresses["c2s_tls"], &tls.Config{InsecureSkipVerify: true, ServerName: s.Domain})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// renewal is a pair of the server's own authority, in the place of the one in use once it is installed.
type renewal struct{ certificate, key []byte }

// TestCertificates renews the certificate of a server under load, badly and well (row 15): a bad pair is refused, told of and named by
// the doctor, a good one is used by new connections without a command, and no session notices any of it.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	s := server(t, dir, 8, "")
	files := filepath.Join(dir, "certificates")
	ca, err := listen.OpenCA(files)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := filepath.Join(files, s.Domain+".crt"), filepath.Join(files, s.Domain+".key")
	read := func(certificate, key string) (r renewal) {
		t.Helper()
		for to, path := range map[*[]byte]string{&r.certificate: certificate, &r.key: key} {
			if *to, err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	install := func(r renewal) {
		t.Helper()
		for path, text := range map[string][]byte{certificate: r.certificate, key: r.key} {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := read(certificate, key)
	fresh := func(domain string) renewal {
		t.Helper()
		dir := t.TempDir()
		for _, n := range []string{"ca.crt", "ca.key"} {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(ca.File()), n))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, n), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		again, err := listen.OpenCA(dir)
		if err != nil {
			t.Fatal(err)
		}
		p, err := again.Leaf(domain)
		if err != nil {
			t.Fatal(err)
		}
		return read(p.Certificate, p.Key)
	}
	next, other := fresh(s.Domain), fresh("other.test")
	p := players(t, s, ledger.Options{Chatters: 6, Sleepers: 2, Pause: 20 * time.Millisecond, Most: 200_000, Ping: true})
	stop := load(t, p)
	sessions, before := metric(t, s, "sabir_sessions"), shown(t, s)
	if worst, all := doctor(t, s); worst != "ok" {
		t.Errorf("of a good certificate the doctor says\n%s", all)
	}
	for _, c := range []struct {
		name string
		renewal
		says string
	}{
		{"the key of another", renewal{next.certificate, first.key}, "private key does not match"},
		{"half a certificate", renewal{next.certificate[:len(next.certificate)/5], next.key}, "both are PEM"},
		{"half a key", renewal{next.certificate, next.key[:len(next.key)/2]}, "both are PEM"},
		{"for another domain", other, "is not for " + s.Domain},
	} {
		install(c.renewal)
		if out, code := program(t, "reload", "-c", s.Config); code != 1 || !strings.Contains(out, c.says) || !strings.Contains(out, "stay in use") {
			t.Errorf("%s: the reload says (%d)\n%s", c.name, code, out)
		}
		if worst, all := doctor(t, s); worst != "error" || !strings.Contains(all, c.says) || !strings.Contains(all, "the server refuses the files") {
			t.Errorf("%s: the doctor says\n%s", c.name, all)
		}
		if shown(t, s) != before {
			t.Errorf("%s is in use", c.name)
		}
		if metric(t, s, "sabir_certificate_refused") != 1 {
			t.Errorf("%s: no metric tells of it", c.name)
		}
	}
	if n := strings.Count(s.Log(), "a new certificate is refused"); n < 4 { // what is half written may be seen, too
		t.Errorf("the log tells of it %d times", n)
	}

	install(next)
	took := await(t, time.Minute, "new connections are shown the new certificate", func() bool { return shown(t, s) != before })
	if out, _ := program(t, "certificate", "list", "-c", s.Config); !strings.HasPrefix(out, s.Domain+"  until ") || strings.Contains(out, "refused") {
		t.Errorf("the list is\n%s", out)
	}
	if worst, all := doctor(t, s); worst != "ok" || metric(t, s, "sabir_certificate_refused") != 0 {
		t.Errorf("of the new certificate the doctor says\n%s", all)
	}
	install(first)
	if out, code := program(t, "reload", "-c", s.Config); code != 0 || shown(t, s) != before {
		t.Errorf("the reload does not take the first again (%d)\n%s", code, out)
	}
	from := p.Book.Accepted()
	await(t, time.Minute, "messages are accepted as before", func() bool { return p.Book.Accepted() > from+50 })
	if now := metric(t, s, "sabir_sessions"); now != sessions {
		t.Errorf("there were %v sessions, and there are %v", sessions, now)
	}
	if err := stop(); err != nil { // no device has lost its connection
		t.Error(err)
	}
	running(t, s)
	for why, n := range p.Book.Refused() {
		t.Errorf("%d messages came back: %s", n, why)
	}
	r := compare(t, p)
	t.Logf("4 bad renewals were refused; the good one was in use after %v; %v sessions all the time; %v", took.Round(time.Millisecond), sessions, &r)
	if bytes.Equal(next.certificate, first.certificate) {
		t.Error("the two certificates are the same: that tests nothing")
	}
}
