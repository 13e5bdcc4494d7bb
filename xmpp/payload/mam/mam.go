// Package mam owns the notation of message archives (XEP-0313): queries and their forms, results, metadata and preferences
// (XEP-0441).
package mam

import (
	"errors"
	"fmt"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/payload/forward"
	"sabir/xmpp/payload/rsm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	// NS is the namespace of archives.
	NS = "urn:xmpp:mam:2"
	// NSExtended is the feature of archives that know ids, flipped pages and metadata (XEP-0313#support).
	NSExtended = "urn:xmpp:mam:2#extended"
	// NSGroupchat is the feature of archives that know the field include-groupchat.
	NSGroupchat = "urn:xmpp:mam:2#groupchat-field"
	// NSFulltext is the feature of archives that can be searched (XEP-0431#feature).
	NSFulltext = "urn:xmpp:fulltext:0"

	fieldFulltext = "{" + NSFulltext + "}fulltext"
	nsValidate    = "http://jabber.org/protocol/xdata-validate"
)

// ErrField says that a query has a field which is not known: feature-not-implemented (XEP-0313#query-form).
var ErrField = errors.New("mam: an unknown field")

// Query is what is asked of an archive.
type Query struct {
	ID   string // the queryid, which results repeat; may be empty
	Node string // for archives of PubSub (XEP-0442)
	Flip bool   // the page in reverse order (XEP-0313#query-paging-flip)

	With              jid.JID
	Start, End        time.Time
	BeforeID, AfterID string
	IDs               []string // nil for no such field
	// Groupchat is the field include-groupchat, nil where it is not there.
	Groupchat *bool
	Text      string

	Page rsm.Request
}

// Parse reads a <query/> of a request of type set. ErrField is for a field that is not known; other errors are for a
// query that is malformed: bad-request.
func Parse(x *xmlstream.Element) (Query, error) {
	q := Query{ID: x.Attr("queryid"), Node: x.Attr("node"), Page: rsm.All()}
	if !x.Is(NS, "query") {
		return q, fmt.Errorf("mam: not a <query/> of %s", NS)
	}
	var form, set bool
	var after string
	for e := range x.Elements() {
		var err error
		switch {
		case e.Is(NS, "flip-page"):
			q.Flip = true
		case e.Is(dataform.NS, "x"):
			if form {
				return q, errors.New("mam: two forms in a query")
			}
			form = true
			err = q.form(e)
		case e.Is(NS, "after"):
			// COMPAT profanity before 0.14, 2026-11: it asks for the second page by an <after/> without the <set/> that XEP-0059
			// puts around it. Taken for nothing, it would get the first page again, and show each message twice.
			after = e.Text()
		case e.Is(rsm.NS, "set"):
			if set {
				return q, errors.New("mam: two pages in a query")
			}
			set = true
			q.Page, err = rsm.Parse(e)
		}
		if err != nil {
			return q, err
		}
	}
	if !set {
		q.Page.After = after
	}
	return q, nil
}

func (q *Query) form(x *xmlstream.Element) error {
	f, err := dataform.Parse(x)
	if err != nil {
		return err
	}
	if f.Type != dataform.TypeSubmit || f.FormType() != NS {
		return fmt.Errorf("mam: the form of a query is of type submit and FORM_TYPE %s", NS)
	}
	for i := range f.Fields {
		if err := q.field(&f.Fields[i]); err != nil {
			return err
		}
	}
	return nil
}

// field reads one field. A field without a value, or with an empty one, is as if it were not there: it does not limit.
func (q *Query) field(f *dataform.Field) (err error) {
	if f.Var != "ids" && len(f.Values) > 1 {
		return fmt.Errorf("mam: the field %.80q has one value", f.Var)
	}
	v := f.Value()
	switch f.Var {
	case dataform.FormType:
		return nil
	case "with", "start", "end", "before-id", "after-id", "ids", "include-groupchat", fieldFulltext:
	default:
		return fmt.Errorf("%w: %.80q", ErrField, f.Var)
	}
	if v == "" && f.Var != "ids" {
		return nil
	}
	switch f.Var {
	case "with":
		q.With, err = jid.Parse(v)
	case "start":
		q.Start, err = datetime.Parse(v)
	case "end":
		q.End, err = datetime.Parse(v)
	case "before-id":
		q.BeforeID = v
	case "after-id":
		q.AfterID = v
	case "ids":
		if len(f.Values) > 0 {
			q.IDs = f.Values
		}
	case "include-groupchat":
		b, ok := f.Bool()
		if !ok {
			return fmt.Errorf("mam: the field include-groupchat is true or false")
		}
		q.Groupchat = &b
	case fieldFulltext:
		q.Text = v
	}
	if err != nil {
		return fmt.Errorf("mam: the field %s: %w", f.Var, err)
	}
	return nil
}

// Element returns the query.
func (q *Query) Element() *xmlstream.Element {
	x := xmlstream.El(NS, "query")
	for _, a := range []struct{ name, value string }{{"queryid", q.ID}, {"node", q.Node}} {
		if a.value != "" {
			x.Add(xmlstream.A(a.name, a.value))
		}
	}
	if fields := q.fields(); len(fields) > 0 {
		x.Add(dataform.New(dataform.TypeSubmit, NS, fields...).Element())
	}
	if q.Page != rsm.All() {
		x.Add(q.Page.Element())
	}
	if q.Flip {
		x.Add(xmlstream.El(NS, "flip-page"))
	}
	return x
}

func (q *Query) fields() (fields []dataform.Field) {
	add := func(name string, values ...string) {
		if len(values) > 1 || len(values) == 1 && values[0] != "" {
			fields = append(fields, dataform.Field{Var: name, Values: values})
		}
	}
	add("with", q.With.String())
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"start", q.Start}, {"end", q.End}} {
		if !t.at.IsZero() {
			add(t.name, t.at.UTC().Format("2006-01-02T15:04:05.999999999Z"))
		}
	}
	add("before-id", q.BeforeID)
	add("after-id", q.AfterID)
	if q.IDs != nil {
		fields = append(fields, dataform.Field{Var: "ids", Values: q.IDs})
	}
	if q.Groupchat != nil {
		add("include-groupchat", fmt.Sprint(*q.Groupchat))
	}
	add(fieldFulltext, q.Text)
	return fields
}

// Form returns the answer to a <query/> of type get: the fields that Parse knows (XEP-0313#query-form). search says whether
// the archive can be searched.
func Form(search bool) *xmlstream.Element {
	fields := []dataform.Field{
		{Var: "with", Type: dataform.JIDSingle},
		{Var: "start", Type: dataform.TextSingle},
		{Var: "end", Type: dataform.TextSingle},
		{Var: "before-id", Type: dataform.TextSingle},
		{Var: "after-id", Type: dataform.TextSingle},
		{Var: "ids", Type: dataform.ListMulti, Extra: []*xmlstream.Element{xmlstream.El(nsValidate, "validate",
			xmlstream.A("datatype", "xs:string"), xmlstream.El(nsValidate, "open"))}},
		{Var: "include-groupchat", Type: dataform.Boolean},
	}
	if search {
		fields = append(fields, dataform.Field{Var: fieldFulltext, Type: dataform.TextSingle})
	}
	return xmlstream.El(NS, "query", dataform.New(dataform.TypeForm, NS, fields...).Element())
}

// Result is one message of an archive.
type Result struct {
	ID    string    // in the archive
	Stamp time.Time // when the archive got it
	XML   string    // the message, declaring its own namespace
}

// Message returns the message that carries a result of the query queryID from the archive at from (XEP-0313#results).
func (r Result) Message(from jid.JID, queryID string) (*stanza.Stanza, error) {
	attrs := make([]xmlstream.Attr, 0, 2)
	if queryID != "" {
		attrs = append(attrs, xmlstream.A("queryid", queryID))
	}
	attrs = append(attrs, xmlstream.A("id", r.ID))
	f := forward.Forwarded{XML: r.XML, Delay: &delay.Delay{Stamp: r.Stamp}}
	return f.Message(stanza.TypeNormal, from, xmlstream.Name{Space: NS, Local: "result"}, attrs...)
}

// Fin returns the answer that ends the results of a query (XEP-0313#query-paging-request).
func Fin(page rsm.Answer, complete bool) *xmlstream.Element {
	x := xmlstream.El(NS, "fin", page.Element())
	if complete {
		x.Add(xmlstream.A("complete", "true"))
	}
	return x
}

// End is the first or the last message of an archive.
type End struct {
	ID    string
	Stamp time.Time
}

// Metadata returns what an archive tells about itself (XEP-0313#archive-metadata). Ends without an id are those of an empty
// archive.
func Metadata(first, last End) *xmlstream.Element {
	x := xmlstream.El(NS, "metadata")
	if first.ID == "" {
		return x
	}
	end := func(name string, e End) *xmlstream.Element {
		return xmlstream.El(NS, name, xmlstream.A("id", e.ID), xmlstream.A("timestamp", datetime.Format(e.Stamp)))
	}
	return x.Add(end("start", first), end("end", last))
}
