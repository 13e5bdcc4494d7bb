package sasl

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// conditions are all that a server may answer in these targets.
var conditions = []Condition{MalformedRequest, NotAuthorized, InvalidAuthzid}

func checkFailure(t *testing.T, err error) {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) || !slices.Contains(conditions, f.Condition) || len(f.Text) > 100 {
		t.Fatalf("failed with %v", err)
	}
}

// FuzzSCRAMServer speaks to a server without knowing the password. Whatever it says, it does not get in; what it says first is either
// refused or answered by a challenge that repeats its nonce.
func FuzzSCRAMServer(f *testing.F) {
	for _, v := range vectors {
		f.Add(uint8(0), []byte(v.messages[0]), []byte(v.messages[2]))
	}
	f.Add(uint8(3), []byte("p=tls-exporter,a=user@example.com,n=user,r=abc,x=y"), []byte("c=biws,r=abc,x=y,p=AAAA"))
	f.Add(uint8(1), []byte("n,,n=a=2Cb=3Dc,r=abc"), []byte(",p="))
	f.Add(uint8(2), []byte("y,,m=x,n=u,r=,"), []byte("c=,r=,p="))
	names := []string{ScramSHA1, ScramSHA256, ScramSHA512, ScramSHA1Plus, ScramSHA256Plus, ScramSHA512Plus}
	sc := serverConfig()
	// A fixed verifier spares the derivation in each run.
	v, err := NewVerifier(SHA256, "pencil", []byte("salt"), 4096)
	if err != nil {
		f.Fatal(err)
	}
	sc.Credentials = one(v)
	f.Fuzz(func(t *testing.T, m uint8, first, final []byte) {
		s, err := NewServer(names[int(m)%len(names)], sc)
		if err != nil {
			t.Fatal(err)
		}
		challenge, done, err := s.Next(t.Context(), first)
		if done {
			t.Fatal("in by one message")
		}
		if err != nil {
			checkFailure(t, err)
			return
		}
		if first == nil {
			return
		}
		c, wrong := parseClientFirst(first)
		sf, wrong2 := parseServerFirst(challenge)
		if wrong != "" || wrong2 != "" || !strings.HasPrefix(sf.nonce, c.nonce) || len(sf.nonce) < len(c.nonce)+16 {
			t.Fatalf("%q was answered by %q (%s, %s)", first, challenge, wrong, wrong2)
		}
		if string(first) != c.header+c.bare || !strings.Contains(string(first), "n="+escapeName(c.username)+",r="+c.nonce) {
			t.Fatalf("%q was read as %+v", first, c)
		}
		// Let the fuzzer get past the nonce: a leading "!" stands for a message that is right up to the proof.
		if bytes.HasPrefix(final, []byte("!")) {
			final = append([]byte("c="+encode64(s.(*scramServer).binding)+",r="+sf.nonce), final[1:]...)
		}
		if final == nil {
			final = []byte{}
		}
		if _, done, err = s.Next(t.Context(), final); done || err == nil || s.Identity() != (Identity{}) {
			t.Fatalf("in with %q and %q", first, final)
		}
		checkFailure(t, err)
	})
}

// FuzzSCRAMClient answers a client without knowing the password: it never takes the server for the right one.
func FuzzSCRAMClient(f *testing.F) {
	f.Add([]byte("r=abcd,s=AAAA,i=8"), []byte("v=AAAA"), true)
	f.Add([]byte("r=abcd,s=AAAA,i=8,x=y"), []byte("e=other-error"), false)
	f.Add([]byte("m=x,r=abcd,s=AAAA,i=8"), []byte(nil), true)
	cc := clientConfig()
	cc.MaxIterations, cc.Bindings = 16, nil
	f.Fuzz(func(t *testing.T, first, final []byte, asSuccess bool) {
		c, err := NewClient([]string{ScramSHA1}, cc)
		if err != nil {
			t.Fatal(err)
		}
		c.(*scramClient).newNonce = func() string { return "abc" }
		if _, _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
		response, err := c.Next(first)
		if err == nil {
			m, wrong := parseClientFinal(response)
			if wrong != "" || !strings.HasPrefix(m.nonce, "abc") || len(m.proof) != SHA1.Size() || string(m.binding) != "n,," {
				t.Fatalf("%q was answered by %q (%s)", first, response, wrong)
			}
			if !asSuccess {
				if _, err = c.Next(final); err == nil {
					t.Fatalf("%q and %q proved the server", first, final)
				}
			}
		}
		if c.Success(final) == nil {
			t.Fatalf("%q and %q proved the server", first, final)
		}
	})
}

// FuzzPlain holds PLAIN against its grammar: who gets in has said exactly the names and the password.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{"\x00ldap\x00secret", "a\x00ldap\x00secret", "\x00LDAP\x00secret", "\x00ldap\x00secret\x00", "ldap\x00secret", "", "\x00\x00"} {
		f.Add([]byte(s))
	}
	sc := serverConfig()
	sc.Passwords = directory{"ldap": "secret"}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if msg == nil {
			return
		}
		s, err := NewServer(Plain, sc)
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := s.Next(t.Context(), msg)
		if !done {
			checkFailure(t, err)
			if s.Identity() != (Identity{}) {
				t.Fatalf("%q failed and is %+v", msg, s.Identity())
			}
			return
		}
		if i := s.Identity(); err != nil || i.Username != "ldap" || !bytes.HasPrefix(msg, []byte(i.Authzid+"\x00")) || !bytes.HasSuffix(msg, []byte("\x00secret")) || bytes.Count(msg, []byte{0}) != 2 {
			t.Fatalf("in by %q as %+v, %v", msg, i, err)
		}
	})
}

// FuzzBase64 holds that there is one text for each data: what is read is written the same.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "=", "AAAA", "AA==", "AB==", "AA\n==", "AAA="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := DecodeBase64(s)
		if err != nil {
			if condition(err) != IncorrectEncoding || b != nil {
				t.Fatalf("%q: %q, %v", s, b, err)
			}
			return
		}
		if e := EncodeBase64(b); e != s {
			t.Fatalf("%q was read as %q, which is %q", s, b, e)
		}
	})
}

// FuzzParseVerifier holds that a stored verifier that is read is written the same, and never panics.
func FuzzParseVerifier(f *testing.F) {
	v, err := NewVerifier(SHA1, "p", []byte("salt"), 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(v.Encode())
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVerifier(s)
		if err != nil {
			return
		}
		w, err := ParseVerifier(v.Encode())
		if err != nil || w.Encode() != v.Encode() {
			t.Fatalf("%q: %v, %v", s, w, err)
		}
	})
}
