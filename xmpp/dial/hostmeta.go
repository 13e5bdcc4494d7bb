package dial

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"sabir/xmpp/xmlstream"
)

// The relations of XEP-0156#http that matter to clients.
const (
	RelWebSocket = "urn:xmpp:alt-connections:websocket"
	RelBOSH      = "urn:xmpp:alt-connections:xbosh"
)

const (
	nsXRD       = "http://docs.oasis-open.org/ns/xri/xrd-1.0" // RFC 6415
	maxHostMeta = 64 << 10
)

// Link is an endpoint that a domain publishes.
type Link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// HostMeta reads the links of a domain's host-meta.json or, failing that, host-meta, over https only (XEP-0156#http).
// base may be nil.
func (d *Dialer) HostMeta(ctx context.Context, domain string, base *tls.Config) ([]Link, error) {
	h := d.HTTPClient(base)
	defer h.CloseIdleConnections()
	at := url.URL{Scheme: "https", Host: domain, Path: "/.well-known/host-meta.json"}
	links, errJSON := fetch(ctx, h, at.String(), parseJRD)
	if errJSON == nil {
		return links, nil
	}
	at.Path = "/.well-known/host-meta"
	links, err := fetch(ctx, h, at.String(), parseXRD)
	if err != nil {
		return nil, errors.Join(errJSON, err)
	}
	return links, nil
}

// WebSocketURLs returns the endpoints for WebSocket that a domain publishes. Only those with TLS count (XEP-0156#security).
func (d *Dialer) WebSocketURLs(ctx context.Context, domain string, base *tls.Config) ([]string, error) {
	links, err := d.HostMeta(ctx, domain, base)
	if err != nil {
		return nil, err
	}
	var urls []string
	for _, l := range links {
		if l.Rel == RelWebSocket && strings.HasPrefix(l.Href, "wss://") {
			urls = append(urls, l.Href)
		}
	}
	if len(urls) == 0 {
		return nil, fmt.Errorf("%s publishes no WebSocket endpoint", domain)
	}
	return urls, nil
}

// fetch reads a document over https.
func fetch[T any](ctx context.Context, h *http.Client, at string, parse func([]byte) (T, error)) (doc T, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return doc, err
	}
	resp, err := h.Do(r)
	if err != nil {
		return doc, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return doc, fmt.Errorf("%s: %s", at, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxHostMeta+1))
	if err != nil {
		return doc, fmt.Errorf("%s: %w", at, err)
	}
	if len(b) > maxHostMeta {
		return doc, fmt.Errorf("%s: more than %d bytes", at, maxHostMeta)
	}
	if doc, err = parse(b); err != nil {
		return doc, fmt.Errorf("%s: %w", at, err)
	}
	return doc, nil
}

func parseJRD(b []byte) ([]Link, error) {
	var doc struct {
		Links []Link `json:"links"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	return doc.Links, nil
}

func parseXRD(b []byte) ([]Link, error) {
	text := strings.TrimSpace(string(b))
	if strings.HasPrefix(text, "<?xml") { // the stream tokenizer knows no documents, only elements
		_, rest, ok := strings.Cut(text, "?>")
		if !ok {
			return nil, errors.New("the XML declaration has no end")
		}
		text = strings.TrimSpace(rest)
	}
	x, err := xmlstream.Parse(text, xmlstream.DefaultLimits)
	if err != nil {
		return nil, err
	}
	if !x.Is(nsXRD, "XRD") {
		return nil, errors.New("the document is no XRD")
	}
	var links []Link
	for k := range x.Elements() {
		if k.Is(nsXRD, "Link") {
			links = append(links, Link{k.Attr("rel"), k.Attr("href")})
		}
	}
	return links, nil
}
