package feeds

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/engine/pubsub"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	romeo   = "romeo@localhost"
	service = "pubsub.localhost"
	ns      = "http://jabber.org/protocol/pubsub"
	blog    = "/feeds/romeo@localhost/urn:xmpp:microblog:0"
	base    = "https://example.org"
)

// world is a host with feeds, a publish-subscribe service and accounts that have nodes.
type world struct {
	*modtest.Host
	t testing.TB
	f *feeds
}

func newWorld(t testing.TB, d db.DB, opts ...modtest.Option) *world {
	t.Helper()
	w := &world{t: t}
	info := Info
	info.New = func(h mod.Host, cfg any) (*mod.Hooks, error) {
		hooks, err := newFeeds(h, cfg)
		if err != nil {
			return nil, err
		}
		w.f = hooks.Pages.(*feeds)
		w.f.hub.first = time.Millisecond
		limits := pubsub.Limits{Items: 1000, Payload: 100_000, Nodes: 100, Subscriptions: 10}
		hooks.IQ = pubsub.New(h, pubsub.Options{PEP: true, Limits: limits}).Handlers(mod.AtAccount)
		at := jid.MustParse(service)
		s := pubsub.New(h, pubsub.Options{Domain: at, Limits: limits, MayCreate: func(jid.JID) bool { return true }})
		hooks.Services = []*mod.Service{{
			Domain: at, IQ: s.Handlers(mod.AtHost),
			Presence: func(context.Context, *stanza.Stanza) error { return nil },
			Message:  func(context.Context, *stanza.Stanza) (func(context.Context) error, error) { return nil, nil },
		}}
		return hooks, nil
	}
	w.Host = modtest.New(t, info, append([]modtest.Option{modtest.WithDB(d, db.Migrate)}, opts...)...)
	w.SetDisco(mod.AtHost, mod.Disco{Items: []mod.DiscoItem{{JID: jid.MustParse(service)}}})
	return w
}

// set sends a request to a node, which must succeed.
func (w *world) set(from, to, space, inner string) {
	w.t.Helper()
	a := w.IQ(stanza.TypeSet, from, to, "<pubsub xmlns='"+space+"'>"+inner+"</pubsub>")
	if a == nil || a.Type != stanza.TypeResult {
		w.t.Fatalf("%s: %v", inner, a)
	}
}

func form(kind, access string) string {
	return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>" + ns + "#" + kind + "</value></field>" +
		"<field var='pubsub#access_model'><value>" + access + "</value></field></x>"
}

// publish publishes an entry, to an open node if it makes it.
func (w *world) publish(at, node, id, entry string) {
	w.t.Helper()
	w.set(romeo+"/a", at, ns, "<publish node='"+node+"'><item id='"+id+"'>"+entry+"</item></publish><publish-options>"+form("publish-options", "open")+"</publish-options>")
}

func (w *world) post(id, title string) {
	w.t.Helper()
	w.publish(romeo, pubsub.NSMicroblog, id, "<entry xmlns='"+pubsub.NSAtom+"'><title>"+title+"</title><id>tag:localhost,2024:"+id+"</id></entry>")
}

// configure sets the access model of a node.
func (w *world) configure(at, node, access string) {
	w.t.Helper()
	w.set(romeo+"/a", at, ns+"#owner", "<configure node='"+node+"'>"+form("node_config", access)+"</configure>")
}

// get asks for a path, with fields of the header as pairs.
func (w *world) get(path string, fields ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.ask(http.MethodGet, path, fields...)
}

func (w *world) ask(method, path string, fields ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, base+path, nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	a := httptest.NewRecorder()
	w.Hooks.HTTP[0].Handler.ServeHTTP(a, r)
	return a
}

// page asks for what must be there, and be valid where it is a feed.
func (w *world) page(path string) string {
	w.t.Helper()
	a := w.get(path)
	if a.Code != http.StatusOK {
		w.t.Fatalf("%s: %d %s", path, a.Code, a.Body)
	}
	body := a.Body.String()
	p, _, _ := strings.Cut(path, "?")
	if f := format(p[strings.LastIndexByte(p, '/')+1:]); f == atom || f == rss || f == feed {
		for _, wrong := range invalid(f, body) {
			w.t.Errorf("%s: %s in\n%s", path, wrong, body)
		}
	}
	return body
}

// atomFeed is what a reader of Atom sees.
type atomFeed struct {
	XMLName xml.Name   `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string     `xml:"id"`
	Title   string     `xml:"title"`
	Updated time.Time  `xml:"updated"`
	Author  string     `xml:"author>name"`
	Links   []atomLink `xml:"link"`
	Archive *struct{}  `xml:"http://purl.org/syndication/history/1.0 archive"`
	Entries []struct {
		ID      string     `xml:"id"`
		Title   string     `xml:"title"`
		Author  string     `xml:"author>name"`
		URI     string     `xml:"author>uri"`
		Claimed string     `xml:"contributor>name"`
		Content string     `xml:"content"`
		Links   []atomLink `xml:"link"`
		Reply   struct {
			Ref string `xml:"ref,attr"`
		} `xml:"http://purl.org/syndication/thread/1.0 in-reply-to"`
		Category []struct {
			Term string `xml:"term,attr"`
		} `xml:"category"`
	} `xml:"entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

func linkOf(list []atomLink, rel, typ string) string {
	for _, l := range list {
		if l.Rel == rel && l.Type == typ {
			return l.Href
		}
	}
	return ""
}

func (w *world) atom(path string) *atomFeed {
	w.t.Helper()
	f := new(atomFeed)
	if err := xml.Unmarshal([]byte(w.page(path)), f); err != nil {
		w.t.Fatalf("%s: %v", path, err)
	}
	return f
}

// within takes the path out of a URL of this server.
func (w *world) within(u string) string {
	w.t.Helper()
	p, ok := strings.CutPrefix(u, base)
	if !ok {
		w.t.Fatalf("%q is not on this server", u)
	}
	return p
}

const rich = `<entry xmlns='http://www.w3.org/2005/Atom' xmlns:thr='http://purl.org/syndication/thread/1.0'>
<title>Rich &amp; famous</title><id>tag:localhost,2024:rich</id><published>2024-01-01T10:00:00Z</published><updated>2024-01-02T10:00:00Z</updated>
<author><name>Romeo Montague</name><uri>xmpp:romeo@localhost</uri></author>
<content>plain</content><content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>with <em onclick='x'>style</em><script>hit()</script></p></div></content>
<category term='love'/><link rel='enclosure' href='https://example.org/p.jpg' type='image/jpeg' length='42'/><link rel='via' href='javascript:hit()'/>
<thr:in-reply-to ref='tag:localhost,2024:other' href='xmpp:juliet@localhost?;node=x'/></entry>`

func TestFormats(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.publish(romeo, pubsub.NSMicroblog, "0", "<feed xmlns='"+pubsub.NSAtom+"'><title>Romeo&apos;s &lt;blog&gt;</title><id>tag:localhost,2024:home</id><author><name>Romeo</name></author></feed>")
		w.post("a b/c", "first")
		w.publish(romeo, pubsub.NSMicroblog, "other", "<x xmlns='urn:example'/>") // no entry: left out
		w.publish(romeo, pubsub.NSMicroblog, "rich", rich)

		t.Run("atom", func(t *testing.T) { formatAtom(t, w) })
		t.Run("rss", func(t *testing.T) { formatRSS(t, w) })
		t.Run("json", func(t *testing.T) { formatJSON(t, w) })
		t.Run("page", func(t *testing.T) { formatPage(t, w) })
		t.Run("service", func(t *testing.T) { formatService(t, w) })
		t.Run("comments", func(t *testing.T) { formatComments(t, w) })
	})
}

func formatAtom(t *testing.T, w *world) {
	f := w.atom(blog + "/feed.atom")
	if f.ID != "tag:localhost,2024:home" || f.Title != "Romeo's <blog>" || f.Author != "Romeo" || len(f.Entries) != 2 {
		t.Fatalf("%+v", f)
	}
	for rel, want := range map[string]string{
		"self": base + blog + "/feed.atom", "hub": base + "/feeds/localhost/hub",
	} {
		if got := linkOf(f.Links, rel, map[string]string{"self": "application/atom+xml"}[rel]); got != want {
			t.Errorf("%s: %q", rel, got)
		}
	}
	if got := linkOf(f.Links, "alternate", "application/atom+xml"); got != "xmpp:romeo@localhost?;node=urn%3Axmpp%3Amicroblog%3A0" {
		t.Errorf("alternate: %q", got)
	}
	e := f.Entries[0]
	if e.ID != "tag:localhost,2024:rich" || e.Title != "Rich & famous" || e.Author != "Romeo Montague" || e.URI != "xmpp:romeo@localhost" || e.Claimed != "" {
		t.Errorf("%+v", e)
	}
	if e.Content != "<p>with <em>style</em></p>" || e.Reply.Ref != "tag:localhost,2024:other" || len(e.Category) != 1 || linkOf(e.Links, "via", "") != "" ||
		linkOf(e.Links, "enclosure", "image/jpeg") != "https://example.org/p.jpg" {
		t.Errorf("%+v", e)
	}
	first := f.Entries[1]
	if got := linkOf(first.Links, "alternate", "text/html"); got != base+blog+"/item/a%20b%2Fc" {
		t.Errorf("page: %s", got)
	}
	if got := linkOf(first.Links, "alternate", "application/atom+xml"); got != "xmpp:romeo@localhost?;node=urn%3Axmpp%3Amicroblog%3A0;item=a%20b%2Fc" {
		t.Errorf("URI: %s", got)
	}
}

func formatRSS(t *testing.T, w *world) {
	var f struct {
		Version string `xml:"version,attr"`
		Channel struct {
			Title string `xml:"title"`
			Item  []struct {
				Title     string `xml:"title"`
				Link      string `xml:"link"`
				GUID      string `xml:"guid"`
				Date      string `xml:"pubDate"`
				Content   string `xml:"http://purl.org/rss/1.0/modules/content/ encoded"`
				Enclosure struct {
					URL string `xml:"url,attr"`
				} `xml:"enclosure"`
			} `xml:"item"`
		} `xml:"channel"`
	}
	if err := xml.Unmarshal([]byte(w.page(blog+"/feed.rss")), &f); err != nil {
		t.Fatal(err)
	}
	i := f.Channel.Item[0]
	if f.Version != "2.0" || f.Channel.Title != "Romeo's <blog>" || i.Title != "Rich & famous" || i.GUID != "tag:localhost,2024:rich" ||
		i.Date != "Mon, 01 Jan 2024 10:00:00 +0000" || i.Content != "<p>with <em>style</em></p>" || i.Enclosure.URL != "https://example.org/p.jpg" {
		t.Errorf("%+v", f)
	}
}

func formatJSON(t *testing.T, w *world) {
	var f jsonFeed
	if err := json.Unmarshal([]byte(w.page(blog+"/feed.json")), &f); err != nil {
		t.Fatal(err)
	}
	if f.Version != "https://jsonfeed.org/version/1.1" || len(f.Items) != 2 || f.Items[0].HTML != "<p>with <em>style</em></p>" || f.Items[0].Attachments[0].Size != "42" ||
		f.Items[1].Text == nil || *f.Items[1].Text != "first" || f.URL != base+blog+"/feed.json" {
		t.Errorf("%+v", f)
	}
}

func formatPage(t *testing.T, w *world) {
	for _, path := range []string{blog + "/index.html", blog + "/item/rich"} {
		a := w.get(path)
		s := a.Body.String()
		for _, want := range []string{"<p>with <em>style</em></p>", "Romeo&#39;s &lt;blog&gt;", "Rich &amp; famous", `href="xmpp:romeo@localhost?;node=urn%3Axmpp%3Amicroblog%3A0`} {
			if !strings.Contains(s, want) {
				t.Errorf("%s has no %s:\n%s", path, want, s)
			}
		}
		if p := a.Header().Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'; style-src 'sha256-") || strings.Contains(p, "unsafe") || strings.Contains(s, "<script") {
			t.Errorf("%s: %s\n%s", path, p, s)
		}
	}
}

func formatService(t *testing.T, w *world) {
	w.publish(service, "new/s", "1", rich)
	f := w.atom("/feeds/pubsub.localhost/new%2Fs/feed.atom")
	if len(f.Entries) != 1 || f.Entries[0].Author != "Romeo Montague" || f.Title != "new/s" {
		t.Errorf("%+v", f)
	}
}

func formatComments(t *testing.T, w *world) {
	// Whoever comments under another's name is named (XEP-0277#comment_author).
	node := "urn:xmpp:microblog:0:comments/a"
	w.set(romeo+"/a", romeo, ns, "<create node='"+node+"'/>")
	w.set("juliet@localhost/a", romeo, ns, "<publish node='"+node+"'><item id='c'>"+rich+"</item></publish>")
	e := w.atom("/feeds/romeo@localhost/" + url.PathEscape(node) + "/feed.atom").Entries[0]
	if e.Author != "juliet@localhost" || e.URI != "xmpp:juliet@localhost" || e.Claimed != "Romeo Montague" {
		t.Errorf("%+v", e)
	}
}

func TestConditional(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.post("a", "first")
	for _, form := range []string{"/feed.atom", "/feed.rss", "/feed.json", "/index.html", "/item/a"} {
		a := w.get(blog + form)
		tag, at := a.Header().Get("ETag"), a.Header().Get("Last-Modified")
		if a.Code != 200 || tag == "" || at == "" {
			t.Fatalf("%s: %d %v", form, a.Code, a.Header())
		}
		for _, fields := range [][]string{{"If-None-Match", tag}, {"If-Modified-Since", at}} {
			if b := w.get(blog+form, fields...); b.Code != 304 || b.Body.Len() != 0 || b.Header().Get("ETag") != tag {
				t.Errorf("%s %v: %d", form, fields, b.Code)
			}
		}
		h := w.ask(http.MethodHead, blog+form)
		if h.Code != 200 || h.Body.Len() != 0 || h.Header().Get("Content-Length") != fmt.Sprint(a.Body.Len()) || h.Header().Get("ETag") != tag {
			t.Errorf("HEAD %s: %d %v", form, h.Code, h.Header())
		}
		if p := w.ask(http.MethodPost, blog+form); p.Code != 405 || p.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d", form, p.Code)
		}
	}
	a := w.get(blog + "/feed.atom")
	w.Advance(time.Minute)
	w.post("b", "second")
	w.Advance(time.Minute)
	w.set(romeo+"/a", romeo, ns, "<retract node='urn:xmpp:microblog:0'><item id='b'/></retract>") // older items only, and yet a change
	b := w.get(blog+"/feed.atom", "If-Modified-Since", a.Header().Get("Last-Modified"))
	if b.Code != 200 {
		t.Errorf("after a change: %d", b.Code)
	}
}

// TestAbsent compares what is not for everybody with what is not there.
func TestAbsent(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Rate = 0 }))
	w.post("a", "first")
	w.configure(romeo, pubsub.NSMicroblog, "presence")
	w.publish(service, "closed", "a", rich)
	w.configure(service, "closed", "whitelist")
	w.publish(romeo, "http://jabber.org/protocol/mood", "a", "<mood xmlns='http://jabber.org/protocol/mood'/>") // open, and no feed
	want := w.get("/feeds/nobody@localhost/urn:xmpp:microblog:0")
	if want.Code != 404 {
		t.Fatal(want.Code)
	}
	for _, p := range []string{
		blog, blog + "/feed.atom", blog + "/item/a", "/feeds/romeo@localhost", "/feeds/nobody@localhost/urn:xmpp:microblog:0/feed.atom", "/feeds/pubsub.localhost/closed/feed.rss",
		"/feeds/pubsub.localhost/none/feed.rss", "/feeds/pubsub.localhost/closed/item/a", "/feeds/romeo@localhost/" + url.PathEscape("http://jabber.org/protocol/mood"),
		"/feeds/pubsub.localhost", "/feeds/localhost/x", "/feeds/@/x", "/feeds/romeo@localhost/a/b/c/d",
	} {
		began := time.Now()
		a := w.get(p)
		if took := time.Since(began); took < absence {
			t.Errorf("%s: answered after %v", p, took)
		}
		a.Header().Del("Vary")
		if a.Code != 404 || a.Body.String() != want.Body.String() || fmt.Sprint(a.Header()) != fmt.Sprint(clean(want.Header())) {
			t.Errorf("%s: %d %v %s", p, a.Code, a.Header(), a.Body)
		}
	}
	w.configure(romeo, pubsub.NSMicroblog, "open")
	w.page(blog)
	w.page("/feeds/romeo@localhost")
	if a := w.get(blog + "/item/none"); a.Code != 404 {
		t.Error(a.Code)
	}
	for _, q := range []string{"?x=1", "?before=x", "?before=1&after=2", "?archive=-1", "?before=01", "?before=1;x"} {
		if a := w.get(blog + "/feed.atom" + q); a.Code != 400 {
			t.Errorf("%s: %d", q, a.Code)
		}
	}
}

func clean(h http.Header) http.Header { h = h.Clone(); h.Del("Vary"); return h }

// TestPages walks the pages and the archives of a node whose items were made over months, changed and deleted.
func TestPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d, modtest.WithConfig(func(c *Config) { c.Items, c.Rate = 5, 0 }))
		want := map[string]bool{}
		for i := range 40 {
			id := fmt.Sprint("i", i)
			w.post(id, id)
			want[id] = true
			w.Advance(3*24*time.Hour + time.Hour)
		}
		for _, id := range []string{"i1", "i17", "i38"} {
			w.post(id, id+" again")
		}
		for _, id := range []string{"i5", "i30"} {
			w.set(romeo+"/a", romeo, ns, "<retract node='urn:xmpp:microblog:0'><item id='"+id+"'/></retract>")
			delete(want, id)
		}
		walk := func(from, rel string) (ids []string, documents int) {
			for path := from; path != ""; documents++ {
				if documents > 40 {
					t.Fatal("a circle")
				}
				f := w.atom(path)
				if len(f.Entries) > 5 || (f.Archive != nil) != strings.Contains(path, "archive=") {
					t.Errorf("%s: %d entries, %v", path, len(f.Entries), f.Archive)
				}
				if f.Archive != nil && linkOf(f.Links, "current", "") != base+blog+"/feed.atom" {
					t.Errorf("%s has no current", path)
				}
				for _, e := range f.Entries {
					ids = append(ids, strings.TrimPrefix(e.ID, "tag:localhost,2024:"))
				}
				path = ""
				if l := linkOf(f.Links, rel, ""); l != "" {
					path = w.within(l)
				}
			}
			return ids, documents
		}
		ids, n := walk(blog+"/feed.atom", "next")
		if len(ids) != len(want) || n != 8 || ids[0] != "i38" {
			t.Errorf("%d pages with %v", n, ids)
		}
		back := w.within(linkOf(w.atom(blog+"/feed.atom").Links, "next", ""))
		if p := linkOf(w.atom(back).Links, "previous", ""); p == "" || len(w.atom(w.within(p)).Entries) != 5 {
			t.Errorf("previous: %s", p)
		}
		ids, _ = walk(blog+"/feed.atom", "prev-archive")
		for id := range want {
			if !slices.Contains(ids, id) {
				t.Errorf("%s is in no archive", id)
			}
		}
		if slices.Contains(ids, "i5") {
			t.Error("an archive has what was deleted")
		}
		// An archive of a month that is over stays as it is when something new comes.
		f := w.atom(blog + "/feed.atom")
		before := linkOf(f.Links, "prev-archive", "")
		w.post("new", "new")
		if after := linkOf(w.atom(blog+"/feed.atom").Links, "prev-archive", ""); !strings.HasPrefix(before, base) || after != before && !strings.Contains(after, "archive=") {
			t.Errorf("the archive was %s and is %s", before, after)
		}
	})
}

func TestChoose(t *testing.T) {
	for accept, want := range map[string]format{
		"":    "",
		"*/*": atom,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": page,
		"application/rss+xml, application/atom+xml;q=0.5":                 rss,
		"application/feed+json, application/json":                         feed,
		"application/json":                    feed,
		"application/xml":                     atom,
		"text/*":                              page,
		"image/png":                           "",
		"application/atom+xml;q=0, */*;q=0.1": rss,
		"text/html;q=0.5, */*;q=0.5":          page,
		"text/html;q=x":                       "",
		"application/*":                       atom,
	} {
		if got := choose([]string{accept}); got != want {
			t.Errorf("%s: %q, want %q", accept, got, want)
		}
	}
	if got := choose(nil); got != atom {
		t.Error(got)
	}
}

func TestPlace(t *testing.T) {
	for path, want := range map[string]bool{
		"/feeds/romeo@localhost": true, "/feeds/romeo@localhost/x": true, "/feeds/romeo@localhost/a%2Fb/feed.rss": true, "/feeds/pubsub.localhost/x/item/%2E%2E": true,
		"/feeds/romeo@localhost/%2E": true, "/feeds/localhost/hub": true,
		"/feeds/romeo@localhost/": false, "/feeds//x": false, "/feeds/romeo@localhost/x/feed.pdf": false, "/feeds/romeo@localhost/resource/x/y": false, "/feeds/romeo@localhost%2Fr/x": false,
		"/feeds/%/x": false, "/other/romeo@localhost/x": false,
	} {
		p, ok := parsePlace(path)
		if ok != want {
			t.Errorf("%s: %v", path, ok)
		}
		if again, _ := parsePlace(p.path()); ok && again != p {
			t.Errorf("%s: %+v, %+v", path, p, again)
		}
	}
}

func TestRate(t *testing.T) {
	l := newRate(2)
	now := time.Now()
	for i := range 20 {
		if l.take("192.0.2.1:1", now) != 0 {
			t.Fatalf("request %d has to wait", i)
		}
	}
	if l.take("192.0.2.1:2", now) == 0 || l.take("192.0.2.2:1", now) != 0 || l.take("192.0.2.1:1", now.Add(time.Second)) != 0 {
		t.Error("the rate is not kept")
	}
	w := newWorld(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Rate = 1 }))
	w.post("a", "a")
	for range 10 {
		w.page(blog)
	}
	if a := w.get(blog); a.Code != 429 || a.Header().Get("Retry-After") == "" {
		t.Errorf("%d", a.Code)
	}
}

// TestHostileEntries takes the corpus the whole way, as HTML in every field of an entry.
func TestHostileEntries(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Items, c.Rate = 100, 0 }))
	for name, s := range hostile(t) {
		if len(s) > 3000 {
			s = strings.ToValidUTF8(s[:3000], "")
		}
		s = string(xmlstream.AppendText(nil, s))
		w.publish(romeo, pubsub.NSMicroblog, name, "<entry xmlns='"+pubsub.NSAtom+"'><title>"+s+"</title><id>"+s+"</id><author><name>"+s+"</name><uri>"+s+"</uri></author>"+
			"<category term='x'/><summary type='html'>"+s+"</summary><content type='html'>"+s+"</content></entry>")
	}
	f := w.atom(blog + "/feed.atom")
	if len(f.Entries) != len(hostile(t)) {
		t.Errorf("%d entries", len(f.Entries))
	}
	for _, e := range f.Entries {
		harmless(t, e.Content, true)
	}
	var j jsonFeed
	if err := json.Unmarshal([]byte(w.page(blog+"/feed.json")), &j); err != nil {
		t.Fatal(err)
	}
	for _, e := range j.Items {
		harmless(t, e.HTML, true)
	}
	if err := xml.Unmarshal([]byte(w.page(blog+"/feed.rss")), new(struct{})); err != nil {
		t.Error(err)
	}
	s := w.page(blog + "/index.html")
	if strings.Contains(s, "<script") || strings.Contains(s, "<img") || strings.Contains(s, "javascript:hit()\"") {
		t.Error("the page has what it must not have")
	}
}
