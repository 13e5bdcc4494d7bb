package sasl

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxNonce is the greatest length of a nonce that a peer may choose, in bytes.
const maxNonce = 1024

// The messages of SCRAM as RFC 5802 §7 writes them. A value never contains a comma, so each message is a list of attributes with
// commas between them, in a fixed order. The parsers return what is wrong, or "".

// clientFirst is the client's first message.
type clientFirst struct {
	header   string // gs2-header: all up to the second comma, comma included
	flag     byte   // 'n', 'y' or 'p'
	binding  string // cb-name with the flag 'p'
	authzid  string
	bare     string // client-first-message-bare
	username string
	nonce    string
}

func parseClientFirst(msg []byte) (m clientFirst, wrong string) {
	s, wrong := scramText(msg)
	if wrong != "" {
		return m, wrong
	}
	flag, rest, ok1 := strings.Cut(s, ",")
	authz, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 {
		return m, "gs2-header is incomplete"
	}
	m.header, m.bare = s[:len(s)-len(bare)], bare
	switch {
	case flag == "n" || flag == "y":
		m.flag = flag[0]
	case strings.HasPrefix(flag, "p="):
		m.flag, m.binding = 'p', flag[2:]
		if !isBindingName(m.binding) {
			return m, "name of the channel binding is wrong"
		}
	default:
		return m, "flag of the channel binding is wrong"
	}
	if authz != "" {
		v, ok := strings.CutPrefix(authz, "a=")
		if m.authzid, ok = unescapeName(v, ok); !ok {
			return m, "authzid is wrong"
		}
	}
	user, rest, more := strings.Cut(bare, ",")
	if strings.HasPrefix(user, "m=") {
		return m, "mandatory extension is not known" // RFC 5802 §5.1: m= ends the handshake
	}
	v, ok := strings.CutPrefix(user, "n=")
	if m.username, ok = unescapeName(v, ok); !ok || !more {
		return m, "user name is wrong"
	}
	nonce, rest, more := strings.Cut(rest, ",")
	if m.nonce, ok = strings.CutPrefix(nonce, "r="); !ok || !isNonce(m.nonce) {
		return m, "nonce is wrong"
	}
	if _, ok := parseExtensions(rest, more); !ok {
		return m, "extension is wrong"
	}
	return m, ""
}

// serverFirst is the server's first message.
type serverFirst struct {
	nonce      string
	salt       []byte
	iterations int
	attributes []Attribute
}

func parseServerFirst(msg []byte) (m serverFirst, wrong string) {
	s, wrong := scramText(msg)
	if wrong != "" {
		return m, wrong
	}
	nonce, rest, _ := strings.Cut(s, ",")
	if strings.HasPrefix(nonce, "m=") {
		return m, "mandatory extension is not known"
	}
	var ok bool
	if m.nonce, ok = strings.CutPrefix(nonce, "r="); !ok || !isNonce(m.nonce) {
		return m, "nonce is wrong"
	}
	salt, rest, _ := strings.Cut(rest, ",")
	v, ok := strings.CutPrefix(salt, "s=")
	if m.salt, ok = decodeValue(v, ok); !ok {
		return m, "salt is wrong"
	}
	count, rest, more := strings.Cut(rest, ",")
	v, ok = strings.CutPrefix(count, "i=")
	if m.iterations, ok = parseCount(v, ok); !ok {
		return m, "iteration count is wrong"
	}
	if m.attributes, ok = parseExtensions(rest, more); !ok {
		return m, "extension is wrong"
	}
	return m, ""
}

// clientFinal is the client's last message.
type clientFinal struct {
	binding      []byte // cbind-input as it was sent: gs2-header and data of the binding
	nonce        string
	proof        []byte
	withoutProof string // client-final-message-without-proof
}

func parseClientFinal(msg []byte) (m clientFinal, wrong string) {
	s, wrong := scramText(msg)
	if wrong != "" {
		return m, wrong
	}
	i := strings.LastIndexByte(s, ',')
	if i < 0 {
		return m, "proof is missing"
	}
	v, ok := strings.CutPrefix(s[i+1:], "p=")
	if m.proof, ok = decodeValue(v, ok); !ok {
		return m, "proof is wrong"
	}
	m.withoutProof = s[:i]
	binding, rest, _ := strings.Cut(m.withoutProof, ",")
	v, ok = strings.CutPrefix(binding, "c=")
	if m.binding, ok = decodeValue(v, ok); !ok {
		return m, "channel binding is wrong"
	}
	nonce, rest, more := strings.Cut(rest, ",")
	if m.nonce, ok = strings.CutPrefix(nonce, "r="); !ok || m.nonce == "" {
		return m, "nonce is wrong"
	}
	if _, ok := parseExtensions(rest, more); !ok {
		return m, "extension is wrong"
	}
	return m, ""
}

// serverFinal is the server's last message: a signature or an error.
type serverFinal struct {
	signature []byte
	err       string
}

func parseServerFinal(msg []byte) (m serverFinal, wrong string) {
	s, wrong := scramText(msg)
	if wrong != "" {
		return m, wrong
	}
	first, rest, more := strings.Cut(s, ",")
	if e, ok := strings.CutPrefix(first, "e="); ok && e != "" {
		m.err = e
	} else {
		v, ok := strings.CutPrefix(first, "v=")
		if m.signature, ok = decodeValue(v, ok); !ok {
			return m, "signature is wrong"
		}
	}
	if _, ok := parseExtensions(rest, more); !ok {
		return m, "extension is wrong"
	}
	return m, ""
}

// scramText checks what all messages have in common.
func scramText(msg []byte) (s, wrong string) {
	if len(msg) > maxMessage {
		return "", "message is too long"
	}
	if checkText(msg) != nil {
		return "", "message is not UTF-8 without NUL"
	}
	return string(msg), ""
}

// parseExtensions reads the attributes at the end of a message; more says whether there was a comma before them. The letters that
// RFC 5802 §5.1 uses mean nothing but what they mean there, so they are refused here: m= because it would be a mandatory
// extension, the others because they would be a second value.
func parseExtensions(s string, more bool) (as []Attribute, ok bool) {
	for more {
		var a string
		a, s, more = strings.Cut(s, ",")
		if len(a) < 3 || a[1] != '=' {
			return nil, false
		}
		x := Attribute{a[0], a[2:]}
		if !x.valid() {
			return nil, false
		}
		as = append(as, x)
	}
	return as, true
}

// valid reports whether a may stand as an extension in a message.
func (a Attribute) valid() bool {
	letter := 'a' <= a.Name && a.Name <= 'z' || 'A' <= a.Name && a.Name <= 'Z'
	return letter && !strings.ContainsRune("anmrcsipve", rune(a.Name)) && a.Value != "" && !strings.ContainsAny(a.Value, ",\x00") && utf8.ValidString(a.Value)
}

func isBindingName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-') {
			return false
		}
	}
	return s != ""
}

// isNonce reports whether s is 1*printable: ASCII without controls, the space and the comma.
func isNonce(s string) bool {
	if s == "" || len(s) > maxNonce {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ',' {
			return false
		}
	}
	return true
}

// decodeValue decodes a base64 value, which is not empty. ok carries the outcome of a step before.
func decodeValue(s string, ok bool) ([]byte, bool) {
	if !ok || s == "" {
		return nil, false
	}
	return decode64(s)
}

// parseCount reads a posit-number: decimal, no sign, no zero in front.
func parseCount(s string, ok bool) (int, bool) {
	if !ok || s == "" || len(s) > 10 || s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// unescapeName decodes a saslname, which is not empty and in which every '=' starts "=2C" or "=3D".
func unescapeName(s string, ok bool) (string, bool) {
	if !ok || s == "" || len(s) > 3*maxName {
		return "", false
	}
	if strings.IndexByte(s, '=') < 0 {
		return s, len(s) <= maxName
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "=")
		b.WriteString(before)
		if !found {
			return b.String(), b.Len() <= maxName
		}
		switch {
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = rest[2:]
	}
}

// escapeName is the inverse of unescapeName.
func escapeName(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "=", "=3D"), ",", "=2C")
}
