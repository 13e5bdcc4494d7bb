package pubsub

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"sabir/engine/mam"
	"sabir/mod"
	wire "sabir/xmpp/payload/mam"
	"sabir/xmpp/payload/rsm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// archived bounds a page of a node's archive.
func archived() mam.Options { return mam.Options{Default: 50, Max: 200, Bytes: 512 << 10, Nodes: true} }

// Archive answers a query for what was published at a node (XEP-0442#querying), to an account with PEP, else to the service. The
// archive of a node is what the node holds, in the order of publication: what was retracted or had to make room is gone from
// both, and an item that was published again stands where it was last. Ids are the numbers of the publications, so that one
// whose item has gone since still marks a place.
func (s *Service) Archive(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	o := archived().Within(r.Session)
	q, err := mam.Parse(r.Payload, o)
	if err != nil {
		return nil, err
	}
	at := s.o.Domain
	if s.o.PEP {
		at = r.Account
	}
	n, err := s.store.node(ctx, at, q.Node)
	if errors.Is(err, errNoNode) || err == nil && s.hidden(n, r.From) {
		return nil, stanza.Err(stanza.ItemNotFound, "there is no such node")
	}
	if err != nil {
		return nil, err
	}
	if err := s.mayRead(ctx, n, r.From); err != nil {
		return nil, err
	}
	if err := n.persistent(); err != nil {
		return nil, err
	}
	limit := o.Default
	if q.Page.Max >= 0 {
		limit = min(q.Page.Max, o.Max)
	}
	v, err := s.view(n, &q)
	if err != nil {
		return nil, err
	}
	list, err := s.store.published(ctx, n, v, limit+1)
	if err != nil {
		return nil, err
	}
	list, complete := cut(list, v.backward, limit, o.Bytes)
	a := rsm.Answer{Index: -1}
	if a.Count, err = s.store.countPublished(ctx, n, v.filter, math.MaxInt64); err != nil {
		return nil, err
	}
	if len(list) > 0 {
		a.First, a.Last = place(list[0]), place(list[len(list)-1])
		if a.Index, err = s.store.countPublished(ctx, n, v.filter, list[0].seq); err != nil {
			return nil, err
		}
	}
	if q.Flip {
		slices.Reverse(list)
	}
	if err := s.results(ctx, n, r, q.ID, list); err != nil {
		return nil, err
	}
	return wire.Fin(a, complete), nil
}

func place(i *item) string { return strconv.FormatInt(i.seq, 10) }

// filter says which publications a query is about, whatever the page.
type filter struct {
	since, start, end time.Time
	after, before     int64 // exclusive
	with              string
	ids               []int64 // nil for all
}

// view is a filter and a page of what it leaves.
type view struct {
	filter
	from, to int64 // exclusive, of the page
	backward bool  // the page ends at `to`
}

// view reads the bounds of a query. An id that was never given is item-not-found (XEP-0313#query-paging-request).
func (s *Service) view(n *node, q *wire.Query) (view, error) {
	v := view{filter: filter{since: s.since(n), start: q.Start, end: q.End, after: 0, before: math.MaxInt64}, to: math.MaxInt64}
	for _, b := range []struct {
		id string
		to *int64
	}{{q.AfterID, &v.after}, {q.BeforeID, &v.before}, {q.Page.After, &v.from}, {q.Page.Before, &v.to}} {
		if b.id == "" {
			continue
		}
		k, err := numbered(b.id, n)
		if err != nil {
			return v, err
		}
		*b.to = k
	}
	for _, id := range q.IDs {
		k, err := numbered(id, n)
		if err != nil {
			return v, err
		}
		v.ids = append(v.ids, k)
	}
	if q.End.IsZero() {
		v.end = time.UnixMicro(math.MaxInt64)
	}
	if q.Start.IsZero() {
		v.start = time.UnixMicro(0)
	}
	if !q.With.IsZero() {
		v.with = q.With.Bare().String()
	}
	v.backward = q.Page.Last || q.Page.Before != ""
	return v, nil
}

func numbered(id string, n *node) (int64, error) {
	k, err := strconv.ParseInt(id, 10, 64)
	if err != nil || k < 1 || k > n.seq {
		return 0, stanza.Err(stanza.ItemNotFound, "the archive has no such id")
	}
	return k, nil
}

// cut takes what is beyond the limits away from the far end of a page, and tells whether it holds all that the view does there.
func cut(list []*item, backward bool, limit, bytes int) ([]*item, bool) {
	size, k := 0, 0
	for ; k < min(limit, len(list)); k++ {
		i := list[k]
		if backward {
			i = list[len(list)-1-k]
		}
		if size += len(i.payload); k > 0 && size > bytes {
			break
		}
	}
	complete := k == len(list)
	if backward {
		return list[len(list)-k:], complete
	}
	return list[:k], complete
}

// results sends items as they were told to subscribers (XEP-0442#business-rules).
func (s *Service) results(ctx context.Context, n *node, r *mod.Request, queryID string, list []*item) error {
	var out []mod.Fan
	for _, i := range list {
		x, err := itemEvent(n, i)
		if err != nil {
			return err
		}
		m := s.event(n, x)
		if a := s.repliesTo(ctx, n, i); a != nil {
			m.Add(a)
		}
		t, err := wire.Result{ID: place(i), Stamp: i.stamp, XML: string(m.Append(nil, stanza.NSClient))}.Message(n.at, queryID)
		if err != nil {
			return err
		}
		t.To = r.From
		out = append(out, mod.Fan{Stanza: t})
	}
	if r.Session == nil {
		s.h.RouteAll(ctx, out)
		return nil
	}
	for _, f := range out {
		r.Session.Send(f.Stanza)
	}
	return nil
}

const (
	publishedWhere = ` FROM pubsub_item WHERE node = ? AND stamp >= ? AND stamp >= ? AND stamp <= ? AND seq > ? AND seq < ? AND (? = '' OR publisher = ?)`
	publishedUp    = `SELECT ` + itemFields + publishedWhere + ` AND seq > ? AND seq < ? ORDER BY seq LIMIT ?`
	publishedDown  = `SELECT ` + itemFields + publishedWhere + ` AND seq > ? AND seq < ? ORDER BY seq DESC LIMIT ?`
)

func (f filter) args(n *node) []any {
	return []any{n.num, f.since.UnixMicro(), f.start.UnixMicro(), f.end.UnixMicro(), f.after, f.before, f.with, f.with}
}

// published returns a page of publications, oldest first.
func (s store) published(ctx context.Context, n *node, v view, limit int) ([]*item, error) {
	query := publishedUp
	if v.backward {
		query = publishedDown
	}
	if v.ids == nil {
		rows, err := s.db.Query(ctx, query, append(v.args(n), v.from, v.to, limit)...)
		if err != nil {
			return nil, err
		}
		list, err := collect(rows, scanItem)
		if v.backward {
			slices.Reverse(list)
		}
		return list, err
	}
	var list []*item
	ids := slices.Sorted(slices.Values(v.ids))
	for _, k := range slices.Compact(ids) {
		if k <= v.from || k >= v.to {
			continue
		}
		rows, err := s.db.Query(ctx, publishedUp, append(v.args(n), k-1, k+1, 1)...)
		if err != nil {
			return nil, err
		}
		found, err := collect(rows, scanItem)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 { // XEP-0313#query-limit-id
			return nil, stanza.Err(stanza.ItemNotFound, "the archive has no such id")
		}
		list = append(list, found...)
	}
	if v.backward {
		return list[max(0, len(list)-limit):], nil
	}
	return list[:min(limit, len(list))], nil
}

// countPublished counts what a filter leaves before a number.
func (s store) countPublished(ctx context.Context, n *node, f filter, before int64) (count int64, err error) {
	if f.ids != nil {
		for _, k := range slices.Compact(slices.Sorted(slices.Values(f.ids))) {
			if k < before {
				count++
			}
		}
		return count, nil
	}
	f.before = min(f.before, before)
	err = s.db.QueryRow(ctx, `SELECT COUNT(*)`+publishedWhere, f.args(n)...).Scan(&count)
	return count, err
}
