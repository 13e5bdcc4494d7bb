// Package web owns what the HTTPS listener serves: the WebSocket of XMPP (RFC 7395), how to find it (XEP-0156), the
// web client, and what extensions add (mod.HTTP).
package web

import (
	"encoding/json"
	"encoding/xml"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"sabir/internal/host"
	"sabir/web"
	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
)

// Options say what is served.
type Options struct {
	// Socket is the handler of /xmpp-websocket.
	Socket http.Handler
	// Client says whether to serve the web client at /.
	Client bool
	// Domains are the hosts of the server, the first of which is offered where a request names none of them.
	Domains []string
	// Directory is what host-meta.json says by XEP-0487; nil for nothing.
	Directory *Directory
	// Hosts are those whose extensions serve parts of the site; nil for none.
	Hosts func() map[jid.JID]*host.Host
	Log   *slog.Logger
}

// Directory tells clients and other servers all that they need to connect (XEP-0487).
type Directory struct {
	IPs  []string
	TTL  time.Duration
	Pins []string // SHA-256 of public keys, in base64
	// ClientTLS and ServerTLS are ports with TLS from the start; 0 where there is none.
	ClientTLS, ServerTLS int
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
	for name := range n.parts() {
		n.mux.HandleFunc("/"+name+"/", n.part)
	}
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
	var doc any = map[string]any{"links": s.socket(r)}
	if d := s.o.Directory; d != nil {
		doc = s.directory(d, r)
	}
	b, err := json.Marshal(doc)
	s.write(w, "application/json", b, err)
}

// entry is a link of XEP-0487#httpformat.
type entry struct {
	Rel      string   `json:"rel"`
	Href     string   `json:"href,omitempty"`
	Port     int      `json:"port,omitempty"`
	Priority int      `json:"priority"`
	Weight   int      `json:"weight"`
	SNI      string   `json:"sni"`
	IPs      []string `json:"ips"`
}

// directory makes the document of a domain, with the ways that a firewall lets through least often last.
func (s *site) directory(d *Directory, r *http.Request) any {
	name := s.domain(r)
	links := []entry{}
	for _, l := range s.socket(r) {
		links = append(links, entry{Rel: l.Rel, Href: l.Href, Priority: 20, Weight: 1, SNI: hostname(r), IPs: d.IPs})
	}
	for _, l := range []struct {
		rel  string
		port int
	}{{dial.RelClientTLS, d.ClientTLS}, {dial.RelServerTLS, d.ServerTLS}} {
		if l.port != 0 {
			links = append(links, entry{Rel: l.rel, Port: l.port, Priority: 10, Weight: 1, SNI: name, IPs: d.IPs})
		}
	}
	xmpp := map[string]any{"ttl": int(d.TTL / time.Second)}
	if len(d.Pins) > 0 {
		xmpp["public-key-pins-sha-256"] = d.Pins
	}
	return map[string]any{"xmpp": xmpp, "links": links}
}

func hostname(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// domain returns the host of this server that a request is about, in the form of DNS.
func (s *site) domain(r *http.Request) string {
	asked := strings.ToLower(hostname(r))
	for _, d := range s.o.Domains {
		if certname.ASCII(d) == asked {
			return asked
		}
	}
	return certname.ASCII(s.o.Domains[0])
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
