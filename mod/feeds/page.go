package feeds

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's template and style
	"encoding/base64"
	"html/template"
	"strings"

	"sabir/engine/pubsub"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// pages makes HTML of documents.
type pages struct {
	t *template.Template
	// policy lets a page show itself in its one style, be framed by nobody, send nothing, load nothing and run nothing. The
	// sandbox takes its origin from it, which is that of the web client.
	policy string
}

func newPages() (*pages, error) {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(pageCSS))
	return &pages{t, "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation"}, nil
}

// dataPolicy is that of the other formats, should something take them for a page.
const dataPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

// shownEntry is an entry with what the template needs of it.
type shownEntry struct {
	*entry
	Body      template.HTML
	When, Day string
	Link      template.URL
	Links     []shownLink
}

type shownLink struct {
	link
	URL template.URL
}

type shownPage struct {
	Heading, Title, Description, Language, Address string
	Single                                         bool
	Home                                           string
	XMPP                                           template.URL
	Style                                          template.CSS
	Alternates                                     []shownLink
	Feeds                                          []link
	Entries                                        []shownEntry
	Next, Previous                                 string
}

// render returns a document as a page. single says that it is the page of its one entry.
func (p *pages) render(d *document, single bool) ([]byte, error) {
	v := shownPage{
		Heading: d.Title, Title: d.Title, Description: d.Description, Language: d.Language, Address: strings.TrimSuffix(d.at.String()+" "+d.node, " "+pubsub.NSMicroblog),
		Single: single, Home: d.site.url(place{at: d.at, node: d.node}), XMPP: template.URL(d.URI()), Style: template.CSS(pageCSS),
		Next: d.Next, Previous: d.Previous,
	}
	if d.archive {
		v.Next, v.Previous = d.earlier, d.current
	}
	if single && len(d.Entries) == 1 {
		v.Heading = firstOf(d.Entries[0].Title, d.Title)
		v.Alternates = append(v.Alternates, shown(link{Rel: "alternate", Href: d.Entries[0].URI}))
	} else {
		for _, l := range d.links() {
			v.Alternates = append(v.Alternates, shown(l))
		}
	}
	for _, f := range formats() {
		if f != page {
			name := strings.TrimPrefix(string(f), "feed.")
			v.Feeds = append(v.Feeds, link{Href: d.site.url(place{at: d.at, node: d.node, format: f}), Title: strings.ToUpper(name[:1]) + name[1:]})
		}
	}
	for i := range d.Entries {
		e := &d.Entries[i]
		s := shownEntry{entry: e, Body: template.HTML(e.Page), When: rfc3339(e.Published), Day: e.Published.UTC().Format("2 January 2006, 15:04 UTC"), Link: template.URL(e.URI)}
		for _, l := range e.Links {
			s.Links = append(s.Links, shown(l))
		}
		v.Entries = append(v.Entries, s)
	}
	var b bytes.Buffer
	err := p.t.Execute(&b, v)
	return b.Bytes(), err
}

// shown vouches for the URL of a link, which is ours or has passed safeURL: the template's own list has no xmpp: URIs.
func shown(l link) shownLink { return shownLink{l, template.URL(l.Href)} }
