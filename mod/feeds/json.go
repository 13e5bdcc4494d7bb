package feeds

import "encoding/json"

// jsonFeed is JSON Feed 1.1.
type jsonFeed struct {
	Version     string       `json:"version"`
	Title       string       `json:"title"`
	HomePage    string       `json:"home_page_url"`
	URL         string       `json:"feed_url"`
	Description string       `json:"description,omitempty"`
	Next        string       `json:"next_url,omitempty"`
	Authors     []jsonAuthor `json:"authors,omitempty"`
	Language    string       `json:"language,omitempty"`
	Hubs        []jsonHub    `json:"hubs"`
	Items       []jsonItem   `json:"items"`
}

type jsonAuthor struct {
	Name string `json:"name"`
	URL  string `json:"url,omitempty"`
}

type jsonHub struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type jsonItem struct {
	ID          string           `json:"id"`
	URL         string           `json:"url"`
	Title       string           `json:"title,omitempty"`
	Summary     string           `json:"summary,omitempty"`
	HTML        string           `json:"content_html,omitempty"`
	Text        *string          `json:"content_text,omitempty"`
	Published   string           `json:"date_published"`
	Modified    string           `json:"date_modified"`
	Authors     []jsonAuthor     `json:"authors"`
	Tags        []string         `json:"tags,omitempty"`
	Attachments []jsonAttachment `json:"attachments,omitempty"`
	XMPP        jsonXMPP         `json:"_xmpp"`
}

type jsonAttachment struct {
	URL   string      `json:"url"`
	Type  string      `json:"mime_type"`
	Title string      `json:"title,omitempty"`
	Size  json.Number `json:"size_in_bytes,omitempty"`
}

// jsonXMPP is our own extension, named as such ones are (JSON Feed, "Extensions").
type jsonXMPP struct {
	About string `json:"about"`
	URI   string `json:"uri"`
}

// json returns the document as JSON Feed.
func (d *document) json() ([]byte, error) {
	out := jsonFeed{
		Version: "https://jsonfeed.org/version/1.1", Title: d.Title, HomePage: d.in(page), URL: d.Self(), Description: d.Description, Next: d.Next,
		Language: d.Language, Hubs: []jsonHub{{"WebSub", d.hub}}, Items: []jsonItem{},
	}
	if d.archive {
		out.Next = d.earlier
	}
	if d.Author.Name != "" {
		out.Authors = []jsonAuthor{{d.Author.Name, d.Author.URI}}
	}
	for i := range d.Entries {
		e := &d.Entries[i]
		x := jsonItem{
			ID: e.ID, URL: e.URL, Title: e.Title, Summary: e.Summary, HTML: e.HTML, Published: rfc3339(e.Published), Modified: rfc3339(e.Updated),
			Authors: []jsonAuthor{{e.Author.Name, e.Author.URI}}, Tags: e.Categories, XMPP: jsonXMPP{"https://www.rfc-editor.org/rfc/rfc5122", e.URI},
		}
		if e.HTML == "" { // one of both is required
			x.Text = &e.Title
		}
		for _, l := range e.Links {
			if l.Rel == "enclosure" {
				size := json.Number(l.Length)
				if l.Length != "" && l.Length[0] == '0' { // no number of JSON
					size = ""
				}
				x.Attachments = append(x.Attachments, jsonAttachment{l.Href, firstOf(l.Type, "application/octet-stream"), l.Title, size})
			}
		}
		out.Items = append(out.Items, x)
	}
	return json.Marshal(out)
}
