package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sabir/internal/disk/disktest"
	"sabir/internal/observe"
	"sabir/mod"
)

type pingConfig struct {
	Every  mod.Duration      `toml:"every" min:"1s" doc:"How often."`
	Tries  int               `toml:"tries" min:"1" max:"9" doc:"How many times."`
	Words  []string          `toml:"words" doc:"Some words."`
	Labels map[string]string `toml:"labels" doc:"Some names with words."`
	Ratio  float64           `toml:"ratio" doc:"A part."`
	Odd    bool              `toml:"odd" doc:"Whether it is odd."`
}

func (c *pingConfig) Validate() error {
	if c.Odd && c.Tries%2 == 0 {
		return errors.New("tries is even although odd is set")
	}
	return nil
}

var testSections = []Section{
	{Name: "ping", Doc: "Answers pings.", New: func() any {
		return &pingConfig{Every: mod.Duration(time.Minute), Tries: 3, Words: []string{"one"}, Ratio: 0.5}
	}},
	{Name: "version", Doc: "Tells the version."},
	{Name: "register", Doc: "Lets strangers in.", Off: true, New: func() any {
		return &struct {
			Open bool `toml:"open" doc:"Whether."`
		}{}
	}},
}

const minimal = `
[[host]]
domain = "example.org"
certificate = "c.pem"
key = "/keys/k.pem"
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("/etc/sabir/sabir.toml", []byte(text), testSections)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return c
}

func TestMinimal(t *testing.T) {
	c := mustParse(t, minimal)
	h := c.Host("example.org")
	if h == nil || h.JID().String() != "example.org" {
		t.Fatalf("host is %+v", h)
	}
	if h.Certificate != "/etc/sabir/c.pem" || h.Key != "/keys/k.pem" {
		t.Errorf("files are %s and %s", h.Certificate, h.Key)
	}
	if u := c.Database.URL.Reveal(); u != "sqlite:/etc/sabir/data/sabir.db" {
		t.Errorf("database is %s", u)
	}
	if len(c.Listen) != 6 || c.Listen[5].Purpose != Admin || c.Listen[5].Address != "127.0.0.1:5280" {
		t.Errorf("sockets are %+v", c.Listen)
	}
	if !reflect.DeepEqual(c.Limits, Default().Limits) || !reflect.DeepEqual(c.Auth, Default().Auth) {
		t.Error("limits or auth are not at their defaults")
	}
	if got := c.Mod("example.org", "ping").(*pingConfig); got.Tries != 3 || time.Duration(got.Every) != time.Minute {
		t.Errorf("settings of ping are %+v", got)
	}
	if c.Mod("example.org", "version") != nil {
		t.Error("version has settings")
	}
}

func TestHosts(t *testing.T) {
	c := mustParse(t, `
[[host]]
domain = "Example.ORG"
certificate = "c"
key = "k"
admins = ["romeo", "juliet@example.com"]
enabled = ["register"]
anonymous = true
[host.mod.ping]
tries = 5
[host.mod.ping.labels]
a = "b"

[[host]]
domain = "example.com"
certificate = "c"
key = "k"
disabled = ["ping"]

[mod.ping]
every = "10s"
words = ["two", "three"]
`)
	org, com := c.Host("example.org"), c.Host("example.com")
	if org == nil || com == nil {
		t.Fatal("a host is missing")
	}
	if a := org.AdminJIDs(); len(a) != 2 || a[0].String() != "romeo@example.org" || a[1].String() != "juliet@example.com" {
		t.Errorf("admins are %v", a)
	}
	if org.Anonymous == nil || !*org.Anonymous || com.Anonymous != nil {
		t.Error("anonymous is wrong")
	}
	own, all := c.Mod("example.org", "ping").(*pingConfig), c.Mod("example.com", "ping").(*pingConfig)
	if own.Tries != 5 || time.Duration(own.Every) != 10*time.Second || own.Labels["a"] != "b" || len(own.Words) != 2 {
		t.Errorf("the host's own settings are %+v", own)
	}
	if all.Tries != 3 || time.Duration(all.Every) != 10*time.Second || all.Labels != nil || all.Words[1] != "three" {
		t.Errorf("the settings for all are %+v", all)
	}
	for _, x := range []struct {
		h    *Host
		name string
		off  bool
		want bool
	}{{org, "ping", false, true}, {com, "ping", false, false}, {org, "register", true, true}, {com, "register", true, false}} {
		if got := x.h.Enables(x.name, x.off); got != x.want {
			t.Errorf("%s enables %s: %v", x.h.Domain, x.name, got)
		}
	}
}

// TestHostLimits shows that a host differs from the server in what it says itself, and in nothing else.
func TestHostLimits(t *testing.T) {
	text := minimal + `
[host.limits]
resources = 2
after_auth.bytes = 20_000
[[host]]
domain = "example.com"
certificate = "c"
key = "k"
[limits]
resources = 3
after_auth.depth = 50
`
	c := mustParse(t, text)
	org, com := c.Host("example.org").Limits, c.Host("example.com").Limits
	if org.Resources != 2 || org.AfterAuth.Bytes != 20_000 || org.AfterAuth.Depth != 50 || org.BeforeAuth != Default().Limits.BeforeAuth {
		t.Errorf("the host's own limits are %+v", org)
	}
	if com != c.Limits.HostLimits || com.Resources != 3 {
		t.Errorf("the limits of a host without its own are %+v", com)
	}
	var got []string
	for _, ch := range Diff(c, mustParse(t, strings.NewReplacer("resources = 3", "resources = 4", "resources = 2", "resources = 5").Replace(text))) {
		got = append(got, ch.String())
	}
	if want := []string{"limits.resources: 3 → 4", "host[example.org].limits.resources: 2 → 5"}; !slices.Equal(got, want) {
		t.Errorf("the difference is %q, want %q", got, want)
	}
	got = nil
	for _, ch := range Diff(c, mustParse(t, strings.Replace(text, "resources = 2", "", 1))) {
		got = append(got, ch.String())
	}
	if want := []string{"host[example.org].limits.resources: 2 → 3"}; !slices.Equal(got, want) {
		t.Errorf("the difference is %q, want %q", got, want)
	}
}

// TestProblems shows what is said about a mistake: place, key, problem and cure.
func TestProblems(t *testing.T) {
	for _, x := range []struct{ name, text, want string }{
		{"unknown key", minimal + "[limits]\nresorces = 4\n", `7:1: limits.resorces: unknown setting (did you mean resources?)`},
		{"unknown section", minimal + "[limit]\n", `6:2: limit: unknown section (did you mean limits?)`},
		{"capitals", minimal + "[limits]\nResources = 4\n", `7:1: limits.Resources: unknown setting (did you mean resources?)`},
		{"far off", minimal + "[log]\nzzzzzz = 4\n", `7:1: log.zzzzzz: unknown setting (known here: format, level, trace)`},
		{"number as text", minimal + "[limits]\nresources = \"4\"\n", `7:1: limits.resources: text where a whole number is wanted (write digits without quotes, such as 65_536)`},
		{"bool as text", minimal + "[auth]\nplain = \"yes\"\n", `7:1: auth.plain: text where true or false is wanted (write true or false, without quotes)`},
		{"duration without unit", minimal + "[limits]\nauth_timeout = 60\n", `7:1: limits.auth_timeout: a whole number where text is wanted (write a number with a unit in quotes, such as "90s" or "24h")`},
		{"duration of nonsense", minimal + "[limits]\nauth_timeout = \"soon\"\n", `7:1: limits.auth_timeout: "soon" is no duration (write a number with a unit, such as "90s", "5m" or "24h")`},
		{"too small", minimal + "[limits.after_auth]\nbytes = 9999\n", `7:1: limits.after_auth.bytes: the least is 10000`},
		{"too great", minimal + "[auth]\nattempts = 101\n", `7:1: auth.attempts: the most is 100`},
		{"negative", minimal + "[limits]\nconnections = -1\n", `7:1: limits.connections: it cannot be negative`},
		{"enum", minimal + "[log]\nlevel = \"warning\"\n", `7:1: log.level: unknown value "warning" (did you mean warn?)`},
		{"enum far off", minimal + "[log]\nformat = \"xml\"\n", `7:1: log.format: unknown value "xml" (one of: text, json)`},
		{"no host", "[log]\n", `1:1: host: there is no host (add a [[host]] block with domain, certificate and key)`},
		{"host as table", "[host]\ndomain = \"a\"\n", `1:2: host: a section where blocks are wanted (write [[host]])`},
		{"user as domain", strings.Replace(minimal, "example.org", "a@example.org", 1), `3:1: host[0].domain: "a@example.org" is an address, not a domain (write the domain alone)`},
		{"same host twice", minimal + strings.Replace(minimal, "example.org", "EXAMPLE.org", 1), `8:1: host[1].domain: example.org is served by another [[host]] already (remove one of the blocks)`},
		{"no certificate", "[[host]]\ndomain = \"example.org\"\n", `2:1: host[0].domain: example.org has no certificate (add certificate and key)`},
		{"no key", "[[host]]\ndomain = \"example.org\"\ncertificate = \"c\"\n", `3:1: host[0].certificate: there is a certificate without its key (add key)`},
		{"admin", minimal + "admins = [\"a@b/c\"]\n", `6:1: host[0].admins[0]: "a@b/c" is no address of a user (write user@domain or the user's name alone)`},
		{"extension", minimal + "disabled = [\"pong\"]\n", `6:1: host[0].disabled[0]: unknown extension "pong" (did you mean ping?)`},
		{"both lists", minimal + "disabled = [\"ping\"]\nenabled = [\"ping\"]\n", `7:1: host[0].enabled[0]: ping is disabled too (remove it from one of the lists)`},
		{"section of unknown extension", minimal + "[mod.pign]\n", `6:6: mod.pign: unknown extension (did you mean ping?)`},
		{"key of extension", minimal + "[mod.ping]\nevry = \"1s\"\n", `7:1: mod.ping.evry: unknown setting (did you mean every?)`},
		{"type in extension", minimal + "[mod.ping]\nwords = \"x\"\n", `7:1: mod.ping.words: text where a list is wanted (write it as a list: ["…", "…"])`},
		{"type within list", minimal + "[mod.ping]\nwords = [\"x\", 5]\n", `7:1: mod.ping.words[1]: a whole number where text is wanted (put it in quotes)`},
		{"override of extension", minimal + "[host.mod.ping]\ntries = 10\n", `7:1: host[0].mod.ping.tries: the most is 9`},
		{"limit of a host", minimal + "[host.limits]\nresorces = 4\n", `7:1: host[0].limits.resorces: unknown setting (did you mean resources?)`},
		{"limit of the server for a host", minimal + "[host.limits]\nwrite_timeout = \"5s\"\n", `7:1: host[0].limits.write_timeout: this limit is one of the whole server (write it in [limits])`},
		{"value of a limit of a host", minimal + "[host.limits.after_auth]\nbytes = 1\n", `7:1: host[0].limits.after_auth.bytes: the least is 10000`},
		{"limits of a host that contradict", minimal + "[host.limits]\nqueue_bytes = 20_000\n", `7:1: host[0].limits.queue_bytes: a single stanza may be larger than it (give at least host[0].limits.after_auth.bytes)`},
		{"limits of a host as list", minimal + "limits = 5\n", `6:1: host[0].limits: a whole number where a section is wanted (write [host.limits])`},
		{"extension's own check", minimal + "[mod.ping]\nodd = true\ntries = 4\n", `6:6: mod.ping: tries is even although odd is set`},
		{"extension without settings", minimal + "[mod.version]\nx = 1\n", "7:1: mod.version.x: the extension version has no settings (remove it; to switch the extension off, name it in `disabled` of a [[host]])"},
		{"address", minimal + "[[listen]]\naddress = \"5222\"\npurpose = \"c2s\"\n", `7:1: listen[0].address: "5222" is no address of a socket (write address and port, such as "[::]:5222")`},
		{"purpose", minimal + "[[listen]]\naddress = \":1\"\npurpose = \"c2stls\"\n", `8:1: listen[0].purpose: unknown value "c2stls" (did you mean c2s_tls?)`},
		{"no purpose", minimal + "[[listen]]\naddress = \":1\"\n", `6:3: listen[0].purpose: the socket has no purpose (write purpose = "c2s" or another one)`},
		{"admin for all", minimal + "[[listen]]\naddress = \":5280\"\npurpose = \"admin\"\n", `7:1: listen[0].address: the admin listener may stand on a loopback address only (write "127.0.0.1:5280" and reach it by a tunnel, or by a reverse proxy that asks for credentials)`},
		{"insecure for all", "insecure = true\n[[host]]\ndomain = \"a\"\ncertificate = \"c\"\nkey = \"k\"\n[[listen]]\naddress = \"[::]:5222\"\npurpose = \"c2s\"\n", `7:1: listen[0].address: insecure is for loopback addresses only (remove insecure, or write "127.0.0.1:5222")`},
		{"socket twice", minimal + "[[listen]]\naddress = \":1\"\npurpose = \"c2s\"\n[[listen]]\naddress = \":1\"\npurpose = \"s2s\"\n", `10:1: listen[1].address: :1 is used by another [[listen]] already (remove one of the blocks, or choose another port)`},
		{"resolver", minimal + "[s2s]\nresolver = \"localhost\"\n", `7:1: s2s.resolver: "localhost" is no address of a DNS server (write address and port, such as "127.0.0.1:53")`},
		{"deny", minimal + "[s2s]\ndeny = [\"*.a b\"]\n", `7:1: s2s.deny[0]: "*.a b" is no domain (write "example.org" or "*.example.org")`},
		{"pin", minimal + "[[s2s.domain]]\ndomain = \"b.example\"\nauth = \"pin\"\n", `8:1: s2s.domain[0].auth: no certificate would do (add pins)`},
		{"fingerprint", minimal + "[[s2s.domain]]\ndomain = \"b.example\"\nauth = \"pin\"\npins = [\"00\"]\n", `9:1: s2s.domain[0].pins[0]: "00" is no SHA-256 fingerprint (openssl x509 -noout -fingerprint -sha256 prints it)`},
		{"outbound", minimal + "[outbound]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"evil\"]\n", `8:1: outbound.deny: deny: "evil" is neither an address nor a network such as 10.0.0.0/8`},
		{"proxy_from", minimal + "[[listen]]\naddress = \":1\"\npurpose = \"c2s\"\nproxy = true\nproxy_from = [\"ten\"]\n", `10:1: listen[0].proxy_from: proxy_from: "ten" is neither an address nor a network such as 10.0.0.0/8`},
		{"mechanism", minimal + "[auth]\nmechanisms = [\"SCRAM-SHA256\"]\n", `7:1: auth.mechanisms[0]: unknown mechanism "SCRAM-SHA256" (did you mean SCRAM-SHA-256?)`},
		{"plain without PLAIN", minimal + "[auth]\nplain = true\nmechanisms = [\"SCRAM-SHA-1\"]\n", `7:1: auth.plain: PLAIN is not in auth.mechanisms (add it there)`},
		{"database", minimal + "[database]\nurl = \"mysql://x\"\n", `7:1: database.url: it names no database that is known (write sqlite:PATH or postgres://user:password@host/name)`},
		{"origin", minimal + "[web]\norigins = [\"example.org\"]\n", `7:1: web.origins[0]: "example.org" is no origin (write scheme and host, such as "https://chat.example.org")`},
		{"inline table", minimal + "[mod]\nping = { every = \"1s\", trys = 4 }\n", `7:24: mod.ping.trys: unknown setting (did you mean tries?)`},
		{"burst", minimal + "[limits]\nbyte_burst = 100\n", `7:1: limits.byte_burst: a single stanza may be larger than it (give at least limits.after_auth.bytes)`},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, err := Parse("f", []byte(x.text), testSections)
			if c != nil {
				t.Error("there is a configuration in spite of the error")
			}
			var es Errors
			if !errors.As(err, &es) || len(es) != 1 {
				t.Fatalf("error is %v", err)
			}
			if got := es[0].Error(); got != "f:"+x.want {
				t.Errorf("\n got %s\nwant f:%s", got, x.want)
			}
		})
	}
}

func TestSyntaxAndSeveral(t *testing.T) {
	for _, text := range []string{"a = ", "[x", "a = 1\na = 2\n", "\x00", "[[host]]\n[host]\n", "x = \"\xff\""} {
		_, err := Parse("f", []byte(text), nil)
		if err == nil || !regexp.MustCompile(`^f:\d+:\d+: .`).MatchString(err.Error()) {
			t.Errorf("%q gives %v", text, err)
		}
	}
	_, err := Parse("f", []byte("a = 1\nb = 2\n[log]\nlevel = 3\n"), nil)
	var es Errors
	if !errors.As(err, &es) || len(es) != 3 || es[2].Line != 4 {
		t.Errorf("not all problems are told at once: %v", err)
	}
}

// TestExample shows that the example is a configuration, that its comments are the defaults, and that it has every setting.
func TestExample(t *testing.T) {
	text := Example(testSections)
	c := mustParse(t, text)
	whole := regexp.MustCompile(`(?m)^#([a-z\[])`).ReplaceAllString(text, "$1")
	if changes := Diff(c, mustParse(t, whole)); len(changes) != 1 || changes[0].Key != "host[example.org].anonymous" {
		t.Errorf("the comments are not the defaults: %v", changes)
	}
	for _, s := range Describe(testSections) {
		key := s.Key[strings.LastIndex(s.Key, ".")+1:]
		if !strings.Contains(text, key) {
			t.Errorf("the example lacks %s", s.Key)
		}
		if s.Doc == "" {
			t.Errorf("%s is not documented", s.Key)
		}
	}
	for i, l := range strings.Split(text, "\n") {
		if len(l) > 200 {
			t.Errorf("line %d has %d characters", i+1, len(l))
		}
	}
}

func TestDescribe(t *testing.T) {
	by := make(map[string]Setting)
	for _, s := range Describe(testSections) {
		by[s.Key] = s
	}
	if s := by["limits.resources"]; s.Type != "whole number" || s.Default != "16" || s.Bounds != "1 to 1000" || s.Restart {
		t.Errorf("limits.resources is %+v", s)
	}
	if s := by["listen[].address"]; s.Type != "text" || !s.Restart {
		t.Errorf("listen[].address is %+v", s)
	}
	if s := by["mod.ping.every"]; s.Type != "duration" || s.Default != `"1m0s"` || s.Restart {
		t.Errorf("mod.ping.every is %+v", s)
	}
}

func TestDiff(t *testing.T) {
	before := mustParse(t, minimal+"[database]\nurl = \"postgres://u:topsecret@h/d\"\n")
	if changes := Diff(before, before); len(changes) != 0 {
		t.Errorf("nothing changed, and yet %v", changes)
	}
	now := mustParse(t, strings.Replace(minimal, "c.pem", "d.pem", 1)+`
[[host]]
domain = "example.net"
certificate = "c"
key = "k"
[database]
url = "postgres://u:othersecret@h/d"
[limits]
resources = 4
[mod.ping]
tries = 9
[[listen]]
address = "[::]:5222"
purpose = "c2s"
`)
	var got []string
	for _, c := range Diff(before, now) {
		got = append(got, c.String())
	}
	want := []string{
		`database.url: [secret] → [secret] (needs a restart)`,
		`limits.resources: 16 → 4`,
		`host[example.org].certificate: "/etc/sabir/c.pem" → "/etc/sabir/d.pem"`,
		`host[example.net]: not served → served`,
		`listen[[::]:5223]: c2s_tls →  (needs a restart)`,
		`listen[[::]:5443]: https →  (needs a restart)`,
		`listen[[::]:5269]: s2s →  (needs a restart)`,
		`listen[[::]:5270]: s2s_tls →  (needs a restart)`,
		`listen[127.0.0.1:5280]: admin →  (needs a restart)`,
		`mod.ping.tries: 3 → 9`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sabir.toml")
	if _, err := Load(path, testSections); err == nil || !strings.Contains(err.Error(), "config example") {
		t.Errorf("a missing file gives %v", err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("sabir.toml", minimal+"[database]\nurl_file = \"url\"\n")
	if _, err := Load(path, testSections); err == nil || !strings.Contains(err.Error(), "sabir.toml:7:1: database.url_file:") {
		t.Errorf("a missing url_file gives %v", err)
	}
	write("url", "postgres://u:p@h/d\n")
	for _, broken := range []string{"sabir.toml", "url"} {
		var files disktest.FS
		files.Fail(func(op, name string) error {
			if op == "ReadFile" && filepath.Base(name) == broken {
				return &fs.PathError{Op: "read", Path: name, Err: syscall.EIO}
			}
			return nil
		})
		if c, err := LoadFS(&files, path, testSections); c != nil || err == nil || !strings.Contains(err.Error(), filepath.Join(dir, broken)+": input/output error") {
			t.Errorf("%s cannot be read: %v", broken, err)
		}
	}
	c, err := Load(path, testSections)
	if err != nil {
		t.Fatal(err)
	}
	if c.Database.URL != observe.Secret("postgres://u:p@h/d") || c.Path() != path {
		t.Errorf("url is %q, path %s", c.Database.URL.Reveal(), c.Path())
	}
}
