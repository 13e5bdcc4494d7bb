package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sabir/internal/auth"
	"sabir/internal/config"
	"sabir/internal/db/dbtest"
	"sabir/internal/disk"
	"sabir/internal/disk/disktest"
	"sabir/internal/listen"
	"sabir/internal/observe"
	"sabir/internal/s2s"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
)

// fake is a server with accounts and without sockets.
type fake struct {
	cfg      *config.Config
	auth     *auth.Auth
	sessions []mod.Session
	stopped  bool
	reload   error
	commands []mod.Command
	routed   []*stanza.Stanza
}

func (f *fake) Config() *config.Config { return f.cfg }

func (f *fake) Credentials(domain jid.JID) *auth.Host {
	if f.cfg.Host(domain.Domain()) == nil {
		return nil
	}
	return f.auth.Accounts(domain)
}

func (f *fake) Accounts(domain jid.JID) mod.Accounts {
	if h := f.Credentials(domain); h != nil {
		return accounts{h}
	}
	return nil
}

type accounts struct{ *auth.Host }

func (a accounts) Delete(ctx context.Context, local string, done ...func()) error {
	err := a.Host.Delete(ctx, local, nil)
	for _, f := range done {
		f()
	}
	return err
}

func (f *fake) Import(ctx context.Context, csv string, o auth.ImportOptions) (auth.ImportResult, error) {
	return f.auth.Import(ctx, strings.NewReader(csv), o)
}

func (f *fake) Sessions(bare jid.JID) []mod.Session {
	var list []mod.Session
	for _, s := range f.sessions {
		if bare.IsZero() || s.JID().Bare() == bare {
			list = append(list, s)
		}
	}
	return list
}

func (f *fake) Reload(context.Context) ([]config.Change, error) {
	return []config.Change{{Key: "log.level", Old: `"info"`, New: `"debug"`}}, f.reload
}

func (f *fake) Stop() { f.stopped = true }

func (f *fake) Trace(_ context.Context, id string) (Trace, error) {
	return Trace{ID: id, Stored: []mod.TraceEvent{{What: mod.TraceArchived, Who: "a@b"}}}, nil
}

func (f *fake) Commands(domain jid.JID) (jid.JID, []mod.Command, error) {
	if domain.IsZero() {
		return domain, nil, stanza.Err(stanza.BadRequest, "name the host")
	}
	return domain, f.commands, nil
}

func (f *fake) Route(_ context.Context, s *stanza.Stanza) { f.routed = append(f.routed, s) }

func (f *fake) Roster(jid.JID) mod.Roster { return nil }

func (f *fake) Certificates() []listen.CertificateStatus {
	return []listen.CertificateStatus{{Domain: "example.org", Refused: "it is bad"}}
}

func (f *fake) Federation() *s2s.Server { return nil }

func (f *fake) Health(context.Context) observe.Report { return observe.Report{Ready: true} }

// session is a bound resource that knows only whether it was closed.
type session struct {
	mod.Session
	jid    jid.JID
	closed string
}

func (s *session) JID() jid.JID                 { return s.jid }
func (s *session) Presence() *stanza.Stanza     { return nil }
func (s *session) Priority() int8               { return 5 }
func (s *session) LastActive() time.Time        { return time.Unix(1e9, 0) }
func (s *session) Client() mod.Client           { return mod.Client{Software: "Test"} }
func (s *session) Connected() bool              { return true }
func (s *session) Close(condition, text string) { s.closed = condition + " " + text }

func newFake(t *testing.T) *fake {
	t.Helper()
	d := dbtest.SQLite(t)
	dbtest.Migrate(t, d, "auth", auth.Schema)
	cfg, err := config.Parse("x", []byte(`
insecure = true
auth.iterations = 4096
auth.plain = true
[[host]]
domain = "example.org"
certificate = "c"
key = "k"
[[host]]
domain = "example.com"
certificate = "c"
key = "k"
[[listen]]
address = "127.0.0.1:0"
purpose = "c2s"
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(t.Context(), d, auth.Options{Config: cfg.Auth, Clock: observe.SystemClock{}, Metrics: observe.NewMetrics()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range cfg.Hosts {
		a.Accounts(cfg.Hosts[i].JID())
	}
	return &fake{cfg: cfg, auth: a}
}

// start serves the commands, and returns a client and the log.
func start(t *testing.T, f *fake) (*Client, *httptest.Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	dir := t.TempDir()
	var h http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	door, err := OpenDoor(disk.OS{}, dir, s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h = Handler(New(nil), f, door.Token, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	c, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return c, s, &log
}

// TestCommands runs the same commands in process and over HTTP.
func TestCommands(t *testing.T) {
	for _, over := range []string{"process", "HTTP"} {
		t.Run(over, func(t *testing.T) {
			f := newFake(t)
			romeo := &session{jid: jid.MustParse("romeo@example.org/orchard")}
			juliet := &session{jid: jid.MustParse("juliet@example.org/balcony")}
			f.sessions = []mod.Session{romeo, juliet}
			r := New(nil)
			run := func(name string, args, result any) error {
				return r.Call(t.Context(), f, name, args, result)
			}
			if over == "HTTP" {
				c, _, _ := start(t, f)
				run = func(name string, args, result any) error { return c.Run(t.Context(), name, args, result) }
			}
			must := func(name string, args, result any) {
				t.Helper()
				if err := run(name, args, result); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			fails := func(name string, args any, want stanza.Condition) {
				t.Helper()
				var any json.RawMessage
				err := run(name, args, &any)
				var e *stanza.Error
				if !errors.As(err, &e) || e.Condition != want || e.Text == "" {
					t.Errorf("%s: error is %v, want %s", name, err, want)
				}
			}
			rj := jid.MustParse("romeo@example.org")
			var pw PasswordResult
			must("account add", PasswordArgs{JID: rj, Password: "orchard-orchard"}, &pw)
			if pw.Password != "" || pw.JID != rj {
				t.Errorf("a given password is told: %+v", pw)
			}
			fails("account add", PasswordArgs{JID: rj, Password: "orchard-orchard"}, stanza.Conflict)
			fails("account add", PasswordArgs{JID: jid.MustParse("x@nowhere.org"), Password: "x"}, stanza.ItemNotFound)
			fails("account add", PasswordArgs{JID: jid.MustParse("example.org")}, stanza.BadRequest)
			fails("account add", PasswordArgs{JID: jid.MustParse("x@example.org/y")}, stanza.BadRequest)
			fails("account add", PasswordArgs{}, stanza.BadRequest)
			fails("account add", PasswordArgs{JID: jid.MustParse("short@example.org"), Password: "abc"}, stanza.NotAcceptable)
			fails("account add", map[string]string{"jd": "x"}, stanza.BadRequest)
			fails("account add", map[string]any{"jid": 5}, stanza.BadRequest)
			fails("account fly", NoArgs{}, stanza.FeatureNotImplemented)
			must("account add", PasswordArgs{JID: jid.MustParse("juliet@example.com")}, &pw)
			if len(pw.Password) < 20 {
				t.Errorf("no password was made: %+v", pw)
			}
			h := f.auth.Accounts(jid.MustParse("example.com"))
			if ok, err := h.CheckPassword(t.Context(), "juliet", string(pw.Password)); !ok || err != nil {
				t.Errorf("the password that was told: %v, %v", ok, err)
			}
			must("account passwd", PasswordArgs{JID: rj, Password: "another-one"}, &pw)
			fails("account passwd", PasswordArgs{JID: jid.MustParse("nobody@example.org"), Password: "another-one"}, stanza.ItemNotFound)

			var n Count
			must("account disable", AccountArgs{rj}, &n)
			if n.Count != 1 || !strings.HasPrefix(romeo.closed, "not-authorized ") || juliet.closed != "" {
				t.Errorf("%d sessions were closed: %q, %q", n.Count, romeo.closed, juliet.closed)
			}
			must("account enable", AccountArgs{rj}, &n)

			var result auth.ImportResult
			must("account import", ImportArgs{CSV: "a@example.org,p\nb@example.org,p\nc@nowhere,p\n"}, &result)
			if result.Imported != 2 || result.Failed != 1 {
				t.Errorf("import: %+v", result)
			}
			fails("account import", ImportArgs{CSV: "a@example.org,p\n", Iterations: 1}, stanza.BadRequest)
			var list []auth.Account
			names := func() string {
				var s []string
				for _, a := range list {
					s = append(s, a.JID.String())
				}
				return strings.Join(s, " ")
			}
			must("account list", ListArgs{}, &list)
			if got := names(); got != "a@example.org b@example.org romeo@example.org juliet@example.com" {
				t.Errorf("list is %s", got)
			}
			must("account list", ListArgs{Domain: "Example.org", After: "a", Limit: 1}, &list)
			if got := names(); got != "b@example.org" {
				t.Errorf("page is %s", got)
			}
			fails("account list", ListArgs{Domain: "nowhere"}, stanza.ItemNotFound)
			// A client that logs in by SASL2 is listed.
			org := f.auth.Accounts(jid.MustParse("example.org"))
			phone := auth.Request{Agent: auth.Agent{ID: "d4565fa7-4d72-4749-b3d3-740edbf87770", Software: "Test"}}
			x, err := org.Start2(sasl.Plain, auth.Conn{Secured: true}, phone)
			if err != nil {
				t.Fatal(err)
			}
			_, p, err := x.Next(t.Context(), []byte("\x00romeo\x00another-one"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := org.Settle(t.Context(), p, phone, ""); err != nil {
				t.Fatal(err)
			}
			var devices []Device
			must("account devices", AccountArgs{rj}, &devices)
			if len(devices) != 1 || devices[0].Software != "Test" || !devices[0].Password || devices[0].Token {
				t.Fatalf("devices are %+v", devices)
			}
			fails("account devices", AccountArgs{jid.MustParse("nobody@example.org")}, stanza.ItemNotFound)
			fails("account revoke", DeviceArgs{rj, "x"}, stanza.ItemNotFound)
			must("account revoke", DeviceArgs{rj, devices[0].ID}, &struct{}{})
			must("account devices", AccountArgs{rj}, &devices)
			if len(devices) != 0 {
				t.Errorf("devices are %+v", devices)
			}
			must("account delete", AccountArgs{rj}, &struct{}{})
			fails("account delete", AccountArgs{rj}, stanza.ItemNotFound)

			var sessions []Session
			must("session list", SessionArgs{}, &sessions)
			if len(sessions) != 2 || sessions[0].Priority != 5 || sessions[0].Available {
				t.Errorf("sessions are %+v", sessions)
			}
			must("session list", SessionArgs{JID: rj}, &sessions)
			if len(sessions) != 1 {
				t.Errorf("sessions are %+v", sessions)
			}
			must("session close", CloseArgs{JID: juliet.jid, Reason: "enough"}, &n)
			if n.Count != 1 || juliet.closed != "policy-violation enough" {
				t.Errorf("%d closed: %q", n.Count, juliet.closed)
			}
			fails("session close", CloseArgs{JID: jid.MustParse("juliet@example.org/other")}, stanza.ItemNotFound)

			var changes []config.Change
			var shown []listen.CertificateStatus
			if must("certificate list", NoArgs{}, &shown); len(shown) != 1 || shown[0].Refused != "it is bad" {
				t.Errorf("certificates are %+v", shown)
			}
			must("reload", NoArgs{}, &changes)
			if len(changes) != 1 || changes[0].Key != "log.level" {
				t.Errorf("changes are %+v", changes)
			}
			f.reload = errors.New("line 7 is wrong")
			var none json.RawMessage
			if err := run("reload", NoArgs{}, &none); err == nil || !strings.Contains(err.Error(), "line 7 is wrong") {
				t.Errorf("a failed reload gives %v", err)
			}
			var health observe.Report
			must("health", NoArgs{}, &health)
			must("stop", NoArgs{}, &struct{}{})
			if !health.Ready || !f.stopped {
				t.Error("health or stop did nothing")
			}
		})
	}
}

// TestAccess shows who may give commands over HTTP.
func TestAccess(t *testing.T) {
	f := newFake(t)
	c, s, log := start(t, f)
	try := func(change func(q *http.Request)) int {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/commands/health", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+c.door.Token)
		change(q)
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Fatal(err)
		}
		return r.StatusCode
	}
	for _, x := range []struct {
		name   string
		change func(q *http.Request)
		want   int
	}{
		{"with the token", func(*http.Request) {}, 200},
		{"as localhost", func(q *http.Request) { q.Host = "localhost:1" }, 200},
		{"without", func(q *http.Request) { q.Header.Del("Authorization") }, 401},
		{"with another", func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+strings.Repeat("0", 64)) }, 401},
		{"with a part", func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+c.door.Token[:63]) }, 401},
		{"with an empty one", func(q *http.Request) { q.Header.Set("Authorization", "Bearer ") }, 401},
		{"under the name of a web page", func(q *http.Request) { q.Host = "evil.example" }, 421},
		{"under another address", func(q *http.Request) { q.Host = "192.0.2.1:5280" }, 421},
		{"by GET", func(q *http.Request) { q.Method = http.MethodGet }, 405},
		{"elsewhere", func(q *http.Request) { q.URL.Path = "/" }, 404},
	} {
		if got := try(x.change); got != x.want {
			t.Errorf("%s: %d, want %d", x.name, got, x.want)
		}
	}
	var pw PasswordResult
	if err := c.Run(t.Context(), "account add", PasswordArgs{JID: jid.MustParse("a@example.org"), Password: "very-secret-word"}, &pw); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Contains(got, "very-secret-word") || strings.Contains(got, c.door.Token) || !strings.Contains(got, "account add") {
		t.Errorf("log is %s", got)
	}
}

func TestDoor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a folder: %v", err)
	}
	a, err := OpenDoor(disk.OS{}, dir, "127.0.0.1:1") // nobody is there
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(doorFile(dir)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", fi.Mode(), err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder is %v, %v", fi.Mode(), err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after a crash: %v", err)
	}
	b, err := OpenDoor(disk.OS{}, dir, "127.0.0.1:1")
	if err != nil || a.Token == b.Token || len(b.Token) != 64 {
		t.Errorf("second token: %v, %v", b, err)
	}
	if err := a.CloseDoor(dir); err != nil {
		t.Error(err)
	}
	if now, err := FindDoor(dir); err != nil || now != b {
		t.Errorf("one server has closed another one's door: %v", err)
	}
	if err := b.CloseDoor(dir); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(doorFile(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("a damaged file gives %v", err)
	}
}

// TestDoorOnFullDisk opens a door where there is no room for its token: that is an error, not half a token, and the one before
// stays.
func TestDoorOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	var files disktest.FS
	before, err := OpenDoor(&files, dir, "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for room := range 120 {
		files.Room(room, syscall.ENOSPC)
		if _, err := OpenDoor(&files, dir, "127.0.0.1:1"); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), doorFile(dir)) {
			if err == nil && room > 64 {
				break // it fits
			}
			t.Fatalf("with room for %d bytes: %v", room, err)
		}
		if now, err := FindDoor(dir); err != nil || now != before {
			t.Fatalf("with room for %d bytes the door before is gone: %v", room, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("the folder has %v, %v", names, err)
	}
}

func TestRegistryIsDocumented(t *testing.T) {
	var names []string
	for _, c := range New(nil).Commands() {
		names = append(names, c.Name)
		if !strings.HasSuffix(c.Doc, ".") {
			t.Errorf("%s: %q is no sentence", c.Name, c.Doc)
		}
		for _, a := range c.Args {
			if a.Doc == "" || a.Name == "" || strings.Contains(strings.ToLower(a.Name), "password") && a.Type != "secret" {
				t.Errorf("%s: argument %+v", c.Name, a)
			}
		}
	}
	want := "account add,account passwd,account disable,account enable,account delete,account list,account devices,account revoke,account import,session list,session close,trace,s2s list,s2s close,s2s check,s2s block,s2s unblock,certificate list,reload,stop,health"
	if got := strings.Join(names, ","); got != want {
		t.Errorf("commands are %s", got)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Error("a name is used twice")
	}
}

// TestExtensionCommands: a command of an extension runs on the host that its arguments name.
func TestExtensionCommands(t *testing.T) {
	type args struct {
		Room jid.JID `json:"room" doc:"The room."`
	}
	c := mod.Define(mod.Command{Name: "room look", Doc: "Looks."}, func(_ context.Context, in string, c *mod.Call, a args) (any, error) {
		return mod.Note(in + " " + c.Host.String() + " " + a.Room.String() + c.By.String()), nil
	})
	f := newFake(t)
	f.commands = []mod.Command{c.Bind("looked at")}
	r := New([]mod.Info{{Name: "muc", Commands: []mod.Command{c, mod.Define(mod.Command{Name: "room leap", Doc: "Leaps."},
		func(context.Context, string, *mod.Call, args) (any, error) { return nil, nil })}}})
	for given, want := range map[string]string{
		`{"room":"garden@conference.example.org"}`:                      "looked at conference.example.org garden@conference.example.org",
		`{"room":"garden@conference.example.org","host":"Example.com"}`: "looked at example.com garden@conference.example.org",
		`{"host":"example.com"}`:                                        "looked at example.com ",
		`{}`:                                                            "name the host",
		`{"host":3}`:                                                    "host is no text",
		`{"host":"@"}`:                                                  "is no address",
		`[]`:                                                            "no JSON object",
		`{"host":"example.com","room":5}`:                               "room is a number",
		`{"host":"example.com","other":"x"}`:                            "unknown field",
	} {
		got, err := r.Run(t.Context(), f, "room look", []byte(given))
		if text := fmt.Sprint(got, err); !strings.Contains(text, want) {
			t.Errorf("%s: %s", given, text)
		}
	}
	if _, err := r.Run(t.Context(), f, "room leap", []byte(`{"host":"example.com"}`)); err == nil || !strings.Contains(err.Error(), "not enabled") {
		t.Errorf("a command of an extension that is not enabled: %v", err)
	}
	last := r.Commands()[len(r.Commands())-1]
	if last.Extension != "muc" || last.Args[len(last.Args)-1].Name != "host" {
		t.Errorf("it is listed as %+v", last)
	}
}

// TestAnnounce sends to each account that is online and of the host, once.
func TestAnnounce(t *testing.T) {
	f := newFake(t)
	at := func(full string) mod.Session { return &here{session{jid: jid.MustParse(full)}} }
	f.sessions = []mod.Session{at("a@example.org/1"), at("a@example.org/2"), at("b@example.com/1"), &session{jid: jid.MustParse("c@example.org/1")}}
	for _, c := range HostCommands(f) {
		if c.Node != nsAdmin+"#announce" {
			continue
		}
		if _, err := c.Run(t.Context(), &mod.Call{Host: jid.MustParse("example.org")}, []byte(`{"announcement":["Tea","is ready"]}`)); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.routed) != 1 || f.routed[0].To.String() != "a@example.org" || f.routed[0].Body() != "Tea\nis ready" {
		t.Errorf("sent %v", f.routed)
	}
}

// here is a session that is available.
type here struct{ session }

func (h *here) Presence() *stanza.Stanza { return stanza.New(stanza.Presence, stanza.TypeAvailable) }
