package feeds

import (
	"net/url"
	"strings"

	"sabir/xmpp/jid"
)

// root is the first segment of the paths.
const root = "feeds"

// format is a form in which a node is shown.
type format string

// The formats, by the last segment of their paths.
const (
	atom format = "feed.atom"
	rss  format = "feed.rss"
	feed format = "feed.json"
	page format = "index.html"
)

// formats are in the order in which they are preferred where a request has no preference.
func formats() []format { return []format{atom, rss, feed, page} }

func (f format) contentType() string {
	switch f {
	case atom:
		return "application/atom+xml; charset=utf-8"
	case rss:
		return "application/rss+xml; charset=utf-8"
	case feed:
		return "application/feed+json; charset=utf-8"
	}
	return "text/html; charset=utf-8"
}

// mediaType is the type of the content without its parameters.
func (f format) mediaType() string {
	t, _, _ := strings.Cut(f.contentType(), ";")
	return t
}

func (f format) valid() bool { return f == atom || f == rss || f == feed || f == page }

// place is what a path names:
//
//	/feeds/ADDRESS                    the microblog of an account
//	/feeds/ADDRESS/NODE               a node, in the format that the request prefers
//	/feeds/ADDRESS/NODE/feed.atom     in one format: feed.atom, feed.rss, feed.json, index.html
//	/feeds/ADDRESS/NODE/item/ID       the page of an item
//	/feeds/DOMAIN/hub                 the WebSub hub of a host
type place struct {
	at     jid.JID
	node   string
	format format // "" for the one that the request prefers
	item   string
}

// parsePlace reads a path in its escaped form. Each segment is percent-encoded by itself, so that names may have slashes.
func parsePlace(escaped string) (place, bool) {
	segments := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	for i, s := range segments {
		u, err := url.PathUnescape(s)
		if err != nil || u == "" {
			return place{}, false
		}
		segments[i] = u
	}
	if len(segments) < 2 || segments[0] != root {
		return place{}, false
	}
	at, err := jid.Parse(segments[1])
	if err != nil || at.IsZero() || at.IsFull() {
		return place{}, false
	}
	p := place{at: at}
	switch rest := segments[2:]; {
	case len(rest) == 0:
	case len(rest) == 1:
		p.node = rest[0]
	case len(rest) == 2 && format(rest[1]).valid():
		p.node, p.format = rest[0], format(rest[1])
	case len(rest) == 3 && rest[1] == "item":
		p.node, p.format, p.item = rest[0], page, rest[2]
	default:
		return place{}, false
	}
	return p, true
}

// path is the inverse of parsePlace.
func (p place) path() string {
	out := "/" + root + "/" + segment(p.at.String())
	if p.node == "" {
		return out
	}
	out += "/" + segment(p.node)
	if p.item != "" {
		return out + "/item/" + segment(p.item)
	}
	if p.format != "" {
		out += "/" + string(p.format)
	}
	return out
}

// segment percent-encodes a segment of a path. Dots alone would name another place.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

// hubPath is the path of the hub of a host.
func hubPath(domain jid.JID) string { return place{at: domain, node: "hub"}.path() }
