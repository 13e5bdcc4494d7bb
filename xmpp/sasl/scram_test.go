package sasl

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/quick"

	"github.com/xdg-go/scram"
)

// vector is a whole handshake as an RFC prints it, with user "user" and password "pencil".
type vector struct {
	mechanism                string
	clientNonce, serverNonce string
	salt                     string
	messages                 [4]string
}

var vectors = []vector{
	{ // RFC 5802 §5
		ScramSHA1, "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92", [4]string{
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
	},
	{ // RFC 7677 §3
		ScramSHA256, "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "W22ZaJ0SNY7soEsUEjb6gQ==", [4]string{
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	},
}

// one is a store of one verifier for everybody.
type one Verifier

func (o one) Verifier(_ context.Context, _ string, h Hash) (Verifier, bool, error) {
	return Verifier(o), h == o.Hash, nil
}

func TestScramVectors(t *testing.T) {
	for _, v := range vectors {
		salt, err := base64.StdEncoding.DecodeString(v.salt)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := scramHash(v.mechanism)
		verifier, err := NewVerifier(h, "pencil", salt, 4096)
		if err != nil {
			t.Fatal(err)
		}
		sc := serverConfig()
		sc.Credentials = one(verifier)
		s := mustServer(t, v.mechanism, sc)
		s.(*scramServer).newNonce = func() string { return v.serverNonce }
		cc := clientConfig()
		cc.Bindings, cc.MinIterations = nil, 0
		c, err := NewClient([]string{v.mechanism}, cc)
		if err != nil {
			t.Fatal(err)
		}
		c.(*scramClient).newNonce = func() string { return v.clientNonce }
		seen := 0
		cerr, serr := converse(c, s, func(i int, msg []byte) []byte {
			if string(msg) != v.messages[i] {
				t.Errorf("%s: message %d is %s, want %s", v.mechanism, i, msg, v.messages[i])
			}
			seen++
			return msg
		})
		if cerr != nil || serr != nil || seen != 4 {
			t.Errorf("%s: %v, %v, %d messages", v.mechanism, cerr, serr, seen)
		}
	}
}

// theirs returns the other implementation of a hash.
func theirs(h Hash) scram.HashGeneratorFcn {
	return map[Hash]scram.HashGeneratorFcn{SHA1: scram.SHA1, SHA256: scram.SHA256, SHA512: scram.SHA512}[h]
}

// TestOracleClient logs in to our server with the client of another implementation, right and wrong.
func TestOracleClient(t *testing.T) {
	for _, h := range []Hash{SHA1, SHA256, SHA512} {
		for _, plus := range []bool{false, true} {
			for _, c := range []struct{ user, password, authzid string }{
				{"user", "pencil", ""}, {"user", "pencil", "user@example.com"}, {"a,b=c", "komma", ""}, {"user", "wrong", ""}, {"nobody", "pencil", ""},
			} {
				cl, err := theirs(h).NewClient(c.user, c.password, c.authzid)
				if err != nil {
					t.Fatal(err)
				}
				cl.WithMinIterations(1)
				conv, name := cl.NewConversation(), h.Mechanism()
				if plus {
					name += "-PLUS"
					conv = cl.NewConversationWithChannelBinding(scram.ChannelBinding{Type: TLSExporter, Data: exporter.Data})
				}
				s := mustServer(t, name, serverConfig())
				good := c.password != "wrong" && c.user != "nobody"
				var challenge []byte
				done := false
				for range 2 {
					response, err := conv.Step(string(challenge))
					if err != nil {
						t.Fatalf("%s %v: %v", name, c, err)
					}
					if challenge, done, err = s.Next(t.Context(), []byte(response)); err != nil && (good || condition(err) != NotAuthorized) {
						t.Fatalf("%s %v: %v", name, c, err)
					}
				}
				if done != good {
					t.Fatalf("%s %v: done is %v", name, c, done)
				}
				if !good {
					continue
				}
				if _, err := conv.Step(string(challenge)); err != nil || !conv.Valid() {
					t.Errorf("%s %v: they do not believe us: %v", name, c, err)
				}
				if s.Identity() != (Identity{c.user, c.authzid}) {
					t.Errorf("%s %v: identity %+v", name, c, s.Identity())
				}
			}
		}
	}
}

// TestOracleServer logs in with our client to the server of another implementation.
func TestOracleServer(t *testing.T) {
	for _, h := range []Hash{SHA1, SHA256, SHA512} {
		srv, err := theirs(h).NewServer(func(user string) (scram.StoredCredentials, error) {
			v, ok, err := accounts{"user": "pencil", "a,b=c": "komma"}.Verifier(context.Background(), user, h)
			if err != nil || !ok {
				return scram.StoredCredentials{}, errors.New("no such user")
			}
			return scram.StoredCredentials{
				KeyFactors: scram.KeyFactors{Salt: string(v.Salt), Iters: v.Iterations},
				StoredKey:  v.StoredKey, ServerKey: v.ServerKey,
			}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, plus := range []bool{false, true} {
			for _, c := range []struct{ user, password, authzid string }{
				{"user", "pencil", ""}, {"user", "pencil", "user@example.com"}, {"a,b=c", "komma", ""}, {"user", "wrong", ""},
			} {
				cc := clientConfig()
				cc.Username, cc.Password, cc.Authzid = c.user, c.password, c.authzid
				conv, offered := srv.NewConversation(), []string{h.Mechanism()}
				if plus {
					conv = srv.NewConversationWithChannelBinding(scram.ChannelBinding{Type: TLSExporter, Data: exporter.Data})
					offered = append(offered, h.Mechanism()+"-PLUS")
				}
				cl, err := NewClient(offered, cc)
				if err != nil || isPlus(cl.Name()) != plus {
					t.Fatal(cl, err)
				}
				msg, _, err := cl.Start()
				if err != nil {
					t.Fatal(err)
				}
				first, err := conv.Step(string(msg))
				if err != nil {
					t.Fatalf("%s %v: first: %v", cl.Name(), c, err)
				}
				if msg, err = cl.Next([]byte(first)); err != nil {
					t.Fatalf("%s %v: %v", cl.Name(), c, err)
				}
				final, err := conv.Step(string(msg))
				if good := c.password != "wrong"; good != (err == nil) || good != conv.Valid() {
					t.Fatalf("%s %v: %v", cl.Name(), c, err)
				}
				serr := cl.Success([]byte(final))
				if c.password == "wrong" {
					if !errors.Is(serr, ErrServerUnproven) {
						t.Errorf("%s %v: e= gave %v", cl.Name(), c, serr)
					}
				} else if serr != nil || conv.AuthzID() != c.authzid {
					t.Errorf("%s %v: %v", cl.Name(), c, serr)
				}
			}
		}
	}
}

// TestTamper changes every byte of every message on its way: no such handshake succeeds on both sides, and one whose client-side
// messages were changed does not succeed at the server. What protects the offer is in one of them (XEP-0474#security, XEP-0515#security).
func TestTamper(t *testing.T) {
	for _, m := range []string{ScramSHA1, ScramSHA256Plus, ScramSHA512} {
		for i := range 4 {
			for at := 0; ; at++ {
				past := false
				for _, change := range []func(b []byte) []byte{
					func(b []byte) []byte { b[at] ^= 1; return b },
					func(b []byte) []byte { b[at] ^= 0x80; return b },
					func(b []byte) []byte { b[at] = ','; return b },
					func(b []byte) []byte { return append(b[:at:at], b[at+1:]...) },
					func(b []byte) []byte { return append(b[:at:at], append([]byte{b[at]}, b[at:]...)...) },
					func(b []byte) []byte { return b[:at] },
				} {
					cc := clientConfig()
					cc.Authzid, cc.MaxIterations, cc.Mechanisms = "user@example.com", 5000, []string{m}
					c, err := NewClient(byStrength[:], cc)
					if err != nil {
						t.Fatal(err)
					}
					sc := serverConfig()
					sc.FirstAttributes = func(h Hash) []Attribute {
						return []Attribute{DowngradeHash(h, []string{m}, nil), TLSVersion(0x0304)}
					}
					s := mustServer(t, m, sc)
					var was, is []byte
					cerr, serr := converse(c, s, func(j int, msg []byte) []byte {
						if j != i || at >= len(msg) {
							past = past || j == i
							return msg
						}
						was = bytes.Clone(msg)
						is = change(bytes.Clone(msg))
						return is
					})
					if past || bytes.Equal(was, is) {
						continue
					}
					if cerr == nil && serr == nil || i < 3 && s.Identity() != (Identity{}) {
						t.Fatalf("%s: %s instead of %s was taken: %v, %v", m, is, was, cerr, serr)
					}
				}
				if past {
					break
				}
			}
		}
	}
}

func TestScramServerRefusesFirst(t *testing.T) {
	long := strings.Repeat("a", maxNonce)
	for _, c := range []struct {
		mechanism, msg string
		want           Condition // "" means a challenge
	}{
		{ScramSHA256, "n,,n=user,r=abc", ""},
		{ScramSHA256, "n,,n=user,r=abc,x=y", ""},
		{ScramSHA256, "n,,n=user,r=abc,x=y=z,Q=\u00fc", ""},
		{ScramSHA256, "n,a=user@example.com,n=user,r=abc", ""},
		{ScramSHA256, "n,,n=nobody,r=abc", ""},
		{ScramSHA256, "n,,n=us=2Cer=3D,r=abc", ""},
		{ScramSHA256, "n,,n=user,r=" + long, ""},
		{ScramSHA256Plus, "p=tls-exporter,,n=user,r=abc", ""},
		{ScramSHA256Plus, "p=tls-server-end-point,,n=user,r=abc", ""},

		{ScramSHA256, "n,,n=user", MalformedRequest},
		{ScramSHA256, "n,,n=user,", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=a b", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=a\x7f", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=\u00fc", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=" + long + "a", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=" + strings.Repeat("a", 5000), MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,x", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,x=", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,1=x", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,xy=x", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,n=victim", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,m=x", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,,x=y", MalformedRequest},
		{ScramSHA256, "n,,m=x,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "n,,r=abc,n=user", MalformedRequest},
		{ScramSHA256, "n,,x=y,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=us=er,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=user=,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=user=2,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=user=2c,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=" + strings.Repeat("x", maxName+1) + ",r=abc", MalformedRequest},
		{ScramSHA256, "n,,N=user,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=us\x00er,r=abc", MalformedRequest},
		{ScramSHA256, "n,,n=us\xffer,r=abc", MalformedRequest},
		{ScramSHA256, "n,a=,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "n,a=x=y,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "n,b=x,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "n,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "n=user,r=abc", MalformedRequest},
		{ScramSHA256, ",,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "N,,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "F,n,,n=user,r=abc", MalformedRequest},
		{ScramSHA256, "", MalformedRequest},
		{ScramSHA256, "n", MalformedRequest},
		{ScramSHA256, ",", MalformedRequest},
		{ScramSHA256, "n,,n=user,r=abc,x=" + strings.Repeat("a", maxMessage), MalformedRequest},

		{ScramSHA256, "y,,n=user,r=abc", NotAuthorized}, // -PLUS was offered
		{ScramSHA256, "p=tls-exporter,,n=user,r=abc", MalformedRequest},
		{ScramSHA256Plus, "n,,n=user,r=abc", MalformedRequest},
		{ScramSHA256Plus, "y,,n=user,r=abc", MalformedRequest},
		{ScramSHA256Plus, "p=bogus,,n=user,r=abc", NotAuthorized},
		{ScramSHA256Plus, "p=tls-unique,,n=user,r=abc", NotAuthorized},
		{ScramSHA256Plus, "p=,,n=user,r=abc", MalformedRequest},
		{ScramSHA256Plus, "p=tls_exporter,,n=user,r=abc", MalformedRequest},
		{ScramSHA256Plus, "p,,n=user,r=abc", MalformedRequest},
	} {
		s := mustServer(t, c.mechanism, serverConfig())
		challenge, done, err := s.Next(t.Context(), []byte(c.msg))
		if done || (c.want == "") != (err == nil) || err != nil && condition(err) != c.want {
			t.Errorf("%s %.50q: %q, %v, want %s", c.mechanism, c.msg, challenge, err, c.want)
		}
		if err != nil {
			if _, _, err := s.Next(t.Context(), []byte("n,,n=user,r=abc")); condition(err) != MalformedRequest {
				t.Errorf("%s went on after a failure: %v", c.mechanism, err)
			}
		}
	}
	sc := serverConfig()
	sc.Allowed = []string{ScramSHA256}
	if _, _, err := mustServer(t, ScramSHA256, sc).Next(t.Context(), []byte("y,,n=user,r=abc")); err != nil {
		t.Errorf("the flag y without -PLUS: %v", err)
	}
}

// finalMessage is the client's last message in pieces. The proof is right for what is sent unless it is given.
type finalMessage struct {
	binding, nonce, middle, proof string
	password                      string
}

// send starts a handshake with SCRAM-SHA-256, with binding or without, and sends the message that change makes of the right one.
func send(t *testing.T, plus bool, change func(m *finalMessage)) (Server, error) {
	t.Helper()
	name, header := ScramSHA256, "n,,"
	data := ""
	if plus {
		name, header, data = ScramSHA256Plus, "p=tls-exporter,,", string(exporter.Data)
	}
	s := mustServer(t, name, serverConfig())
	const bare = "n=user,r=abcdefgh"
	challenge, _, err := s.Next(t.Context(), []byte(header+bare))
	if err != nil {
		t.Fatal(err)
	}
	first, wrong := parseServerFirst(challenge)
	if wrong != "" {
		t.Fatal(wrong)
	}
	m := finalMessage{binding: "c=" + encode64([]byte(header+data)), nonce: ",r=" + first.nonce, password: "pencil"}
	change(&m)
	k, err := DeriveKeys(SHA256, m.password, first.salt, first.iterations)
	if err != nil {
		t.Fatal(err)
	}
	without := m.binding + m.nonce + m.middle
	if m.proof == "" {
		m.proof = ",p=" + encode64(k.proof(bare+","+string(challenge)+","+without))
	}
	_, _, err = s.Next(t.Context(), []byte(without+m.proof))
	return s, err
}

func TestScramServerRefusesFinal(t *testing.T) {
	for _, c := range []struct {
		name   string
		plus   bool
		change func(m *finalMessage)
		want   Condition // "" means success
	}{
		{"right", false, func(m *finalMessage) {}, ""},
		{"right with binding", true, func(m *finalMessage) {}, ""},
		{"extension", false, func(m *finalMessage) { m.middle = ",x=y" }, ""},
		{"password", false, func(m *finalMessage) { m.password = "wrong" }, NotAuthorized},
		{"other gs2-header", false, func(m *finalMessage) { m.binding = "c=eSws" }, NotAuthorized},
		{"binding where none was", false, func(m *finalMessage) { m.binding = "c=" + encode64([]byte("n,,x")) }, NotAuthorized},
		{"binding of another connection", true, func(m *finalMessage) { m.binding = "c=" + encode64([]byte("p=tls-exporter,,0000")) }, NotAuthorized},
		{"no binding data", true, func(m *finalMessage) { m.binding = "c=" + encode64([]byte("p=tls-exporter,,")) }, NotAuthorized},
		{"flag n with binding", true, func(m *finalMessage) { m.binding = "c=biws" }, NotAuthorized},
		{"other nonce", false, func(m *finalMessage) { m.nonce = ",r=other" }, NotAuthorized},
		{"our part of the nonce only", false, func(m *finalMessage) { m.nonce = ",r=abcdefgh" }, NotAuthorized},
		{"longer nonce", false, func(m *finalMessage) { m.nonce += "x" }, NotAuthorized},
		{"empty nonce", false, func(m *finalMessage) { m.nonce = ",r=" }, MalformedRequest},
		{"no nonce", false, func(m *finalMessage) { m.nonce = "" }, MalformedRequest},
		{"no binding", false, func(m *finalMessage) { m.binding, m.nonce = "", m.nonce[1:] }, MalformedRequest},
		{"binding not base64", false, func(m *finalMessage) { m.binding = "c=!!" }, MalformedRequest},
		{"binding without padding", false, func(m *finalMessage) { m.binding = "c=biwsYQ" }, MalformedRequest},
		{"empty binding", false, func(m *finalMessage) { m.binding = "c=" }, MalformedRequest},
		{"order", false, func(m *finalMessage) { m.binding, m.nonce = m.nonce[1:], ","+m.binding }, MalformedRequest},
		{"mandatory extension", false, func(m *finalMessage) { m.middle = ",m=x" }, MalformedRequest},
		{"second nonce", false, func(m *finalMessage) { m.middle = m.nonce }, MalformedRequest},
		{"second proof", false, func(m *finalMessage) { m.middle = ",p=AAAA" }, MalformedRequest},
		{"attribute after the proof", false, func(m *finalMessage) { m.proof = ",p=AAAA,x=y" }, MalformedRequest},
		{"no proof", false, func(m *finalMessage) { m.proof = ",x=y" }, MalformedRequest},
		{"empty proof", false, func(m *finalMessage) { m.proof = ",p=" }, MalformedRequest},
		{"short proof", false, func(m *finalMessage) { m.proof = ",p=AAAA" }, MalformedRequest},
		{"long proof", false, func(m *finalMessage) { m.proof = ",p=" + encode64(make([]byte, 33)) }, MalformedRequest},
		{"zero proof", false, func(m *finalMessage) { m.proof = ",p=" + encode64(make([]byte, 32)) }, NotAuthorized},
		{"proof not base64", false, func(m *finalMessage) { m.proof = ",p=" + strings.Repeat("!", 44) }, MalformedRequest},
		{"NUL", false, func(m *finalMessage) { m.middle = ",x=\x00" }, MalformedRequest},
		{"stored key as client key", false, func(m *finalMessage) {
			// What a thief of the database could try: the proof made of the stored key.
			m.proof = ",p=" + encode64(stolen(t).StoredKey)
		}, NotAuthorized},
	} {
		s, err := send(t, c.plus, c.change)
		if c.want == "" {
			if err != nil || s.Identity().Username != "user" {
				t.Errorf("%s: %v, %+v", c.name, err, s.Identity())
			}
			continue
		}
		if condition(err) != c.want || s.Identity() != (Identity{}) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func stolen(t *testing.T) Verifier {
	v, _, err := serverConfig().Credentials.Verifier(t.Context(), "user", SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestReplay sends the messages of one handshake in another one.
func TestReplay(t *testing.T) {
	c, err := NewClient([]string{ScramSHA256}, clientConfig())
	if err != nil {
		t.Fatal(err)
	}
	sc := serverConfig()
	sc.Bindings = nil // the client says 'y'
	var said [4][]byte
	if cerr, serr := converse(c, mustServer(t, ScramSHA256, sc), func(i int, m []byte) []byte { said[i] = m; return m }); cerr != nil || serr != nil {
		t.Fatal(cerr, serr)
	}
	s := mustServer(t, ScramSHA256, sc)
	if _, _, err := s.Next(t.Context(), said[0]); err != nil {
		t.Fatal(err)
	}
	if _, done, err := s.Next(t.Context(), said[2]); done || condition(err) != NotAuthorized {
		t.Errorf("a replayed proof: %v, %v", done, err)
	}
}

func TestDecoy(t *testing.T) {
	first := func(sc *ServerConfig, user string) serverFirst {
		t.Helper()
		challenge, _, err := mustServer(t, ScramSHA256, sc).Next(t.Context(), []byte("n,,n="+user+",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		m, wrong := parseServerFirst(challenge)
		if wrong != "" {
			t.Fatal(wrong)
		}
		return m
	}
	a, b, c := first(serverConfig(), "nobody"), first(serverConfig(), "NOBODY"), first(serverConfig(), "noone")
	if !bytes.Equal(a.salt, b.salt) || a.iterations != testIterations || len(a.salt) != 16 {
		t.Errorf("decoys of one user differ: %+v, %+v", a, b)
	}
	if bytes.Equal(a.salt, c.salt) || a.nonce == b.nonce {
		t.Errorf("decoys of two users or nonces are equal: %+v, %+v, %+v", a, b, c)
	}
	other := serverConfig()
	other.Decoy = Decoy{Secret: []byte("another secret.."), SaltLen: 12}
	d := first(other, "nobody")
	if bytes.Equal(a.salt[:12], d.salt) || len(d.salt) != 12 || d.iterations != MinIterations {
		t.Errorf("decoy of another server: %+v", d)
	}
}

func TestFirstAttributes(t *testing.T) {
	sc := serverConfig()
	sc.FirstAttributes = func(h Hash) []Attribute { return []Attribute{{'h', encode64(h.sum(nil))}, {'x', "1=2"}} }
	want := "[{104 " + encode64(SHA512.sum(nil)) + "} {120 1=2}]"
	cc := clientConfig()
	got := ""
	cc.CheckFirst = func(h Hash, as []Attribute) error {
		got = fmt.Sprint(as)
		if h != SHA512 {
			return fmt.Errorf("hash is %v", h)
		}
		return nil
	}
	login := func() (error, error) {
		c, err := NewClient(byStrength[:], cc)
		if err != nil {
			t.Fatal(err)
		}
		return converse(c, mustServer(t, c.Name(), sc), nil)
	}
	if cerr, serr := login(); cerr != nil || serr != nil || got != want {
		t.Errorf("%v, %v, %s", cerr, serr, got)
	}
	cause := errors.New("downgraded")
	cc.CheckFirst = func(Hash, []Attribute) error { return cause }
	if cerr, _ := login(); !errors.Is(cerr, cause) {
		t.Errorf("the client went on: %v", cerr)
	}
	for _, a := range []Attribute{{'r', "x"}, {'m', "x"}, {'1', "x"}, {'x', ""}, {'x', "a,b"}, {'x', "\x00"}, {'x', "\xff"}} {
		sc.FirstAttributes = func(Hash) []Attribute { return []Attribute{a} }
		if _, serr := login(); condition(serr) != TemporaryAuthFailure {
			t.Errorf("attribute %v was sent: %v", a, serr)
		}
	}
}

// TestClientRefusesServer answers the client with wrong messages.
func TestClientRefusesServer(t *testing.T) {
	start := func(change func(c *ClientConfig)) Client {
		cc := clientConfig()
		if change != nil {
			change(cc)
		}
		c, err := NewClient([]string{ScramSHA256}, cc)
		if err != nil {
			t.Fatal(err)
		}
		c.(*scramClient).newNonce = func() string { return "abc" }
		if _, _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for msg, want := range map[string]error{
		"":                                  ErrUnexpected,
		"r=abc,s=AAAA,i=4096":               ErrUnexpected, // no nonce of the server
		"r=xyzd,s=AAAA,i=4096":              ErrUnexpected,
		"r=ab,s=AAAA,i=4096":                ErrUnexpected,
		"m=x,r=abcd,s=AAAA,i=4096":          ErrUnexpected,
		"r=abcd,s=,i=4096":                  ErrUnexpected,
		"r=abcd,s=A,i=4096":                 ErrUnexpected,
		"r=abcd,i=4096,s=AAAA":              ErrUnexpected,
		"r=abcd,s=AAAA":                     ErrUnexpected,
		"r=abcd,s=AAAA,i=":                  ErrUnexpected,
		"r=abcd,s=AAAA,i=0":                 ErrUnexpected,
		"r=abcd,s=AAAA,i=04096":             ErrUnexpected,
		"r=abcd,s=AAAA,i=-4096":             ErrUnexpected,
		"r=abcd,s=AAAA,i=+4096":             ErrUnexpected,
		"r=abcd,s=AAAA,i=4096x":             ErrUnexpected,
		"r=abcd,s=AAAA,i=4096,":             ErrUnexpected,
		"r=abcd,s=AAAA,i=4096,m=x":          ErrUnexpected,
		"r=abcd,s=AAAA,i=4096,i=1":          ErrUnexpected,
		"e=other-error":                     ErrUnexpected,
		"r=abcd,s=AAAA,i=99999999999":       ErrUnexpected,
		"r=abcd,s=AAAA,i=9999999999":        ErrIterations,
		"r=abcd,s=AAAA,i=10000001":          ErrIterations,
		"r=abcd,s=AAAA,i=4095":              ErrIterations,
		"r=abcd,s=AAAA,i=1":                 ErrIterations,
		"r=abcd\x00,s=AAAA,i=4096":          ErrUnexpected,
		"r=abc\xff,s=AAAA,i=4096":           ErrUnexpected,
		"v=AAAA":                            ErrUnexpected,
		"r=abcd,s=AAAA,i=4096 ":             ErrUnexpected,
		"r=abc" + strings.Repeat("d", 1022): ErrUnexpected,
	} {
		c := start(func(c *ClientConfig) { c.MinIterations = 0 })
		if r, err := c.Next([]byte(msg)); !errors.Is(err, want) {
			t.Errorf("%.60q: %q, %v, want %v", msg, r, err, want)
		}
		if _, err := c.Next([]byte("r=abcd,s=AAAA,i=4096")); !errors.Is(err, ErrUnexpected) {
			t.Errorf("the client went on after %.60q: %v", msg, err)
		}
	}
	for _, msg := range []string{"", "v=", "v=AAAA", "v=!", "v=" + encode64(make([]byte, 32)), "e=other-error", "e=", "x=y", "r=abcd,s=AAAA,i=8"} {
		for _, asSuccess := range []bool{true, false} {
			c := start(nil)
			if _, err := c.Next([]byte("r=abcd,s=AAAA,i=8")); err != nil {
				t.Fatal(err)
			}
			var err error
			if asSuccess {
				err = c.Success([]byte(msg))
			} else if _, err = c.Next([]byte(msg)); err == nil {
				err = c.Success(nil)
			}
			if err == nil {
				t.Errorf("%q proved the server", msg)
			}
			if c.Success(nil) == nil {
				t.Errorf("after %q an empty <success/> was enough", msg)
			}
		}
	}
	// A server that says <success/> too early has proven nothing.
	c := start(nil)
	if err := c.Success(nil); !errors.Is(err, ErrServerUnproven) {
		t.Errorf("<success/> for the first message: %v", err)
	}
	c = start(nil)
	if _, err := c.Next([]byte("r=abcd,s=AAAA,i=8")); err != nil {
		t.Fatal(err)
	}
	if err := c.Success(nil); !errors.Is(err, ErrServerUnproven) {
		t.Errorf("<success/> without a signature: %v", err)
	}
	if _, _, err := start(nil).Start(); !errors.Is(err, ErrUnexpected) {
		t.Errorf("started twice: %v", err)
	}
}

// TestSignatureAsChallenge lets the signature come in a challenge, before an empty <success/>, as RFC 6120 §6.4.6 allows.
func TestSignatureAsChallenge(t *testing.T) {
	c, err := NewClient(byStrength[:], clientConfig())
	if err != nil {
		t.Fatal(err)
	}
	s := mustServer(t, c.Name(), serverConfig())
	msg, _, err := c.Start()
	for range 2 {
		var challenge []byte
		if err != nil {
			t.Fatal(err)
		}
		if challenge, _, err = s.Next(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
		msg, err = c.Next(challenge)
	}
	if err != nil || msg == nil || len(msg) != 0 {
		t.Fatalf("the answer to the signature is %q, %v", msg, err)
	}
	if err := c.Success(nil); err != nil {
		t.Error(err)
	}
}

func TestKeyCache(t *testing.T) {
	cache := NewKeyCache(2)
	login := func(password string) error {
		cc := clientConfig()
		cc.Cache, cc.Password = cache, password
		c, err := NewClient(byStrength[:], cc)
		if err != nil {
			t.Fatal(err)
		}
		cerr, serr := converse(c, mustServer(t, c.Name(), serverConfig()), nil)
		return errors.Join(cerr, serr)
	}
	if err := login("wrong"); condition(err) != NotAuthorized || len(cache.m) != 0 {
		t.Errorf("%v; %d entries after a wrong password", err, len(cache.m))
	}
	if err := login("pencil"); err != nil || len(cache.m) != 1 {
		t.Fatalf("%v; %d entries", err, len(cache.m))
	}
	for id := range cache.m {
		cache.m[id] = Keys{SHA512, make([]byte, 64), make([]byte, 64)}
	}
	if err := login("pencil"); condition(err) != NotAuthorized {
		t.Errorf("the cached keys were not used: %v", err)
	}
	if err := login("wrong"); condition(err) != NotAuthorized {
		t.Errorf("a wrong password: %v", err)
	}
	k, err := DeriveKeys(SHA512, "pencil", []byte("salt of user"), testIterations)
	if err != nil {
		t.Fatal(err)
	}
	cache.Put("pencil", []byte("salt of user"), testIterations, k)
	if err := login("pencil"); err != nil {
		t.Errorf("with keys derived before: %v", err)
	}
	for i := range 5 {
		cache.Put(fmt.Sprint(i), []byte("s"), 1, k)
		if len(cache.m) > 2 {
			t.Fatalf("%d entries", len(cache.m))
		}
	}
}

func TestNameEscaping(t *testing.T) {
	err := quick.Check(func(s string) bool {
		s = strings.ReplaceAll(s, "\x00", "") + "=,=2C,"
		e := escapeName(s)
		u, ok := unescapeName(e, true)
		return ok && u == s && !strings.Contains(e, ",")
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

func BenchmarkScramServer(b *testing.B) {
	for _, m := range []string{ScramSHA1, ScramSHA256, ScramSHA512} {
		b.Run(m, func(b *testing.B) {
			h, _ := scramHash(m)
			v, err := NewVerifier(h, "pencil", []byte("salt of user....."), MinIterations)
			if err != nil {
				b.Fatal(err)
			}
			sc := serverConfig()
			sc.Credentials = one(v)
			cc := clientConfig()
			cc.Bindings, cc.Cache = nil, NewKeyCache(1)
			b.ReportAllocs()
			for b.Loop() { // both sides, the client with cached keys
				c, err := NewClient([]string{m}, cc)
				if err != nil {
					b.Fatal(err)
				}
				s, err := NewServer(m, sc)
				if err != nil {
					b.Fatal(err)
				}
				if cerr, serr := converse(c, s, nil); cerr != nil || serr != nil {
					b.Fatal(cerr, serr)
				}
			}
		})
	}
}

func BenchmarkDeriveKeys(b *testing.B) {
	for _, h := range []Hash{SHA1, SHA256, SHA512} {
		b.Run(h.String(), func(b *testing.B) {
			for b.Loop() {
				if _, err := DeriveKeys(h, "pencil", []byte("salt of user....."), MinIterations); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
