package feeds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"

	"sabir/xmpp/xmlstream"
)

// hostile returns the corpus, by name.
func hostile(t testing.TB) map[string]string {
	t.Helper()
	names, err := filepath.Glob("testdata/hostile/*.html")
	if err != nil || len(names) < 10 {
		t.Fatalf("the corpus has %d files: %v", len(names), err)
	}
	all := make(map[string]string)
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(n), ".html")] = string(b)
	}
	return all
}

// harmless fails the test where HTML has anything beside what is allowed. It reads it as a browser does and knows the list
// from the rules, not from the code: elements that show text, and of the attributes those that cannot do anything.
func harmless(t testing.TB, s string, pictures bool) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("no UTF-8: %q", s)
	}
	const elements = " p div span em strong b i u s del ins sub sup blockquote q cite code pre kbd samp var abbr dfn small mark ul ol li dl dt dd " +
		"h1 h2 h3 h4 h5 h6 a figure figcaption table thead tbody tfoot tr td th caption time bdi bdo br hr wbr "
	const attributes = " lang title dir href rel cite datetime colspan rowspan src alt "
	z := html.NewTokenizer(strings.NewReader(s))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.CommentToken, html.DoctypeToken:
			t.Errorf("a comment or doctype: %s", z.Raw())
		case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken:
			k := z.Token()
			if !strings.Contains(elements, " "+k.Data+" ") && !(pictures && k.Data == "img") {
				t.Errorf("<%s> in %.300s", k.Data, s)
			}
			for _, a := range k.Attr {
				if !strings.Contains(attributes, " "+a.Key+" ") {
					t.Errorf("%s=%q on <%s>", a.Key, a.Val, k.Data)
				}
				if a.Key != "href" && a.Key != "src" && a.Key != "cite" {
					continue
				}
				if !strings.HasPrefix(a.Val, "https://") && !strings.HasPrefix(a.Val, "http://") && !strings.HasPrefix(a.Val, "xmpp:") && !strings.HasPrefix(a.Val, "mailto:") {
					t.Errorf("%s=%q", a.Key, a.Val)
				}
			}
		}
	}
}

func TestHostile(t *testing.T) {
	for name, s := range hostile(t) {
		for _, pictures := range []bool{false, true} {
			out := cleanHTML(s, pictures)
			t.Run(name, func(t *testing.T) {
				harmless(t, out, pictures)
				if again := cleanHTML(out, pictures); again != out {
					t.Errorf("not the same when cleaned again:\n%.500s\n%.500s", out, again)
				}
			})
		}
		t.Run(name+"/text", func(t *testing.T) { harmless(t, cleanText(s), false) })
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"<p>a<script>b</script>c</p>": "<p>ac</p>",
		"<font color=red>red</font>":  "red",
		"a < b & c":                   "a &lt; b &amp; c",
		"<br/>x<hr>":                  "<br>x<hr>",
		"<a href='xmpp:romeo@localhost?message'>r</a>":          `<a href="xmpp:romeo@localhost?message" rel="nofollow ugc noopener noreferrer">r</a>`,
		"<a href=' javascript:x'>r</a>":                         "<a>r</a>",
		"<td colspan=2>out of a table</td>":                     "out of a table",
		"<table><tr><td colspan=2 rowspan=x>t</table>":          `<table><tbody><tr><td colspan="2">t</td></tr></tbody></table>`,
		`<p dir="rtl" lang="ar" title='"><script>'>ك</p>`:       `<p dir="rtl" lang="ar" title="&#34;&gt;&lt;script&gt;">ك</p>`,
		"<img src=https://a.test/b.png alt='A &amp; B'>":        `<a href="https://a.test/b.png" rel="nofollow ugc noopener noreferrer">[A &amp; B]</a>`,
		"<img src=https://a.test/b.png>":                        `<a href="https://a.test/b.png" rel="nofollow ugc noopener noreferrer">[picture]</a>`,
		"<img src=data:x alt=gone>":                             "gone",
		"<blockquote cite='https://a.test/'>q</blockquote>":     `<blockquote cite="https://a.test/">q</blockquote>`,
		"<svg><p>in</p></svg><math><mi>x</mi></math><p>out</p>": "<p>in</p><p>out</p>", // <p> ends <svg>, as browsers have it
	} {
		if got := cleanHTML(in, false); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	x, err := xmlstream.Parse(`<div xmlns='http://www.w3.org/1999/xhtml'><p onclick='x'>a &lt; <e xmlns='other'>b</e><br/><img src='https://a.test/b' alt='c'/></p></div>`, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cleanXHTML(x, true), `<p>a &lt; <br><img src="https://a.test/b" alt="c"></p>`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := cleanText("a <b>\nc"); got != "a &lt;b&gt;<br>c" {
		t.Error(got)
	}
	if got := plain("<p>a <b>b</b></p><script>c</script> &amp; d"); got != "a b & d" {
		t.Error(got)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range hostile(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		harmless(t, cleanHTML(s, true), true)
		harmless(t, cleanHTML(s, false), false)
	})
}
