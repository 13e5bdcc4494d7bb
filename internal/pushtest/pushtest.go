// Package pushtest owns a browser's push service for tests (RFC 8030): an HTTPS server on loopback that checks who sends
// (RFC 8292) and decrypts what it gets (RFC 8291), as the browser behind it would.
package pushtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Note is what came for the browser.
type Note struct {
	Text string // decrypted
	From string // the public key of its sender, base64url
}

// Browser is a browser with a subscription, and its push service.
type Browser struct {
	// URL is the origin of the push service; Endpoint, P256DH and Auth are those of the subscription, the keys in base64url.
	URL, Endpoint, P256DH, Auth string

	server *httptest.Server
	t      testing.TB
	key    *ecdh.PrivateKey
	auth   []byte

	mu     sync.Mutex
	status int
	hits   int
	notes  []Note
	came   chan Note
}

// New starts a push service, which ends with the test. cert is its certificate; nil for one of httptest's.
func New(t testing.TB, cert *tls.Certificate) *Browser {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{t: t, key: key, auth: make([]byte, 16), status: http.StatusCreated, came: make(chan Note, 1000)}
	rand.Read(b.auth) // never fails
	b.server = httptest.NewUnstartedServer(b)
	if cert != nil {
		b.server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	b.server.StartTLS()
	t.Cleanup(b.server.Close)
	b.URL = b.server.URL
	b.Endpoint = b.URL + "/s/1"
	b.P256DH, b.Auth = base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), base64.RawURLEncoding.EncodeToString(b.auth)
	return b
}

// Trust returns a TLS configuration that trusts the push service.
func (b *Browser) Trust() *tls.Config {
	return b.server.Client().Transport.(*http.Transport).TLSClientConfig
}

// Certificate returns the certificate of the push service, in DER.
func (b *Browser) Certificate() []byte { return b.server.Certificate().Raw }

// Answer sets the status of later answers. Those that are not 201 take no notification.
func (b *Browser) Answer(status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = status
}

// Notes returns what came so far, and how many requests there were.
func (b *Browser) Notes() (notes []Note, requests int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Note(nil), b.notes...), b.hits
}

// Came gives each notification once.
func (b *Browser) Came() <-chan Note { return b.came }

// ServeHTTP takes a notification.
func (b *Browser) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hits++
	if b.status != http.StatusCreated {
		if b.status == http.StatusTemporaryRedirect {
			w.Header().Set("Location", b.URL+"/elsewhere")
		}
		w.WriteHeader(b.status)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Error(err)
	}
	if r.Method != http.MethodPost || r.URL.Path != "/s/1" || r.Header.Get("Content-Encoding") != "aes128gcm" || r.Header.Get("TTL") == "" {
		b.t.Errorf("the request is %s %s %v", r.Method, r.URL, r.Header)
	}
	from, err := b.sender(r.Header.Get("Authorization"))
	if err != nil {
		b.t.Errorf("vapid: %v", err)
	}
	text, err := b.decrypt(body)
	if err != nil {
		b.t.Errorf("decrypt: %v", err)
	}
	b.notes = append(b.notes, Note{string(text), from})
	w.WriteHeader(http.StatusCreated)
	b.came <- b.notes[len(b.notes)-1]
}

// sender checks the signature of RFC 8292 §2 and returns the public key.
func (b *Browser) sender(header string) (string, error) {
	header, ok := strings.CutPrefix(header, "vapid t=")
	token, public, ok2 := strings.Cut(header, ", k=")
	parts := strings.Split(token, ".")
	if !ok || !ok2 || len(parts) != 3 {
		return "", errors.New("the form is wrong: " + header)
	}
	point, err := base64.RawURLEncoding.DecodeString(public)
	if err != nil {
		return "", err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return "", err
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(sig) != 64 {
		return "", errors.New("the signature cannot be read")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return "", errors.New("the signature is wrong")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var c struct {
		Aud, Sub string
		Exp      int64
	}
	if err := json.Unmarshal(claims, &c); err != nil {
		return "", err
	}
	if c.Aud != b.URL || !strings.HasPrefix(c.Sub, "mailto:postmaster@") || time.Until(time.Unix(c.Exp, 0)) > 24*time.Hour {
		return "", errors.New("the claims are " + string(claims))
	}
	return public, nil
}

// decrypt opens a message (RFC 8291 §3.4, RFC 8188 §2).
func (b *Browser) decrypt(body []byte) ([]byte, error) {
	if len(body) < 21 || len(body) < 21+int(body[20]) || binary.BigEndian.Uint32(body[16:]) < uint32(len(body)-86) {
		return nil, errors.New("no header")
	}
	salt, id, sealed := body[:16], body[21:21+int(body[20])], body[21+int(body[20]):]
	theirs, err := ecdh.P256().NewPublicKey(id)
	if err != nil {
		return nil, err
	}
	secret, err := b.key.ECDH(theirs)
	if err != nil {
		return nil, err
	}
	ikm, err := hkdf.Key(sha256.New, secret, b.auth, "WebPush: info\x00"+string(b.key.PublicKey().Bytes())+string(id), 32)
	if err != nil {
		return nil, err
	}
	cek, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	c, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	g, err := cipher.NewGCM(c)
	if err != nil {
		return nil, err
	}
	text, err := g.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(strings.TrimRight(string(text), "\x00"), "\x02")), nil
}
