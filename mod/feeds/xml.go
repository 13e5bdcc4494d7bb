package feeds

import (
	"strconv"
	"time"

	"sabir/engine/pubsub"
	"sabir/xmpp/xmlstream"
)

// xmlWriter writes elements with the prefixes that readers of feeds know, which not all of them look up.
type xmlWriter struct{ b []byte }

func (w *xmlWriter) raw(s string) { w.b = append(w.b, s...) }

// open writes a start tag; attributes are pairs of name and value, of which those with an empty value are left out.
func (w *xmlWriter) open(name string, attributes ...string) {
	w.tag(name, attributes)
	w.raw(">")
}

func (w *xmlWriter) close(name string) { w.raw("</" + name + ">") }

// empty writes an element without content.
func (w *xmlWriter) empty(name string, attributes ...string) {
	w.tag(name, attributes)
	w.raw("/>")
}

// leaf writes an element with text.
func (w *xmlWriter) leaf(name, text string, attributes ...string) {
	w.open(name, attributes...)
	w.b = xmlstream.AppendText(w.b, text)
	w.close(name)
}

func (w *xmlWriter) tag(name string, attributes []string) {
	w.raw("<" + name)
	for i := 0; i+1 < len(attributes); i += 2 {
		if attributes[i+1] == "" {
			continue
		}
		w.raw(" " + attributes[i] + `="`)
		w.b = xmlstream.AppendAttr(w.b, attributes[i+1])
		w.raw(`"`)
	}
}

// xmppType is the type of what is found at our xmpp: URIs. Readers take an alternate without a type for the page to show.
const xmppType = "application/atom+xml"

const xmlHeader = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// rfc3339 is how Atom and JSON Feed write times.
func rfc3339(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999Z07:00") }

// atom returns the document as a feed of Atom (RFC 4287).
func (d *document) atom() []byte {
	w := &xmlWriter{}
	w.raw(xmlHeader)
	w.open("feed", "xmlns", pubsub.NSAtom, "xmlns:thr", nsThread, "xmlns:fh", "http://purl.org/syndication/history/1.0", "xml:lang", d.Language)
	w.leaf("id", d.ID)
	w.leaf("title", d.Title)
	if d.Description != "" {
		w.leaf("subtitle", d.Description)
	}
	w.leaf("updated", rfc3339(d.Updated))
	if d.Author.Name != "" {
		w.person("author", d.Author)
	}
	w.leaf("generator", "Sabir")
	for _, l := range d.links() {
		w.empty("link", "rel", l.Rel, "type", l.Type, "href", l.Href)
	}
	if d.archive {
		w.empty("fh:archive")
	}
	for i := range d.Entries {
		w.entry(&d.Entries[i])
	}
	w.close("feed")
	return w.b
}

// links are those of the document: to itself, its hub, its other forms and pages.
func (d *document) links() []link {
	out := []link{{Rel: "self", Type: d.format.mediaType(), Href: d.Self()}, {Rel: "hub", Href: d.hub}}
	for _, f := range formats() {
		if f != d.format {
			out = append(out, link{Rel: "alternate", Type: f.mediaType(), Href: d.in(f)})
		}
	}
	own := link{Rel: "alternate", Type: xmppType, Href: d.URI()}
	if d.format == page {
		own.Type = "" // there a type makes readers take it for a feed to subscribe to
	}
	out = append(out, own)
	for _, l := range []link{
		{Rel: "next", Href: d.Next}, {Rel: "previous", Href: d.Previous}, {Rel: "prev-archive", Href: d.earlier}, {Rel: "current", Href: d.current},
	} {
		if l.Href != "" {
			out = append(out, l)
		}
	}
	if d.Previous != "" {
		out = append(out, link{Rel: "first", Href: d.first()})
	}
	return out
}

func (w *xmlWriter) person(name string, p person) {
	w.open(name)
	w.leaf("name", p.Name)
	if p.URI != "" {
		w.leaf("uri", p.URI)
	}
	w.close(name)
}

func (w *xmlWriter) entry(e *entry) {
	w.open("entry")
	w.leaf("id", e.ID)
	w.leaf("title", e.Title)
	w.leaf("published", rfc3339(e.Published))
	w.leaf("updated", rfc3339(e.Updated))
	w.person("author", e.Author)
	if e.Claimed.Name != "" {
		w.person("contributor", e.Claimed)
	}
	w.empty("link", "rel", "alternate", "type", "text/html", "href", e.URL)
	w.empty("link", "rel", "alternate", "type", xmppType, "href", e.URI)
	for _, l := range e.Links {
		w.empty("link", "rel", l.Rel, "type", l.Type, "href", l.Href, "title", l.Title, "length", l.Length)
	}
	for _, r := range e.Replies {
		w.empty("thr:in-reply-to", "ref", r.Rel, "href", r.Href, "type", r.Type)
	}
	for _, c := range e.Categories {
		w.empty("category", "term", c)
	}
	if e.Summary != "" {
		w.leaf("summary", e.Summary)
	}
	if e.HTML != "" {
		w.leaf("content", e.HTML, "type", "html")
	}
	w.close("entry")
}

// rss returns the document as RSS 2.0, with the elements of Atom, Dublin Core and the content module that readers expect.
func (d *document) rss() []byte {
	w := &xmlWriter{}
	w.raw(xmlHeader)
	w.open("rss", "version", "2.0", "xmlns:atom", pubsub.NSAtom, "xmlns:content", "http://purl.org/rss/1.0/modules/content/",
		"xmlns:dc", "http://purl.org/dc/elements/1.1/", "xmlns:fh", "http://purl.org/syndication/history/1.0")
	w.open("channel")
	w.leaf("title", d.Title)
	w.leaf("link", d.in(page))
	w.leaf("description", firstOf(d.Description, d.Title))
	if d.Language != "" {
		w.leaf("language", d.Language)
	}
	w.leaf("lastBuildDate", d.Updated.UTC().Format(time.RFC1123Z))
	w.leaf("generator", "Sabir")
	for _, l := range d.links() {
		w.empty("atom:link", "rel", l.Rel, "type", l.Type, "href", l.Href)
	}
	if d.archive {
		w.empty("fh:archive")
	}
	for i := range d.Entries {
		w.item(&d.Entries[i])
	}
	w.close("channel")
	w.close("rss")
	return w.b
}

func (w *xmlWriter) item(e *entry) {
	w.open("item")
	w.leaf("title", e.Title)
	w.leaf("link", e.URL)
	w.leaf("guid", e.ID, "isPermaLink", "false")
	w.leaf("pubDate", e.Published.UTC().Format(time.RFC1123Z))
	w.leaf("atom:updated", rfc3339(e.Updated))
	w.leaf("dc:creator", e.Author.Name)
	for _, c := range e.Categories {
		w.leaf("category", c)
	}
	for _, l := range e.Links {
		if l.Rel == "enclosure" { // RSS wants a length and a type
			w.empty("enclosure", "url", l.Href, "length", firstOf(l.Length, "0"), "type", firstOf(l.Type, "application/octet-stream"))
			break
		}
	}
	w.empty("atom:link", "rel", "alternate", "type", xmppType, "href", e.URI)
	if e.Summary != "" || e.HTML == "" {
		w.leaf("description", cleanText(firstOf(e.Summary, e.Title)))
	}
	if e.HTML != "" {
		w.leaf("content:encoded", e.HTML)
	}
	w.close("item")
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// seconds is how long somebody is to wait, for Retry-After.
func seconds(d time.Duration) string { return strconv.Itoa(int((d + time.Second - 1) / time.Second)) }
