package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
)

// output is what a program has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// sabir runs the program and returns its exit code and what it has written.
func sabir(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	return sabirWith(t, "", args...)
}

func sabirWith(t *testing.T, input string, args ...string) (code int, out, err string) {
	t.Helper()
	var o, e output
	code = run(t.Context(), args, strings.NewReader(input), &o, &e)
	return code, o.String(), e.String()
}

// want runs the program and fails the test where its exit code is another or its output lacks something.
func want(t *testing.T, code int, contains string, args ...string) string {
	t.Helper()
	got, out, err := sabir(t, args...)
	if got != code || !strings.Contains(out+err, contains) {
		t.Errorf("sabir %s: code %d, want %d with %q\n%s%s", strings.Join(args, " "), got, code, contains, out, err)
	}
	return out
}

// serving is a program that runs in the background.
type serving struct {
	t        *testing.T
	out, err output
	stop     context.CancelFunc
	code     chan int
}

func background(t *testing.T, args ...string) *serving {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{t: t, stop: cancel, code: make(chan int, 1)}
	go func() { s.code <- run(ctx, args, strings.NewReader(""), &s.out, &s.err) }()
	return s
}

// line waits for the first line of output, or the end of the program.
func (s *serving) line() (string, bool) {
	s.t.Helper()
	for range 6000 {
		if l, _, ok := strings.Cut(s.out.String(), "\n"); ok {
			return l, true
		}
		select {
		case c := <-s.code:
			s.code <- c
			return "", false
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.t.Fatalf("no line of output:\n%s", s.err.String())
	return "", false
}

// end stops the program and checks that it ends well.
func (s *serving) end() {
	s.t.Helper()
	s.stop()
	if c := <-s.code; c != 0 {
		s.t.Errorf("exit code %d\n%s", c, s.err.String())
	}
	s.code <- 0
}

// local starts `sabir local --json` on free ports and returns its line.
func startLocal(t *testing.T, args ...string) (*serving, localReady) {
	t.Helper()
	for range 20 {
		offset := freeOffset(t)
		s := background(t, append([]string{"local", "--json", "--port-offset", strconv.Itoa(offset)}, args...)...)
		line, ok := s.line()
		if !ok {
			if strings.Contains(s.err.String(), "address already in use") {
				continue
			}
			t.Fatalf("it ended:\n%s", s.err.String())
		}
		var r localReady
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		t.Cleanup(s.stop)
		return s, r
	}
	t.Fatal("no free ports")
	return nil, localReady{}
}

// freeOffset returns an offset at which the port for clients was free a moment ago.
func freeOffset(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return min(port, 65000) - 5222
}

func TestLocal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	conf := filepath.Join(dir, "sabir.toml")
	s, r := startLocal(t, "--dir", dir, "--domain", "Example.Test", "--accounts", "3", "--scram-iterations", "4096")
	if r.PID != os.Getpid() || r.Domain != "example.test" || len(r.Accounts) != 3 || r.Accounts[0].JID != "user1@example.test" || len(r.Accounts[0].Password) < 20 {
		t.Errorf("line is %+v", r)
	}
	for _, p := range []string{"c2s", "c2s_tls", "https", "admin"} {
		c, err := net.Dial("tcp", r.Addresses[p])
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		c.Close()
	}
	text, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("ca_file has no certificate")
	}
	c, err := tls.Dial("tcp", r.Addresses["c2s_tls"], &tls.Config{RootCAs: pool, ServerName: "example.test", NextProtos: []string{"xmpp-client"}})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	web := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	if a, err := web.Get(r.WebURL + ".well-known/host-meta.json"); err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("host-meta at %s: %v", r.WebURL, err)
	} else {
		a.Body.Close()
	}
	for path, code := range map[string]int{"/metrics": 200, "/healthz": 200, "/readyz": 200, "/commands": 401} {
		a, err := http.Get("http://" + r.Addresses["admin"] + path)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != code {
			t.Errorf("%s gives %s", path, a.Status)
		}
	}

	// The commands reach the running server.
	want(t, 0, "made.\nPassword (shown only now): ", "account", "add", "bob@example.test", "-c", conf)
	want(t, 1, "there is an account bob@example.test already", "account", "add", "bob@example.test", "-c", conf)
	if code, out, _ := sabirWith(t, "correct horse\n", "account", "passwd", "bob@example.test", "--password-stdin", "-c", conf); code != 0 || strings.Contains(out, "horse") {
		t.Errorf("passwd: %d %s", code, out)
	}
	if code, _, err := sabirWith(t, "\n", "account", "passwd", "bob@example.test", "--password-stdin", "-c", conf); code != 1 || !strings.Contains(err, "no password") {
		t.Errorf("passwd with an empty line: %d %s", code, err)
	}
	want(t, 0, `"disabled":false`, "account", "list", "--json", "-c", conf)
	want(t, 0, "disabled.", "account", "disable", "bob@example.test", "-c", conf)
	want(t, 0, "bob@example.test  disabled", "account", "list", "-c", conf)
	want(t, 0, "enabled.", "account", "enable", "bob@example.test", "-c", conf)
	want(t, 0, "deleted.", "account", "delete", "bob@example.test", "-c", conf)
	want(t, 1, "there is no account", "account", "delete", "bob@example.test", "-c", conf)
	want(t, 0, "", "session", "list", "-c", conf)
	want(t, 1, "has no session", "session", "close", "user1@example.test", "-c", conf)
	want(t, 0, "", "room", "create", "garden@conference.example.test", "user1@example.test", "--name", "Roses", "--set", "membersonly=1", "-c", conf)
	want(t, 0, "garden@conference.example.test  Roses", "room", "list", "-c", conf)
	want(t, 0, "muc_membersonly", "room", "inspect", "garden@conference.example.test", "-c", conf)
	want(t, 0, `"members_only":true`, "room", "list", "--json", "--host", "example.test", "-c", conf)
	want(t, 1, "there is no such room", "room", "destroy", "nowhere@conference.example.test", "-c", conf)
	want(t, 1, "there is no host elsewhere.example", "room", "list", "--host", "elsewhere.example", "-c", conf)
	want(t, 2, "accepts 1 arg(s)", "room", "destroy", "-c", conf)
	want(t, 0, "One of owner, admin", "room", "affiliation", "--help")
	want(t, 0, "is running and ready", "doctor", "-c", conf)
	want(t, 1, "is running with the data folder", "serve", "-c", conf)
	reload(t, conf)

	s.end()
	for _, a := range r.Accounts {
		if strings.Contains(s.err.String(), a.Password) {
			t.Error("a password is in the log")
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "admin.json")); !os.IsNotExist(err) {
		t.Errorf("the token is left behind: %v", err)
	}
	want(t, 1, "no server is running", "stop", "-c", conf)

	// A second start goes on with the data and the options of the first.
	s, again := startLocal(t, "--dir", dir)
	if again.Domain != "example.test" || fmt.Sprint(again.Accounts) != fmt.Sprint(r.Accounts) || again.CAFile != r.CAFile {
		t.Errorf("second line is %+v", again)
	}
	now, err := os.ReadFile(again.CAFile)
	if err != nil || !bytes.Equal(now, text) {
		t.Errorf("the authority is another: %v", err)
	}
	want(t, 0, "The server stops.", "stop", "-c", conf)
	if c := <-s.code; c != 0 {
		t.Errorf("exit code %d after stop", c)
	}
}

// reload changes the configuration of a running server, well and badly.
func reload(t *testing.T, conf string) {
	t.Helper()
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want(t, 0, "Nothing differs", "reload", "-c", conf)
	write(string(text) + "\n[log]\nlevel = \"debug\"\n")
	want(t, 0, `log.level: "info" → "debug"`, "reload", "-c", conf)
	write(string(text) + "\n[log]\nlevel = \"loud\"\n")
	want(t, 1, `unknown value "loud"`, "reload", "-c", conf)
	write(string(text))
	want(t, 0, `log.level: "debug" → "info"`, "reload", "-c", conf)
}

// TestLocalOnBothEngines makes many accounts, on a database that is named, and logs in.
func TestLocalOnBothEngines(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		dir := t.TempDir()
		begin := time.Now()
		s, r := startLocal(t, "--dir", dir, "--accounts", "2000", "--password", "P", "--scram-iterations", "4096", "--database", url)
		t.Logf("ready after %s", time.Since(begin))
		if len(r.Accounts) != 2000 || r.Accounts[1999] != (localAccount{"user2000@localhost", "P"}) {
			t.Errorf("%d accounts, the last is %+v", len(r.Accounts), r.Accounts[len(r.Accounts)-1])
		}
		s.end()
		s, r = startLocal(t, "--dir", dir, "--accounts", "2", "--password", "Q")
		if len(r.Accounts) != 2 || r.Accounts[1].Password != "Q" {
			t.Errorf("accounts are %+v", r.Accounts)
		}
		if got := tryPlain(t, r.Addresses["c2s"], "user2", "Q"); !strings.Contains(got, "encryption-required") && !strings.Contains(got, "invalid-mechanism") {
			t.Errorf("PLAIN without TLS is answered with %s", got)
		}
		s.end()
		s, r = startLocal(t, "--dir", dir, "--insecure")
		if got := tryPlain(t, r.Addresses["c2s"], "user2", "Q"); !strings.Contains(got, "<success") {
			t.Errorf("PLAIN is answered with %s", got)
		}
		if got := tryPlain(t, r.Addresses["c2s"], "user3", "P"); !strings.Contains(got, "<success") {
			t.Errorf("PLAIN of an account of the first start is answered with %s", got)
		}
		s.end()
	})
}

// tryPlain tries PLAIN without TLS and returns all that the server says.
func tryPlain(t *testing.T, addr, user, password string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	buf := make([]byte, 4096)
	until := func(word string) {
		t.Helper()
		for !strings.Contains(got.String(), word) {
			n, err := c.Read(buf)
			got.Write(buf[:n])
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatalf("%v after %s", err, got.String())
			}
		}
	}
	fmt.Fprint(c, "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
	until("</stream:features>")
	fmt.Fprintf(c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", encode("\x00"+user+"\x00"+password))
	until("urn:ietf:params:xml:ns:xmpp-sasl'")
	fmt.Fprint(c, "</stream:stream>")
	for {
		n, err := c.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			return got.String()
		}
	}
}

func encode(s string) string {
	text, err := json.Marshal([]byte(s)) // base64 in quotes
	if err != nil {
		panic(err)
	}
	return strings.Trim(string(text), `"`)
}

// TestLocalKeepsEdits shows what becomes of a configuration that was edited.
func TestLocalKeepsEdits(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "sabir.toml")
	s, r := startLocal(t, "--dir", dir, "--scram-iterations", "4096", "--accounts", "0")
	s.end()
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	edited := string(text) + "\n[log]\nlevel = \"error\"\n"
	if err := os.WriteFile(conf, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(r.Addresses["c2s"])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	s = background(t, "local", "--json", "--dir", dir, "--port-offset", strconv.Itoa(n-5222))
	if _, ok := s.line(); !ok && !strings.Contains(s.err.String(), "already in use") {
		t.Fatal(s.err.String())
	}
	s.stop()
	<-s.code
	if now, err := os.ReadFile(conf); err != nil || string(now) != edited {
		t.Errorf("the edits are lost although the options are the same: %v", err)
	}
	s, _ = startLocal(t, "--dir", dir)
	s.end()
	if now, err := os.ReadFile(conf + ".old"); err != nil || string(now) != edited {
		t.Errorf("the edits are lost: %v", err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"frobnicate"}, {"--frobnicate"}, {"account", "add"}, {"account", "add", "nobody"}, {"account", "add", "a@b/c"}, {"config", "diff", "a"},
		{"local", "--accounts", "-1"}, {"local", "--accounts", "x"}, {"local", "--domain", "a b"}, {"local", "--port-offset", "70000"},
		{"local", "--scram-iterations", "1"}, {"local", "--password", ""}, {"local", "extra"}, {"session", "close", "@"},
	} {
		if args[0] == "local" {
			args = append(args, "--dir", t.TempDir())
		}
		code, out, err := sabir(t, args...)
		if code != exitUsage || out != "" || !strings.HasPrefix(err, "sabir: ") {
			t.Errorf("%v: code %d, out %q, err %q", args, code, out, err)
		}
	}
	want(t, 0, "sabir ", "version")
	want(t, 0, `"go":"go`, "version", "--json")
	want(t, 0, "account", "--help")
	want(t, 0, "import", "account")
}

func TestConfigCommands(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	example := want(t, 0, "[mod.", "config", "example")
	good := file("good.toml", example)
	bad := file("bad.toml", strings.Replace(example, "[limits]", "[limits]\nresorces = 3", 1))
	other := file("other.toml", strings.Replace(example, "[limits]", "[limits]\nresources = 3", 1))
	want(t, 0, "is good", "config", "check", good)
	want(t, 0, `"ok":true`, "config", "check", "-c", good, "--json")
	want(t, 1, "did you mean resources?", "config", "check", bad)
	want(t, 1, `"cure":"did you mean resources?"`, "config", "check", bad, "--json")
	want(t, 1, "config example", "config", "check", filepath.Join(dir, "absent"))
	want(t, exitUsage, "once", "config", "check", good, "-c", good)
	want(t, 0, "limits.resources: 16 → 3\n", "config", "diff", good, other)
	want(t, 0, "Nothing differs", "config", "diff", good, good)
	want(t, 0, "[]", "config", "diff", good, good, "--json")
	want(t, 1, "did you mean", "config", "diff", good, bad)
	out := want(t, 0, "default 16; 1 to 1000", "config", "describe", "limits.resources")
	if strings.Count(out, "\n") != 2 {
		t.Errorf("describe says %s", out)
	}
	want(t, 0, "mod.register.open", "config", "describe", "mod")
	want(t, 1, "there is no setting", "config", "describe", "limit")
	want(t, 1, "did you mean", "serve", "-c", bad)
	want(t, 1, "did you mean", "account", "list", "-c", bad)
}

// TestStopped keeps the accounts of a server that does not run.
func TestStopped(t *testing.T) {
	dir := t.TempDir()
	s, _ := startLocal(t, "--dir", dir, "--scram-iterations", "4096", "--accounts", "1")
	s.end()
	conf := filepath.Join(dir, "sabir.toml")
	code, out, err := sabirWith(t, "a@localhost,p\nb@localhost,p\nc@elsewhere,p\n", "account", "import", "-", "-c", conf)
	if code != 1 || !strings.Contains(out, "2 accounts imported, 0 existed and stay as they are, 1 lines failed") || !strings.Contains(err, "line 3: there is no host elsewhere") {
		t.Errorf("import: %d %s%s", code, out, err)
	}
	want(t, 0, "a@localhost deleted.", "account", "delete", "a@localhost", "-c", conf)
	want(t, 1, "there is no account", "account", "delete", "a@localhost", "-c", conf)
	want(t, 0, "made.", "account", "add", "d@localhost", "-c", conf)
	out = want(t, 0, "", "account", "list", "localhost", "-c", conf)
	if strings.Count(out, "\n") != 3 || strings.Contains(out, "a@localhost") {
		t.Errorf("list is %s", out)
	}
	want(t, 1, "no server is running", "reload", "-c", conf)
	want(t, 1, "no server is running", "session", "list", "-c", conf)
	want(t, 1, "no server is running", "room", "list", "-c", conf)
}

// TestDoctor shows that each thing that is wrong is found, with its cure.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	s, r := startLocal(t, "--dir", dir, "--scram-iterations", "4096", "--accounts", "0")
	s.end()
	conf := filepath.Join(dir, "sabir.toml")
	examine := func() (bool, map[string]finding) {
		t.Helper()
		code, out, err := sabir(t, "doctor", "--json", "-c", conf)
		var d struct {
			OK       bool      `json:"ok"`
			Findings []finding `json:"findings"`
		}
		if e := json.Unmarshal([]byte(out), &d); e != nil || err != "" || (code == 0) != d.OK {
			t.Fatalf("code %d, %v\n%s%s", code, e, out, err)
		}
		worst := make(map[string]finding)
		rank := map[status]int{good: 1, warning: 2, bad: 3}
		for _, f := range d.Findings {
			if rank[f.Status] > rank[worst[f.Check].Status] {
				worst[f.Check] = f
			}
			if f.Text == "" || f.Status == bad && f.Cure == "" && f.Check != "port" {
				t.Errorf("finding without text or cure: %+v", f)
			}
		}
		return d.OK, worst
	}
	ok, worst := examine()
	for _, check := range []string{"config", "server", "port", "certificate", "database", "disk", "descriptors", "clock"} {
		if worst[check].Status == "" {
			t.Errorf("nothing is said about %s", check)
		}
	}
	if !ok || worst["port"].Status != good || worst["certificate"].Status != good || worst["database"].Status != good {
		t.Errorf("a good server is found %+v", worst)
	}
	l, err := net.Listen("tcp", r.Addresses["c2s"])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	crt := filepath.Join(dir, "certificates", "localhost.crt")
	if err := os.WriteFile(crt, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "sabir.db"), []byte("this is no database, but it is long enough to look like one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, "data", "sabir.db"+suffix)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	ok, worst = examine()
	if ok || worst["port"].Status != bad || worst["certificate"].Status != bad || worst["database"].Status != bad || worst["disk"].Status != warning {
		t.Errorf("a bad server is found %+v", worst)
	}
	if err := os.WriteFile(conf, []byte("[limits]\nresorces = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, worst = examine(); ok || worst["config"].Status != bad || !strings.Contains(worst["config"].Cure, "resources") {
		t.Errorf("a bad configuration is found %+v", worst)
	}
}
