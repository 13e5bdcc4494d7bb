package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// Hash is a hash function of SCRAM.
type Hash uint8

// The hash functions that this package has mechanisms for. SHA-1 is not broken as it is used here, and many clients know only it.
const (
	SHA1   Hash = iota + 1 // RFC 5802
	SHA256                 // RFC 7677
	SHA512                 // as RFC 7677, of the same pattern
)

// String returns the name as in the names of mechanisms: "SHA-256".
func (h Hash) String() string {
	switch h {
	case SHA1:
		return "SHA-1"
	case SHA256:
		return "SHA-256"
	case SHA512:
		return "SHA-512"
	}
	return "Hash(" + strconv.Itoa(int(h)) + ")"
}

// Mechanism returns the name of the mechanism without channel binding: "SCRAM-SHA-256".
func (h Hash) Mechanism() string { return "SCRAM-" + h.String() }

// Size is the length of the hash in bytes.
func (h Hash) Size() int {
	switch h {
	case SHA1:
		return sha1.Size
	case SHA256:
		return sha256.Size
	default:
		return sha512.Size
	}
}

func (h Hash) valid() bool { return h == SHA1 || h == SHA256 || h == SHA512 }

// new returns the function itself.
func (h Hash) new() hash.Hash {
	switch h {
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	default:
		return sha512.New()
	}
}

func (h Hash) sum(b []byte) []byte {
	d := h.new()
	d.Write(b)
	return d.Sum(nil)
}

func (h Hash) mac(key []byte, text string) []byte {
	m := hmac.New(h.new, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// The bounds of the iteration count. RFC 5802 §5.1 and RFC 7677 §4 give the least; the greatest keeps a peer from making us work
// for minutes.
const (
	MinIterations = 4096
	MaxIterations = 10_000_000
)

// Verifier is what a server keeps instead of a password: enough to check a proof of it, too little to make one (RFC 5802 §3). It is
// a secret nevertheless, since it makes guessing the password cheap. It prints without its keys.
type Verifier struct {
	Hash       Hash
	Salt       []byte
	Iterations int
	StoredKey  []byte // H(ClientKey)
	ServerKey  []byte
}

// NewVerifier derives a verifier from a password, which it prepares with the profile OpaqueString (RFC 8265 §4.2, which replaced the
// SASLprep of RFC 5802). salt should be 16 random bytes; iterations may be any number from 1 to MaxIterations, so that tests may have cheap
// accounts, but clients refuse fewer than MinIterations. It fails for a password that is empty or cannot be prepared.
func NewVerifier(h Hash, password string, salt []byte, iterations int) (Verifier, error) {
	k, err := DeriveKeys(h, password, salt, iterations)
	if err != nil {
		return Verifier{}, err
	}
	return k.Verifier(salt, iterations), nil
}

// Keys are the two keys that SCRAM derives from a password, a salt and a count (RFC 5802 §3). ClientKey is as good as the password
// for logging in to this account.
type Keys struct {
	Hash      Hash
	ClientKey []byte
	ServerKey []byte
}

// DeriveKeys does the costly derivation. See NewVerifier for the arguments.
func DeriveKeys(h Hash, password string, salt []byte, iterations int) (Keys, error) {
	salted, err := SaltedPassword(h, password, salt, iterations)
	if err != nil {
		return Keys{}, err
	}
	return keysOf(h, salted), nil
}

// SaltedPassword does the costly part of DeriveKeys alone: the value of that name in RFC 5802 §3, which is what a client sends to get a
// verifier for another hash (XEP-0480#scram).
func SaltedPassword(h Hash, password string, salt []byte, iterations int) ([]byte, error) {
	if err := checkDerivation(h, salt, iterations); err != nil {
		return nil, err
	}
	p, err := preparePassword(password)
	if err != nil {
		return nil, err
	}
	salted, err := pbkdf2.Key(h.new, p, salt, iterations, h.Size())
	if err != nil {
		return nil, fmt.Errorf("sasl: deriving keys: %w", err)
	}
	return salted, nil
}

func checkDerivation(h Hash, salt []byte, iterations int) error {
	switch {
	case !h.valid():
		return errors.New("sasl: unknown hash")
	case len(salt) == 0:
		return errors.New("sasl: empty salt")
	case iterations < 1 || iterations > MaxIterations:
		return errors.New("sasl: iteration count out of range")
	}
	return nil
}

func keysOf(h Hash, salted []byte) Keys {
	return Keys{Hash: h, ClientKey: h.mac(salted, "Client Key"), ServerKey: h.mac(salted, "Server Key")}
}

// VerifierOfSalted makes a verifier of a SaltedPassword that was derived with this salt and count (XEP-0480#scram). It fails for one that
// is not as long as the hash is.
func VerifierOfSalted(h Hash, salted, salt []byte, iterations int) (Verifier, error) {
	if err := checkDerivation(h, salt, iterations); err != nil {
		return Verifier{}, err
	}
	if len(salted) != h.Size() {
		return Verifier{}, errors.New("sasl: salted password of the wrong length")
	}
	return keysOf(h, salted).Verifier(salt, iterations), nil
}

// Verifier returns the verifier of these keys. salt and iterations are those that they were derived with.
func (k Keys) Verifier(salt []byte, iterations int) Verifier {
	return Verifier{k.Hash, salt, iterations, k.Hash.sum(k.ClientKey), k.ServerKey}
}

func preparePassword(s string) (string, error) {
	if len(s) > maxMessage {
		return "", errors.New("sasl: password too long")
	}
	if !utf8.ValidString(s) { // precis would take all such passwords for one
		return "", errors.New("sasl: password is not UTF-8")
	}
	p, err := precis.OpaqueString.String(s)
	if err != nil || p == "" {
		return "", errors.New("sasl: password is empty or has characters that are not allowed") // the cause would quote it
	}
	return p, nil
}

// Verify reports whether this is the password. It takes a time that depends on the length and the iteration count only, and much of
// it: callers bound how many run at once.
func (v Verifier) Verify(password string) bool {
	k, err := DeriveKeys(v.Hash, password, v.Salt, v.Iterations)
	if err != nil {
		return false
	}
	return hmac.Equal(k.Hash.sum(k.ClientKey), v.StoredKey)
}

// valid reports whether v can take part in a handshake.
func (v Verifier) valid() bool {
	return v.Hash.valid() && len(v.Salt) > 0 && v.Iterations >= 1 && v.Iterations <= MaxIterations &&
		len(v.StoredKey) == v.Hash.Size() && len(v.ServerKey) == v.Hash.Size()
}

// String says what v is, without its keys. See Encode.
func (v Verifier) String() string {
	return v.Hash.Mechanism() + " verifier of " + strconv.Itoa(v.Iterations) + " iterations"
}

// GoString is String: %#v must not print the keys either.
func (v Verifier) GoString() string { return v.String() }

// LogValue is String.
func (v Verifier) LogValue() slog.Value { return slog.StringValue(v.String()) }

// Encode returns the form in which a verifier is stored, like that of RFC 5803: "SCRAM-SHA-256$4096:salt$StoredKey:ServerKey", in
// base64 but for the count.
func (v Verifier) Encode() string {
	return v.Hash.Mechanism() + "$" + strconv.Itoa(v.Iterations) + ":" + encode64(v.Salt) + "$" + encode64(v.StoredKey) + ":" + encode64(v.ServerKey)
}

// ParseVerifier is the inverse of Encode. Its error does not repeat the input.
func ParseVerifier(s string) (Verifier, error) {
	bad := errors.New("sasl: not a stored verifier")
	name, rest, _ := strings.Cut(s, "$")
	h, ok := scramHash(name)
	if !ok || isPlus(name) {
		return Verifier{}, bad
	}
	info, keys, _ := strings.Cut(rest, "$")
	count, salt, _ := strings.Cut(info, ":")
	stored, server, _ := strings.Cut(keys, ":")
	v := Verifier{Hash: h}
	var err error
	if v.Iterations, err = strconv.Atoi(count); err != nil {
		return Verifier{}, bad
	}
	var ok1, ok2, ok3 bool
	v.Salt, ok1 = decode64(salt)
	v.StoredKey, ok2 = decode64(stored)
	v.ServerKey, ok3 = decode64(server)
	if !ok1 || !ok2 || !ok3 || !v.valid() {
		return Verifier{}, bad
	}
	return v, nil
}
