package feeds

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	names "golang.org/x/net/html/atom"

	"sabir/xmpp/xmlstream"
)

// nsXHTML qualifies XHTML, which is the content of entries of that type (RFC 4287 §3.1.1.3).
const nsXHTML = "http://www.w3.org/1999/xhtml"

// deepest is how deep elements may be within one another; what is deeper loses its markup.
const deepest = 100

// writer writes what is allowed of somebody's markup as HTML that means the same to every reader: all of the text, and those
// elements and attributes that can neither run, load nor hide anything.
type writer struct {
	strings.Builder
	// pictures says that <img/> stays. A page has links instead, so that opening it tells nobody but us.
	pictures bool
}

// cleanHTML returns what is allowed of HTML.
func cleanHTML(s string, pictures bool) string {
	w := writer{pictures: pictures}
	for _, n := range parseHTML(s) {
		w.node(n, 0)
	}
	return w.String()
}

// cleanXHTML returns what is allowed of the children of an element of XHTML.
func cleanXHTML(e *xmlstream.Element, pictures bool) string {
	w := writer{pictures: pictures}
	for n := fromXML(e).FirstChild; n != nil; n = n.NextSibling {
		w.node(n, 0)
	}
	return w.String()
}

// cleanText returns text as HTML, with its line breaks.
func cleanText(s string) string {
	w := writer{}
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			w.WriteString("<br>")
		}
		w.characters(line)
	}
	return w.String()
}

// plain returns the text of HTML.
func plain(s string) string {
	var b strings.Builder
	for _, n := range parseHTML(s) {
		textOf(&b, n, 0)
	}
	return b.String()
}

// plainXHTML returns the text of an element of XHTML.
func plainXHTML(e *xmlstream.Element) string {
	var b strings.Builder
	textOf(&b, fromXML(e), 0)
	return b.String()
}

// parseHTML reads HTML as a browser does within a <div/>.
func parseHTML(s string) []*html.Node {
	list, err := html.ParseFragment(strings.NewReader(s), &html.Node{Type: html.ElementNode, Data: "div", DataAtom: names.Div})
	if err != nil { // a strings.Reader has no error: the parser gives up on what is too deep
		return []*html.Node{{Type: html.TextNode, Data: s}}
	}
	return list
}

// fromXML returns an element of XHTML as the parser of HTML would.
func fromXML(e *xmlstream.Element) *html.Node {
	n := &html.Node{Type: html.ElementNode, Data: e.Name.Local, DataAtom: names.Lookup([]byte(e.Name.Local))}
	if e.Name.Space != nsXHTML {
		n.Namespace = "other"
	}
	for _, a := range e.Attrs {
		if a.Name.Space == "" {
			n.Attr = append(n.Attr, html.Attribute{Key: a.Name.Local, Val: a.Value})
		}
	}
	for _, k := range e.Nodes {
		if k.El != nil {
			n.AppendChild(fromXML(k.El))
		} else {
			n.AppendChild(&html.Node{Type: html.TextNode, Data: k.Text})
		}
	}
	return n
}

func textOf(b *strings.Builder, n *html.Node, depth int) {
	if n.Type == html.TextNode {
		b.WriteString(n.Data)
	}
	if n.Type == html.ElementNode && kind(n) == hidden || depth > 10*deepest {
		return
	}
	for k := n.FirstChild; k != nil; k = k.NextSibling {
		textOf(b, k, depth+1)
	}
}

// treatment is what becomes of an element.
type treatment uint8

const (
	unwrapped treatment = iota // its children stand in its place
	hidden                     // it goes with all that is in it: it is no text for people
	kept                       // it stays, with what is allowed of its attributes
	empty                      // kept, and has no children
)

// kind says what becomes of an element. Names that are not listed are unwrapped.
func kind(n *html.Node) treatment {
	if n.Namespace != "" { // SVG, MathML
		return hidden
	}
	switch n.DataAtom {
	case names.Script, names.Style, names.Template, names.Iframe, names.Object, names.Embed, names.Applet, names.Noscript, names.Noframes,
		names.Noembed, names.Head, names.Title, names.Link, names.Meta, names.Base, names.Svg, names.Math, names.Canvas, names.Textarea,
		names.Select, names.Datalist, names.Plaintext, names.Xmp, names.Frameset, names.Frame, names.Audio, names.Video, names.Map:
		return hidden
	case names.P, names.Div, names.Span, names.Em, names.Strong, names.B, names.I, names.U, names.S, names.Del, names.Ins, names.Sub, names.Sup,
		names.Blockquote, names.Q, names.Cite, names.Code, names.Pre, names.Kbd, names.Samp, names.Var, names.Abbr, names.Dfn, names.Small,
		names.Mark, names.Ul, names.Ol, names.Li, names.Dl, names.Dt, names.Dd, names.H1, names.H2, names.H3, names.H4, names.H5, names.H6,
		names.A, names.Figure, names.Figcaption, names.Table, names.Thead, names.Tbody, names.Tfoot, names.Tr, names.Td, names.Th,
		names.Caption, names.Time, names.Bdi, names.Bdo:
		return kept
	case names.Br, names.Hr, names.Img, names.Wbr:
		return empty
	}
	return unwrapped
}

func (w *writer) node(n *html.Node, depth int) {
	switch n.Type {
	case html.TextNode:
		w.characters(n.Data)
	case html.ElementNode:
		w.element(n, depth)
	}
}

func (w *writer) element(n *html.Node, depth int) {
	k := kind(n)
	if k == hidden || depth > 10*deepest {
		return
	}
	if n.DataAtom == names.Img && k == empty {
		w.picture(n)
		return
	}
	marked := k >= kept && depth <= deepest
	if marked {
		w.WriteString("<" + n.DataAtom.String())
		w.attributes(n)
		w.WriteString(">")
	}
	if k == empty {
		return
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		w.node(c, depth+1)
	}
	if marked {
		w.WriteString("</" + n.DataAtom.String() + ">")
	}
}

// attributes writes those that are allowed: every element has a language and a direction, some have more.
func (w *writer) attributes(n *html.Node) {
	for _, a := range n.Attr {
		if a.Namespace != "" {
			continue
		}
		v := strings.TrimSpace(a.Val)
		switch a.Key {
		case "lang", "title":
			w.attribute(a.Key, v)
		case "dir":
			if v == "ltr" || v == "rtl" || v == "auto" {
				w.attribute(a.Key, v)
			}
		case "href":
			if u := safeURL(v, false); u != "" && n.DataAtom == names.A {
				w.attribute(a.Key, u)
				w.attribute("rel", "nofollow ugc noopener noreferrer")
			}
		case "cite":
			if u := safeURL(v, false); u != "" && (n.DataAtom == names.Blockquote || n.DataAtom == names.Q) {
				w.attribute(a.Key, u)
			}
		case "datetime":
			if n.DataAtom == names.Time {
				w.attribute(a.Key, v)
			}
		case "colspan", "rowspan":
			if c, err := strconv.Atoi(v); err == nil && c > 0 && c <= 100 && (n.DataAtom == names.Td || n.DataAtom == names.Th) {
				w.attribute(a.Key, strconv.Itoa(c))
			}
		}
	}
}

// picture writes <img/>, or a link to it.
func (w *writer) picture(n *html.Node) {
	var src, alt string
	for _, a := range n.Attr {
		switch {
		case a.Namespace != "":
		case a.Key == "src":
			src = safeURL(strings.TrimSpace(a.Val), true)
		case a.Key == "alt":
			alt = strings.TrimSpace(a.Val)
		}
	}
	switch {
	case src == "":
		w.characters(alt)
	case w.pictures:
		w.WriteString("<img")
		w.attribute("src", src)
		w.attribute("alt", alt)
		w.WriteString(">")
	default:
		if alt == "" {
			alt = "picture"
		}
		w.WriteString("<a")
		w.attribute("href", src)
		w.attribute("rel", "nofollow ugc noopener noreferrer")
		w.WriteString(">")
		w.characters("[" + alt + "]")
		w.WriteString("</a>")
	}
}

// safeURL returns an absolute URL of a scheme that shows or names something, or "". web says: one that is loaded.
func safeURL(s string, web bool) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" || u.User != nil {
			return ""
		}
	case "xmpp", "mailto", "geo", "tel":
		if web {
			return ""
		}
	default:
		return ""
	}
	return u.String()
}

func (w *writer) attribute(name, value string) {
	w.WriteString(" " + name + `="`)
	w.characters(value)
	w.WriteString(`"`)
}

// characters writes text, of which nothing can be taken for markup, within attributes neither. Characters that XML has not
// are left out, because the same text stands in feeds.
func (w *writer) characters(s string) {
	for i, r := range s {
		switch {
		case r == '<':
			w.WriteString("&lt;")
		case r == '>':
			w.WriteString("&gt;")
		case r == '&':
			w.WriteString("&amp;")
		case r == '"':
			w.WriteString("&#34;")
		case r == '\'':
			w.WriteString("&#39;")
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"), r < ' ' && r != '\n' && r != '\t', r == 0x7f, r == 0xFFFE, r == 0xFFFF:
			continue
		default:
			w.WriteRune(r)
		}
	}
}
