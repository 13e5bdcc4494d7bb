package load

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// maxIterations bounds what a server may ask of us.
const maxIterations = 1_000_000

// salted keeps what PBKDF2 gave: the accounts of a run share password and
// often salt, and thousands of them log in.
type salted struct {
	mu   sync.Mutex
	keys map[string]scramKeys
}

// scramKeys are what a password, a salt and a count come to (RFC 5802 §3).
type scramKeys struct{ client, stored, server []byte }

var derived = salted{keys: make(map[string]scramKeys)}

func (s *salted) of(password string, salt []byte, iterations int) (scramKeys, error) {
	id := fmt.Sprintf("%d %x %s", iterations, salt, password)
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.keys[id]; ok {
		return k, nil
	}
	key, err := pbkdf2.Key(sha1.New, password, salt, iterations, sha1.Size)
	if err != nil {
		return scramKeys{}, err
	}
	client := mac(key, "Client Key")
	stored := sha1.Sum(client)
	k := scramKeys{client: client, stored: stored[:], server: mac(key, "Server Key")}
	s.keys[id] = k
	return k, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha1.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// scram is one exchange of SCRAM-SHA-1 without channel binding (RFC 5802).
type scram struct {
	password  string
	bare      string // client-first-message-bare
	nonce     string
	signature []byte // what the server must answer with
}

// newScram returns an exchange and its first message, encoded.
func newScram(user, password string) (*scram, string, error) {
	raw := make([]byte, 18)
	if _, err := rand.Read(raw); err != nil {
		return nil, "", err
	}
	x := &scram{password: password, nonce: base64.StdEncoding.EncodeToString(raw)}
	x.bare = "n=" + user + ",r=" + x.nonce
	return x, base64.StdEncoding.EncodeToString([]byte("n,," + x.bare)), nil
}

// respond answers the server's first message.
func (x *scram) respond(encoded string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", err
	}
	challenge := string(raw)
	var nonce string
	var salt []byte
	var iterations int
	for field := range strings.SplitSeq(challenge, ",") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "r":
			nonce = value
		case "s":
			if salt, err = base64.StdEncoding.DecodeString(value); err != nil {
				return "", err
			}
		case "i":
			if iterations, err = strconv.Atoi(value); err != nil {
				return "", err
			}
		}
	}
	if !strings.HasPrefix(nonce, x.nonce) || len(salt) == 0 || iterations < 1 || iterations > maxIterations {
		return "", fmt.Errorf("unusable challenge %q", challenge)
	}
	keys, err := derived.of(x.password, salt, iterations)
	if err != nil {
		return "", err
	}
	final := "c=biws,r=" + nonce
	auth := x.bare + "," + challenge + "," + final
	proof := mac(keys.stored, auth)
	subtle.XORBytes(proof, proof, keys.client)
	x.signature = mac(keys.server, auth)
	final += ",p=" + base64.StdEncoding.EncodeToString(proof)
	return base64.StdEncoding.EncodeToString([]byte(final)), nil
}

// verify checks the server's signature.
func (x *scram) verify(encoded string) error {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return err
	}
	value, ok := strings.CutPrefix(string(raw), "v=")
	if !ok {
		return fmt.Errorf("no signature in %q", raw)
	}
	got, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return err
	}
	if !hmac.Equal(got, x.signature) {
		return errors.New("the server does not know the password")
	}
	return nil
}
