package push

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	webpush "github.com/SherClockHolmes/webpush-go"

	"sabir/mod"
	"sabir/xmpp/dial"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	// nsWeb is our own; see the comment of the package.
	nsWeb = "sabir:webpush:0"
	// webTimeout bounds one request to a push service.
	webTimeout = 30 * time.Second
	// keepFor is how long a push service keeps a notification for a browser that is not running (RFC 8030 §5.2).
	keepFor = 7 * 24 * time.Hour
	// maxNote is what fits into one message (RFC 8291 §4), with room for what encryption adds.
	maxNote = 3900
)

// browserKeys are the keys of a PushSubscription (RFC 8291 §2, §3.2), base64url.
type browserKeys struct {
	P256DH string `json:"p256dh"`
	Auth   string `json:"auth"`
}

// check tells whether they are a point of P-256 and a secret of 16 bytes.
func (k browserKeys) check() error {
	point, err := decode(k.P256DH)
	if err == nil {
		_, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return stanza.Err(stanza.NotAcceptable, "p256dh is a public key of P-256, uncompressed, in base64url")
	}
	if secret, err := decode(k.Auth); err != nil || len(secret) != 16 {
		return stanza.Err(stanza.NotAcceptable, "auth is 16 bytes in base64url")
	}
	return nil
}

func decode(s string) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(s, "="))
}

// endpoint reads the address that a push service has given to a browser. Where it leads is for the dialler's policy to say.
func endpoint(e *xmlstream.Element) (string, error) {
	s := e.Attr("endpoint")
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "", stanza.Err(stanza.BadRequest, "the attribute endpoint names the push service")
	case len(s) > maxEndpoint, err != nil, u.Scheme != "https", u.Hostname() == "", u.User != nil, u.Opaque != "", u.Fragment != "":
		return "", stanza.Err(stanza.NotAcceptable, "an endpoint is an https: URL without user and fragment")
	}
	return s, nil
}

// webKey returns the public key of the server.
func (p *push) webKey(ctx context.Context, _ *mod.Request) (*xmlstream.Element, error) {
	k, err := p.keys.get(ctx, p.h.DB())
	if err != nil {
		return nil, err
	}
	return xmlstream.El(nsWeb, "webpush", xmlstream.El(nsWeb, "key", k.public)), nil
}

// subscribe keeps a browser's subscription.
func (p *push) subscribe(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	to, err := endpoint(r.Payload)
	if err != nil {
		return nil, err
	}
	k := browserKeys{r.Payload.ChildText(nsWeb, "p256dh"), r.Payload.ChildText(nsWeb, "auth")}
	if err := k.check(); err != nil {
		return nil, err
	}
	secret, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	return nil, p.put(ctx, r, &service{key: key{r.Account, kindWeb, to, ""}, secret: string(secret)})
}

// unsubscribe forgets it.
func (p *push) unsubscribe(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	to, err := endpoint(r.Payload)
	if err != nil {
		return nil, err
	}
	err = p.h.DB().Write(ctx, func(tx mod.Tx) error { return p.store.remove(ctx, tx, key{r.Account, kindWeb, to, ""}) })
	p.changed(r.Account)
	return nil, err
}

// note is what a browser gets.
type note struct {
	Account  string `json:"account"`
	Count    int    `json:"count"`
	Requests int    `json:"requests,omitempty"`
	Sender   string `json:"sender,omitempty"`
	Body     string `json:"body,omitempty"`
}

// sendWeb tells a browser's push service (RFC 8030 §5).
func (p *push) sendWeb(ctx context.Context, s *service, sum summary) result {
	ctx, cancel := context.WithTimeout(ctx, webTimeout)
	defer cancel()
	var k browserKeys
	if err := json.Unmarshal([]byte(s.secret), &k); err != nil {
		return result{key: s.key, permanent: "the keys cannot be read: " + err.Error()}
	}
	server, err := p.keys.get(ctx, p.h.DB())
	if err != nil {
		return result{key: s.key, transient: err.Error()}
	}
	text, err := json.Marshal(note{sum.account.String(), sum.messages, sum.requests, sum.sender, sum.body})
	if err == nil && len(text) > maxNote { // addresses may be long
		text, err = json.Marshal(note{Count: sum.messages, Requests: sum.requests})
	}
	if err != nil {
		return result{key: s.key, permanent: err.Error()}
	}
	contact := p.c.Contact
	if contact == "" {
		contact = "postmaster@" + p.h.Domain().Domain()
	}
	a, err := webpush.SendNotificationWithContext(ctx, text, &webpush.Subscription{Endpoint: s.service, Keys: webpush.Keys{P256dh: k.P256DH, Auth: k.Auth}},
		&webpush.Options{
			HTTPClient: noRedirect{p.h.HTTP()}, TTL: int(keepFor.Seconds()), Urgency: webpush.UrgencyHigh, Subscriber: contact,
			// Of notifications that wait for a browser the newest is enough (RFC 8030 §5.4).
			Topic: "sabir", VAPIDPublicKey: server.public, VAPIDPrivateKey: server.private,
		})
	if err != nil {
		var denied *dial.DeniedError
		if errors.As(err, &denied) {
			return result{key: s.key, permanent: denied.Error()}
		}
		return result{key: s.key, transient: err.Error()}
	}
	return webAnswer(s.key, a, sum.messages)
}

// webAnswer reads the answer of a browser's push service (RFC 8030 §5, §7.3, §8.4).
func webAnswer(k key, a *http.Response, told int) result {
	var why bytes.Buffer
	_, err := io.CopyN(&why, a.Body, 200)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	err = errors.Join(err, a.Body.Close())
	text := fmt.Sprintf("%s %.200q", a.Status, why.String())
	switch c := a.StatusCode; {
	case c >= 200 && c < 300:
		return result{key: k, told: told}
	case c == http.StatusTooManyRequests, c == http.StatusRequestTimeout, c >= 500, err != nil:
		return result{key: k, transient: text}
	}
	return result{key: k, permanent: text} // 404 and 410: the subscription has ended
}

// noRedirect sends requests to where they are addressed, and nowhere else: the key of a subscription is for its endpoint.
type noRedirect struct{ c *http.Client }

// Do is http.Client.Do, without redirects.
func (n noRedirect) Do(r *http.Request) (*http.Response, error) {
	c := *n.c
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c.Do(r)
}

// keys are the key pair of the server (RFC 8292 §2), made once and kept in the database.
type keys struct {
	mu sync.Mutex
	k  keyPair
}

type keyPair struct{ private, public string }

func (ks *keys) get(ctx context.Context, db mod.DB) (keyPair, error) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if ks.k.public != "" {
		return ks.k, nil
	}
	private, public, err := webpush.GenerateVAPIDKeys()
	if err != nil {
		return keyPair{}, err
	}
	var k keyPair
	err = db.Write(ctx, func(tx mod.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO push_key (id, private_key, public_key) VALUES (1, ?, ?) ON CONFLICT (id) DO NOTHING`, private, public); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT private_key, public_key FROM push_key WHERE id = 1`).Scan(&k.private, &k.public)
	})
	if err == nil {
		ks.k = k
	}
	return k, err
}
