package feeds

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/engine/pubsub"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/dial"
)

// subscriber is a WebSub subscriber.
type subscriber struct {
	*httptest.Server
	t      testing.TB
	asked  chan url.Values // verifications and denials
	told   chan delivery
	mu     sync.Mutex
	refuse bool  // confirm nothing
	fail   []int // what to answer to the next deliveries
}

type delivery struct {
	http.Header
	body string
}

func newSubscriber(t testing.TB) *subscriber {
	s := &subscriber{t: t, asked: make(chan url.Values, 100), told: make(chan delivery, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Method == http.MethodGet {
			v := r.URL.Query()
			if !s.refuse {
				io.WriteString(w, v.Get("hub.challenge"))
			} else {
				w.WriteHeader(http.StatusNotFound)
			}
			s.asked <- v
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if len(s.fail) > 0 {
			w.WriteHeader(s.fail[0])
			s.fail = s.fail[1:]
			return
		}
		s.told <- delivery{r.Header, string(b)}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *subscriber) set(refuse bool, fail ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse, s.fail = refuse, fail
}

// wait returns what comes, within a time that only a failure takes.
func wait[T any](t testing.TB, c chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(30 * time.Second):
		t.Fatal("nothing has come")
		panic("unreachable")
	}
}

// until waits for a condition of the store.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// hub asks the hub for something.
func (w *world) hub(fields ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Set("hub."+fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, base+"/feeds/localhost/hub", strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	a := httptest.NewRecorder()
	w.Hooks.HTTP[0].Handler.ServeHTTP(a, r)
	return a
}

const topicURL = base + blog + "/feed.atom"

func (w *world) subscribed() int {
	w.t.Helper()
	host, _, err := w.f.hub.store.counts(w.Context(), topicURL)
	if err != nil {
		w.t.Fatal(err)
	}
	pending, err := w.f.hub.store.pending(w.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return host - len(pending)
}

// subscribe subscribes, and waits until that is done.
func (w *world) subscribe(s *subscriber, more ...string) url.Values {
	w.t.Helper()
	before := w.subscribed()
	if a := w.hub(append([]string{"mode", "subscribe", "callback", s.URL + "/cb?own=1", "topic", topicURL}, more...)...); a.Code != http.StatusAccepted {
		w.t.Fatalf("%d %s", a.Code, a.Body)
	}
	v := wait(w.t, s.asked)
	until(w.t, "there is no subscription", func() bool { return w.subscribed() == before+1 })
	return v
}

func TestHub(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		s := newSubscriber(t)
		client := modtest.WithHTTP(s.Client())
		w := newWorld(t, d, client)
		w.post("a", "first")
		v := w.subscribe(s, "secret", "s3cret", "lease_seconds", "3600", "unknown", "ignored")
		if v.Get("own") != "1" || v.Get("hub.mode") != "subscribe" || v.Get("hub.topic") != topicURL || v.Get("hub.lease_seconds") != "3600" || len(v.Get("hub.challenge")) < 32 {
			t.Errorf("asked %v", v)
		}

		w.post("b", "second")
		n := wait(t, s.told)
		f := new(atomFeed)
		if err := xml.Unmarshal([]byte(n.body), f); err != nil || len(f.Entries) != 2 || f.Entries[0].Title != "second" {
			t.Errorf("%v %s", err, n.body)
		}
		m := hmac.New(sha256.New, []byte("s3cret"))
		m.Write([]byte(n.body))
		if n.Get("X-Hub-Signature") != "sha256="+hex.EncodeToString(m.Sum(nil)) || n.Get("Content-Type") != "application/atom+xml; charset=utf-8" ||
			strings.Join(n.Values("Link"), ", ") != `<`+base+`/feeds/localhost/hub>; rel="hub", <`+topicURL+`>; rel="self"` {
			t.Errorf("%v", n.Header)
		}
		if n.body != w.page(blog+"/feed.atom") {
			t.Error("the feed that was sent is not that which is there")
		}

		t.Run("retry", func(t *testing.T) {
			s.set(false, 500, 503, 302)
			w.post("c", "third")
			if n := wait(t, s.told); !strings.Contains(n.body, "third") {
				t.Errorf("%s", n.body)
			}
		})
		t.Run("restart", func(t *testing.T) {
			// What is published while nobody can be told is told after the next start.
			w.Stop()
			silent := newWorld(t, d, modtest.WithConfig(func(c *Config) { c.Subscriptions = 0 }))
			silent.post("d", "fourth")
			silent.Stop()
			newWorld(t, d, client)
			if n := wait(t, s.told); !strings.Contains(n.body, "fourth") {
				t.Errorf("%s", n.body)
			}
		})
	})
}

func TestHubEnds(t *testing.T) {
	s := newSubscriber(t)
	client := modtest.WithHTTP(s.Client())
	t.Run("unsubscribe", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t), client)
		w.post("a", "a")
		w.subscribe(s)
		if a := w.hub("mode", "unsubscribe", "callback", s.URL+"/cb?own=1", "topic", topicURL); a.Code != http.StatusAccepted {
			t.Fatal(a.Code)
		}
		if v := wait(t, s.asked); v.Get("hub.mode") != "unsubscribe" || v.Has("hub.lease_seconds") {
			t.Errorf("asked %v", v)
		}
		until(t, "the subscription is there", func() bool { return w.subscribed() == 0 })
	})
	t.Run("of nothing", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t), client)
		w.post("a", "a")
		if a := w.hub("mode", "unsubscribe", "callback", s.URL+"/never", "topic", topicURL); a.Code != http.StatusAccepted {
			t.Fatal(a.Code)
		}
		if p, err := w.f.hub.store.pending(w.Context()); len(p) != 0 || err != nil {
			t.Errorf("%v is to be asked about (%v)", p, err)
		}
	})
	t.Run("declined", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t), client)
		w.post("a", "a")
		s.set(true)
		defer s.set(false)
		if a := w.hub("mode", "subscribe", "callback", s.URL, "topic", topicURL); a.Code != http.StatusAccepted {
			t.Fatal(a.Code)
		}
		wait(t, s.asked)
		until(t, "the request is there", func() bool { p, err := w.f.hub.store.pending(w.Context()); return err == nil && len(p) == 0 })
		if w.subscribed() != 0 {
			t.Error("there is a subscription")
		}
	})
	t.Run("closed", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t), client)
		w.post("a", "a")
		w.subscribe(s)
		w.configure(romeo, pubsub.NSMicroblog, "presence")
		if v := wait(t, s.asked); v.Get("hub.mode") != "denied" || v.Get("hub.topic") != topicURL {
			t.Errorf("asked %v", v)
		}
		until(t, "the subscription is there", func() bool { return w.subscribed() == 0 })
	})
	t.Run("gone", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t), client)
		w.post("a", "a")
		w.subscribe(s)
		s.set(false, http.StatusGone)
		w.post("b", "b")
		until(t, "the subscription is there", func() bool { return w.subscribed() == 0 })
	})
	t.Run("lease", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t), client)
		w.post("a", "a")
		if v := w.subscribe(s, "lease_seconds", "1"); v.Get("hub.lease_seconds") != "300" {
			t.Errorf("the lease is %s", v.Get("hub.lease_seconds"))
		}
		w.Advance(6 * time.Minute)
		if x, err := w.f.hub.store.subscription(w.Context(), key{s.URL + "/cb?own=1", topicURL}, w.Clock().Now()); x != nil || err != nil {
			t.Errorf("%v %v", x, err)
		}
		if err := w.f.hub.store.expire(w.Context(), w.Clock().Now()); err != nil || w.subscribed() != 0 {
			t.Errorf("%d subscriptions, %v", w.subscribed(), err)
		}
	})
	t.Run("account", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t), client)
		w.post("a", "a")
		w.subscribe(s)
		if err := w.Accounts().Delete(w.Context(), "romeo"); err != nil || w.subscribed() != 0 {
			t.Errorf("%d subscriptions, %v", w.subscribed(), err)
		}
	})
	t.Run("private network", func(t *testing.T) {
		// The one dialler lets nobody into the networks that only the server can reach.
		w := newWorld(t, dbtest.SQLite(t), modtest.WithHTTP((&dial.Dialer{Policy: &dial.Policy{}}).HTTPClient(nil)))
		w.post("a", "a")
		if a := w.hub("mode", "subscribe", "callback", s.URL, "topic", topicURL); a.Code != http.StatusAccepted {
			t.Fatal(a.Code)
		}
		until(t, "the request is there", func() bool { p, err := w.f.hub.store.pending(w.Context()); return err == nil && len(p) == 0 })
		if w.subscribed() != 0 || len(s.asked) != 0 {
			t.Error("the callback was asked")
		}
	})
}

func TestHubRefuses(t *testing.T) {
	s := newSubscriber(t)
	w := newWorld(t, dbtest.SQLite(t), modtest.WithHTTP(s.Client()), modtest.WithConfig(func(c *Config) { c.PerTopic, c.Rate = 1, 0 }))
	w.post("a", "a")
	for _, c := range []struct {
		want                  int
		mode, callback, topic string
		more                  []string
	}{
		{400, "publish", s.URL, topicURL, nil},
		{400, "subscribe", "", topicURL, nil},
		{400, "subscribe", "ftp://example.org/", topicURL, nil},
		{400, "subscribe", "http://u:p@example.org/", topicURL, nil},
		{400, "subscribe", "http://example.org/#f", topicURL, nil},
		{400, "subscribe", "http://example.org/" + strings.Repeat("x", maxURL), topicURL, nil},
		{400, "subscribe", s.URL, "https://other.test" + blog + "/feed.atom", nil},
		{400, "subscribe", s.URL, base + blog, nil},
		{400, "subscribe", s.URL, topicURL + "?before=1", nil},
		{400, "subscribe", s.URL, base + blog + "/item/a", nil},
		{400, "subscribe", s.URL, base + "/feeds/romeo@elsewhere.test/x/feed.atom", nil},
		{400, "subscribe", s.URL, topicURL, []string{"secret", strings.Repeat("s", 200)}},
		{400, "subscribe", s.URL, topicURL, []string{"lease_seconds", "-1"}},
		{404, "subscribe", s.URL, base + "/feeds/juliet@localhost/urn:xmpp:microblog:0/feed.atom", nil},
		{202, "subscribe", s.URL, topicURL, nil},
		{503, "subscribe", s.URL + "/other", topicURL, nil},
	} {
		if a := w.hub(append([]string{"mode", c.mode, "callback", c.callback, "topic", c.topic}, c.more...)...); a.Code != c.want {
			t.Errorf("%v: %d %s", c, a.Code, a.Body)
		}
	}
	if a := w.get("/feeds/localhost/hub"); a.Code != 405 || a.Header().Get("Allow") != "POST" {
		t.Error(a.Code)
	}
	r := httptest.NewRequest(http.MethodPost, base+"/feeds/localhost/hub", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	a := httptest.NewRecorder()
	if w.Hooks.HTTP[0].Handler.ServeHTTP(a, r); a.Code != 415 {
		t.Error(a.Code)
	}
	if a := w.hub("mode", "subscribe", "callback", strings.Repeat("x", maxForm), "topic", topicURL); a.Code != 400 {
		t.Error(a.Code)
	}
}
