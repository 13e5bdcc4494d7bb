package interop

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// blogger is somebody who publishes posts for everybody.
type blogger struct {
	c   *client.Client
	jid string
}

func newBlogger(t *testing.T, w *world, a Account) *blogger {
	t.Helper()
	cfg, err := w.ClientConfig(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	return &blogger{c, a.JID}
}

// post publishes an entry of Atom, given by its children.
func (b *blogger) post(t *testing.T, id, inner string) {
	t.Helper()
	const ns = "http://jabber.org/protocol/pubsub"
	x, err := xmlstream.Parse("<pubsub xmlns='"+ns+"'><publish node='urn:xmpp:microblog:0'><item id='"+id+"'><entry xmlns='http://www.w3.org/2005/Atom'>"+inner+
		"</entry></item></publish><publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>"+ns+
		"#publish-options</value></field><field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub>", xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := b.c.Request(ctx, stanza.TypeSet, jid.JID{}, x); err != nil {
		t.Fatal(err)
	}
}

func (w *world) feed(jid, file string) string {
	return strings.TrimSuffix(w.WebURL, "/") + "/feeds/" + jid + "/urn:xmpp:microblog:0/" + file
}

// run runs a program of Debian's that trusts the server's authority, for a minute at most.
func (w *world) run(t *testing.T, home, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME=", "XDG_DATA_HOME=", "SSL_CERT_FILE="+w.CAFile, "CURL_CA_BUNDLE="+w.CAFile, "LC_ALL=C.UTF-8", "TERM=dumb")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

// TestFeeds has readers of feeds read a microblog over HTTPS.
func TestFeeds(t *testing.T) {
	w := enter(t)
	a := w.account(t, "amina")
	b := newBlogger(t, w, a)
	b.post(t, "one", "<title>Olives &amp; figs</title><id>tag:harbour.test,2026:one</id><published>2026-01-02T03:04:05Z</published><updated>2026-01-02T03:04:05Z</updated>"+
		"<content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>From the <em>market</em></p></div></content><category term='food'/>")
	b.post(t, "two", "<title>Ships</title><id>tag:harbour.test,2026:two</id><content>Three came &lt;in&gt;</content>"+
		"<link rel='enclosure' href='https://harbour.test/ship.jpg' type='image/jpeg' length='1234'/>")

	t.Run("feedparser", func(t *testing.T) {
		for _, file := range []string{"feed.atom", "feed.rss"} {
			out := w.run(t, t.TempDir(), "/usr/bin/python3", "testdata/agents/feeds.py", w.feed(a.JID, file))
			var f struct {
				Bozo    bool     `json:"bozo"`
				Version string   `json:"version"`
				Status  int      `json:"status"`
				Again   int      `json:"again"`
				Hub     []string `json:"hub"`
				Entries []struct {
					ID, Title, Link, Content, Author string
					Tags, Enclosures                 []string
				} `json:"entries"`
			}
			if err := json.Unmarshal([]byte(out), &f); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if f.Bozo || f.Status != 200 || f.Again != 304 || len(f.Entries) != 2 || len(f.Hub) != 1 || !strings.HasSuffix(f.Hub[0], "/feeds/harbour.test/hub") {
				t.Fatalf("%s: %s", file, out)
			}
			if want := map[string]string{"feed.atom": "atom10", "feed.rss": "rss20"}[file]; f.Version != want {
				t.Errorf("%s is taken for %s", file, f.Version)
			}
			one, two := f.Entries[1], f.Entries[0]
			if one.ID != "tag:harbour.test,2026:one" || one.Title != "Olives & figs" || one.Content != "<p>From the <em>market</em></p>" || !slices.Equal(one.Tags, []string{"food"}) ||
				one.Link != w.feed(a.JID, "item/one") || !strings.Contains(one.Author, a.JID) {
				t.Errorf("%s: %+v", file, one)
			}
			if two.Content != "Three came &lt;in&gt;" || !slices.Equal(two.Enclosures, []string{"https://harbour.test/ship.jpg"}) {
				t.Errorf("%s: %+v", file, two)
			}
		}
	})
	t.Run("newsboat", func(t *testing.T) {
		for _, file := range []string{"feed.atom", "feed.rss"} {
			home := t.TempDir()
			urls, cache, config := filepath.Join(home, "urls"), filepath.Join(home, "cache.db"), filepath.Join(home, "config")
			for path, text := range map[string]string{urls: w.feed(a.JID, file) + "\n", config: "download-retries 1\n"} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			said := w.run(t, home, "newsboat", "-C", config, "-u", urls, "-c", cache, "-x", "reload")
			if got := w.run(t, home, "newsboat", "-C", config, "-u", urls, "-c", cache, "-x", "print-unread"); !strings.Contains(got, "2 unread") {
				t.Fatalf("%s: %s; the reload said %q", file, got, said)
			}
			rows := w.run(t, home, "sqlite3", cache, "SELECT guid || '|' || title || '|' || content FROM rss_item ORDER BY guid")
			if want := "tag:harbour.test,2026:one|Olives & figs|<p>From the <em>market</em></p>\ntag:harbour.test,2026:two|Ships|Three came &lt;in&gt;\n"; rows != want {
				t.Errorf("%s: %s", file, rows)
			}
		}
	})
	t.Run("browser", func(t *testing.T) { neutral(t, w, a.JID) })
}

// neutral has Chromium show the corpus of hostile HTML, which must do nothing. The microblog of harmless is there already.
func neutral(t *testing.T, w *world, harmless string) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "mod/feeds/testdata/hostile/*.html"))
	if err != nil || len(files) < 10 {
		t.Fatalf("the corpus has %d files: %v", len(files), err)
	}
	a := w.account(t, "mallory")
	m := newBlogger(t, w, a)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 20000 {
			text = text[:20000]
		}
		s := string(xmlstream.AppendText(nil, string(text)))
		short := string(xmlstream.AppendText(nil, string(text[:min(len(text), 1000)])))
		m.post(t, strings.TrimSuffix(filepath.Base(f), ".html"), "<title>"+short+"</title><id>"+short+"</id><author><name>"+short+"</name><uri>"+short+"</uri></author><category term='x'/>"+
			"<summary type='html'>"+s+"</summary><content type='html'>"+s+"</content><link rel='via' href='javascript:hit()'/><link rel='related' href='https://ok.test/' title=\"&lt;script&gt;hit()&lt;/script&gt;\"/>")
	}
	b := newBrowser(t, w)
	// What looks at the page has a script blocked, too: so often as with a page that nobody means harm with.
	blocked := func(r any) (n int, others []any) {
		for _, d := range field[[]any](t, r, "did") {
			if strings.HasPrefix(d.(string), "console: Blocked script execution") {
				n++
			} else {
				others = append(others, d)
			}
		}
		return n, others
	}
	usual, _ := blocked(b.do(t, "look", args{"url": w.feed(harmless, "index.html")}))
	look := func(url string) {
		t.Helper()
		r := b.do(t, "look", args{"url": url})
		if n, did := blocked(r); n != usual || len(did) > 0 {
			t.Errorf("%s: %d scripts were blocked, %d is usual; %v", url, n, usual, did)
		}
		if n := field[float64](t, r, "active") + field[float64](t, r, "handlers"); n != 0 || field[float64](t, r, "status") != 200 {
			t.Errorf("%s has %v elements that do something: %v", url, n, r)
		}
		if s := field[string](t, r, "styled"); s != "1px" {
			t.Errorf("%s has not its own style: %s", url, s)
		}
		if o := field[string](t, r, "origin"); o != "null" {
			t.Errorf("%s has the origin of the web client: %s", url, o)
		}
	}
	look(w.feed(a.JID, "index.html"))
	for _, f := range files {
		look(w.feed(a.JID, "item/"+strings.TrimSuffix(filepath.Base(f), ".html")))
	}
}
