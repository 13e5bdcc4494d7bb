package muc

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// The namespaces of the extended channel search (XEP-0433).
const (
	nsSearch       = "urn:xmpp:channel-search:0"
	nsSearchQuery  = nsSearch + ":search"
	nsSearchError  = nsSearch + ":error"
	formSearch     = nsSearch + ":search-params"
	searchByUsers  = "{" + nsSearch + ":order}nusers"
	searchByName   = "{" + nsSearch + ":order}address"
	searchService  = "xep-0045"
	maxSearchTerms = 8
)

// fold makes text comparable: case and width make no difference.
func fold(s string) string { return strings.ToLower(norm.NFKC.String(s)) }

// searchForm is the form of a search with its defaults (XEP-0433#usecases-search-form).
func searchForm() *dataform.Form {
	yes := []string{"true"}
	f := dataform.New(dataform.TypeForm, formSearch,
		dataform.Field{Var: "q", Type: dataform.TextSingle, Label: "Search for"},
		dataform.Field{Var: "all", Type: dataform.Boolean, Label: "Return all entries (ignore search terms)"},
		dataform.Field{Var: "sinname", Type: dataform.Boolean, Label: "Search in name", Values: yes},
		dataform.Field{Var: "sindescription", Type: dataform.Boolean, Label: "Search in description", Values: yes},
		dataform.Field{Var: "sinaddr", Type: dataform.Boolean, Label: "Search in address", Values: yes},
		dataform.Field{Var: "min_users", Type: dataform.TextSingle, Label: "Minimum number of users", Values: []string{"0"}},
		dataform.Field{Var: "types", Type: dataform.ListMulti, Label: "Service types", Values: []string{searchService}, Options: []dataform.Option{{Label: "XEP-0045 Multi User Chats", Value: searchService}}},
		dataform.Field{Var: "key", Type: dataform.ListSingle, Label: "Sort results by", Values: []string{searchByUsers}, Options: []dataform.Option{
			{Label: "Number of online users", Value: searchByUsers}, {Label: "Address", Value: searchByName},
		}},
	)
	f.Title = "Search for rooms"
	return f
}

// search is what somebody looks for.
type search struct {
	terms                      []string
	name, description, address bool
	minUsers                   int
	byUsers                    bool
	none                       bool // only other types of services were asked for
	after                      found
	limit                      int
}

// found is a room that was found. As a place in the results it has users and room alone.
type found struct {
	room  jid.JID
	users int
	cfg   room.Config
}

// id is the place of a result, for the next page.
func (f found) id(byUsers bool) string {
	if byUsers {
		return strconv.Itoa(f.users) + " " + f.room.String()
	}
	return f.room.String()
}

func searchError(c stanza.Condition, condition, text string) *stanza.Error {
	return stanza.Err(c, text).With(xmlstream.El(nsSearchError, condition))
}

// channelSearch answers with the form, or with what was found (XEP-0433#usecases-search-request).
func (m *muc) channelSearch(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	x := r.Payload.Child(dataform.NS, "x")
	if x == nil {
		return xmlstream.El(nsSearchQuery, "search", searchForm().Element()), nil
	}
	q, err := readSearch(x, r.Payload.Child(nsRSM, "set"))
	if err != nil {
		return nil, err
	}
	if err := m.maySearch(r.From); err != nil {
		return nil, err
	}
	var list []found
	more := false
	if !q.none {
		if list, more, err = m.store.search(ctx, m.svc.Domain, q); err != nil {
			return nil, err
		}
	}
	answer := xmlstream.El(nsSearchQuery, "result")
	for _, f := range list {
		answer.Add(f.element())
	}
	set := xmlstream.El(nsRSM, "set")
	if len(list) > 0 {
		set.Add(xmlstream.El(nsRSM, "first", list[0].id(q.byUsers)), xmlstream.El(nsRSM, "last", list[len(list)-1].id(q.byUsers)))
	}
	set.Add(xmlstream.El(nsRSM, "max", strconv.Itoa(q.limit)))
	if !more && q.after.room.IsZero() {
		set.Add(xmlstream.El(nsRSM, "count", strconv.Itoa(len(list))))
	}
	return answer.Add(set), nil
}

// maySearch keeps the pace of searches, each of which looks at all rooms: that of a user, or of another domain, whose users cannot be told
// apart from names that it makes up (XEP-0433#usecases-support-request-ratelimit).
func (m *muc) maySearch(from jid.JID) error {
	who := from.Bare()
	if from.DomainJID() != m.h.Domain() {
		who = from.DomainJID()
	}
	if m.searches == nil || m.admin(from.Bare()) {
		return nil
	}
	wait := m.searches.take(who, m.h.Clock().Now())
	if wait == 0 {
		return nil
	}
	seconds := strconv.Itoa(int(wait/time.Second) + 1)
	e := stanza.Err(stanza.ResourceConstraint, "too many searches: wait for "+seconds+" s").OfType(stanza.Wait)
	return e.With(xmlstream.El(nsSearchError, "rate-limit", xmlstream.A("retry-after", seconds)))
}

// element tells about a room (XEP-0433#impl-resultitemformat).
func (f found) element() *xmlstream.Element {
	x := xmlstream.El(nsSearchQuery, "item", xmlstream.A("address", f.room.String()))
	add := func(name, text string) {
		if text != "" {
			x.Add(xmlstream.El(nsSearchQuery, name, text))
		}
	}
	name := f.cfg.Name
	if name == "" {
		name = f.room.Local()
	}
	add("name", name)
	add("description", f.cfg.Description)
	add("language", f.cfg.Lang)
	add("nusers", strconv.Itoa(f.users))
	add("service-type", searchService)
	if !f.cfg.MembersOnly && !f.cfg.Protected {
		x.Add(xmlstream.El(nsSearchQuery, "is-open"))
	}
	if f.cfg.NonAnonymous {
		add("anonymity-mode", "{"+nsSearch+":anonymity}none")
	} else {
		add("anonymity-mode", "muc_semianonymous")
	}
	return x
}

// readSearch reads a search. Fields that are left out have the value of the form (XEP-0433#rules).
func readSearch(x, set *xmlstream.Element) (q search, err error) {
	given, err := dataform.Parse(x)
	if err != nil {
		return q, stanza.Err(stanza.BadRequest, err.Error())
	}
	if given.FormType() != formSearch {
		return q, stanza.Err(stanza.BadRequest, "the form is not that of a search")
	}
	if f := given.Field("sinaddress"); f != nil && given.Field("sinaddr") == nil { // the table and the example name it differently
		f.Var = "sinaddr"
	}
	if key := given.Field("key").Value(); key != "" && key != searchByUsers && key != searchByName {
		return q, searchError(stanza.FeatureNotImplemented, "invalid-sort-key", "results are sorted by users or by address").OfType(stanza.Modify)
	}
	types := given.Field("types")
	q.none = types != nil && len(types.Values) > 0 && !slices.Contains(types.Values, searchService)
	given.Fields = slices.DeleteFunc(given.Fields, func(f dataform.Field) bool { return f.Var == "types" })
	form := searchForm()
	s, err := form.Submit(given)
	if err != nil {
		return q, err
	}
	value := func(name string) *dataform.Field {
		if f := s.Field(name); f != nil {
			return f
		}
		return form.Field(name)
	}
	yes := func(name string) bool { v, _ := value(name).Bool(); return v }
	q.name, q.description, q.address = yes("sinname"), yes("sindescription"), yes("sinaddr")
	q.byUsers = value("key").Value() != searchByName
	if q.minUsers, err = strconv.Atoi(value("min_users").Value()); err != nil || q.minUsers < 0 {
		return q, stanza.Err(stanza.BadRequest, "min_users is a number that is not negative")
	}
	if err := q.readTerms(strings.TrimSpace(value("q").Value()), yes("all")); err != nil {
		return q, err
	}
	return q, q.readPage(set)
}

func (q *search) readTerms(text string, all bool) error {
	switch {
	case all && text != "":
		e := searchError(stanza.BadRequest, "conflicting-fields", "Cannot both return all results and search by keywords.")
		e.App.Add(xmlstream.El(nsSearchError, "var", "all"), xmlstream.El(nsSearchError, "var", "q"))
		return e
	case all:
		return nil
	case text == "":
		return searchError(stanza.BadRequest, "no-search-conditions", "A search has words, or asks for all.").OfType(stanza.Cancel)
	}
	for _, w := range strings.FieldsFunc(fold(text), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		if utf8.RuneCountInString(w) > 1 && len(q.terms) < maxSearchTerms {
			q.terms = append(q.terms, w)
		}
	}
	if len(q.terms) == 0 {
		return searchError(stanza.BadRequest, "invalid-search-terms", "A word has at least two characters.")
	}
	if !q.name && !q.description && !q.address {
		return searchError(stanza.BadRequest, "no-search-conditions", "A search looks in the name, the description or the address.").OfType(stanza.Cancel)
	}
	return nil
}

func (q *search) readPage(set *xmlstream.Element) error {
	q.limit = maxPage
	if v := set.ChildText(nsRSM, "max"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return stanza.Err(stanza.BadRequest, "max is a number that is not negative")
		}
		q.limit = min(n, maxPage)
	}
	if set.Child(nsRSM, "before") != nil {
		return stanza.Err(stanza.FeatureNotImplemented, "results are paged forwards")
	}
	after := set.ChildText(nsRSM, "after")
	if after == "" {
		return nil
	}
	n, address, ok := strings.Cut(after, " ")
	if !q.byUsers {
		n, address, ok = "0", after, true
	}
	var err error
	if q.after.users, err = strconv.Atoi(n); err == nil && ok {
		q.after.room, err = jid.Parse(address)
	}
	if err != nil || !ok {
		return stanza.Err(stanza.ItemNotFound, "after is no place in the results") // XEP-0059#notfound
	}
	return nil
}

// matches tells whether all terms are in what is looked through.
func (q *search) matches(r jid.JID, name, description string) bool {
	for _, w := range q.terms {
		if !(q.name && strings.Contains(name, w) || q.description && strings.Contains(description, w) || q.address && strings.Contains(r.String(), w)) {
			return false
		}
	}
	return true
}

// search returns public rooms, and whether there are more. The number of occupants is as it was stored last, which is a little ago.
func (t store) search(ctx context.Context, service jid.JID, q search) (list []found, more bool, err error) {
	query := `SELECT * FROM (SELECT room, name_key, description_key, config, (SELECT count(DISTINCT o.nick) FROM muc_occupant o WHERE o.room = r.room) AS users
		FROM muc_room r WHERE service = ? AND hidden = 0 AND room > ?) x WHERE users >= ? ORDER BY room`
	args := []any{service.String(), q.after.room.String(), q.minUsers}
	if q.byUsers {
		query = `SELECT * FROM (SELECT room, name_key, description_key, config, (SELECT count(DISTINCT o.nick) FROM muc_occupant o WHERE o.room = r.room) AS users
			FROM muc_room r WHERE service = ? AND hidden = 0) x WHERE users >= ? AND (? = '' OR users < ? OR users = ? AND room > ?) ORDER BY users DESC, room`
		args = []any{service.String(), q.minUsers, q.after.room.String(), q.after.users, q.after.users, q.after.room.String()}
	}
	err = t.each(ctx, func(scan func(...any) error) error {
		var r, name, description, config string
		var users int64
		if err := scan(&r, &name, &description, &config, &users); err != nil {
			return err
		}
		f := found{users: int(users)}
		if f.room, err = jid.Parse(r); err != nil {
			return fmt.Errorf("room %s: %w", r, err)
		}
		if !q.matches(f.room, name, description) {
			return nil
		}
		if len(list) == q.limit {
			more = true
			return errEnough
		}
		if err := readConfig(config, &f.cfg); err != nil {
			return fmt.Errorf("room %s: %w", r, err)
		}
		list = append(list, f)
		return nil
	}, query, args...)
	return list, more, err
}
