package feeds

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// The modes of WebSub requests (WebSub, "Subscriber Sends Subscription Request").
const (
	modeSubscribe   = "subscribe"
	modeUnsubscribe = "unsubscribe"
	modeDenied      = "denied"
)

const (
	// minLease is the shortest time for which a subscription is granted.
	minLease = 5 * time.Minute
	// maxSecret is how long the secret of a subscriber may be (WebSub, "Subscriber Sends Subscription Request": less than 200 bytes).
	maxSecret = 199
	// maxURL bounds callbacks and topics, maxForm a whole request.
	maxURL, maxForm = 2000, 16 << 10
	// maxSending and maxPerTarget bound what is under way, in all and to one server.
	maxSending, maxPerTarget = 16, 2
	// sweepEvery is how often subscriptions are deleted whose lease is over.
	sweepEvery = time.Hour
)

// hub tells subscribers of what is new (WebSub). What it owes is in the database: requests that wait to be verified, and what
// each subscriber was sent last, so that after a restart whoever has not the newest gets it. In memory is only what is due when.
type hub struct {
	f     *feeds
	store store
	wake  chan struct{}
	// first is how long to wait after the first failure.
	first time.Duration

	mu      sync.Mutex
	topics  map[topic]bool // changed; their followers are yet to be looked up
	jobs    map[job]*state
	sending map[string]int // by server
	all     int
}

// job is something to be done: a request to be verified or a subscriber to be told.
type job struct {
	key
	verify bool
}

type state struct {
	due      time.Time
	failures int
	running  bool
	again    bool // there was something new while it ran
}

func newHub(f *feeds) *hub {
	return &hub{
		f: f, store: store{f.h.DB(), f.h.Domain().String()}, wake: make(chan struct{}, 1), first: 10 * time.Second,
		topics: make(map[topic]bool), jobs: make(map[job]*state), sending: make(map[string]int),
	}
}

// start takes up what is owed from before.
func (h *hub) start(ctx context.Context) error {
	if h.f.c.Subscriptions == 0 {
		return nil
	}
	known, err := h.store.all(ctx)
	if err != nil {
		return err
	}
	asked, err := h.store.pending(ctx)
	if err != nil {
		return err
	}
	for _, k := range known {
		h.add(job{k, false})
	}
	for _, k := range asked {
		h.add(job{k, true})
	}
	h.f.h.Go("websub", h.run)
	return nil
}

// changed says that a node has changed.
func (h *hub) changed(at jid.JID, node string) {
	if h.f.c.Subscriptions == 0 {
		return
	}
	h.mu.Lock()
	h.topics[topic{at, node}] = true
	h.mu.Unlock()
	h.signal()
}

func (h *hub) signal() {
	select {
	case h.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// add has something done as soon as possible, as if it had not failed before.
func (h *hub) add(j job) {
	h.mu.Lock()
	s := h.jobs[j]
	if s == nil {
		s = &state{}
		h.jobs[j] = s
	}
	s.due, s.failures, s.again = time.Time{}, 0, s.running
	h.mu.Unlock()
	h.signal()
}

// run starts what is due.
func (h *hub) run(ctx context.Context) {
	sweep := time.Now()
	for {
		if now := time.Now(); !now.Before(sweep) {
			sweep = now.Add(sweepEvery)
			if err := h.store.expire(ctx, h.f.h.Clock().Now()); err != nil && ctx.Err() == nil {
				h.f.h.Log().Error("WebSub subscriptions whose time is over were not deleted", "error", err)
			}
		}
		h.lookUp(ctx)
		next := h.launch(time.Now())
		if next.IsZero() || next.After(sweep) {
			next = sweep
		}
		t := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-h.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// lookUp finds the followers of what has changed.
func (h *hub) lookUp(ctx context.Context) {
	h.mu.Lock()
	topics := h.topics
	h.topics = make(map[topic]bool)
	h.mu.Unlock()
	for t := range topics {
		list, err := h.store.followers(ctx, t.at, t.node)
		if err != nil {
			if ctx.Err() == nil {
				h.f.h.Log().Error("the followers of a feed cannot be read", "error", err)
			}
			continue // they are told with the next change, or after a restart
		}
		for _, k := range list {
			h.add(job{k, false})
		}
	}
}

// launch starts what is due and has room, and returns when the next is due, or zero.
func (h *hub) launch(now time.Time) (next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for j, s := range h.jobs {
		switch target := targetOf(j.callback); {
		case s.running:
		case s.due.After(now):
			if next.IsZero() || s.due.Before(next) {
				next = s.due
			}
		case h.all < maxSending && h.sending[target] < maxPerTarget:
			s.running = true
			h.all++
			h.sending[target]++
			h.f.h.Go("websub", func(ctx context.Context) { h.do(ctx, j, target) })
		}
	}
	return next
}

// targetOf returns the server of a callback.
func targetOf(callback string) string {
	u, err := url.Parse(callback)
	if err != nil {
		return ""
	}
	return u.Host
}

// do does one thing, and has it done again later where it has failed.
func (h *hub) do(ctx context.Context, j job, target string) {
	done := false
	defer func() { // a panic is a failure as well
		h.mu.Lock()
		s := h.jobs[j]
		h.all--
		if h.sending[target]--; h.sending[target] == 0 {
			delete(h.sending, target)
		}
		s.running = false
		switch wait := h.retry(j, s.failures); {
		case s.again:
			s.again, s.due = false, time.Time{}
		case done, wait == 0:
			delete(h.jobs, j)
		default:
			s.failures++
			s.due = time.Now().Add(wait)
		}
		h.mu.Unlock()
		h.signal()
	}()
	var err error
	if j.verify {
		h.mu.Lock()
		last := h.retry(j, h.jobs[j].failures) == 0
		h.mu.Unlock()
		done, err = h.verify(ctx, j.key, last)
	} else {
		done, err = h.deliver(ctx, j.key)
	}
	if err != nil && ctx.Err() == nil {
		h.f.h.Log().Warn("WebSub", "callback", target, "verify", j.verify, "error", err)
	}
}

// retry returns how long to wait after a failure, or 0 to give up: a request after a minute, a delivery after a day. What was
// not delivered is so with the next change.
func (h *hub) retry(j job, failures int) time.Duration {
	most := 3
	if !j.verify {
		most = 12
	}
	if failures >= most {
		return 0
	}
	return min(h.first<<failures, 6*time.Hour)
}

// serve takes a request for a subscription (WebSub, "Subscriber Sends Subscription Request").
func (h *hub) serve(w http.ResponseWriter, r *http.Request, began time.Time) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "subscriptions are asked for by POST", http.StatusMethodNotAllowed)
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		http.Error(w, "a request is a form", http.StatusUnsupportedMediaType)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	q, p, problem := h.read(r.PostForm, h.f.site(r))
	if problem != "" {
		http.Error(w, problem, http.StatusBadRequest)
		return
	}
	ctx := r.Context()
	status, err := h.take(ctx, q, p)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			h.f.h.Log().Error("a WebSub request was not kept", "error", err)
		}
		http.Error(w, "internal error", http.StatusInternalServerError)
	case status == http.StatusNotFound:
		h.f.absent(w, r, began)
	case status != http.StatusAccepted:
		w.Header().Set("Retry-After", "3600")
		http.Error(w, "there are too many subscriptions", status)
	default:
		h.add(job{q.key, true})
		w.WriteHeader(http.StatusAccepted)
	}
}

// take keeps a request that may be made. One that would end nothing is not kept: nobody need be asked about it, and others would have
// us ask whomever they want.
func (h *hub) take(ctx context.Context, q request, p place) (status int, err error) {
	if q.mode == modeUnsubscribe {
		known, err := h.known(ctx, q.key)
		if err == nil && known {
			err = h.store.request(ctx, q)
		}
		return http.StatusAccepted, err
	}
	if n, err := h.f.node(ctx, p); err != nil || n == nil {
		return http.StatusNotFound, err
	}
	host, of, err := h.store.counts(ctx, q.topic)
	if err != nil {
		return 0, err
	}
	if host >= h.f.c.Subscriptions || of >= h.f.c.PerTopic {
		return http.StatusServiceUnavailable, nil
	}
	return http.StatusAccepted, h.store.request(ctx, q)
}

// known tells whether there is a subscription, or a request that waits for its confirmation.
func (h *hub) known(ctx context.Context, k key) (bool, error) {
	x, err := h.store.subscription(ctx, k, h.f.h.Clock().Now())
	if x != nil || err != nil {
		return x != nil, err
	}
	r, err := h.store.requested(ctx, k)
	return r != nil, err
}

// read reads the form of a request, or says what is wrong with it. Parameters that are unknown are ignored.
func (h *hub) read(v url.Values, s site) (q request, p place, problem string) {
	q = request{key: key{v.Get("hub.callback"), v.Get("hub.topic")}, mode: v.Get("hub.mode"), secret: v.Get("hub.secret"), lease: time.Duration(h.f.c.Lease)}
	if q.mode != modeSubscribe && q.mode != modeUnsubscribe {
		return q, p, "hub.mode is subscribe or unsubscribe"
	}
	u, err := url.Parse(q.callback)
	if err != nil || len(q.callback) > maxURL || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return q, p, "hub.callback is an http: or https: URL without user and fragment"
	}
	p, ok := h.topic(q.topic, s)
	if !ok {
		return q, p, "hub.topic is the address that a feed here gives as its own"
	}
	if len(q.secret) > maxSecret {
		return q, p, "hub.secret has less than 200 bytes"
	}
	if t := v.Get("hub.lease_seconds"); t != "" {
		n, err := strconv.ParseUint(t, 10, 31)
		if err != nil || n == 0 {
			return q, p, "hub.lease_seconds is a number"
		}
		q.lease = max(minLease, min(q.lease, time.Duration(n)*time.Second))
	}
	return q, p, ""
}

// topic reads the URL of a feed of this host, as its link to itself has it.
func (h *hub) topic(s string, here site) (place, bool) {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL {
		return place{}, false
	}
	p, ok := parsePlace(u.EscapedPath())
	return p, ok && p.format != "" && p.item == "" && s == here.url(p) && h.owns(p.at.DomainJID())
}

// owns tells whether a domain is the host's, or that of one of its services.
func (h *hub) owns(domain jid.JID) bool {
	if domain == h.f.h.Domain() {
		return true
	}
	for _, i := range h.f.h.Disco(mod.AtHost).Items {
		if i.JID == domain {
			return true
		}
	}
	return false
}
