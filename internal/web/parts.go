package web

import (
	"net/http"
	"net/url"
	"strings"

	"sabir/internal/host"
	"sabir/xmpp/jid"
)

// parts returns the first segments of the paths that extensions serve on any host.
func (s *site) parts() map[string]bool {
	names := make(map[string]bool)
	for _, h := range s.hosts() {
		for name := range h.Web() {
			names[name] = true
		}
	}
	return names
}

func (s *site) hosts() map[jid.JID]*host.Host {
	if s.o.Hosts == nil {
		return nil
	}
	return s.o.Hosts()
}

// part serves /NAME/ADDRESS… by the extension of the host that the address belongs to (mod.HTTP).
func (s *site) part(w http.ResponseWriter, r *http.Request) {
	if h := s.handler(r.URL.EscapedPath()); h != nil {
		h.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

// handler returns who serves a path, or nil.
func (s *site) handler(path string) http.Handler {
	name, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	segment, _, _ := strings.Cut(rest, "/")
	text, err := url.PathUnescape(segment)
	if err != nil {
		return nil
	}
	at, err := jid.Parse(text)
	if err != nil || at.IsZero() {
		return nil
	}
	hosts := s.hosts()
	if h := hosts[at.DomainJID()]; h != nil {
		return h.Web()[name]
	}
	for _, h := range hosts {
		for _, v := range h.Services() {
			if v.Domain == at.DomainJID() {
				return h.Web()[name]
			}
		}
	}
	return nil
}
