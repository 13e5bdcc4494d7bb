package feeds

import (
	"context"
	"slices"
	"strconv"
	"time"

	"sabir/engine/pubsub"
	"sabir/xmpp/jid"
)

// query says which items of a node a document has: the newest, those before or after a place, or an archive.
type query struct {
	before, after int64
	archive       time.Time
}

// parseQuery reads the parameters of a request; ok is false where there is something that no link of ours has.
func parseQuery(values map[string][]string) (q query, ok bool) {
	if len(values) > 1 {
		return q, false
	}
	for k, v := range values {
		n, err := strconv.ParseInt(v[0], 10, 64)
		if err != nil || n <= 0 || len(v) != 1 || strconv.FormatInt(n, 10) != v[0] {
			return q, false
		}
		switch k {
		case "before":
			q.before = n
		case "after":
			q.after = n
		case "archive":
			q.archive = time.UnixMicro(n).UTC()
		default:
			return q, false
		}
	}
	return q, true
}

func (q query) String() string {
	switch {
	case q.before != 0:
		return "?before=" + strconv.FormatInt(q.before, 10)
	case q.after != 0:
		return "?after=" + strconv.FormatInt(q.after, 10)
	case !q.archive.IsZero():
		return "?archive=" + strconv.FormatInt(q.archive.UnixMicro(), 10)
	}
	return ""
}

// document is what is shown of a node in one answer, in any format.
type document struct {
	at          jid.JID
	node        string
	ID          string
	Title       string
	Description string
	Language    string
	Author      person
	Updated     time.Time
	Entries     []entry

	format           format
	site             site
	hub              string // URL
	query            query
	archive          bool   // a document that hardly changes any more (RFC 5005 §4)
	Next, Previous   string // URLs of other pages (RFC 5005 §3)
	earlier, current string // URLs of archives (RFC 5005 §4)
}

// Self is the address of the document, in its format.
func (d *document) Self() string { return d.in(d.format) }

// in is the address of the same in another format.
func (d *document) in(f format) string {
	return d.site.url(place{at: d.at, node: d.node, format: f}) + d.query.String()
}

// first is the address of the newest.
func (d *document) first() string {
	return d.site.url(place{at: d.at, node: d.node, format: d.format})
}

// URI is the address of the node in XMPP.
func (d *document) URI() string { return pubsub.URI(d.at, d.node, "") }

// metadataItem is the id of the item that tells about a microblog (XEP-0277#metadata).
const metadataItem = "0"

// document reads what a query asks for. No document has more than perPage entries.
func (f *feeds) document(ctx context.Context, n *pubsub.OpenNode, s site, form format, q query) (*document, error) {
	d := &document{
		at: n.At, node: n.Name, ID: pubsub.URI(n.At, n.Name, ""), Title: oneLine(n.Title), Description: oneLine(n.Description), Language: languageTag(n.Language),
		Updated: n.Created, format: form, site: s, query: q, hub: string(s) + hubPath(f.h.Domain()),
	}
	var items []*pubsub.OpenItem
	var err error
	if q.archive.IsZero() {
		items, err = f.page(ctx, n, d)
	} else {
		items, err = f.archived(ctx, n, d)
	}
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for _, i := range items {
		if e, ok := s.read(n, i); ok {
			if known[e.ID] { // what readers would take for the same is known by its own address
				e.ID = e.URI
			}
			known[e.ID] = true
			d.Entries = append(d.Entries, e)
		}
		if i.Updated.After(d.Updated) {
			d.Updated = i.Updated
		}
	}
	return d, f.describe(ctx, n, d)
}

// page reads a page, newest publication first, and what it links to.
func (f *feeds) page(ctx context.Context, n *pubsub.OpenNode, d *document) (items []*pubsub.OpenItem, err error) {
	at := func(q query) string { return d.first() + q.String() }
	q, more := d.query, false
	if q.after != 0 {
		items, err = f.nodes.After(ctx, n, q.after, f.c.Items)
		slices.Reverse(items)
		more = true // the one that it comes after, at least
	} else {
		before := q.before
		if before == 0 {
			before = pubsub.Newest
		}
		items, err = f.nodes.Before(ctx, n, before, f.c.Items+1)
		if more = len(items) > f.c.Items; more {
			items = items[:f.c.Items]
		}
	}
	if err != nil || len(items) == 0 {
		return nil, err
	}
	if more {
		d.Next = at(query{before: items[len(items)-1].Place})
	}
	if q.before != 0 || q.after != 0 {
		d.Previous = at(query{after: items[0].Place})
		return items, nil
	}
	d.earlier, err = f.beforePage(ctx, n, d, items, more)
	return items, err
}

// beforePage returns the archive that has what the newest page has not: that of the months before this one where the page has
// all of this month, else one that is gone with the month.
func (f *feeds) beforePage(ctx context.Context, n *pubsub.OpenNode, d *document, items []*pubsub.OpenItem, more bool) (string, error) {
	if !more {
		return "", nil
	}
	shown := make(map[string]bool)
	for _, i := range items {
		shown[i.ID] = true
	}
	made, err := f.nodes.Until(ctx, n, time.UnixMicro(pubsub.Newest), f.c.Items+1)
	if err != nil {
		return "", err
	}
	end := monthOf(f.h.Clock().Now())
	for _, i := range made {
		if !shown[i.ID] && i.Created.After(end) {
			end = i.Created // the first one that is met is the newest
			break
		}
	}
	return d.first() + query{archive: end}.String(), nil
}

// monthOf returns the moment at which a month begins.
func monthOf(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
}

// archived reads what was made within a month until a moment, newest first, and which document comes before. Walking from
// one to the other meets every item, whatever was published, changed or deleted meanwhile.
func (f *feeds) archived(ctx context.Context, n *pubsub.OpenNode, d *document) ([]*pubsub.OpenItem, error) {
	end := d.query.archive
	items, err := f.nodes.Until(ctx, n, end, f.c.Items+1)
	if err != nil {
		return nil, err
	}
	d.current, d.archive = d.first(), true
	month := monthOf(end.Add(-time.Microsecond))
	for k, i := range items {
		if i.Created.Before(month) { // the rest is in the archive of its month
			d.earlier = d.first() + query{archive: monthOf(i.Created).AddDate(0, 1, 0)}.String()
			return items[:k], nil
		}
	}
	if len(items) > f.c.Items {
		items = items[:f.c.Items]
		d.earlier = d.first() + query{archive: items[len(items)-1].Created}.String()
	}
	return items, nil
}

// describe fills in what the node does not say of itself: from its item of meta-data (XEP-0277#metadata), or from its name.
func (f *feeds) describe(ctx context.Context, n *pubsub.OpenNode, d *document) error {
	i, err := f.nodes.Item(ctx, n, metadataItem)
	if err != nil {
		return err
	}
	if i != nil && i.Payload.Is(pubsub.NSAtom, "feed") {
		x := i.Payload
		if t := oneLine(text(x.Child(pubsub.NSAtom, "title"))); t != "" {
			d.Title = t
		}
		if t := oneLine(text(x.Child(pubsub.NSAtom, "subtitle"))); t != "" {
			d.Description = t
		}
		if id := absolute(x.ChildText(pubsub.NSAtom, "id")); id != "" {
			d.ID = id
		}
		if a := x.Child(pubsub.NSAtom, "author"); a != nil {
			d.Author.Name = oneLine(a.ChildText(pubsub.NSAtom, "name"))
		}
	}
	if n.At.Local() != "" {
		d.Author.URI = "xmpp:" + d.at.String()
		if d.Author.Name == "" {
			d.Author.Name = n.At.String()
		}
	}
	if d.Title == "" {
		if d.Title = n.Name; n.Name == pubsub.NSMicroblog {
			d.Title = n.At.String()
		}
	}
	return nil
}
