package feeds

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sabir/engine/pubsub"
	"sabir/internal/db/dbtest"
	"sabir/xmpp/xmlstream"
)

// The rules of the formats, which every feed that a test reads has to keep.

const (
	nsXML     = "http://www.w3.org/XML/1998/namespace"
	nsContent = "http://purl.org/rss/1.0/modules/content/"
	nsHistory = "http://purl.org/syndication/history/1.0"
)

var (
	iri      = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*:[^\s<>"{}|\\^` + "`" + `]+$`)
	language = regexp.MustCompile(`^([A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)?$`) // RFC 4287 §2
)

// problems are what is wrong with a document.
type problems []string

func (p *problems) want(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

// invalid returns what is wrong with a feed.
func invalid(f format, body string) (p problems) {
	if f == feed {
		p.json(body)
		return p
	}
	x, err := xmlstream.Parse(strings.TrimPrefix(body, xmlHeader), xmlstream.Limits{Bytes: 16 << 20, Depth: 20, Attrs: 20, Children: 100000, Name: 1000})
	switch {
	case err != nil:
		p.want(false, "%v", err)
	case f == rss:
		p.rss(x)
	default:
		p.atom(x)
	}
	return p
}

// count checks how often elements are there.
func (p *problems) count(x *xmlstream.Element, space string, least, most int, names ...string) {
	for _, name := range names {
		n := 0
		for k := range x.Elements() {
			if k.Is(space, name) {
				n++
			}
		}
		p.want(n >= least && n <= most, "%d times %s in %s", n, name, x.Name.Local)
	}
}

func (p *problems) atom(x *xmlstream.Element) {
	p.want(x.Is(pubsub.NSAtom, "feed"), "the root is %s", x.Name)
	p.common(x)
	p.count(x, pubsub.NSAtom, 0, 1, "generator", "icon", "logo", "subtitle")
	p.count(x, nsHistory, 0, 1, "archive", "complete")
	self := 0
	for k := range x.Elements() {
		switch {
		case k.Is(pubsub.NSAtom, "link") && k.Attr("rel") == "self":
			self++
		case k.Is(pubsub.NSAtom, "entry"):
			p.entry(k, x.Child(pubsub.NSAtom, "author") != nil)
		}
	}
	p.want(self == 1, "%d links to itself", self) // RFC 4287 §4.1.1 wants one
}

// common are the rules for a feed and for an entry (RFC 4287 §4.1.1, §4.1.2).
func (p *problems) common(x *xmlstream.Element) {
	p.count(x, pubsub.NSAtom, 1, 1, "id", "title", "updated")
	p.count(x, pubsub.NSAtom, 0, 1, "rights")
	p.want(iri.MatchString(x.ChildText(pubsub.NSAtom, "id")), "the id %q", x.ChildText(pubsub.NSAtom, "id"))
	lang, _ := x.LookupAttr(xmlstream.Name{Space: nsXML, Local: "lang"})
	p.want(language.MatchString(lang), "the language %q", lang)
	alternates := make(map[string]bool)
	for k := range x.Elements() {
		if k.Name.Space != pubsub.NSAtom {
			continue
		}
		switch k.Name.Local {
		case "updated", "published": // RFC 4287 §3.3
			_, err := time.Parse(time.RFC3339, k.Text())
			p.want(err == nil && !strings.ContainsAny(k.Text(), "tz"), "the time %q", k.Text())
		case "author", "contributor": // RFC 4287 §3.2
			p.count(k, pubsub.NSAtom, 1, 1, "name")
			p.count(k, pubsub.NSAtom, 0, 1, "uri", "email")
			p.want(k.ChildText(pubsub.NSAtom, "name") != "", "a person without a name")
			if u := k.ChildText(pubsub.NSAtom, "uri"); u != "" {
				p.want(iri.MatchString(u), "the person %q", u)
			}
		case "category":
			p.want(k.Attr("term") != "", "a category without a term")
		case "link": // RFC 4287 §4.2.7
			p.want(iri.MatchString(k.Attr("href")), "the link %q", k.Attr("href"))
			p.mediaType(k)
			if key := k.Attr("type") + " " + k.Attr("hreflang"); k.Attr("rel") == "" || k.Attr("rel") == "alternate" {
				p.want(!alternates[key], "two alternates of type %s", key)
				alternates[key] = true
			}
		}
	}
}

func (p *problems) mediaType(k *xmlstream.Element) {
	if t, ok := k.LookupAttr(xmlstream.Name{Local: "type"}); ok {
		_, _, err := mime.ParseMediaType(t)
		p.want(err == nil && strings.Contains(t, "/"), "the media type %q", t)
	}
}

func (p *problems) entry(x *xmlstream.Element, author bool) {
	p.common(x)
	p.count(x, pubsub.NSAtom, 0, 1, "content", "published", "source", "summary")
	p.want(author || x.Child(pubsub.NSAtom, "author") != nil, "an entry without an author")
	alternate := false
	for k := range x.Elements() {
		alternate = alternate || k.Is(pubsub.NSAtom, "link") && k.Attr("rel") == "alternate"
		if k.Is(nsThread, "in-reply-to") { // RFC 4685 §3
			p.want(iri.MatchString(k.Attr("ref")), "a reply to %q", k.Attr("ref"))
			p.mediaType(k)
		}
	}
	p.want(alternate || x.Child(pubsub.NSAtom, "content") != nil, "an entry with neither content nor alternate")
}

// rss are the rules of RSS 2.0.
func (p *problems) rss(x *xmlstream.Element) {
	p.want(x.Is("", "rss") && x.Attr("version") == "2.0", "the root is %s", x.Name)
	p.count(x, "", 1, 1, "channel")
	c := x.Child("", "channel")
	p.count(c, "", 1, 1, "title", "link", "description")
	p.count(c, "", 0, 1, "language", "lastBuildDate", "generator", "ttl")
	p.want(language.MatchString(c.ChildText("", "language")), "the language %q", c.ChildText("", "language"))
	for i := range c.Elements() {
		if !i.Is("", "item") {
			continue
		}
		p.count(i, "", 0, 1, "title", "link", "description", "author", "guid", "pubDate", "source", "enclosure")
		p.count(i, nsContent, 0, 1, "encoded")
		p.want(i.Child("", "title") != nil || i.Child("", "description") != nil, "an item with neither title nor description")
		_, err := time.Parse(time.RFC1123Z, i.ChildText("", "pubDate"))
		p.want(err == nil, "the time %q", i.ChildText("", "pubDate"))
		p.want(i.ChildText("", "guid") != "", "an item without guid")
		if e := i.Child("", "enclosure"); e != nil {
			_, err := strconv.ParseUint(e.Attr("length"), 10, 63)
			p.want(err == nil && e.Attr("type") != "" && iri.MatchString(e.Attr("url")), "the enclosure %s", e)
			p.mediaType(e)
		}
	}
}

// json are the rules of JSON Feed 1.1.
func (p *problems) json(body string) {
	var f struct {
		Version, Title string
		HomePage       string `json:"home_page_url"`
		FeedURL        string `json:"feed_url"`
		Next           string `json:"next_url"`
		Language       string
		Items          []struct {
			ID, URL     string
			HTML        *string `json:"content_html"`
			Text        *string `json:"content_text"`
			Published   string  `json:"date_published"`
			Modified    string  `json:"date_modified"`
			Authors     []struct{ Name, URL string }
			Attachments []struct {
				URL  string
				Type string `json:"mime_type"`
				Size *int64 `json:"size_in_bytes"`
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &f); err != nil {
		p.want(false, "%v", err)
		return
	}
	p.want(f.Version == "https://jsonfeed.org/version/1.1" && f.Title != "" && f.Items != nil, "version, title or items")
	p.want(language.MatchString(f.Language), "the language %q", f.Language)
	for _, s := range []string{f.HomePage, f.FeedURL} {
		p.want(iri.MatchString(s), "the URL %q", s)
	}
	ids := make(map[string]bool)
	for _, i := range f.Items {
		p.want(i.ID != "" && !ids[i.ID], "the id %q", i.ID)
		ids[i.ID] = true
		p.want(i.HTML != nil || i.Text != nil, "an item with neither HTML nor text")
		for _, s := range []string{i.Published, i.Modified} {
			_, err := time.Parse(time.RFC3339, s)
			p.want(err == nil, "the time %q", s)
		}
		for _, a := range i.Authors {
			p.want(a.Name != "" || a.URL != "", "an author without a name")
		}
		for _, a := range i.Attachments {
			_, _, err := mime.ParseMediaType(a.Type)
			p.want(err == nil && iri.MatchString(a.URL), "the attachment %v", a)
		}
	}
}

// TestValid: what people publish is a valid feed whatever they have in it.
func TestValid(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	create := func(node, language string) {
		w.set(romeo+"/a", service, ns, "<create node='"+node+"'/><configure><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>"+ns+
			"#node_config</value></field><field var='pubsub#language'><value>"+language+"</value></field></x></configure>")
	}
	create("good", "de-CH")
	create("bad", "not a language")
	for _, node := range []string{"good", "bad"} {
		for i, entry := range []string{
			"",
			"<title/><id/><updated/>",
			"<title>x</title><id>tag:localhost,2024:same</id>",
			"<title>x</title><id>tag:localhost,2024:same</id>",
			"<id>tag:localhost,2024:with space</id><id>two</id><updated>yesterday</updated><published>2024-01-01</published>",
			"<id>urn:x:&lt;&quot;&gt;</id><author/><author><name> </name><uri>no uri</uri></author><category/><category term=''/>",
			"<link/><link rel='enclosure' href='https://a.example/x y' type='picture' length='many'/><link rel='via' href='https://a.example/' type='/'/>",
			"<link rel='enclosure' href='https://a.example/{x}' type='image/png; q=' length='007'/><link rel='related' href='/here'/>",
			"<in-reply-to xmlns='" + nsThread + "' ref='nothing' href='https://a.example/'/><in-reply-to xmlns='" + nsThread + "' href='xmpp:a@b.example?;node=x'/><in-reply-to xmlns='" + nsThread + "' ref='tag:a,2024:b' href='https://a.example/' type='post'/>",
			"<summary type='xhtml'/><content type='html'>&lt;p&gt;</content><content>text</content>",
			"<title type='html'>&lt;b&gt;\u00a0\u0085&#xFFFD;</title><published>0001-01-01T00:00:00Z</published><updated>9999-12-31T23:59:59-12:00</updated>",
		} {
			w.publish(service, node, strconv.Itoa(i), "<entry xmlns='"+pubsub.NSAtom+"'>"+entry+"</entry>")
		}
		for _, f := range []format{atom, rss, feed} {
			w.page("/feeds/" + service + "/" + url.PathEscape(node) + "/" + string(f))
		}
	}
}

// TestInvalid: the rules see what is wrong.
func TestInvalid(t *testing.T) {
	for _, c := range []struct {
		f    format
		body string
	}{
		{atom, "<feed xmlns='" + pubsub.NSAtom + "'><id>x</id><title/><entry><id>urn:x</id></entry></feed>"},
		{rss, "<rss version='2.0'><channel><title/><item/></channel></rss>"},
		{rss, "<rss"},
		{feed, `{"version":"1","items":[{"id":""}]}`},
	} {
		if len(invalid(c.f, c.body)) == 0 {
			t.Errorf("%s is taken for valid", c.body)
		}
	}
}
