package feeds

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sabir/engine/pubsub"
	"sabir/xmpp/dial"
)

const (
	// webTimeout bounds one request to a subscriber.
	webTimeout = 30 * time.Second
)

// topicNow returns the node of a topic as it is, nil where it is not shown any more, and what it looks like.
func (h *hub) topicNow(ctx context.Context, topic string) (*pubsub.OpenNode, *document, []byte, error) {
	s := origin(topic)
	p, ok := h.topic(topic, s)
	if !ok {
		return nil, nil, nil, nil
	}
	n, err := h.f.node(ctx, p)
	if n == nil || err != nil {
		return nil, nil, nil, err
	}
	d, err := h.f.document(ctx, n, s, p.format, query{})
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := h.f.render(d)
	return n, d, b, err
}

// verify asks a callback whether it means its request (WebSub, "Hub Verifies Intent of the Subscriber"), and does what was asked for. done is false where it is
// to be tried again; after the last time the request is given up.
func (h *hub) verify(ctx context.Context, k key, last bool) (done bool, err error) {
	r, err := h.store.requested(ctx, k)
	if r == nil || err != nil {
		return err == nil, err
	}
	var made *subscription
	if r.mode == modeSubscribe {
		n, _, b, err := h.topicNow(ctx, r.topic)
		if err != nil {
			return false, err
		}
		if n == nil {
			return true, errors.Join(h.deny(ctx, k), h.store.drop(ctx, r))
		}
		made = &subscription{
			key: k, at: n.At.String(), node: n.Name, secret: r.secret, sent: etag(b),
			expires: h.f.h.Clock().Now().Add(r.lease),
		}
	}
	again, err := h.confirm(ctx, r)
	switch {
	case err == nil:
		return true, h.store.settle(ctx, r, made)
	case again && !last:
		return false, err
	}
	return true, errors.Join(err, h.store.drop(ctx, r))
}

// confirm asks for the confirmation; again says that it may come another time.
func (h *hub) confirm(ctx context.Context, r *request) (again bool, err error) {
	var b [24]byte
	if _, err := rand.Read(b[:]); err != nil {
		return true, err
	}
	challenge := hex.EncodeToString(b[:])
	v := url.Values{"hub.mode": {r.mode}, "hub.topic": {r.topic}, "hub.challenge": {challenge}}
	if r.mode == modeSubscribe {
		v.Set("hub.lease_seconds", strconv.Itoa(int(r.lease/time.Second)))
	}
	status, body, err := h.get(ctx, r.callback, v, len(challenge)+1)
	switch {
	case err != nil:
		var denied *dial.DeniedError
		return !errors.As(err, &denied), err
	case status >= 500:
		return true, fmt.Errorf("the callback answers with %d", status)
	case status < 200 || status > 299:
		return false, fmt.Errorf("the callback declines with %d", status)
	case string(body) != challenge:
		return false, errors.New("the callback does not repeat the challenge")
	}
	return false, nil
}

// deny tells a callback that there is no subscription any more (WebSub, "Subscription Validation").
func (h *hub) deny(ctx context.Context, k key) error {
	_, _, err := h.get(ctx, k.callback, url.Values{"hub.mode": {modeDenied}, "hub.topic": {k.topic}, "hub.reason": {"there is no such feed"}}, 0)
	return err
}

// get asks a callback with parameters beside its own, and returns up to most bytes of the answer.
func (h *hub) get(ctx context.Context, callback string, v url.Values, most int) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, webTimeout)
	defer cancel()
	u, err := url.Parse(callback)
	if err != nil {
		return 0, nil, err
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += v.Encode()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, nil, err
	}
	return h.roundTrip(q, most)
}

// roundTrip makes a request without following redirects: the callback that was verified is the one that is used.
func (h *hub) roundTrip(q *http.Request, most int) (status int, body []byte, err error) {
	c := *h.f.h.HTTP()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	q.Header.Set("User-Agent", "Sabir WebSub hub")
	a, err := c.Do(q)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(io.LimitReader(a.Body, int64(most)))
	return a.StatusCode, body, errors.Join(err, a.Body.Close())
}

// deliver sends a subscriber a feed as it is, where that is not what it was sent last (WebSub, "Content Distribution").
func (h *hub) deliver(ctx context.Context, k key) (done bool, err error) {
	x, err := h.store.subscription(ctx, k, h.f.h.Clock().Now())
	if x == nil || err != nil {
		return err == nil, err
	}
	n, d, b, err := h.topicNow(ctx, k.topic)
	if err != nil {
		return false, err
	}
	if n == nil {
		return true, errors.Join(h.store.end(ctx, k), h.deny(ctx, k))
	}
	tag := etag(b)
	if tag == x.sent {
		return true, nil
	}
	status, err := h.post(ctx, x, d, b)
	var denied *dial.DeniedError
	switch {
	case errors.As(err, &denied):
		return true, errors.Join(err, h.store.end(ctx, k))
	case err != nil:
		return false, err
	case status == http.StatusGone:
		return true, h.store.end(ctx, k)
	case status < 200 || status > 299:
		return false, fmt.Errorf("the callback answers with %d", status)
	}
	return true, h.store.delivered(ctx, k, tag)
}

// post sends a feed, signed where the subscriber has given a secret (WebSub, "Authenticated Content Distribution").
func (h *hub) post(ctx context.Context, x *subscription, d *document, b []byte) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, webTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, x.callback, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	q.Header.Set("Content-Type", d.format.contentType())
	q.Header.Add("Link", linkHeader(link{Rel: "hub", Href: d.hub}))
	q.Header.Add("Link", linkHeader(link{Rel: "self", Href: x.topic}))
	if x.secret != "" {
		m := hmac.New(sha256.New, []byte(x.secret))
		m.Write(b)
		q.Header.Set("X-Hub-Signature", "sha256="+hex.EncodeToString(m.Sum(nil)))
	}
	status, _, err = h.roundTrip(q, 0)
	return status, err
}
