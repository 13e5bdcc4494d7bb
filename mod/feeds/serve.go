package feeds

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sabir/engine/pubsub"
)

const (
	// maxBusy bounds the requests that are served at a time.
	maxBusy = 32
	// absence is how long a request takes at least that is answered with 404, so that nobody learns from the time whether there
	// is a node that is not for everybody.
	absence = 50 * time.Millisecond
	// maxAge is for how long others may show what they have had.
	maxAge = "max-age=60"
)

// serve answers a request below /feeds/.
func (f *feeds) serve(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	h := w.Header()
	h.Set("Content-Security-Policy", dataPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Access-Control-Allow-Origin", "*") // it is for everybody, and there are no cookies
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if wait := f.rate.take(r.RemoteAddr, began); wait > 0 {
		h.Set("Retry-After", seconds(wait))
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	}
	select {
	case f.busy <- struct{}{}:
		defer func() { <-f.busy }()
	default:
		h.Set("Retry-After", "2")
		http.Error(w, "too much to do", http.StatusServiceUnavailable)
		return
	}
	p, ok := parsePlace(r.URL.EscapedPath())
	if !ok {
		f.absent(w, r, began)
		return
	}
	if p.at == f.h.Domain() {
		if p.node == "hub" && p.format == "" && f.c.Subscriptions > 0 {
			f.hub.serve(w, r, began)
			return
		}
		f.absent(w, r, began)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if err := f.show(w, r, p, began); err != nil {
		if r.Context().Err() == nil {
			f.h.Log().Error("a feed cannot be shown", "error", err)
		}
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

// absent answers for what is not there, and for what is not for everybody.
func (f *feeds) absent(w http.ResponseWriter, r *http.Request, began time.Time) {
	t := time.NewTimer(absence - time.Since(began))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "there is no such feed", http.StatusNotFound)
}

// show answers with a node or an item.
func (f *feeds) show(w http.ResponseWriter, r *http.Request, p place, began time.Time) error {
	h := w.Header()
	values, err := url.ParseQuery(r.URL.RawQuery)
	q, ok := parseQuery(values)
	if err != nil || !ok || p.item != "" && q != (query{}) {
		http.Error(w, "the parameters of a feed are those of the links in it", http.StatusBadRequest)
		return nil
	}
	if p.node == "" {
		if p.at.Local() == "" {
			f.absent(w, r, began)
			return nil
		}
		p.node = pubsub.NSMicroblog
	}
	form := p.format
	if form == "" {
		h.Set("Vary", "Accept")
		if form = choose(r.Header.Values("Accept")); form == "" {
			http.Error(w, "there are Atom, RSS, JSON Feed and HTML", http.StatusNotAcceptable)
			return nil
		}
	}
	n, err := f.node(r.Context(), p)
	if err != nil {
		return err
	}
	if n == nil {
		f.absent(w, r, began)
		return nil
	}
	s := f.site(r)
	if p.item != "" {
		return f.showItem(w, r, n, p, s, began)
	}
	d, err := f.document(r.Context(), n, s, form, q)
	if err != nil {
		return err
	}
	b, err := f.render(d)
	if err != nil {
		return err
	}
	for _, l := range d.links() {
		h.Add("Link", linkHeader(l))
	}
	f.send(w, r, d, b)
	return nil
}

// node returns a node that is shown, or nil.
func (f *feeds) node(ctx context.Context, p place) (*pubsub.OpenNode, error) {
	n, err := f.nodes.Node(ctx, p.at, p.node)
	if n == nil || err != nil || !shows(n) {
		return nil, err
	}
	return n, nil
}

// site is how this server is called: by its own setting, or as the request does.
func (f *feeds) site(r *http.Request) site {
	if s := origin(f.c.URL); s != "" {
		return s
	}
	return site("https://" + r.Host)
}

// render returns a document in its format.
func (f *feeds) render(d *document) ([]byte, error) {
	switch d.format {
	case atom:
		return d.atom(), nil
	case rss:
		return d.rss(), nil
	case feed:
		return d.json()
	}
	return f.pages.render(d, false)
}

func (f *feeds) showItem(w http.ResponseWriter, r *http.Request, n *pubsub.OpenNode, p place, s site, began time.Time) error {
	i, err := f.nodes.Item(r.Context(), n, p.item)
	if err != nil {
		return err
	}
	if i == nil {
		f.absent(w, r, began)
		return nil
	}
	e, ok := s.read(n, i)
	if !ok {
		f.absent(w, r, began)
		return nil
	}
	d := &document{at: n.At, node: n.Name, Title: oneLine(n.Title), Language: languageTag(n.Language), Updated: i.Updated, Entries: []entry{e}, format: page, site: s}
	if err := f.describe(r.Context(), n, d); err != nil {
		return err
	}
	b, err := f.pages.render(d, true)
	if err != nil {
		return err
	}
	w.Header().Add("Link", linkHeader(link{Rel: "alternate", Href: e.URI}))
	f.send(w, r, d, b)
	return nil
}

// send sends a document, or says that the client has it (RFC 9110 §13).
func (f *feeds) send(w http.ResponseWriter, r *http.Request, d *document, b []byte) {
	h := w.Header()
	h.Set("Content-Type", d.format.contentType())
	h.Set("Cache-Control", "public, "+maxAge)
	h.Set("ETag", etag(b))
	if d.format == page {
		h.Set("Content-Security-Policy", f.pages.policy)
		h.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	changed := f.news.at(d.at, d.node)
	if d.Updated.After(changed) {
		changed = d.Updated
	}
	http.ServeContent(w, r, "", changed, bytes.NewReader(b))
}

// etag names a content (RFC 9110 §8.8.3).
func etag(b []byte) string {
	sum := sha256.Sum256(b)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
}

// linkHeader returns the value of a field Link (RFC 8288 §3).
func linkHeader(l link) string {
	v := "<" + strings.NewReplacer("<", "%3C", ">", "%3E", "\r", "", "\n", "").Replace(l.Href) + `>; rel="` + l.Rel + `"`
	if l.Type != "" {
		v += `; type="` + l.Type + `"`
	}
	return v
}
