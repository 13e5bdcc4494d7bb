package sasl

import (
	"bytes"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

func TestVerifier(t *testing.T) {
	for _, h := range []Hash{SHA1, SHA256, SHA512} {
		v, err := NewVerifier(h, "pa\u00dfwo\u0301rt", []byte("0123456789abcdef"), 4096)
		if err != nil {
			t.Fatal(err)
		}
		if len(v.StoredKey) != h.Size() || len(v.ServerKey) != h.Size() || v.Hash != h || v.Iterations != 4096 {
			t.Errorf("%v: %#v", h, v)
		}
		// OpaqueString: NFC and no case mapping.
		for password, want := range map[string]bool{
			"pa\u00dfwo\u0301rt": true, "pa\u00dfw\u00f3rt": true, "Pa\u00dfw\u00f3rt": false, "": false, "pa\u00dfw\u00f3rt ": false, "a\x00b": false, "\xff": false,
		} {
			if v.Verify(password) != want {
				t.Errorf("%v: Verify(%q) is not %v", h, password, want)
			}
		}
		e := v.Encode()
		if !strings.HasPrefix(e, h.Mechanism()+"$4096:MDEyMzQ1Njc4OWFiY2RlZg==$") {
			t.Errorf("encoded as %s", e)
		}
		w, err := ParseVerifier(e)
		if err != nil || !reflect.DeepEqual(v, w) {
			t.Errorf("%s became %s, %v", e, w.Encode(), err)
		}
	}
}

func TestVerifierSpace(t *testing.T) {
	v, err := NewVerifier(SHA1, "a\u00a0\u3000b", []byte("s"), 1) // RFC 8265 §4.2.2: spaces become U+0020
	if err != nil || !v.Verify("a  b") {
		t.Errorf("%v, %v", v, err)
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	salt := []byte("salt")
	for _, c := range []struct {
		h          Hash
		password   string
		salt       []byte
		iterations int
	}{
		{0, "p", salt, 1}, {9, "p", salt, 1}, {SHA1, "p", nil, 1}, {SHA1, "p", salt, 0}, {SHA1, "p", salt, -1},
		{SHA1, "p", salt, MaxIterations + 1}, {SHA1, "", salt, 1}, {SHA1, "se\x00cret", salt, 1}, {SHA1, "secret\xff", salt, 1},
		{SHA1, strings.Repeat("p", maxMessage+1), salt, 1},
	} {
		v, err := NewVerifier(c.h, c.password, c.salt, c.iterations)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v %.20q %q %d: %v, %v", c.h, c.password, c.salt, c.iterations, v, err)
		}
	}
	if (Verifier{}).Verify("") || (Verifier{}).Verify("x") {
		t.Error("the zero verifier verifies")
	}
}

func TestParseVerifierRefuses(t *testing.T) {
	v, err := NewVerifier(SHA1, "p", []byte("salt"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	good := v.Encode()
	for _, s := range []string{
		"", "$", "$$", "PLAIN$1:c2FsdA==$x:y", good + "A", good[1:], good[:len(good)-1],
		strings.Replace(good, "SHA-1$", "SHA-256$", 1), strings.Replace(good, "SHA-1$", "SHA-1-PLUS$", 1), strings.Replace(good, "4096", "0", 1),
		strings.Replace(good, "4096", "", 1), strings.Replace(good, "4096", "x", 1), strings.Replace(good, "4096", "99999999999999999999", 1),
		strings.Replace(good, "c2FsdA==", "", 1), strings.Replace(good, "c2FsdA==", "c2FsdA", 1),
	} {
		if v, err := ParseVerifier(s); err == nil {
			t.Errorf("ParseVerifier(%q) = %v", s, v)
		}
	}
}

func TestVerifierDoesNotPrintKeys(t *testing.T) {
	v := Verifier{SHA256, []byte("SALT"), 4096, []byte("KEYKEYKEY"), []byte("KEYKEYKEY")}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v, "p", &v)
	fmt.Fprintf(&b, "%v %+v %#v %s %v", v, v, v, v, []Verifier{v})
	for _, secret := range []string{"KEY", "75 69 89", "4b45", "S0VZ"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%q in %s", secret, &b)
		}
	}
}

func TestHashNames(t *testing.T) {
	for h, want := range map[Hash]string{SHA1: "SHA-1", SHA256: "SHA-256", SHA512: "SHA-512", 7: "Hash(7)"} {
		if h.String() != want {
			t.Errorf("%d: %s", uint8(h), h)
		}
	}
}
