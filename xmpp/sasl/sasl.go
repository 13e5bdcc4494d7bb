// Package sasl owns the SASL mechanisms of XMPP, the server's and the client's side of each, as state machines without I/O:
// SCRAM with SHA-1, SHA-256 and SHA-512 and their -PLUS forms (RFC 5802, RFC 7677), EXTERNAL (RFC 4422 Appendix A), PLAIN (RFC
// 4616), ANONYMOUS (RFC 4505) and, for tokens, HT (XEP-0484).
//
// It deals in the decoded bytes of challenges and responses; DecodeBase64 and EncodeBase64 are the way from and to the text of
// the elements of RFC 6120 §6.4. What a server's side refuses is a *Failure, whose condition is the answer to the client.
package sasl

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
)

// The names of the mechanisms.
const (
	External        = "EXTERNAL"
	ScramSHA512Plus = "SCRAM-SHA-512-PLUS"
	ScramSHA256Plus = "SCRAM-SHA-256-PLUS"
	ScramSHA1Plus   = "SCRAM-SHA-1-PLUS"
	ScramSHA512     = "SCRAM-SHA-512"
	ScramSHA256     = "SCRAM-SHA-256"
	ScramSHA1       = "SCRAM-SHA-1"
	Plain           = "PLAIN"
	Anonymous       = "ANONYMOUS"
)

// byStrength lists all mechanisms, the strongest first. A binding to the channel counts more than the size of the hash.
var byStrength = [...]string{
	External,
	ScramSHA512Plus, ScramSHA256Plus, ScramSHA1Plus,
	ScramSHA512, ScramSHA256, ScramSHA1,
	Plain, Anonymous,
}

// Condition is a failure condition of RFC 6120 §6.5: the name of the child element of <failure/>.
type Condition string

// All conditions of RFC 6120 §6.5.
const (
	Aborted              Condition = "aborted"
	AccountDisabled      Condition = "account-disabled"
	CredentialsExpired   Condition = "credentials-expired"
	EncryptionRequired   Condition = "encryption-required"
	IncorrectEncoding    Condition = "incorrect-encoding"
	InvalidAuthzid       Condition = "invalid-authzid"
	InvalidMechanism     Condition = "invalid-mechanism"
	MalformedRequest     Condition = "malformed-request"
	MechanismTooWeak     Condition = "mechanism-too-weak"
	NotAuthorized        Condition = "not-authorized"
	TemporaryAuthFailure Condition = "temporary-auth-failure"
)

// Failure is the end of a handshake without success. Condition and Text are the answer to the client (RFC 6120 §6.4.5); Text may be
// empty, holds no secret and nothing of what the client sent. Err is the cause, for the log only.
type Failure struct {
	Condition Condition
	Text      string
	Err       error
}

func (f *Failure) Error() string {
	s := "sasl: " + string(f.Condition)
	if f.Text != "" {
		s += ": " + f.Text
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

func malformed(text string) *Failure { return &Failure{Condition: MalformedRequest, Text: text} }

// denied is one answer for all that is wrong about credentials: RFC 6120 §6.5.10 wants no difference between an unknown user and
// a wrong password.
func denied() *Failure { return &Failure{Condition: NotAuthorized} }

// failure makes the answer to an error of a callback: a *Failure is one already, anything else is ours and may pass.
func failure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Condition: TemporaryAuthFailure, Err: err}
}

// maxMessage is the greatest length of a challenge or a response in bytes. The longest honest one, PLAIN with an authzid of three
// full parts and a password of 1 KiB, is shorter.
const maxMessage = 8 << 10

// DecodeBase64 decodes the text of <auth/>, <challenge/>, <response/> or <success/>. No text gives nil, which is no data; "=" gives
// data of length zero (RFC 6120 §6.4.2). Everything else must be base64 with its padding, without whitespace and without spare
// bits (RFC 4648 §3, §4). The error is a *Failure with the condition incorrect-encoding (RFC 6120 §6.5.5).
func DecodeBase64(s string) ([]byte, error) {
	switch s {
	case "":
		return nil, nil
	case "=":
		return []byte{}, nil
	}
	b, ok := decode64(s)
	if !ok {
		return nil, &Failure{Condition: IncorrectEncoding}
	}
	return b, nil
}

// EncodeBase64 is the inverse of DecodeBase64, for the initial response in <auth/> and the data of <success/>: nil gives no text, data
// of length zero gives "=". In <challenge/> and <response/> both are written as no text.
func EncodeBase64(b []byte) string {
	if b != nil && len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// decode64 decodes strict base64. The package base64 skips line ends even when strict.
func decode64(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// isPlus reports whether the mechanism binds to the channel.
func isPlus(mechanism string) bool { return strings.HasSuffix(mechanism, "-PLUS") }

// scramHash returns the hash of a SCRAM mechanism, or ok false for any other mechanism.
func scramHash(mechanism string) (h Hash, ok bool) {
	switch strings.TrimSuffix(mechanism, "-PLUS") {
	case ScramSHA512:
		return SHA512, true
	case ScramSHA256:
		return SHA256, true
	case ScramSHA1:
		return SHA1, true
	}
	return 0, false
}

// known reports whether this package has the mechanism. Names are in upper case (RFC 4422 §3.1).
func known(mechanism string) bool { return slices.Contains(byStrength[:], mechanism) }
