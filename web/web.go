// Package web is the web client as the server hands it out: the files that
// web/client/build.mjs put together, embedded, and the JSON page from which the
// client learns whom it serves. It owns the browser's security policy for them
// and knows nothing of sessions or accounts.
package web

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// dist is present in every checkout with a placeholder in it, so that a server
// can be built where npm cannot be reached; "all:" because the placeholder's
// name begins with a dot.
//
//go:embed all:client/dist
var dist embed.FS

//go:embed fallback
var fallback embed.FS

// ClientConfig is what the web client must know of this server.
type ClientConfig struct {
	// Domains are the virtual domains, the default one first. At least one.
	Domains []string
	// Websocket is where RFC 7395 is spoken: a path on the page's own host, or
	// an absolute wss: URL. Empty means /xmpp-websocket.
	Websocket string
	// MUCPrefix is put before a domain to name its group chat service.
	// Empty means "conference.".
	MUCPrefix string
	// Registration shows the form for a new account (XEP-0077).
	Registration bool
	// MediaOrigins are further origins (scheme://host[:port]) to which files are
	// uploaded and from which pictures, sound and video in messages are shown.
	// The page's own origin always is one.
	MediaOrigins []string
}

// clientConfig is the wire form of /client-config.json.
type clientConfig struct {
	Domain        string   `json:"domain"`
	Domains       []string `json:"domains"`
	Websocket     string   `json:"websocket"`
	MUCDomain     string   `json:"muc_domain"`
	Registration  bool     `json:"registration"`
	MediaOrigins  []string `json:"media_origins"`
	ClientVersion string   `json:"client_version,omitempty"`
}

// manifest is what build.mjs writes about the files beside it.
type manifest struct {
	Version string `json:"version"`
	Files   []struct {
		Path string `json:"path"`
		Size int    `json:"size"`
		Gzip bool   `json:"gzip"`
		ETag string `json:"etag"`
	} `json:"files"`
}

// file is one thing that may be served.
type file struct {
	name  string // in fsys
	size  int    // unpacked, in bytes
	gzip  bool   // stored compressed
	etag  string // quoted; empty for none
	ctype string
	keep  bool // its path names its version: it never changes
}

// client is the handler's state, immutable once built.
type client struct {
	cfg    clientConfig
	fsys   fs.FS
	files  map[string]file // by URL path
	policy string
}

// contentType is fixed here because mime.TypeByExtension answers with what the
// machine's own tables say.
func contentType(ext string) string {
	switch ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".json":
		return "application/json"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".wasm":
		return "application/wasm"
	case ".mp3":
		return "audio/mpeg"
	case ".ogg":
		return "audio/ogg"
	}
	return "application/octet-stream"
}

// Present says whether this build carries the web client, and which version of
// converse.js is in it.
func Present() (version string, ok bool) {
	m, err := readManifest(dist)
	if err != nil || m == nil {
		return "", false
	}
	return m.Version, true
}

// Handler serves the web client at /, its files, and /client-config.json; where
// the build carries no client, / says how to add it. It answers GET and HEAD
// alone, any path that it does not know with 404, and needs no host but its own.
//
// The domain that the client logs in to is the one of cfg.Domains that the
// request's Host names, else the first. Handler panics when cfg is of no use:
// no domain, or a URL that does not parse; check it with cfg.Validate first.
func Handler(cfg ClientConfig) http.Handler {
	h, err := newClient(cfg, dist)
	if err != nil {
		panic("web: " + err.Error())
	}
	return h
}

// Validate reports why cfg cannot be served.
func (c ClientConfig) Validate() error {
	if len(c.Domains) == 0 {
		return errors.New("no domain")
	}
	if ws := c.websocket(); !strings.HasPrefix(ws, "/") || strings.HasPrefix(ws, "//") {
		if _, err := origin(ws, "wss", "ws"); err != nil {
			return fmt.Errorf("websocket: %w", err)
		}
	}
	for _, o := range c.MediaOrigins {
		if _, err := origin(o, "https", "http"); err != nil {
			return fmt.Errorf("media origin: %w", err)
		}
	}
	return nil
}

func (c ClientConfig) websocket() string {
	if c.Websocket == "" {
		return "/xmpp-websocket"
	}
	return c.Websocket
}

// origin reduces a URL to scheme://host[:port] in the form that a
// Content-Security-Policy takes, and refuses what would not be one there.
func origin(s string, schemes ...string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", err
	}
	for _, scheme := range schemes {
		if u.Scheme != scheme || u.Host == "" || u.User != nil {
			continue
		}
		// A host of other characters could end the directive and begin another.
		if strings.Trim(strings.ToLower(u.Host), "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") != "" {
			return "", fmt.Errorf("%q: not a plain host name", s)
		}
		return u.Scheme + "://" + u.Host, nil
	}
	return "", fmt.Errorf("%q: want %s://host", s, strings.Join(schemes, ":// or "))
}

func newClient(cfg ClientConfig, built fs.FS) (*client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := readManifest(built)
	if err != nil {
		return nil, err
	}
	c := &client{files: make(map[string]file)}
	prefix := cfg.MUCPrefix
	if prefix == "" {
		prefix = "conference."
	}
	c.cfg = clientConfig{
		Domains:      append([]string{}, cfg.Domains...),
		Websocket:    cfg.websocket(),
		MUCDomain:    prefix, // completed by configFor
		Registration: cfg.Registration,
		MediaOrigins: []string{},
	}
	for _, o := range cfg.MediaOrigins {
		o, err := origin(o, "https", "http")
		if err != nil {
			return nil, err
		}
		c.cfg.MediaOrigins = append(c.cfg.MediaOrigins, o)
	}
	if c.policy, err = contentPolicy(c.cfg); err != nil {
		return nil, err
	}
	if m == nil {
		c.fsys = fallback
		c.files["/"] = file{name: "fallback/index.html", ctype: contentType(".html")}
		c.files["/fallback.css"] = file{name: "fallback/fallback.css", ctype: contentType(".css")}
		return c, nil
	}
	c.fsys = built
	c.cfg.ClientVersion = m.Version
	keep := "converse/" + m.Version + "/"
	for _, f := range m.Files {
		name := "client/dist/files/" + f.Path
		if f.Gzip {
			name += ".gz"
		}
		if _, err := fs.Stat(built, name); err != nil {
			return nil, fmt.Errorf("web client: the build is not whole: %w", err)
		}
		c.files["/"+f.Path] = file{
			name: name, size: f.Size, gzip: f.Gzip, etag: `"` + f.ETag + `"`,
			ctype: contentType(path.Ext(f.Path)), keep: strings.HasPrefix(f.Path, keep),
		}
	}
	c.files["/"] = c.files["/index.html"]
	return c, nil
}

// readManifest returns nil where no client was built.
func readManifest(built fs.FS) (*manifest, error) {
	b, err := fs.ReadFile(built, "client/dist/manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := new(manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("web client: manifest.json: %w", err)
	}
	return m, nil
}

// emptyStyles are the hashes of the two style elements that converse's bundler
// leaves behind for every style sheet that it moved to converse.min.css: one with
// nothing in it, one with a comment that names an empty source map. Refusing them
// would do no harm but fill the console with more than a hundred complaints.
const emptyStyles = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-JRf3eZJIF59VkE1tlxlBPiCQXjGJ1uE88pEYh49RtTY='"

// contentPolicy is the Content-Security-Policy of every answer. 'wasm-unsafe-eval'
// is for the curve25519 of end-to-end encryption. Style attributes are let in,
// style elements are not: converse writes the former (avatars, heights) with
// setAttribute, which the policy counts as inline.
func contentPolicy(cfg clientConfig) (string, error) {
	media := ""
	for _, o := range cfg.MediaOrigins {
		media += " " + o
	}
	connect := "'self'" + media
	if !strings.HasPrefix(cfg.Websocket, "/") {
		o, err := origin(cfg.Websocket, "wss", "ws")
		if err != nil {
			return "", err
		}
		connect += " " + o
	}
	return strings.Join([]string{
		"default-src 'self'",
		"script-src 'self' 'wasm-unsafe-eval'",
		"style-src 'self' " + emptyStyles,
		"style-src-attr 'unsafe-inline'",
		"img-src 'self' data: blob:" + media,
		"media-src 'self' blob:" + media,
		"font-src 'self'",
		"connect-src " + connect,
		"worker-src 'self'",
		"object-src 'none'",
		"frame-src 'none'",
		"frame-ancestors 'none'",
		"base-uri 'none'",
		"form-action 'self'",
	}, "; "), nil
}

func (c *client) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", c.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(self), payment=(), usb=()")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "/client-config.json" {
		c.serveConfig(w, r)
		return
	}
	// A lookup by the whole path, not a walk: there is nothing to traverse.
	f, ok := c.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	c.serveFile(w, r, f)
}

// configFor is the configuration for a page that was asked of host (a Host
// header, with or without port).
func (c *client) configFor(host string) clientConfig {
	cfg := c.cfg
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(host, ".")
	cfg.Domain = cfg.Domains[0]
	for _, d := range cfg.Domains {
		if strings.EqualFold(d, host) {
			cfg.Domain = d
			break
		}
	}
	cfg.MUCDomain += cfg.Domain
	return cfg
}

func (c *client) serveConfig(w http.ResponseWriter, r *http.Request) {
	b, err := json.Marshal(c.configFor(r.Host))
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(append(b, '\n')))
}

func (c *client) serveFile(w http.ResponseWriter, r *http.Request, f file) {
	stored, err := c.fsys.Open(f.name)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	defer stored.Close()
	body, ok := stored.(io.ReadSeeker)
	if !ok {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.ctype)
	h.Set("Cache-Control", "no-cache")
	if f.keep {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if f.etag != "" {
		// Weak, because the packed and the unpacked form of a file share it
		// (RFC 9110 §8.8.3).
		h.Set("ETag", "W/"+f.etag)
	}
	if f.gzip {
		h.Set("Vary", "Accept-Encoding")
		if takesGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
		} else if body, err = unpack(body, f.size); err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
	}
	http.ServeContent(w, r, "", time.Time{}, body)
}

// unpack returns the size bytes that r holds compressed.
func unpack(r io.Reader, size int) (io.ReadSeeker, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(z, out); err != nil {
		return nil, err
	}
	return bytes.NewReader(out), z.Close()
}

// takesGzip reads Accept-Encoding (RFC 9110 §12.5.3) as far as one coding needs.
func takesGzip(values []string) bool {
	star := false
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			coding, params, _ := strings.Cut(strings.TrimSpace(part), ";")
			ok := true
			if q, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); found {
				n, err := strconv.ParseFloat(q, 64)
				ok = err == nil && n > 0
			}
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				return ok
			case "*":
				star = ok
			}
		}
	}
	return star
}

var _ http.Handler = (*client)(nil)
