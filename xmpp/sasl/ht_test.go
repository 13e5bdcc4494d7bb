package sasl

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
)

// wallet has tokens of one user for one mechanism.
type wallet struct {
	user, mechanism string
	tokens          []string
	used            int
	refuse          error
}

func (w *wallet) Tokens(_ context.Context, user, mechanism string) ([]string, error) {
	if user != w.user || mechanism != w.mechanism {
		return nil, nil
	}
	return w.tokens, nil
}

func (w *wallet) Used(_ context.Context, _ string, i int) error {
	w.used = i
	return w.refuse
}

var htBindings = []ChannelBinding{{Type: TLSExporter, Data: []byte("exported")}, {Type: TLSServerEndPoint, Data: []byte("certificate")}}

func htConfig() *ServerConfig { return &ServerConfig{Encrypted: true, Bindings: htBindings} }

// try logs in by a token.
func try(t *testing.T, mechanism, token string, w *wallet, client []ChannelBinding) (Identity, error) {
	t.Helper()
	s, err := NewTokenServer(mechanism, htConfig(), w)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewTokenClient(mechanism, token, &ClientConfig{Username: "romeo", Encrypted: true, Bindings: client})
	if err != nil {
		t.Fatal(err)
	}
	msg, has, err := c.Start()
	if err != nil || !has {
		t.Fatal(has, err)
	}
	data, done, err := s.Next(t.Context(), msg)
	if err != nil {
		if done || data != nil || s.Identity() != (Identity{}) {
			t.Errorf("a failure comes with %q, %v, %+v", data, done, s.Identity())
		}
		return Identity{}, err
	}
	if !done {
		t.Fatal("HT takes one message")
	}
	if err := c.Success(data); err != nil {
		t.Errorf("the server's proof: %v", err)
	}
	return s.Identity(), nil
}

// TestHT: the right token for the mechanism and the connection is in, and nothing else is.
func TestHT(t *testing.T) {
	for _, m := range htByStrength {
		w := &wallet{user: "romeo", mechanism: m, tokens: []string{"newer", "older"}}
		for i, token := range w.tokens {
			if id, err := try(t, m, token, w, htBindings); err != nil || id.Username != "romeo" || w.used != i {
				t.Errorf("%s by %s: %+v, %v, used %d", m, token, id, err, w.used)
			}
		}
		if _, err := try(t, m, "other", w, htBindings); condition(err) != NotAuthorized {
			t.Errorf("%s by a wrong token: %v", m, err)
		}
		if _, err := try(t, m, "newer", &wallet{user: "juliet", mechanism: m, tokens: []string{"newer"}}, htBindings); condition(err) != NotAuthorized {
			t.Errorf("%s by the token of another user: %v", m, err)
		}
		other := []ChannelBinding{{Type: TLSExporter, Data: []byte("in between")}, {Type: TLSServerEndPoint, Data: []byte("in between")}}
		if _, err := try(t, m, "newer", w, other); m != HTNone && condition(err) != NotAuthorized {
			t.Errorf("%s on another channel: %v", m, err)
		}
		w.refuse = &Failure{Condition: CredentialsExpired}
		if _, err := try(t, m, "newer", w, htBindings); condition(err) != CredentialsExpired {
			t.Errorf("%s by a token that is refused: %v", m, err)
		}
	}
	// An empty token must not be what a user without tokens is compared with.
	s, err := NewTokenServer(HTNone, htConfig(), &wallet{})
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := s.Next(t.Context(), append([]byte("romeo\x00"), htHash("", htInitiator, nil)...)); done || condition(err) != NotAuthorized {
		t.Errorf("in by no token: %v", err)
	}
}

// TestHTVector compares with values that openssl has computed: the hash is over the side and then the binding.
func TestHTVector(t *testing.T) {
	// printf 'Initiatorexported' | openssl dgst -sha256 -hmac secret
	for _, v := range []struct {
		side    string
		binding []byte
		want    string
	}{
		{htInitiator, []byte("exported"), "f6eccf7656d0b6548cc71607995d3263c43badc890d537e0490b367e95d8996f"},
		{htResponder, nil, "89c7af02627bcde98741a1090dffb254610f1e335bbf086e3b02e708ada5a682"},
	} {
		if got := hex.EncodeToString(htHash("secret", v.side, v.binding)); got != v.want {
			t.Errorf("%s over %q: %s", v.side, v.binding, got)
		}
	}
}

// TestHTRefuses: what is no message of HT is malformed, and what the connection does not have is not offered.
// TestHTRefuses: what cannot be a login by a token, and none without TLS (XEP-0484#security).
func TestHTRefuses(t *testing.T) {
	if got := HTMechanisms(htBindings); !slices.Equal(got, htByStrength[:]) {
		t.Errorf("offered with bindings: %v", got)
	}
	if got := HTMechanisms(nil); !slices.Equal(got, []string{HTNone}) {
		t.Errorf("offered without: %v", got)
	}
	for m, c := range map[string]*ServerConfig{HTExporter: {Encrypted: true}, HTEndPoint: {Encrypted: true}, ScramSHA256: htConfig(), "HT-SHA-256-UNIQ": htConfig(), "ht-sha-256-none": htConfig()} {
		if _, err := NewTokenServer(m, c, &wallet{}); condition(err) != InvalidMechanism {
			t.Errorf("%s: %v", m, err)
		}
	}
	if _, err := NewTokenServer(HTNone, &ServerConfig{}, &wallet{}); condition(err) != EncryptionRequired {
		t.Errorf("without TLS: %v", err)
	}
	if _, err := NewServer(HTNone, serverConfig()); condition(err) != InvalidMechanism {
		t.Errorf("as a mechanism of passwords: %v", err)
	}
	hash := bytes.Repeat([]byte{0}, 32)
	for name, msg := range map[string][]byte{
		"empty": {}, "no NUL": []byte("romeo"), "no name": append([]byte{0}, hash...), "no hash": []byte("romeo\x00"), "a short hash": append([]byte("romeo\x00"), hash[:31]...),
		"a long hash": append([]byte("romeo\x00"), append(hash, 0)...), "a name that is not UTF-8": append([]byte("\xff\x00"), hash...),
		"a long name": append(append(bytes.Repeat([]byte("a"), maxName+1), 0), hash...), "a long message": make([]byte, maxMessage+1),
	} {
		s, err := NewTokenServer(HTNone, htConfig(), &wallet{})
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := s.Next(t.Context(), msg); done || condition(err) != MalformedRequest {
			t.Errorf("%s: %v", name, err)
		}
		if _, done, err := s.Next(t.Context(), msg); done || condition(err) != MalformedRequest {
			t.Errorf("%s again: %v", name, err)
		}
	}
	s, err := NewTokenServer(HTNone, htConfig(), &wallet{user: "romeo", mechanism: HTNone, tokens: []string{"t"}})
	if err != nil {
		t.Fatal(err)
	}
	if c, done, err := s.Next(t.Context(), nil); err != nil || done || len(c) != 0 {
		t.Errorf("without an initial response: %q, %v, %v", c, done, err)
	}
	if _, done, err := s.Next(t.Context(), append([]byte("romeo\x00"), htHash("t", htInitiator, nil)...)); err != nil || !done {
		t.Errorf("after the challenge: %v", err)
	}
}

// TestHTClient: a client shows its token under TLS only, and does not trust a server that has not shown that it has it.
func TestHTClient(t *testing.T) {
	for name, c := range map[string]*ClientConfig{"no TLS": {Username: "romeo"}, "no name": {Encrypted: true}, "NUL": {Username: "a\x00b", Encrypted: true}} {
		if _, err := NewTokenClient(HTNone, "t", c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	c := &ClientConfig{Username: "romeo", Encrypted: true}
	if _, err := NewTokenClient(HTExporter, "t", c); !errors.Is(err, ErrNoMechanism) {
		t.Errorf("without the binding: %v", err)
	}
	if _, err := NewTokenClient(HTNone, "", c); err == nil {
		t.Error("without a token: no error")
	}
	client, err := NewTokenClient(HTNone, "t", c)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Success(htHash("t", htResponder, nil)); !errors.Is(err, ErrServerUnproven) {
		t.Errorf("before it said anything: %v", err)
	}
	if _, _, err := client.Start(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Start(); err == nil {
		t.Error("twice")
	}
	for _, data := range [][]byte{nil, {}, htHash("t", htInitiator, nil), htHash("u", htResponder, nil)} {
		if err := client.Success(data); !errors.Is(err, ErrServerUnproven) {
			t.Errorf("%x: %v", data, err)
		}
	}
}

// FuzzHT speaks to a server without the token: it does not get in, and what is refused is refused by a known condition.
func FuzzHT(f *testing.F) {
	f.Add([]byte("romeo\x00"), true)
	f.Add(append([]byte("romeo\x00"), htHash("wrong", htInitiator, nil)...), false)
	f.Add(append([]byte("\x00\x00"), bytes.Repeat([]byte{0}, 31)...), false)
	f.Fuzz(func(t *testing.T, msg []byte, bound bool) {
		m := HTNone
		if bound {
			m = HTExporter
		}
		s, err := NewTokenServer(m, htConfig(), &wallet{user: "romeo", mechanism: m, tokens: []string{"a secret of the server", "another"}})
		if err != nil {
			t.Fatal(err)
		}
		data, done, err := s.Next(t.Context(), msg)
		if msg == nil {
			return
		}
		if done || data != nil || err == nil || s.Identity() != (Identity{}) {
			t.Fatalf("in with %q", msg)
		}
		checkFailure(t, err)
		name, hash, failed := splitHT(msg)
		if failed == nil && string(msg) != name+"\x00"+string(hash) {
			t.Fatalf("%q was read as %q and %q", msg, name, hash)
		}
	})
}

// TestDowngrade: a client goes on with what it was offered, and with nothing that was changed on the way: neither the types of channel
// binding (XEP-0474#attack-model-1) nor the mechanisms (XEP-0474#attack-model-2, XEP-0474#verification), nor TLS (XEP-0515#verification).
func TestDowngrade(t *testing.T) {
	offered, types := []string{ScramSHA256Plus, ScramSHA256, ScramSHA1}, []string{TLSServerEndPoint, TLSExporter}
	server := []Attribute{DowngradeHash(SHA256, []string{ScramSHA1, ScramSHA256, ScramSHA256Plus}, []string{TLSExporter, TLSServerEndPoint}), TLSVersion(0x0304)}
	if server[1] != (Attribute{'t', "0304"}) {
		t.Errorf("TLS 1.3 is %+v", server[1])
	}
	for name, c := range map[string]struct {
		offered, types []string
		version        uint16
		attributes     []Attribute
		good           bool
	}{
		"the same":               {offered, types, 0x0304, server, true},
		"a mechanism less":       {offered[1:], types, 0x0304, server, false},
		"a type less":            {offered, types[:1], 0x0304, server, false},
		"no types":               {offered, nil, 0x0304, server, false},
		"another TLS":            {offered, types, 0x0303, server, false},
		"a server that is older": {offered[1:], nil, 0x0303, nil, true},
	} {
		if err := CheckDowngrade(c.offered, c.types, c.version)(SHA256, c.attributes); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckOffer: mechanisms with channel binding and types of it come together, or somebody has taken one of them away
// (XEP-0440#business-rules, XEP-0440#security).
func TestCheckOffer(t *testing.T) {
	plus, types := []string{ScramSHA256, ScramSHA256Plus}, []string{TLSServerEndPoint}
	for name, c := range map[string]struct {
		offered, types []string
		good           bool
	}{
		"both":                {plus, types, true},
		"neither":             {plus[:1], nil, true},
		"the types are gone":  {plus, nil, false},
		"-PLUS is gone":       {plus[:1], types, false},
		"a -PLUS of tomorrow": {[]string{"SCRAM-SHA3-512-PLUS"}, types, true},
	} {
		if err := CheckOffer(c.offered, c.types); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSalted: the verifier of a salted password is that of the password (XEP-0480#scram).
func TestSalted(t *testing.T) {
	for _, h := range []Hash{SHA1, SHA256, SHA512} {
		salt := []byte("0123456789abcdef")
		salted, err := SaltedPassword(h, "pencil", salt, 4096)
		if err != nil {
			t.Fatal(err)
		}
		v, err := VerifierOfSalted(h, salted, salt, 4096)
		if err != nil || !v.Verify("pencil") || v.Verify("pen") {
			t.Errorf("%s: %v", h, err)
		}
		for _, bad := range [][]byte{nil, salted[1:], append(salted, 0)} {
			if _, err := VerifierOfSalted(h, bad, salt, 4096); err == nil {
				t.Errorf("%s: %d bytes are taken", h, len(bad))
			}
		}
	}
}
