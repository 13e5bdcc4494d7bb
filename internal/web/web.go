// Package web owns what the HTTPS listener serves: the WebSocket of XMPP (RFC 7395), how to find it (XEP-0156), and the
// web client.
package web

import (
	"encoding/json"
	"encoding/xml"
	"log/slog"
	"net/http"
	"sync/atomic"

	"sabir/web"
)

// Options say what is served.
type Options struct {
	// Socket is the handler of /xmpp-websocket.
	Socket http.Handler
	// Client says whether to serve the web client at /.
	Client bool
	// Domains are the hosts of the server, the first of which is offered where a request names none of them.
	Domains []string
	Log     *slog.Logger
}

// Server is the handler of the HTTPS listener.
type Server struct{ now atomic.Pointer[site] }

// site is what is served by one configuration.
type site struct {
	o   Options
	mux *http.ServeMux
}

// socketPath is where the WebSocket is.
const socketPath = "/xmpp-websocket"

// New returns the handler.
func New(o Options) *Server {
	s := new(Server)
	s.Configure(o)
	return s
}

// Configure puts other options in force.
func (s *Server) Configure(o Options) {
	n := &site{o: o, mux: http.NewServeMux()}
	n.mux.Handle("GET "+socketPath, o.Socket)
	n.mux.HandleFunc("GET /.well-known/host-meta", n.hostMeta)
	n.mux.HandleFunc("GET /.well-known/host-meta.json", n.hostMetaJSON)
	if o.Client {
		n.mux.Handle("/", web.Handler(web.ClientConfig{Domains: o.Domains, Websocket: socketPath}))
	}
	s.now.Store(n)
}

// ServeHTTP serves a request by the options in force.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.now.Load().mux.ServeHTTP(w, r) }

// relSocket is the link relation of the WebSocket (XEP-0156#http).
const relSocket = "urn:xmpp:alt-connections:websocket"

type link struct {
	Rel  string `xml:"rel,attr" json:"rel"`
	Href string `xml:"href,attr" json:"href"`
}

type xrd struct {
	XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
	Links   []link   `xml:"Link"`
}

// socket returns the address of the WebSocket as the client that asks can reach it.
func (s *site) socket(r *http.Request) []link {
	return []link{{relSocket, "wss://" + r.Host + socketPath}}
}

// hostMeta serves XRD for clients that look for ways to connect (XEP-0156#http).
func (s *site) hostMeta(w http.ResponseWriter, r *http.Request) {
	b, err := xml.Marshal(xrd{Links: s.socket(r)})
	s.write(w, "application/xrd+xml", append([]byte(xml.Header), b...), err)
}

func (s *site) hostMetaJSON(w http.ResponseWriter, r *http.Request) {
	b, err := json.Marshal(map[string]any{"links": s.socket(r)})
	s.write(w, "application/json", b, err)
}

func (s *site) write(w http.ResponseWriter, contentType string, b []byte, err error) {
	if err != nil {
		s.o.Log.Error("encoding an answer", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Access-Control-Allow-Origin", "*") // XEP-0156#impl: any web client may ask
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := w.Write(b); err != nil {
		s.o.Log.Debug("an answer was not taken", "error", err)
	}
}
