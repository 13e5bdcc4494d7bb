package badinput

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// The record types of TLS (RFC 8446 §5.1), and ClientHello (§4).
const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23
	clientHello     = 1
)

// alerts are those that a test names (RFC 8446 §6).
var alerts = map[byte]string{
	10: "unexpected_message", 40: "handshake_failure", 47: "illegal_parameter", 50: "decode_error", 70: "protocol_version",
	86: "inappropriate_fallback", 100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension",
	112: "unrecognized_name", 120: "no_application_protocol",
}

// alertOf returns the name of the alert that an error of crypto/tls tells of, or "".
func alertOf(err error) string {
	if err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
		return ""
	}
	_, text, _ := strings.Cut(err.Error(), "remote error: tls: ")
	switch text {
	case "protocol version not supported":
		return "protocol_version"
	case "handshake failure":
		return "handshake_failure"
	case "no application protocol":
		return "no_application_protocol"
	case "unrecognized name":
		return "unrecognized_name"
	case "unexpected message":
		return "unexpected_message"
	case "no renegotiation":
		return "no_renegotiation"
	}
	return text
}

// suitesOf returns the cipher suites of a comma-separated list of kinds. No client of today has them.
func suitesOf(kinds string) ([]uint16, error) {
	var out []uint16
	for k := range strings.SplitSeq(kinds, ",") {
		switch k {
		case "NULL":
			out = append(out, 0x0001, 0x0002, 0x003b, 0xc006, 0xc010)
		case "RC4":
			out = append(out, 0x0004, 0x0005, 0xc007, 0xc011)
		case "3DES":
			out = append(out, 0x000a, 0xc008, 0xc012)
		case "EXPORT":
			out = append(out, 0x0003, 0x0006, 0x0008)
		case "anon":
			out = append(out, 0x0018, 0x0034, 0xc018)
		case "CBC":
			out = append(out, 0xc009, 0xc013, 0xc023, 0xc027)
		case "RSA":
			out = append(out, 0x002f, 0x0035, 0x009c, 0x009d)
		default:
			return nil, fmt.Errorf("no cipher suites are called %q", k)
		}
	}
	return out, nil
}

// hello is a ClientHello to be made by hand.
type hello struct {
	version   uint16
	suites    []uint16
	name      string // SNI
	tls13     bool
	earlyData bool
}

// record returns the hello as a record.
func (h hello) record() ([]byte, error) {
	var random [32]byte
	rand.Read(random[:]) // never fails
	body := binary.BigEndian.AppendUint16(nil, h.version)
	body = append(body, random[:]...)
	body = append(body, 0) // no session
	body = binary.BigEndian.AppendUint16(body, uint16(2*len(h.suites)))
	for _, s := range h.suites {
		body = binary.BigEndian.AppendUint16(body, s)
	}
	body = append(body, 1, 0) // no compression
	var exts []byte
	ext := func(id uint16, b []byte) {
		exts = binary.BigEndian.AppendUint16(exts, id)
		exts = binary.BigEndian.AppendUint16(exts, uint16(len(b)))
		exts = append(exts, b...)
	}
	if h.name != "" {
		n := uint16(len(h.name))
		b := binary.BigEndian.AppendUint16(nil, n+3)
		b = append(b, 0)
		b = binary.BigEndian.AppendUint16(b, n)
		ext(0, append(b, h.name...))
	}
	ext(10, []byte{0, 4, 0, 29, 0, 23})                                   // supported_groups: x25519, P-256
	ext(11, []byte{1, 0})                                                 // ec_point_formats
	ext(13, []byte{0, 8, 0x04, 0x03, 0x08, 0x04, 0x04, 0x01, 0x02, 0x03}) // signature_algorithms
	if h.tls13 {
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		ext(43, []byte{2, 3, 4}) // supported_versions
		ext(51, append([]byte{0, 36, 0, 29, 0, 32}, key.PublicKey().Bytes()...))
		ext(45, []byte{1, 1}) // psk_key_exchange_modes
	}
	if h.earlyData {
		ext(42, nil)
	}
	body = binary.BigEndian.AppendUint16(body, uint16(len(exts)))
	body = append(body, exts...)
	msg := append([]byte{clientHello, 0}, binary.BigEndian.AppendUint16(nil, uint16(len(body)))...)
	msg = append(msg, body...)
	return append(binary.BigEndian.AppendUint16([]byte{recordHandshake, 3, 1}, uint16(len(msg))), msg...), nil
}

// helloAnswer reads the first record that comes back: the name of an alert, or "server_hello".
func helloAnswer(c net.Conn) (string, error) {
	var h [5]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return "", err
	}
	b := make([]byte, binary.BigEndian.Uint16(h[3:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return "", err
	}
	switch {
	case h[0] == recordAlert && len(b) == 2:
		if a, ok := alerts[b[1]]; ok {
			return a, nil
		}
		return fmt.Sprintf("alert %d", b[1]), nil
	case h[0] == recordHandshake:
		return "server_hello", nil
	}
	return "", fmt.Errorf("a record of type %d", h[0])
}

// keyLog notes the secrets of a TLS 1.2 connection, as the log that Wireshark reads.
type keyLog struct {
	mu     sync.Mutex
	client []byte // random
	master []byte
	seen   []byte // the first bytes of the server
}

// Write takes a line of the log: CLIENT_RANDOM, the random, the master secret.
func (k *keyLog) Write(line []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := strings.Fields(string(line))
	if len(f) != 3 || f[0] != "CLIENT_RANDOM" {
		return 0, fmt.Errorf("an unknown line of the key log: %q", line)
	}
	var err, err2 error
	k.client, err = hex.DecodeString(f[1])
	k.master, err2 = hex.DecodeString(f[2])
	return len(line), errors.Join(err, err2)
}

// sniffer keeps what the server says first: its random is in the clear.
type sniffer struct {
	net.Conn
	k *keyLog
}

func (s sniffer) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	if len(s.k.seen) < 64 {
		s.k.seen = append(s.k.seen, p[:n]...)
	}
	return n, err
}

// tls12 is a configuration for the one cipher suite that seal12 speaks.
func tls12(base *tls.Config, k *keyLog) *tls.Config {
	c := base.Clone()
	c.MaxVersion = tls.VersionTLS12
	c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	c.KeyLogWriter = k
	return c
}

// seal12 makes the encrypted record number seq of the client (RFC 5246 §6.3, RFC 5288 §3).
func (k *keyLog) seal12(seq uint64, kind byte, plain []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.seen) < 5+4+2+32 || len(k.master) == 0 {
		return nil, errors.New("the handshake was not seen")
	}
	server := k.seen[5+4+2 : 5+4+2+32] // record header, handshake header, version
	keys := prf12(k.master, "key expansion", append(bytes.Clone(server), k.client...), 2*16+2*4)
	block, err := aes.NewCipher(keys[:16])
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], seq)
	nonce := append(bytes.Clone(keys[32:36]), n[:]...)
	aad := append(n[:], kind, 3, 3)
	aad = binary.BigEndian.AppendUint16(aad, uint16(len(plain)))
	sealed := gcm.Seal(bytes.Clone(n[:]), nonce, plain, aad)
	return append(binary.BigEndian.AppendUint16([]byte{kind, 3, 3}, uint16(len(sealed))), sealed...), nil
}

// prf12 is the pseudo-random function of TLS 1.2 with SHA-256 (RFC 5246 §5).
func prf12(secret []byte, label string, seed []byte, n int) []byte {
	mac := func(b []byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(b)
		return h.Sum(nil)
	}
	seed = append([]byte(label), seed...)
	var out []byte
	for a := mac(seed); len(out) < n; a = mac(a) {
		out = append(out, mac(append(bytes.Clone(a), seed...))...)
	}
	return out[:n]
}
