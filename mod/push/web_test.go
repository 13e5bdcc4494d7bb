package push

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/internal/pushtest"
	"sabir/mod/modtest"
	"sabir/xmpp/dial"
	"sabir/xmpp/stanza"
)

func subscription(b *pushtest.Browser) string {
	return "<subscribe xmlns='sabir:webpush:0' endpoint='" + b.Endpoint + "'><p256dh>" + b.P256DH + "</p256dh><auth>" + b.Auth + "</auth></subscribe>"
}

// outside returns a client of the server's dialler that trusts the browser's push service; with the ranges that are open.
func outside(t testing.TB, b *pushtest.Browser, open ...string) *http.Client {
	p := &dial.Policy{}
	for _, o := range open {
		p.Allow = append(p.Allow, netip.MustParsePrefix(o))
	}
	c := (&dial.Dialer{Policy: p}).HTTPClient(b.Trust())
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func parse(t testing.TB, n pushtest.Note) (out note) {
	t.Helper()
	if err := json.Unmarshal([]byte(n.Text), &out); err != nil {
		t.Errorf("%v in %q", err, n.Text)
	}
	return out
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
		b := pushtest.New(t, nil)
		w := newWorld(t, d, modtest.WithHTTP(outside(t, b, "127.0.0.0/8")), modtest.WithConfig(func(c *Config) { c.Sender, c.Body = true, true }))
		key := w.Get(phone, "", "<webpush xmlns='sabir:webpush:0'/>").Payload().ChildText(nsWeb, "key")
		modtest.Expect(t, w.Set(phone, "", subscription(b)), ok)
		w.chat("Wherefore?")
		w.settled()
		got, _ := b.Notes()
		if len(got) != 1 || parse(t, got[0]) != (note{"juliet@localhost", 1, 0, "romeo@localhost/x", "Wherefore?"}) || got[0].From != key {
			t.Fatalf("the browser got %v, want from %s", got, key)
		}
		w.Advance(time.Hour)
		again := newWorld(t, d, modtest.WithHTTP(outside(t, b, "127.0.0.0/8"))) // the key is the same after a restart
		again.chat("2")
		again.settled()
		if got, _ = b.Notes(); len(got) != 2 || parse(t, got[1]) != (note{Account: "juliet@localhost", Count: 2}) || got[1].From != key {
			t.Errorf("the browser got %v", got)
		}
		modtest.Expect(t, w.Set(phone, "", "<unsubscribe xmlns='sabir:webpush:0' endpoint='"+b.URL+"/s/1'/>"), ok)
		w.chat("3")
		w.settled()
		if got, _ = b.Notes(); len(got) != 2 {
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
		b := pushtest.New(t, nil)
		b.Answer(status)
		w := newWorld(t, dbtest.SQLite(t), modtest.WithHTTP(outside(t, b, "127.0.0.0/8")))
		modtest.Expect(t, w.Set(phone, "", subscription(b)), ok)
		for range 2 {
			w.chat("x")
			w.settled()
			w.Advance(time.Hour)
		}
		if _, n := b.Notes(); n != hits {
			t.Errorf("%d: asked %d times, want %d", status, n, hits)
		}
	}
}

// A subscription may not lead to where only the server can go.
func TestWebPolicy(t *testing.T) {
	b := pushtest.New(t, nil)
	w := newWorld(t, dbtest.SQLite(t), modtest.WithHTTP(outside(t, b)))
	modtest.Expect(t, w.Set(phone, "", subscription(b)), ok)
	w.chat("1")
	w.settled()
	w.Advance(24 * time.Hour)
	w.chat("2")
	w.settled()
	if _, n := b.Notes(); n != 0 {
		t.Errorf("loopback was asked %d times", n)
	}
	if list, err := w.p.services(w.Context(), modtest.Stanza(t, "<presence from='"+juliet+"'/>").From); err != nil || len(list) != 0 {
		t.Errorf("the service is still enabled: %v", err)
	}
}

func TestSubscribeErrors(t *testing.T) {
	b := pushtest.New(t, nil)
	w := newWorld(t, dbtest.SQLite(t))
	good := subscription(b)
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
