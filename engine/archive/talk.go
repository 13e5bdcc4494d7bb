package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// SQLite writes whole pages, and an index of conversations has another page for each row that comes. So archive_talk is
// filled from archive_fresh later, many rows at a time in the order of their keys. Until then a conversation is found
// among what the archive has since the first fresh row, which is read in order and not long.
const (
	// mergeAt is how many fresh rows there are before Index puts them into the index of conversations.
	mergeAt = 1 << 14
	// mergeMost is how many it takes at once into memory.
	mergeMost = 1 << 17
	// mergeAtOnce is how many it writes in one Write, so that others do not wait for long.
	mergeAtOnce = 1024
)

const (
	talkInto  = `INSERT OR IGNORE INTO archive_talk (segment, peer, seq, ref) VALUES `
	freshInto = `INSERT OR FAIL INTO archive_fresh (seq, owner, peer, ref) VALUES `
	fourRow   = `(?, ?, ?, ?)`
	fourRow4  = fourRow + `, ` + fourRow + `, ` + fourRow + `, ` + fourRow
	fourRow16 = fourRow4 + `, ` + fourRow4 + `, ` + fourRow4 + `, ` + fourRow4

	settled   = `DELETE FROM archive_fresh WHERE (seq, owner) IN (VALUES `
	twoRow    = `(?, ?)`
	twoRow4   = twoRow + `, ` + twoRow + `, ` + twoRow + `, ` + twoRow
	twoRow16  = twoRow4 + `, ` + twoRow4 + `, ` + twoRow4 + `, ` + twoRow4
	settleEnd = `)`
)

var (
	intoTalk   = statement{talkInto + fourRow, talkInto + fourRow16}
	intoFresh  = statement{freshInto + fourRow, freshInto + fourRow16}
	outOfFresh = statement{settled + twoRow + settleEnd, settled + twoRow16 + settleEnd}
)

// fresh is a row that waits for the index of conversations.
type fresh struct{ seq, owner, peer, ref int64 }

func (f fresh) args(args []any) []any { return append(args, f.seq, f.owner, f.peer, f.ref) }
func (f fresh) talk(args []any) []any { return append(args, f.seq>>segmentBits, f.peer, f.seq, f.ref) }
func (f fresh) key(args []any) []any  { return append(args, f.seq, f.owner) }

// merging is held by who fills the index of conversations: two at once would do the same work.
var merging sync.Mutex

// merge puts what is fresh into the index of conversations, where that is at least so many rows. If it is cut short, it
// is done again. A row of a message that was deleted meanwhile leads nowhere, and goes with its segment.
func (l *Log) merge(ctx context.Context, least int) error {
	merging.Lock()
	defer merging.Unlock()
	for {
		list, err := l.unmerged(ctx, least)
		if err != nil || len(list) == 0 {
			return err
		}
		slices.SortFunc(list, func(a, b fresh) int {
			return cmp.Or(cmp.Compare(a.seq>>segmentBits, b.seq>>segmentBits), cmp.Compare(a.peer, b.peer), cmp.Compare(a.seq, b.seq))
		})
		if err := l.chunks(ctx, list, intoTalk, fresh.talk); err != nil {
			return err
		}
		slices.SortFunc(list, func(a, b fresh) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.owner, b.owner)) })
		if err := l.chunks(ctx, list, outOfFresh, fresh.key); err != nil {
			return err
		}
		if len(list) < mergeMost {
			return nil
		}
	}
}

// chunks runs a statement for all of list, some in a Write.
func (l *Log) chunks(ctx context.Context, list []fresh, s statement, args func(fresh, []any) []any) error {
	for chunk := range slices.Chunk(list, mergeAtOnce) {
		err := l.db.Write(ctx, func(tx mod.Tx) error { return inserts(tx, s, chunk, args) })
		if err != nil {
			return err
		}
	}
	return nil
}

// unmerged returns fresh rows, or none where they are fewer than least.
func (l *Log) unmerged(ctx context.Context, least int) (list []fresh, err error) {
	var n int
	err = l.db.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM archive_fresh LIMIT ?)`, max(least, 1)).Scan(&n)
	if err != nil || n < max(least, 1) {
		return nil, err
	}
	rows, err := l.db.Query(ctx, `SELECT seq, owner, peer, ref FROM archive_fresh ORDER BY seq, owner LIMIT ?`, mergeMost)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var f fresh
		if err := rows.Scan(&f.seq, &f.owner, &f.peer, &f.ref); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, rows.Err()
}

// freshest returns a seq below which all is in the index of conversations. What a Write that has not ended yet adds below
// it is new to its archive, and comes too late for who asks now.
func (l *Log) freshest(ctx context.Context) (int64, error) {
	var seq int64
	err := l.db.QueryRow(ctx, `SELECT seq FROM archive_fresh ORDER BY seq LIMIT 1`).Scan(&seq)
	if errors.Is(err, mod.ErrNoRows) {
		return math.MaxInt64, nil
	}
	return seq, err
}

// converse reads up to n items of one conversation on SQLite, in the direction of the query: those that are in the index
// from there, and what is fresh from the archive itself.
func (l *Log) converse(ctx context.Context, a Archive, b bounds, n int) ([]Item, error) {
	from, err := l.freshest(ctx)
	if err != nil {
		return nil, err
	}
	late, early := b, b
	late.lo, early.hi = max(b.lo, from-1), min(b.hi, from)
	parts := []struct {
		b     bounds
		query string
	}{{early, pick(b.backward, talkAsc, talkDesc)}, {late, pick(b.backward, freshAsc, freshDesc)}}
	if b.backward {
		slices.Reverse(parts)
	}
	var items []Item
	for _, p := range parts {
		if p.b.lo+1 >= p.b.hi || len(items) == n {
			continue
		}
		first, last := p.b.segments()
		more, err := l.read(ctx, a, p.query, append(p.b.args([]any{a.num, first, last}, a.num), n-len(items)))
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
	}
	return items, nil
}

const (
	referFresh = fields + ` FROM archive_span s CROSS JOIN archive_entry e LEFT JOIN archive_body b ON b.seq = e.seq
	WHERE s.owner = ? AND s.segment >= ? AND e.segment = s.segment AND e.owner = s.owner AND e.seq >= ? AND e.peer = ? AND e.ref = ?
	ORDER BY s.segment DESC, e.seq DESC LIMIT 1`
	referTalk = fields + ` FROM archive_span s CROSS JOIN archive_talk k CROSS JOIN archive_entry e LEFT JOIN archive_body b ON b.seq = e.seq
	WHERE s.owner = ? AND k.segment = s.segment AND k.peer = ? AND k.ref = ? AND e.segment = k.segment AND e.owner = s.owner AND e.seq = k.seq
	ORDER BY s.segment DESC, k.seq DESC LIMIT 1`
	referPostgres = fields + `
	FROM archive_span s JOIN archive_entry e ON e.segment = s.segment AND e.peer = ? AND e.ref = ? AND e.owner = s.owner
	LEFT JOIN archive_body b ON b.segment = e.segment AND b.seq = e.seq
	WHERE s.owner = ? ORDER BY e.seq DESC LIMIT 1`
)

// Refer returns the newest item with this Message.Ref in the conversation of an archive with a peer, or ErrNotFound. It reads
// the index of the conversation, all of it.
func (l *Log) Refer(ctx context.Context, a Archive, peer jid.JID, ref string) (Item, error) {
	key, mark := peerKey(a, peer), refKey(ref)
	var items []Item
	var err error
	if l.db.Dialect() == mod.Postgres {
		items, err = l.read(ctx, a, referPostgres, []any{key, mark, a.num})
	} else {
		var from int64
		if from, err = l.freshest(ctx); err == nil && from < math.MaxInt64 {
			items, err = l.read(ctx, a, referFresh, []any{a.num, from >> segmentBits, from, key, mark})
		}
		if err == nil && len(items) == 0 {
			items, err = l.read(ctx, a, referTalk, []any{a.num, key, mark})
		}
	}
	switch {
	case err != nil:
		return Item{}, fmt.Errorf("archive: refer: %w", err)
	case len(items) == 0:
		return Item{}, ErrNotFound
	}
	return items[0], nil
}
