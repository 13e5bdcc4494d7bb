package archive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// Query says what is asked of an archive. The zero value with a Limit asks for the first page of all.
type Query struct {
	// Filters (XEP-0313#filter). A message is found if it passes all that are set.
	With       jid.JID   // by Row.Peer: of any resource if it is bare, of exactly this one if it is full
	Start, End time.Time // both inclusive
	AfterID    string    // later than this one
	BeforeID   string    // earlier than this one
	IDs        []string  // one of these; nil for any
	Text       string    // has all these words; with a * at the end the last is the beginning of one (XEP-0431)
	// NoGroupchat leaves out what Row.Groupchat marks.
	NoGroupchat bool

	// The page (XEP-0059): the first Limit that follow After, or the last Limit that precede Before, or with Last, the
	// last of all (an empty <before/>). At most one of the three is set. A Limit of 0 gives no items, as for a count.
	After, Before string
	Last          bool
	Limit         int
	// Count asks for Page.Count and Page.Index.
	Count bool
}

// Item is a message in an archive.
type Item struct {
	Place
	Wire      string // the stanza or the tombstone that replaced it
	Groupchat bool
	Tombstone bool
}

// Page is the answer to a Query.
type Page struct {
	// Items are in the order of the archive, also where the page was sought backwards.
	Items []Item
	// Complete says that no further items match in the direction of the page.
	Complete bool
	// Count is how many messages the archive has, if Query.Count asked and there was no filter; otherwise -1. It is
	// kept, not counted: what it costs does not depend on it.
	Count int64
	// Index is the position of the first item, where Count is known and the page is at one end; otherwise -1.
	Index int64
}

// Statements that read a page: one for all segments in which the archive has something, so that a sparse archive costs no more
// statements than a busy one. The engines take the segments in order and stop at the limit. PostgreSQL needs the inner limit to read each segment in order.
const (
	fields = `SELECT e.seq, e.stamp, e.kind, e.tombstone IS NOT NULL, COALESCE(e.tombstone, b.wire, '')`
	rest   = ` AND e.seq > ? AND e.seq < ? AND e.stamp >= ? AND e.stamp <= ? AND (e.kind & ?) = 0
	AND e.seq < (CAST(? AS BIGINT) + s.lead) * 1024` // within a span no seq is ahead of its stamp by more than lead
	own    = ` AND e.owner = ?`
	peer   = ` AND e.peer = ? AND (? = '' OR e.resource = ?)`
	within = ` WHERE s.owner = ? AND s.segment >= ? AND s.segment <= ? AND s.count > 0`

	fromSQLite = fields + ` FROM archive_span s CROSS JOIN archive_entry e LEFT JOIN archive_body b ON b.seq = e.seq` + within + ` AND e.segment = s.segment`
	ascSQLite  = ` ORDER BY s.segment, e.seq LIMIT ?`
	descSQLite = ` ORDER BY s.segment DESC, e.seq DESC LIMIT ?`
	pageAsc    = fromSQLite + own + rest + ascSQLite
	pageDesc   = fromSQLite + own + rest + descSQLite
	freshAsc   = fromSQLite + own + rest + peer + ascSQLite
	freshDesc  = fromSQLite + own + rest + peer + descSQLite

	// The index of conversations is read in its order, and leads to the entries. Its key has the owner in the peer.
	fromTalk = fields + ` FROM archive_span s CROSS JOIN archive_talk k CROSS JOIN archive_entry e LEFT JOIN archive_body b ON b.seq = e.seq` + within + `
	AND k.segment = s.segment AND e.segment = k.segment AND e.seq = k.seq` + own + ` AND k.seq > ? AND k.seq < ? AND e.stamp >= ? AND e.stamp <= ?
	AND (e.kind & ?) = 0 AND k.seq < (CAST(? AS BIGINT) + s.lead) * 1024 AND k.peer = ? AND (? = '' OR e.resource = ?)`
	talkAsc  = fromTalk + ` ORDER BY s.segment, k.seq LIMIT ?`
	talkDesc = fromTalk + ` ORDER BY s.segment DESC, k.seq DESC LIMIT ?`

	// PostgreSQL plans best for one segment, which a constant names: it reads that partition alone. What the first segment in
	// the direction of the page does not have, one more statement takes from all others; it looks up the bodies last.
	onePostgres = fields + ` FROM archive_entry e JOIN archive_span s ON s.owner = e.owner AND s.segment = e.segment
	LEFT JOIN archive_body b ON b.segment = ? AND b.seq = e.seq WHERE e.segment = ?` + own + rest
	talkPostgres     = onePostgres + peer
	oneAscPostgres   = onePostgres + ` ORDER BY e.seq LIMIT ?`
	oneDescPostgres  = onePostgres + ` ORDER BY e.seq DESC LIMIT ?`
	talkAscPostgres  = talkPostgres + ` ORDER BY e.seq LIMIT ?`
	talkDescPostgres = talkPostgres + ` ORDER BY e.seq DESC LIMIT ?`

	fromPostgres = `SELECT y.seq, y.stamp, y.kind, y.tombstone IS NOT NULL,
	COALESCE(y.tombstone, (SELECT b.wire FROM archive_body b WHERE b.segment = y.segment AND b.seq = y.seq), '')
	FROM (SELECT x.segment, x.seq, x.stamp, x.kind, x.tombstone FROM archive_span s CROSS JOIN LATERAL (
	SELECT e.segment, e.seq, e.stamp, e.kind, e.tombstone FROM archive_entry e WHERE e.segment = s.segment`
	ascPostgres          = ` ORDER BY e.seq LIMIT ?) x` + within + ` ORDER BY x.seq LIMIT ?`
	descPostgres         = ` ORDER BY e.seq DESC LIMIT ?) x` + within + ` ORDER BY x.seq DESC LIMIT ?`
	pageAscPostgres      = fromPostgres + own + rest + ascPostgres + `) y ORDER BY y.seq`
	pageDescPostgres     = fromPostgres + own + rest + descPostgres + `) y ORDER BY y.seq DESC`
	pagePeerAscPostgres  = fromPostgres + own + rest + peer + ascPostgres + `) y ORDER BY y.seq`
	pagePeerDescPostgres = fromPostgres + own + rest + peer + descPostgres + `) y ORDER BY y.seq DESC`
)

// bounds is a Query made into numbers.
type bounds struct {
	lo, hi     int64 // seqs, exclusive
	start, end int64 // stamps, inclusive
	mask       int64
	peer       int64
	resource   string
	match      string
	backward   bool
}

// Page answers a query. An id in it that the archive does not have is ErrNotFound.
func (l *Log) Page(ctx context.Context, a Archive, q Query) (Page, error) {
	p := Page{Count: -1, Index: -1}
	b, some, err := l.bounds(ctx, a, q)
	if err != nil {
		return Page{}, err
	}
	if some && b.match != "" && l.db.Dialect() == mod.SQLite {
		if err := l.indexWords(ctx); err != nil {
			return Page{}, err
		}
	}
	var items []Item
	switch {
	case !some:
	case q.IDs != nil:
		items, err = l.named(ctx, a, q.IDs, b)
	default:
		items, err = l.walk(ctx, a, b, q.Limit+1)
	}
	if err != nil {
		return Page{}, fmt.Errorf("archive: page: %w", err)
	}
	p.Complete = len(items) <= q.Limit
	p.Items = items[:min(len(items), q.Limit)]
	if b.backward {
		slices.Reverse(p.Items)
	}
	if q.Count && q.unfiltered() {
		if p.Count, err = l.Count(ctx, a); err != nil {
			return Page{}, err
		}
		switch {
		case len(p.Items) == 0:
		case b.backward && p.Complete, !b.backward && q.After == "":
			p.Index = 0
		case q.Last:
			p.Index = max(0, p.Count-int64(len(p.Items)))
		}
	}
	return p, nil
}

func (q *Query) unfiltered() bool {
	return q.With.IsZero() && q.Start.IsZero() && q.End.IsZero() && q.AfterID == "" && q.BeforeID == "" && q.IDs == nil &&
		q.Text == "" && !q.NoGroupchat
}

// bounds returns some=false where nothing can match.
func (l *Log) bounds(ctx context.Context, a Archive, q Query) (b bounds, some bool, err error) {
	b = bounds{lo: -1, hi: math.MaxInt64, start: 0, end: math.MaxInt64, backward: q.Last || q.Before != ""}
	if q.Limit < 0 || q.Limit > math.MaxInt32 || q.After != "" && b.backward || q.Last && q.Before != "" {
		return b, false, ErrQuery
	}
	for _, id := range []string{q.AfterID, q.After} {
		if err := l.narrow(ctx, a, id, func(seq int64) { b.lo = max(b.lo, seq) }); err != nil {
			return b, false, err
		}
	}
	for _, id := range []string{q.BeforeID, q.Before} {
		if err := l.narrow(ctx, a, id, func(seq int64) { b.hi = min(b.hi, seq) }); err != nil {
			return b, false, err
		}
	}
	if !q.Start.IsZero() {
		// A stamp in whole microseconds is not before a start between two of them only if it is not before the next.
		b.start = max(0, ceilMicro(q.Start))
		if b.start >= maxTime {
			return b, false, nil
		}
		b.lo = max(b.lo, b.start<<openerBits-1) // a seq is never before its stamp
	}
	if !q.End.IsZero() {
		b.end = min(q.End.UnixMicro(), maxTime)
	}
	if q.NoGroupchat {
		b.mask = kindGroupchat
	}
	who := ""
	if !q.With.IsZero() {
		b.peer, b.resource = peerKey(a, q.With), q.With.Resource()
		who = peerWord(q.With)
	}
	some = b.lo < b.hi && b.start <= b.end
	if q.Text != "" {
		var ok bool
		b.match, ok = match(l.db.Dialect(), a.who, who, q.Text)
		some = some && ok
	}
	return b, some, nil
}

func ceilMicro(t time.Time) int64 {
	u := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		u++
	}
	return u
}

// narrow looks up an id that bounds a query, if it is set.
func (l *Log) narrow(ctx context.Context, a Archive, id string, f func(seq int64)) error {
	if id == "" {
		return nil
	}
	seq, err := l.seq(a, id)
	if err != nil {
		return err
	}
	var one int64
	err = l.db.QueryRow(ctx, `SELECT 1 FROM archive_entry e JOIN archive_span s ON s.owner = e.owner AND s.segment = e.segment
		WHERE e.segment = ? AND e.owner = ? AND e.seq = ?`, seq>>segmentBits, a.num, seq).Scan(&one)
	if errors.Is(err, mod.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("archive: page: %w", err)
	}
	f(seq)
	return nil
}

// walk reads up to n matching items in the direction of the query.
func (l *Log) walk(ctx context.Context, a Archive, b bounds, n int) (items []Item, err error) {
	first, last := b.segments()
	switch sqlite := l.db.Dialect() == mod.SQLite; {
	case sqlite && b.match != "":
		return l.read(ctx, a, pick(b.backward, textSQLiteAsc, textSQLiteDesc), append(b.args(nil, a.num), n))
	case sqlite && b.peer != 0:
		return l.converse(ctx, a, b, n)
	case sqlite:
		return l.read(ctx, a, pick(b.backward, pageAsc, pageDesc), append(b.args([]any{a.num, first, last}, a.num), n))
	}
	near, err := l.nearest(ctx, a, b.backward, first, last)
	if err != nil || near < 0 {
		return nil, err
	}
	if b.match != "" {
		return l.search(ctx, a, b, near, first, last, n)
	}
	if items, err = l.read(ctx, a, statementOne(b), append(b.args([]any{near, near}, a.num), n)); err != nil || len(items) == n {
		return items, err
	}
	if n -= len(items); b.backward {
		last = near - 1
	} else {
		first = near + 1
	}
	if first > last {
		return items, nil
	}
	more, err := l.read(ctx, a, statementRest(b), append(b.args(nil, a.num), n, a.num, first, last, n))
	return append(items, more...), err
}

// segments returns the first one and the last one that have something of what is asked.
func (b *bounds) segments() (first, last int64) {
	return max(b.lo+1, 0) >> segmentBits, max(b.hi-1, 0) >> segmentBits
}

// nearest returns the first segment, or the last one, of those in which an archive has something, or -1.
func (l *Log) nearest(ctx context.Context, a Archive, backward bool, first, last int64) (segment int64, err error) {
	query := `SELECT coalesce(min(segment), -1) FROM archive_span WHERE owner = ? AND segment >= ? AND segment <= ? AND count > 0`
	if backward {
		query = `SELECT coalesce(max(segment), -1) FROM archive_span WHERE owner = ? AND segment >= ? AND segment <= ? AND count > 0`
	}
	err = l.db.QueryRow(ctx, query, a.num, first, last).Scan(&segment)
	return segment, err
}

// statementOne returns the one that answers a query for one segment on PostgreSQL.
func statementOne(b bounds) string {
	switch {
	case b.peer != 0 && b.backward:
		return talkDescPostgres
	case b.peer != 0:
		return talkAscPostgres
	case b.backward:
		return oneDescPostgres
	}
	return oneAscPostgres
}

// read runs a statement of a page.
func (l *Log) read(ctx context.Context, a Archive, query string, args []any) (items []Item, err error) {
	rows, err := l.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var i Item
		var seq, kind int64
		if err := rows.Scan(&seq, &i.Stamp, &kind, &i.Tombstone, &i.Wire); err != nil {
			return nil, err
		}
		i.ID, i.Groupchat = l.id(a, seq), kind&kindGroupchat != 0
		items = append(items, i)
	}
	return items, rows.Err()
}

// statementRest returns the one for all the other segments.
func statementRest(b bounds) string {
	if b.peer != 0 {
		return pick(b.backward, pagePeerAscPostgres, pagePeerDescPostgres)
	}
	return pick(b.backward, pageAscPostgres, pageDescPostgres)
}

func pick(backward bool, asc, desc string) string {
	if backward {
		return desc
	}
	return asc
}

// args appends what all statements ask of an entry.
func (b *bounds) args(args []any, owner int64) []any {
	args = append(args, owner, b.lo, b.hi, b.start, b.end, b.mask)
	switch {
	case b.match != "":
		args = append(args, b.peer, b.peer, b.resource, b.resource, b.match)
	case b.peer != 0:
		args = append(args, min(b.end, maxTime-2)+1, b.peer, b.resource, b.resource)
	default:
		args = append(args, min(b.end, maxTime-2)+1)
	}
	return args
}

// named reads the items of ids that pass the filters, in the direction of the query.
func (l *Log) named(ctx context.Context, a Archive, ids []string, b bounds) ([]Item, error) {
	var seqs []int64
	for _, id := range ids {
		// The empty id is none, and narrow takes it for an absent one.
		if id == "" {
			return nil, ErrNotFound
		}
		if err := l.narrow(ctx, a, id, func(seq int64) { seqs = append(seqs, seq) }); err != nil {
			return nil, err
		}
	}
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	if b.backward {
		slices.Reverse(seqs)
	}
	var items []Item
	for _, seq := range seqs {
		if seq <= b.lo || seq >= b.hi {
			continue
		}
		one := b
		one.lo, one.hi = seq-1, seq+1
		found, err := l.walk(ctx, a, one, 1)
		if err != nil {
			return nil, err
		}
		items = append(items, found...)
	}
	return items, nil
}

// Count returns how many messages an archive has, tombstones included. It adds up what is kept for each segment.
func (l *Log) Count(ctx context.Context, a Archive) (n int64, err error) {
	err = l.db.QueryRow(ctx, `SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM archive_span WHERE owner = ?`, a.num).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("archive: count: %w", err)
	}
	return n, nil
}

// Metadata returns the places of the first and the last message (XEP-0313#archive-metadata), or ErrNotFound if the archive is empty.
func (l *Log) Metadata(ctx context.Context, a Archive) (first, last Place, err error) {
	for _, end := range []struct {
		p *Place
		q Query
	}{{&first, Query{Limit: 1}}, {&last, Query{Limit: 1, Last: true}}} {
		p, err := l.Page(ctx, a, end.q)
		if err != nil {
			return Place{}, Place{}, err
		}
		if len(p.Items) == 0 {
			return Place{}, Place{}, ErrNotFound
		}
		*end.p = p.Items[0].Place
	}
	return first, last, nil
}

// Find returns the item of one id, or ErrNotFound.
func (l *Log) Find(ctx context.Context, a Archive, id string) (Item, error) {
	p, err := l.Page(ctx, a, Query{IDs: []string{id}, Limit: 1})
	if err != nil {
		return Item{}, err
	}
	if len(p.Items) == 0 {
		return Item{}, ErrNotFound
	}
	return p.Items[0], nil
}
