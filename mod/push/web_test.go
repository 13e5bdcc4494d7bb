package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/dial"
	"sabir/xmpp/stanza"
)

// browser is a browser with its push service, which decrypts by RFC 8291 what it gets and checks who sends it.
type browser struct {
	*httptest.Server
	t      testing.TB
	key    *ecdh.PrivateKey
	auth   []byte
	status int

	mu    sync.Mutex
	notes []note
	froms []string // public keys of the senders
	hits  int
}

func newBrowser(t testing.TB) *browser {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, key: key, auth: make([]byte, 16), status: http.StatusCreated}
	rand.Read(b.auth) // never fails
	b.Server = httptest.NewTLSServer(b)
	t.Cleanup(b.Close)
	return b
}

func (b *browser) subscription() string {
	return "<subscribe xmlns='sabir:webpush:0' endpoint='" + b.URL + "/s/1'><p256dh>" + base64.RawURLEncoding.EncodeToString(b.key.PublicKey().Bytes()) +
		"</p256dh><auth>" + base64.RawURLEncoding.EncodeToString(b.auth) + "</auth></subscribe>"
}

func (b *browser) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	var n note
	if err := json.Unmarshal(text, &n); err != nil {
		b.t.Errorf("%v in %q", err, text)
	}
	b.notes, b.froms = append(b.notes, n), append(b.froms, from)
	w.WriteHeader(http.StatusCreated)
}

// sender checks the signature of RFC 8292 §2 and returns the public key.
func (b *browser) sender(header string) (string, error) {
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
	if c.Aud != b.URL || c.Sub != "mailto:postmaster@localhost" || time.Until(time.Unix(c.Exp, 0)) > 24*time.Hour {
		return "", errors.New("the claims are " + string(claims))
	}
	return public, nil
}

// decrypt opens a message (RFC 8291 §3.4, RFC 8188 §2).
func (b *browser) decrypt(body []byte) ([]byte, error) {
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

// outside returns a client of the server's dialler that trusts the browser's push service; with the ranges that are open.
func (b *browser) outside(open ...string) *http.Client {
	p := &dial.Policy{}
	for _, o := range open {
		p.Allow = append(p.Allow, netip.MustParsePrefix(o))
	}
	c := (&dial.Dialer{Policy: p}).HTTPClient(b.Client().Transport.(*http.Transport).TLSClientConfig)
	b.t.Cleanup(c.CloseIdleConnections)
	return c
}

// settled makes rounds until no notification is under way.
func (w *world) settled() {
	w.t.Helper()
	for {
		w.round()
		w.p.jobs.mu.Lock()
		busy := w.p.jobs.all > 0
		w.p.jobs.mu.Unlock()
		if !busy {
			return
		}
		<-w.p.jobs.wake
	}
}

func TestWebPush(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBrowser(t)
		w := newWorld(t, d, modtest.WithHTTP(b.outside("127.0.0.0/8")), modtest.WithConfig(func(c *Config) { c.Sender, c.Body = true, true }))
		key := w.Get(phone, "", "<webpush xmlns='sabir:webpush:0'/>").Payload().ChildText(nsWeb, "key")
		modtest.Expect(t, w.Set(phone, "", b.subscription()), ok)
		w.chat("Wherefore?")
		w.settled()
		if len(b.notes) != 1 || b.notes[0] != (note{"juliet@localhost", 1, 0, "romeo@localhost/x", "Wherefore?"}) || b.froms[0] != key {
			t.Fatalf("the browser got %v from %v, want from %s", b.notes, b.froms, key)
		}
		w.Advance(time.Hour)
		again := newWorld(t, d, modtest.WithHTTP(b.outside("127.0.0.0/8"))) // the key is the same after a restart
		again.chat("2")
		again.settled()
		if len(b.notes) != 2 || b.notes[1] != (note{Account: "juliet@localhost", Count: 2}) || b.froms[1] != key {
			t.Errorf("the browser got %v from %v", b.notes, b.froms)
		}
		modtest.Expect(t, w.Set(phone, "", "<unsubscribe xmlns='sabir:webpush:0' endpoint='"+b.URL+"/s/1'/>"), ok)
		w.chat("3")
		w.settled()
		if len(b.notes) != 2 {
			t.Error("told after the end of the subscription")
		}
	})
}

// What the push service answers decides whether it is asked again.
func TestWebAnswers(t *testing.T) {
	for status, hits := range map[int]int{
		http.StatusCreated: 2, http.StatusGone: 1, http.StatusNotFound: 1, http.StatusForbidden: 1, http.StatusTemporaryRedirect: 1,
		http.StatusTooManyRequests: 2, http.StatusServiceUnavailable: 2,
	} {
		b := newBrowser(t)
		b.status = status
		w := newWorld(t, dbtest.SQLite(t), modtest.WithHTTP(b.outside("127.0.0.0/8")))
		modtest.Expect(t, w.Set(phone, "", b.subscription()), ok)
		for range 2 {
			w.chat("x")
			w.settled()
			w.Advance(time.Hour)
		}
		if b.hits != hits {
			t.Errorf("%d: asked %d times, want %d", status, b.hits, hits)
		}
	}
}

// A subscription may not lead to where only the server can go.
func TestWebPolicy(t *testing.T) {
	b := newBrowser(t)
	w := newWorld(t, dbtest.SQLite(t), modtest.WithHTTP(b.outside()))
	modtest.Expect(t, w.Set(phone, "", b.subscription()), ok)
	w.chat("1")
	w.settled()
	w.Advance(24 * time.Hour)
	w.chat("2")
	w.settled()
	if b.hits != 0 {
		t.Errorf("loopback was asked %d times", b.hits)
	}
	if list, err := w.p.services(w.Context(), modtest.Stanza(t, "<presence from='"+juliet+"'/>").From); err != nil || len(list) != 0 {
		t.Errorf("the service is still enabled: %v", err)
	}
}

func TestSubscribeErrors(t *testing.T) {
	b := newBrowser(t)
	w := newWorld(t, dbtest.SQLite(t))
	good := b.subscription()
	for what, c := range map[string]struct {
		xml  string
		want stanza.Condition
	}{
		"no endpoint": {strings.Replace(good, "endpoint=", "at=", 1), stanza.BadRequest},
		"http":        {strings.Replace(good, "https:", "http:", 1), stanza.NotAcceptable},
		"file":        {strings.Replace(good, b.URL, "file://", 1), stanza.NotAcceptable},
		"no host":     {strings.Replace(good, b.URL, "https://", 1), stanza.NotAcceptable},
		"user":        {strings.Replace(good, "https://", "https://a:b@", 1), stanza.NotAcceptable},
		"long":        {strings.Replace(good, "/s/1", "/"+strings.Repeat("s", 3000), 1), stanza.NotAcceptable},
		"no keys":     {"<subscribe xmlns='sabir:webpush:0' endpoint='" + b.URL + "'/>", stanza.NotAcceptable},
		"no point":    {strings.Replace(good, "<p256dh>B", "<p256dh>C", 1), stanza.NotAcceptable},
		"short auth":  {strings.Replace(good, "<auth>", "<auth>AAAA", 1), stanza.NotAcceptable},
	} {
		a := w.Set(phone, "", c.xml)
		if e := a.Err(); e == nil || e.Condition != c.want {
			t.Errorf("%s: %s", what, a)
		}
	}
	modtest.ExpectError(t, w.Set("romeo@localhost/x", juliet, good), stanza.Cancel, stanza.ServiceUnavailable)
	off := newWorld(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Web = false }))
	modtest.ExpectError(t, off.Set(phone, "", good), stanza.Cancel, stanza.ServiceUnavailable)
}
