package sasl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// accounts are the credentials of a test: user name to password. All have verifiers for all hashes.
type accounts map[string]string

const testIterations = 3

func (a accounts) Verifier(_ context.Context, user string, h Hash) (Verifier, bool, error) {
	p, ok := a[user]
	if !ok {
		return Verifier{}, false, nil
	}
	v, err := NewVerifier(h, p, []byte("salt of "+user), testIterations)
	return v, err == nil, err
}

var (
	exporter = ChannelBinding{TLSExporter, []byte("0123456789abcdef0123456789abcdef")}
	endPoint = ChannelBinding{TLSServerEndPoint, []byte("fedcba9876543210fedcba9876543210")}
	unique   = ChannelBinding{"tls-unique", []byte("finished....")}
)

// serverConfig allows everything, for user with password pencil.
func serverConfig() *ServerConfig {
	return &ServerConfig{
		Allowed:     byStrength[:],
		Encrypted:   true,
		Bindings:    []ChannelBinding{unique, exporter, endPoint},
		Credentials: accounts{"user": "pencil", "a,b=c": "komma", "rené": "pa\u00dfwort"},
		Decoy:       Decoy{Secret: []byte("0123456789abcdef"), Iterations: testIterations},
		Authorize: func(_ context.Context, user, authzid string) error {
			switch authzid {
			case "", user + "@example.com":
				return nil
			case "disabled@example.com":
				return &Failure{Condition: AccountDisabled}
			case "broken@example.com":
				return errors.New("database is gone")
			}
			return &Failure{Condition: InvalidAuthzid}
		},
		External: func(_ context.Context, authzid string) (string, error) {
			if authzid == "" || authzid == "peer.example" {
				return "peer.example", nil
			}
			return "", &Failure{Condition: InvalidAuthzid}
		},
		Anonymous: func(_ context.Context, trace string) (string, error) { return "anon-" + trace, nil },
	}
}

func clientConfig() *ClientConfig {
	return &ClientConfig{
		Username: "user", Password: "pencil", Encrypted: true, AllowPlain: true, MinIterations: 1,
		Bindings: []ChannelBinding{exporter},
	}
}

// pass is a message on its way; it may change it.
type pass func(i int, msg []byte) []byte

// converse runs a handshake to its end. Messages are counted from 0, the client's first. It returns the errors of both sides.
func converse(c Client, s Server, wire pass) (cerr, serr error) {
	if wire == nil {
		wire = func(_ int, b []byte) []byte { return b }
	}
	msg, has, err := c.Start()
	if err != nil {
		return err, nil
	}
	if !has {
		msg = nil
	}
	for i := 0; ; i += 2 {
		challenge, done, err := s.Next(context.Background(), wire(i, msg))
		if err != nil {
			return nil, err
		}
		if challenge != nil {
			challenge = wire(i+1, challenge)
		}
		if done {
			return c.Success(challenge), nil
		}
		if msg, err = c.Next(challenge); err != nil {
			return err, nil
		}
	}
}

func condition(err error) Condition {
	var f *Failure
	if errors.As(err, &f) {
		return f.Condition
	}
	return Condition(fmt.Sprint(err))
}

func mustServer(t testing.TB, mechanism string, c *ServerConfig) Server {
	t.Helper()
	s, err := NewServer(mechanism, c)
	if err != nil {
		t.Fatalf("NewServer(%s): %v", mechanism, err)
	}
	return s
}

func TestEveryMechanism(t *testing.T) {
	for _, m := range byStrength {
		t.Run(m, func(t *testing.T) {
			cc := clientConfig()
			cc.External, cc.Anonymous, cc.Trace = true, true, "x"
			cc.Mechanisms = []string{m}
			if m != Anonymous && m != External {
				cc.Authzid = "user@example.com"
			}
			c, err := NewClient(byStrength[:], cc)
			if err != nil || c.Name() != m {
				t.Fatalf("NewClient: %v, %v", c, err)
			}
			s := mustServer(t, m, serverConfig())
			if s.Mechanism() != m || s.Identity() != (Identity{}) {
				t.Errorf("before: %s, %+v", s.Mechanism(), s.Identity())
			}
			if cerr, serr := converse(c, s, nil); cerr != nil || serr != nil {
				t.Fatalf("client: %v, server: %v", cerr, serr)
			}
			want := Identity{Username: "user", Authzid: cc.Authzid}
			switch m {
			case External:
				want.Username = "peer.example"
			case Anonymous:
				want.Username = "anon-x"
			}
			if s.Identity() != want {
				t.Errorf("identity is %+v, want %+v", s.Identity(), want)
			}
			_, _, err = s.Next(t.Context(), []byte("again"))
			if condition(err) != MalformedRequest {
				t.Errorf("a response after the end: %v", err)
			}
			if _, err := c.Next([]byte("again")); err == nil {
				t.Error("the client went on after the end")
			}
		})
	}
}

func TestWrongCredentials(t *testing.T) {
	for _, m := range byStrength {
		if m == External || m == Anonymous {
			continue
		}
		for name, change := range map[string]func(c *ClientConfig){
			"password": func(c *ClientConfig) { c.Password = "pencil2" },
			"user":     func(c *ClientConfig) { c.Username = "nobody" },
			"strange":  func(c *ClientConfig) { c.Username = "not a user name" },
			"bare JID": func(c *ClientConfig) { c.Username = "user@example.com" },
		} {
			cc := clientConfig()
			change(cc)
			cc.Mechanisms = []string{m}
			c, err := NewClient(byStrength[:], cc)
			if err != nil {
				t.Fatal(err)
			}
			s := mustServer(t, m, serverConfig())
			_, serr := converse(c, s, nil)
			var f *Failure
			if !errors.As(serr, &f) || *f != (Failure{Condition: NotAuthorized}) || s.Identity() != (Identity{}) {
				t.Errorf("%s, wrong %s: %v, %+v", m, name, serr, s.Identity())
			}
		}
	}
}

func TestAuthorize(t *testing.T) {
	for _, m := range []string{ScramSHA1, ScramSHA256Plus, ScramSHA512, Plain} {
		for authzid, want := range map[string]Condition{
			"victim@example.com":   InvalidAuthzid,
			"user":                 InvalidAuthzid,
			"disabled@example.com": AccountDisabled,
			"broken@example.com":   TemporaryAuthFailure,
		} {
			for _, password := range []string{"pencil", "wrong"} {
				cc := clientConfig()
				cc.Authzid, cc.Password, cc.Mechanisms = authzid, password, []string{m}
				c, err := NewClient(byStrength[:], cc)
				if err != nil {
					t.Fatal(err)
				}
				s := mustServer(t, m, serverConfig())
				_, serr := converse(c, s, nil)
				expect := want
				if password == "wrong" { // nobody learns of accounts without the password
					expect = NotAuthorized
				}
				if condition(serr) != expect || s.Identity() != (Identity{}) {
					t.Errorf("%s as %s with %s: %v, want %s", m, authzid, password, serr, expect)
				}
			}
		}
		sc := serverConfig()
		sc.Authorize = nil
		cc := clientConfig()
		cc.Authzid, cc.Mechanisms = "user@example.com", []string{m}
		c, err := NewClient(byStrength[:], cc)
		if err != nil {
			t.Fatal(err)
		}
		if _, serr := converse(c, mustServer(t, m, sc), nil); condition(serr) != InvalidAuthzid {
			t.Errorf("%s with an authzid and no Authorize: %v", m, serr)
		}
	}
}

func TestUsernames(t *testing.T) {
	for _, m := range []string{ScramSHA256, Plain} {
		for _, c := range []struct{ name, password, want string }{
			{"a,b=c", "komma", "a,b=c"},
			{"USER", "pencil", "user"},
			{"Rene\u0301", "pa\u00dfwort", "ren\u00e9"},
		} {
			cc := clientConfig()
			cc.Username, cc.Password, cc.Mechanisms = c.name, c.password, []string{m}
			cl, err := NewClient(byStrength[:], cc)
			if err != nil {
				t.Fatal(err)
			}
			s := mustServer(t, m, serverConfig())
			cerr, serr := converse(cl, s, nil)
			if cerr != nil || serr != nil || s.Identity().Username != c.want {
				t.Errorf("%s of %q: %v, %v, %+v", m, c.name, cerr, serr, s.Identity())
			}
		}
	}
}

func TestServerMechanisms(t *testing.T) {
	all := func(c *ServerConfig) {}
	for _, c := range []struct {
		name   string
		change func(c *ServerConfig)
		want   []string
	}{
		{"all", all, byStrength[:]},
		{"default", func(c *ServerConfig) { c.Allowed = nil }, byStrength[:7]},
		{"default without certificate", func(c *ServerConfig) { c.Allowed, c.External = nil, nil }, byStrength[1:7]},
		{"no binding", func(c *ServerConfig) { c.Bindings = []ChannelBinding{unique, {TLSExporter, nil}} },
			[]string{External, ScramSHA512, ScramSHA256, ScramSHA1, Plain, Anonymous}},
		{"no TLS", func(c *ServerConfig) { c.Allowed, c.Encrypted, c.Bindings = []string{Plain, ScramSHA1}, false, nil }, []string{ScramSHA1}},
		{"insecure", func(c *ServerConfig) { c.Allowed, c.Encrypted, c.PlainUnencrypted = []string{Plain}, false, true }, []string{Plain}},
		{"no callbacks", func(c *ServerConfig) { *c = ServerConfig{Allowed: byStrength[:], Encrypted: true} }, nil},
		{"none", func(c *ServerConfig) { c.Allowed = []string{} }, nil},
	} {
		sc := serverConfig()
		c.change(sc)
		got := sc.Mechanisms()
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
		for _, m := range byStrength {
			if _, err := NewServer(m, sc); (err == nil) != slices.Contains(got, m) {
				t.Errorf("%s: NewServer(%s): %v", c.name, m, err)
			}
		}
	}
}

func TestNewServerRefuses(t *testing.T) {
	for _, m := range []string{"", "CRAM-MD5", "DIGEST-MD5", "plain", "SCRAM-SHA-1-PLUS-PLUS", "PLAIN-PLUS", "-PLUS", strings.Repeat("A", 5000)} {
		_, err := NewServer(m, serverConfig())
		if condition(err) != InvalidMechanism || len(err.Error()) > 100 {
			t.Errorf("%.20s: %v", m, err)
		}
	}
	sc := serverConfig()
	sc.Encrypted = false
	if _, err := NewServer(Plain, sc); condition(err) != EncryptionRequired {
		t.Errorf("PLAIN without TLS: %v", err)
	}
	sc.Allowed = []string{ScramSHA1}
	if _, err := NewServer(Plain, sc); condition(err) != InvalidMechanism {
		t.Errorf("PLAIN that is not allowed, without TLS: %v", err)
	}
	sc.Decoy.Secret = nil
	if _, err := NewServer(ScramSHA1, sc); condition(err) != TemporaryAuthFailure {
		t.Errorf("SCRAM without a secret for decoys: %v", err)
	}
}

// TestClientChoice shows the mechanism that a client takes, and what it says of channel binding (RFC 5802 §6, XEP-0440#business-rules).
// Where the types that are announced do not go it goes on without, and looks at the server's hash of them (XEP-0474#rules).
func TestClientChoice(t *testing.T) {
	all := byStrength[:]
	none := ""
	for _, c := range []struct {
		name    string
		offered []string
		change  func(c *ClientConfig)
		want    string
		start   string // prefix of the first message
	}{
		{"all", all, nil, ScramSHA512Plus, "p=tls-exporter,,n=user,r="},
		{"certificate", all, func(c *ClientConfig) { c.External = true }, External, ""},
		{"order does not count", []string{Plain, ScramSHA1, ScramSHA256}, nil, ScramSHA256, "y,,"},
		{"binding before hash", []string{ScramSHA512, ScramSHA1Plus}, nil, ScramSHA1Plus, "p="},
		{"we cannot bind", all, func(c *ClientConfig) { c.Bindings = []ChannelBinding{unique} }, ScramSHA512, "n,,"},
		{"no binding in common", all, func(c *ClientConfig) { c.BindingTypes = []string{"tls-unique", TLSServerEndPoint} }, ScramSHA512, "n,,"},
		{"second binding", all, func(c *ClientConfig) {
			c.Bindings = []ChannelBinding{unique, exporter, endPoint}
			c.BindingTypes = []string{TLSServerEndPoint}
		}, ScramSHA512Plus, "p=tls-server-end-point,,"},
		{"server cannot bind", []string{ScramSHA1}, nil, ScramSHA1, "y,,"},
		{"unknown -PLUS", []string{ScramSHA1, "SCRAM-SHA3-512-PLUS"}, nil, ScramSHA1, "y,,"},
		{"only SHA-1", all, func(c *ClientConfig) { c.Mechanisms = []string{ScramSHA1} }, ScramSHA1, "n,,"},
		{"PLAIN", []string{Plain, "LOGIN"}, nil, Plain, "\x00user\x00pencil"},
		{"PLAIN not allowed", []string{Plain}, func(c *ClientConfig) { c.AllowPlain = false }, none, ""},
		{"PLAIN without TLS", []string{Plain}, func(c *ClientConfig) { c.Encrypted = false }, none, ""},
		{"PLAIN insecure", []string{Plain}, func(c *ClientConfig) { c.Encrypted, c.PlainUnencrypted = false, true }, Plain, "\x00user"},
		{"anonymous", all, func(c *ClientConfig) { c.Username, c.Anonymous, c.Trace = "", true, "t" }, Anonymous, "t"},
		{"anonymous not asked for", []string{Anonymous}, nil, none, ""},
		{"no password", all, func(c *ClientConfig) { c.Password = "" }, none, ""},
		{"nothing", nil, nil, none, ""},
		{"authzid", []string{ScramSHA1}, func(c *ClientConfig) { c.Authzid = "a=b,c" }, ScramSHA1, "y,a=a=3Db=2Cc,n=user,r="},
	} {
		cc := clientConfig()
		if c.change != nil {
			c.change(cc)
		}
		cl, err := NewClient(c.offered, cc)
		if c.want == none {
			if !errors.Is(err, ErrNoMechanism) {
				t.Errorf("%s: %v, %v", c.name, cl, err)
			}
			continue
		}
		if err != nil || cl.Name() != c.want {
			t.Errorf("%s: %v, %v", c.name, cl, err)
			continue
		}
		if m, has, err := cl.Start(); err != nil || !has || m == nil || !strings.HasPrefix(string(m), c.start) {
			t.Errorf("%s: starts with %q, %v, %v", c.name, m, has, err)
		}
	}
}

func TestClientRefusesNames(t *testing.T) {
	for name, change := range map[string]func(c *ClientConfig){
		"NUL in PLAIN":       func(c *ClientConfig) { c.Mechanisms, c.Username = []string{Plain}, "a\x00b" },
		"NUL in authzid":     func(c *ClientConfig) { c.Mechanisms, c.Authzid = []string{Plain}, "a\x00b" },
		"not UTF-8 in PLAIN": func(c *ClientConfig) { c.Mechanisms, c.Username = []string{Plain}, "a\xff" },
		"password":           func(c *ClientConfig) { c.Mechanisms, c.Password = []string{Plain}, "a\x00b" },
		"trace":              func(c *ClientConfig) { c.Username, c.Anonymous, c.Trace = "", true, strings.Repeat("x", 256) },
		"NUL in SCRAM":       func(c *ClientConfig) { c.Username = "a\x00b" },
		"not UTF-8 in SCRAM": func(c *ClientConfig) { c.Authzid = "a\xff" },
		"long":               func(c *ClientConfig) { c.Username = strings.Repeat("x", maxName+1) },
	} {
		cc := clientConfig()
		change(cc)
		c, err := NewClient(byStrength[:], cc)
		if err == nil {
			_, _, err = c.Start()
		}
		if err == nil || strings.Contains(err.Error(), "pencil") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestInitialResponse holds that no response and an empty one are different things (RFC 6120 §6.4.2).
func TestInitialResponse(t *testing.T) {
	first := map[string]string{
		ScramSHA1: "n,,n=user,r=abc", ScramSHA256Plus: "p=tls-exporter,,n=user,r=abc", Plain: "\x00user\x00pencil", External: "", Anonymous: "",
	}
	for m, msg := range first {
		s := mustServer(t, m, serverConfig())
		challenge, done, err := s.Next(t.Context(), nil)
		if challenge == nil || len(challenge) != 0 || done || err != nil {
			t.Fatalf("%s without initial response: %q, %v, %v", m, challenge, done, err)
		}
		challenge, done, err = s.Next(t.Context(), []byte(msg))
		if err != nil || done != (len(challenge) == 0) {
			t.Errorf("%s: %q, %v, %v", m, challenge, done, err)
		}
		// An empty response to the empty challenge arrives as nil.
		s = mustServer(t, m, serverConfig())
		if _, _, err := s.Next(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		_, done, err = s.Next(t.Context(), nil)
		if msg == "" && !done || msg != "" && condition(err) != MalformedRequest {
			t.Errorf("%s with nothing at all: %v, %v", m, done, err)
		}
		// So it is for an empty initial response.
		s = mustServer(t, m, serverConfig())
		_, done, err = s.Next(t.Context(), []byte{})
		if msg == "" && !done || msg != "" && condition(err) != MalformedRequest {
			t.Errorf("%s with an empty initial response: %v, %v", m, done, err)
		}
	}
}

func TestSimpleServersRefuse(t *testing.T) {
	for _, c := range []struct {
		mechanism, msg string
		want           Condition
	}{
		{Plain, "", MalformedRequest},
		{Plain, "userpencil", MalformedRequest},
		{Plain, "user\x00pencil", MalformedRequest},
		{Plain, "\x00user\x00pencil\x00x", MalformedRequest},
		{Plain, "\x00user\x00pencil\x00", MalformedRequest},
		{Plain, "\x00user\x00", MalformedRequest},
		{Plain, "\x00\x00pencil", MalformedRequest},
		{Plain, "\x00\x00", MalformedRequest},
		{Plain, "\x00user\x00penc\xffil", MalformedRequest},
		{Plain, "\x00user\x00" + strings.Repeat("x", maxMessage), MalformedRequest},
		{Plain, "\x00" + strings.Repeat("x", maxName+1) + "\x00p", MalformedRequest},
		{Plain, "\x00user\x00pencil ", NotAuthorized},
		{Plain, "\x00user\x00Pencil", NotAuthorized},
		{Plain, "\x00user\x00pen\ncil", NotAuthorized},
		{Plain, "\x00x' OR '1'='1\x00x", NotAuthorized},
		{Plain, "\x00../../etc/passwd\x00x", NotAuthorized},
		{Plain, "\x00user@example.com\x00pencil", NotAuthorized},
		{Plain, "victim@example.com\x00user\x00pencil", InvalidAuthzid},
		{External, "other.example", InvalidAuthzid},
		{External, "peer.example\x00", MalformedRequest},
		{External, "peer\xff", MalformedRequest},
		{Anonymous, strings.Repeat("\u00fc", 256), MalformedRequest},
		{Anonymous, "\xff", MalformedRequest},
		{Anonymous, "a\x00b", MalformedRequest},
	} {
		s := mustServer(t, c.mechanism, serverConfig())
		_, done, err := s.Next(t.Context(), []byte(c.msg))
		if done || condition(err) != c.want || s.Identity() != (Identity{}) {
			t.Errorf("%s %.40q: %v, want %s", c.mechanism, c.msg, err, c.want)
		}
		if _, done, err := s.Next(t.Context(), []byte("\x00user\x00pencil")); done || condition(err) != MalformedRequest {
			t.Errorf("%s went on after a failure: %v", c.mechanism, err)
		}
	}
}

// only is a store in which everybody has verifiers of one hash.
type only struct {
	accounts
	hash Hash
}

func (o only) Verifier(ctx context.Context, user string, h Hash) (Verifier, bool, error) {
	if h != o.hash {
		return Verifier{}, false, nil
	}
	return o.accounts.Verifier(ctx, user, h)
}

func TestPlainFindsVerifier(t *testing.T) {
	for _, h := range []Hash{SHA1, SHA256, SHA512} {
		sc := serverConfig()
		sc.Credentials = only{accounts{"user": "pencil"}, h}
		for msg, want := range map[string]Condition{
			"\x00user\x00pencil": "<nil>", "\x00user\x00pencil2": NotAuthorized, "\x00nobody\x00pencil": NotAuthorized,
		} {
			s := mustServer(t, Plain, sc)
			_, done, err := s.Next(t.Context(), []byte(msg))
			if condition(err) != want || done != (s.Identity().Username == "user") || done != (err == nil) {
				t.Errorf("%v: %q: %v, %v", h, msg, done, err)
			}
		}
	}
}

type directory map[string]string

func (d directory) CheckPassword(_ context.Context, user, password string) (bool, error) {
	if user == "broken" {
		return false, errors.New("no connection")
	}
	return password != "" && d[user] == password, nil
}

func TestPlainPasswords(t *testing.T) {
	sc := serverConfig()
	sc.Passwords = directory{"ldap": "secret"}
	for msg, want := range map[string]Condition{
		"\x00ldap\x00secret": "<nil>",
		"\x00LDAP\x00secret": "<nil>",
		"\x00ldap\x00wrong":  NotAuthorized,
		"\x00none\x00secret": NotAuthorized,
		"\x00l p\x00secret":  NotAuthorized,
		"\x00broken\x00x":    TemporaryAuthFailure,
		"\x00user\x00pencil": NotAuthorized, // the verifiers are not asked
	} {
		_, done, err := mustServer(t, Plain, sc).Next(t.Context(), []byte(msg))
		if condition(err) != want || done != (err == nil) {
			t.Errorf("%q: %v, want %s", msg, err, want)
		}
	}
}

// failing is a store that answers with an error.
type failing struct{ err error }

func (f failing) Verifier(context.Context, string, Hash) (Verifier, bool, error) {
	return Verifier{}, false, f.err
}

func TestCredentialErrors(t *testing.T) {
	cause := errors.New("disk on fire")
	for _, c := range []struct {
		err  error
		want Condition
	}{
		{cause, TemporaryAuthFailure},
		{fmt.Errorf("wrapped: %w", &Failure{Condition: CredentialsExpired, Err: cause}), CredentialsExpired},
	} {
		sc := serverConfig()
		sc.Credentials = failing{c.err}
		for m, msg := range map[string]string{Plain: "\x00user\x00pencil", ScramSHA1: "n,,n=user,r=abc"} {
			_, _, err := mustServer(t, m, sc).Next(t.Context(), []byte(msg))
			if condition(err) != c.want || !errors.Is(err, cause) {
				t.Errorf("%s: %v, want %s", m, err, c.want)
			}
		}
	}
	sc := serverConfig()
	sc.Credentials = broken{}
	if _, _, err := mustServer(t, ScramSHA256, sc).Next(t.Context(), []byte("n,,n=user,r=abc")); condition(err) != TemporaryAuthFailure {
		t.Errorf("a broken verifier: %v", err)
	}
}

// broken returns a verifier whose keys were cut.
type broken struct{}

func (broken) Verifier(_ context.Context, _ string, h Hash) (Verifier, bool, error) {
	return Verifier{Hash: h, Salt: []byte("s"), Iterations: 1, StoredKey: []byte{1}, ServerKey: []byte{2}}, true, nil
}

func TestBase64(t *testing.T) {
	for s, want := range map[string][]byte{
		"": nil, "=": {}, "AA==": {0}, "AAA=": {0, 0}, "AAAA": {0, 0, 0}, "+/+/": {0xfb, 0xff, 0xbf},
	} {
		b, err := DecodeBase64(s)
		if err != nil || !bytes.Equal(b, want) || (b == nil) != (want == nil) {
			t.Errorf("DecodeBase64(%q) = %#v, %v", s, b, err)
		}
		if e := EncodeBase64(b); e != s {
			t.Errorf("EncodeBase64(%#v) = %q", b, e)
		}
	}
	for _, s := range []string{
		"!!!!", "AGFi YwB4", "AGEAYg", "AA=", "A", "A===", "==", "AA==AA==", "AB==", "AAB=", " AAAA", "AAAA\n", "AA\r\nAA", "AA\tAA", "-_-_", "AAAA=", "\x00",
	} {
		if b, err := DecodeBase64(s); condition(err) != IncorrectEncoding {
			t.Errorf("DecodeBase64(%q) = %#v, %v", s, b, err)
		}
	}
}

func TestFailureText(t *testing.T) {
	f := &Failure{MalformedRequest, "text", errors.New("cause")}
	if f.Error() != "sasl: malformed-request: text: cause" || !errors.Is(f, f.Err) {
		t.Errorf("%v", f)
	}
	if s := denied().Error(); s != "sasl: not-authorized" {
		t.Error(s)
	}
}
