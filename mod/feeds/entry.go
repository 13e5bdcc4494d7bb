package feeds

import (
	"mime"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sabir/engine/pubsub"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/xmlstream"
)

// nsThread qualifies what an entry replies to (RFC 4685).
const nsThread = "http://purl.org/syndication/thread/1.0"

// Bounds of what is taken of an entry, in bytes or in number.
const (
	maxTitle = 300
	maxLinks = 50
)

// person is an author.
type person struct {
	Name string
	URI  string // xmpp: or http(s):, or ""
}

// link is a link of an entry to something else.
type link struct {
	Rel, Href, Type, Title, Length string
}

// entry is an item as it is shown. Strings are text, but for HTML.
type entry struct {
	// ID is the atom:id; Item that of the item.
	ID, Item           string
	Title, Summary     string
	HTML               string // safe, with pictures; "" for none
	Page               string // HTML of the same without pictures
	Published, Updated time.Time
	Author             person
	// Claimed is the author whom the entry names although another has published it (XEP-0277#comment_author).
	Claimed    person
	Categories []string
	Links      []link // enclosures, sources, replies: no alternates
	Replies    []link // what it replies to
	URL, URI   string // its page, and itself in XMPP
}

// at returns the URL of a path on this site.
type site string

func (s site) url(p place) string { return string(s) + p.path() }

// read makes an entry of an item; ok is false where its payload is no Atom entry.
func (s site) read(n *pubsub.OpenNode, i *pubsub.OpenItem) (e entry, ok bool) {
	x := i.Payload
	if !x.Is(pubsub.NSAtom, "entry") {
		return e, false
	}
	e = entry{
		Item: i.ID, ID: x.ChildText(pubsub.NSAtom, "id"), Title: oneLine(text(x.Child(pubsub.NSAtom, "title"))),
		Summary:   text(x.Child(pubsub.NSAtom, "summary")),
		Published: stamp(x, "published", i.Created), Updated: stamp(x, "updated", i.Updated),
		URL: s.url(place{at: n.At, node: n.Name, item: i.ID}), URI: pubsub.URI(n.At, n.Name, i.ID),
	}
	if e.ID = absolute(e.ID); e.ID == "" {
		e.ID = e.URI
	}
	e.HTML, e.Page = content(x, true), content(x, false)
	e.authors(n, i)
	for k := range x.Elements() {
		switch {
		case k.Is(pubsub.NSAtom, "category"):
			if t := oneLine(k.Attr("term")); t != "" && len(e.Categories) < maxLinks {
				e.Categories = append(e.Categories, t)
			}
		case k.Is(pubsub.NSAtom, "link"):
			e.addLink(k)
		case k.Is(nsThread, "in-reply-to"):
			if h := safeURL(k.Attr("href"), false); h != "" && len(e.Replies) < maxLinks {
				e.Replies = append(e.Replies, link{Rel: firstOf(absolute(k.Attr("ref")), h), Href: h, Type: mediaType(k.Attr("type"))})
			}
		}
	}
	return e, true
}

// addLink takes what an entry links to. Its alternates are ours to tell.
func (e *entry) addLink(k *xmlstream.Element) {
	rel := k.Attr("rel")
	switch rel {
	case "enclosure", "via", "replies", "related":
	default:
		return
	}
	h := safeURL(k.Attr("href"), rel == "enclosure")
	if h == "" || len(e.Links) >= maxLinks {
		return
	}
	e.Links = append(e.Links, link{rel, h, mediaType(k.Attr("type")), oneLine(k.Attr("title")), digits(k.Attr("length"))})
}

// authors tells who has written an entry. Where readers are told who published it, nobody else is its author, whatever it
// says (XEP-0277#comment_author).
func (e *entry) authors(n *pubsub.OpenNode, i *pubsub.OpenItem) {
	a := i.Payload.Child(pubsub.NSAtom, "author")
	says := person{oneLine(a.ChildText(pubsub.NSAtom, "name")), safeURL(a.ChildText(pubsub.NSAtom, "uri"), false)}
	publisher := i.Publisher
	if publisher.IsZero() && n.At.Local() != "" {
		publisher = n.At // the owner alone publishes there
	}
	if publisher.IsZero() {
		if e.Author = says; e.Author.Name == "" {
			e.Author.Name = n.At.String()
		}
		return
	}
	uri := "xmpp:" + (&url.URL{Path: publisher.String()}).EscapedPath()
	e.Author = person{publisher.String(), uri}
	switch {
	case says.URI == "" || sameAddress(says.URI, publisher.String()):
		if says.Name != "" {
			e.Author.Name = says.Name
		}
	default:
		e.Claimed = says
		if e.Claimed.Name == "" {
			e.Claimed.Name = says.URI
		}
	}
}

// sameAddress tells whether a URI is that of a bare JID.
func sameAddress(uri, bare string) bool {
	rest, ok := strings.CutPrefix(uri, "xmpp:")
	if !ok {
		return false
	}
	rest, _, _ = strings.Cut(rest, "?")
	text, err := url.PathUnescape(rest)
	return err == nil && text == bare
}

// content returns the content of an entry as safe HTML: of those that it has, the richest (XEP-0277#publish).
func content(x *xmlstream.Element, pictures bool) string {
	var best *xmlstream.Element
	rank := 0
	for k := range x.Elements() {
		if !k.Is(pubsub.NSAtom, "content") || k.Attr("src") != "" {
			continue
		}
		r := 0
		switch k.Attr("type") {
		case "", "text":
			r = 1
		case "html":
			r = 2
		case "xhtml":
			r = 3
		}
		if r > rank {
			best, rank = k, r
		}
	}
	switch rank {
	case 1:
		return cleanText(best.Text())
	case 2:
		return cleanHTML(best.Text(), pictures)
	case 3:
		return cleanXHTML(division(best), pictures)
	}
	if t := x.Child(pubsub.NSAtom, "title"); t.Attr("type") == "xhtml" { // a post without content has its markup there
		return cleanXHTML(division(t), pictures)
	}
	return ""
}

// division returns the <div/> around XHTML, which is not part of it (RFC 4287 §3.1.1.3).
func division(x *xmlstream.Element) *xmlstream.Element {
	if d := x.Child(nsXHTML, "div"); d != nil {
		return d
	}
	return x
}

// text returns the text of a text construct (RFC 4287 §3.1).
func text(x *xmlstream.Element) string {
	switch x.Attr("type") {
	case "html":
		return plain(x.Text())
	case "xhtml":
		return plainXHTML(x)
	}
	return x.Text()
}

// oneLine returns text without line breaks and superfluous space, not too long.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxTitle {
		return s
	}
	cut := maxTitle
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// stamp returns a time of an entry, or another where it has none.
func stamp(x *xmlstream.Element, name string, or time.Time) time.Time {
	t, err := datetime.Parse(strings.TrimSpace(x.ChildText(pubsub.NSAtom, name)))
	if err != nil || t.Year() < 1970 || t.Year() > 9998 {
		return or
	}
	return t.UTC()
}

// absolute returns s where it is an absolute IRI, or "".
func absolute(s string) string {
	s = strings.TrimSpace(s)
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || len(s) > 2000 || u.Scheme == "javascript" || u.Scheme == "data" || strings.ContainsFunc(s, noIRI) {
		return ""
	}
	return s
}

// noIRI tells whether a character is in no IRI (RFC 3987 §2.2).
func noIRI(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("<>\"{}|\\^`", r)
}

// mediaType returns s where it is a media type, or "".
func mediaType(s string) string {
	if t, _, err := mime.ParseMediaType(s); err != nil || !strings.Contains(t, "/") {
		return ""
	}
	return oneLine(s)
}

// languageTag returns s where it is a tag of a language (RFC 4287 §2), or "".
func languageTag(s string) string {
	for i, part := range strings.Split(s, "-") {
		letters := strings.TrimFunc(part, func(r rune) bool { return 'a' <= r|' ' && r|' ' <= 'z' || i > 0 && '0' <= r && r <= '9' })
		if letters != "" || part == "" || len(part) > 8 {
			return ""
		}
	}
	return s
}

func digits(s string) string {
	if len(s) > 18 || strings.Trim(s, "0123456789") != "" {
		return ""
	}
	return s
}
