package web

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// built is a small client as build.mjs would leave it.
func built(t *testing.T) fs.FS {
	t.Helper()
	var packed strings.Builder
	z := gzip.NewWriter(&packed)
	if _, err := io.WriteString(z, script); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{
		"client/dist/manifest.json": {Data: []byte(`{"version":"1.2.3","files":[
			{"path":"index.html","size":12,"gzip":false,"etag":"page"},
			{"path":"converse/1.2.3/converse.min.js","size":37,"gzip":true,"etag":"js"}]}`)},
		"client/dist/files/index.html":                        {Data: []byte("<p>Sabir</p>")},
		"client/dist/files/converse/1.2.3/converse.min.js.gz": {Data: []byte(packed.String())},
		"client/dist/files/secret.txt":                        {Data: []byte("not in the manifest")},
	}
}

const (
	script     = "export const greeting = 'ahoy there';"
	scriptPath = "/converse/1.2.3/converse.min.js"
)

func handler(t *testing.T, cfg ClientConfig) http.Handler {
	t.Helper()
	h, err := newClient(cfg, built(t))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var oneDomain = ClientConfig{Domains: []string{"example.org"}}

func TestServesFilesWithTypesAndCaching(t *testing.T) {
	h := handler(t, oneDomain)
	for _, tt := range []struct {
		path, ctype, cache, etag string
	}{
		{"/", "text/html; charset=utf-8", "no-cache", `W/"page"`},
		{"/index.html", "text/html; charset=utf-8", "no-cache", `W/"page"`},
		{scriptPath, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", `W/"js"`},
	} {
		w := ask(h, "GET", tt.path)
		if w.Code != 200 || w.Header().Get("Content-Type") != tt.ctype ||
			w.Header().Get("Cache-Control") != tt.cache || w.Header().Get("ETag") != tt.etag {
			t.Errorf("%s: %d %v", tt.path, w.Code, w.Header())
		}
		if again := ask(h, "GET", tt.path, "If-None-Match", `"x", `+tt.etag); again.Code != 304 || again.Body.Len() != 0 {
			t.Errorf("%s with its ETag: %d, %d bytes; want 304 and none", tt.path, again.Code, again.Body.Len())
		}
	}
}

func TestStoredCompressedServedToAll(t *testing.T) {
	h := handler(t, oneDomain)
	for _, tt := range []struct {
		accept string
		packed bool
	}{
		{"gzip", true}, {"br, gzip;q=0.5", true}, {"deflate, *", true}, {"x-gzip", true},
		{"", false}, {"identity", false}, {"gzip;q=0", false}, {"gzip; q=0.0, *", false}, {"*;q=0", false},
	} {
		w := ask(h, "GET", scriptPath, "Accept-Encoding", tt.accept)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != tt.packed {
			t.Errorf("%q: packed %v, want %v", tt.accept, got, tt.packed)
			continue
		}
		if w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: no Vary", tt.accept)
		}
		var body io.Reader = w.Body
		if tt.packed {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		if b, err := io.ReadAll(body); err != nil || string(b) != script {
			t.Errorf("%q: %q, %v", tt.accept, b, err)
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	w := ask(handler(t, oneDomain), "HEAD", "/")
	if w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "12" {
		t.Errorf("HEAD /: %d, %d bytes, Content-Length %q", w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
	}
}

func TestRefusesOtherMethods(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		w := ask(handler(t, oneDomain), method, "/")
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestServesNothingElse(t *testing.T) {
	h := handler(t, oneDomain)
	for _, path := range []string{
		"/secret.txt", "/manifest.json", "/.keep", "/../web.go", "/..%2fweb.go", "/%2e%2e/%2e%2e/etc/passwd",
		"//etc/passwd", "/converse/", "/converse/1.2.3/", "/converse/1.2.3/../../secret.txt",
		scriptPath + ".gz", "/client/dist/manifest.json", "/index.html/", "/converse/1.2.3/converse.min.js%00",
	} {
		if w := ask(h, "GET", path); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", path, w.Code)
		}
	}
}

func TestSecurityHeadersOnEveryAnswer(t *testing.T) {
	h := handler(t, oneDomain)
	for _, target := range []string{"/", scriptPath, "/client-config.json", "/nothing"} {
		w := ask(h, "GET", target)
		csp := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'self'", "script-src 'self' 'wasm-unsafe-eval'", "frame-ancestors 'none'", "object-src 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy lacks %q: %s", target, want, csp)
			}
		}
		if strings.Contains(csp, "script-src-attr") || strings.Contains(csp, "'unsafe-eval'") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy too wide: %s", target, csp)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", target, name, got, want)
			}
		}
	}
}

func TestConfigFollowsHost(t *testing.T) {
	h := handler(t, ClientConfig{Domains: []string{"first.example", "Second.example", "2001:db8::1"}})
	for host, want := range map[string]string{
		"first.example":       "first.example",
		"second.example":      "Second.example",
		"SECOND.example:5443": "Second.example",
		"second.example.":     "Second.example",
		"[2001:db8::1]:5443":  "2001:db8::1",
		"other.example":       "first.example",
		"":                    "first.example",
		"second.example.evil": "first.example",
	} {
		r := httptest.NewRequest("GET", "/client-config.json", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var cfg clientConfig
		if err := json.Unmarshal(w.Body.Bytes(), &cfg); err != nil {
			t.Fatal(err)
		}
		if cfg.Domain != want || cfg.MUCDomain != "conference."+want || cfg.Websocket != "/xmpp-websocket" ||
			cfg.ClientVersion != "1.2.3" || len(cfg.Domains) != 3 || cfg.Registration {
			t.Errorf("host %q: %+v, want domain %q", host, cfg, want)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("type %q", got)
		}
	}
}

func TestPolicyNamesWhatTheConfigNeeds(t *testing.T) {
	h := handler(t, ClientConfig{
		Domains:      []string{"example.org"},
		Websocket:    "wss://xmpp.example.org:5443/ws",
		MediaOrigins: []string{"https://upload.example.org:5443/upload/"},
	})
	csp := ask(h, "GET", "/").Header().Get("Content-Security-Policy")
	for _, want := range []string{
		"connect-src 'self' https://upload.example.org:5443 wss://xmpp.example.org:5443;",
		"img-src 'self' data: blob: https://upload.example.org:5443;",
	} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy lacks %q: %s", want, csp)
		}
	}
}

func TestValidate(t *testing.T) {
	d := []string{"example.org"}
	for name, cfg := range map[string]ClientConfig{
		"no domain":              {},
		"websocket of a scheme":  {Domains: d, Websocket: "https://example.org/ws"},
		"websocket without host": {Domains: d, Websocket: "wss:///ws"},
		"websocket to elsewhere": {Domains: d, Websocket: "//evil.example/ws"},
		"origin with a blank":    {Domains: d, MediaOrigins: []string{"https://a.example script-src"}},
		"origin with a directive": {Domains: d,
			MediaOrigins: []string{"https://a.example;script-src"}},
		"origin that is a wildcard": {Domains: d, MediaOrigins: []string{"https://*.example"}},
		"origin of a file":          {Domains: d, MediaOrigins: []string{"file:///etc"}},
		"origin with a password":    {Domains: d, MediaOrigins: []string{"https://u:p@a.example"}},
	} {
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, ws := range []string{"", "/ws", "wss://example.org/ws"} {
		if err := (ClientConfig{Domains: d, Websocket: ws}).Validate(); err != nil {
			t.Errorf("websocket %q: %v", ws, err)
		}
	}
}

func TestFallbackWhereNothingIsBuilt(t *testing.T) {
	h, err := newClient(oneDomain, fstest.MapFS{"client/dist/.keep": {}})
	if err != nil {
		t.Fatal(err)
	}
	w := ask(h, "GET", "/")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "scripts/web-build.sh") {
		t.Errorf("GET /: %d %s", w.Code, w.Body)
	}
	if w := ask(h, "GET", "/fallback.css"); w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") {
		t.Errorf("GET /fallback.css: %d %v", w.Code, w.Header())
	}
	if w := ask(h, "GET", "/client-config.json"); w.Code != 200 {
		t.Errorf("GET /client-config.json: %d", w.Code)
	}
	if w := ask(h, "GET", "/fallback/index.html"); w.Code != 404 {
		t.Errorf("GET /fallback/index.html: %d", w.Code)
	}
}

func TestRefusesHalfABuild(t *testing.T) {
	half := built(t).(fstest.MapFS)
	delete(half, "client/dist/files/index.html")
	if _, err := newClient(oneDomain, half); err == nil {
		t.Error("a manifest that names a missing file was accepted")
	}
}

// TestEmbedded holds for a build with the client and for one without.
func TestEmbedded(t *testing.T) {
	h := Handler(oneDomain)
	w := ask(h, "GET", "/")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "Sabir") && w.Header().Get("Content-Encoding") == "" {
		t.Fatalf("GET /: %d", w.Code)
	}
	version, ok := Present()
	if !ok {
		t.Skip("this checkout has no built web client: scripts/web-build.sh makes it")
	}
	for path, ctype := range map[string]string{
		"/app.js": "text/javascript; charset=utf-8",
		"/converse/" + version + "/converse.min.js":          "text/javascript; charset=utf-8",
		"/converse/" + version + "/curve25519_compiled.wasm": "application/wasm",
		"/converse/" + version + "/LICENSE.txt":              "text/plain; charset=utf-8",
	} {
		if w := ask(h, "GET", path); w.Code != 200 || w.Header().Get("Content-Type") != ctype {
			t.Errorf("GET %s: %d %q", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
	page := ask(h, "GET", "/").Body.String()
	for _, inline := range []string{"<style", "onclick=", "javascript:", "<script>"} {
		if strings.Contains(page, inline) {
			t.Errorf("the page holds %q, which its own policy forbids", inline)
		}
	}
}
