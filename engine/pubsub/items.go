package pubsub

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

const itemFields = `id, seq, publisher, created, stamp, payload`

func scanItem(r scanner) (*item, error) {
	i := new(item)
	var created, stamp int64
	if err := r.Scan(&i.id, &i.seq, address{&i.publisher}, &created, &stamp, &i.payload); err != nil {
		return nil, err
	}
	i.created, i.stamp = time.UnixMicro(created).UTC(), time.UnixMicro(stamp).UTC()
	return i, nil
}

// put keeps an item as the newest of its node. It returns false where an item of this id was there before.
func (s store) put(ctx context.Context, tx mod.Tx, n *node, i *item) (fresh bool, err error) {
	created, size := i.stamp.UnixMicro(), int64(0)
	err = tx.QueryRow(ctx, `SELECT created, LENGTH(payload) FROM pubsub_item WHERE node = ? AND id = ?`, n.num, i.id).Scan(&created, &size)
	if fresh = errors.Is(err, mod.ErrNoRows); err != nil && !fresh {
		return false, err
	}
	if err := tx.QueryRow(ctx, `UPDATE pubsub_node SET seq = seq + 1, stored = stored + ? WHERE num = ? RETURNING seq`,
		int64(utf8.RuneCountInString(i.payload))-size, n.num).Scan(&i.seq); errors.Is(err, mod.ErrNoRows) {
		return false, stanza.Err(stanza.ItemNotFound, "the node was deleted just now")
	} else if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO pubsub_item (node, id, seq, publisher, created, stamp, payload) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (node, id) DO UPDATE SET seq = excluded.seq, publisher = excluded.publisher, stamp = excluded.stamp, payload = excluded.payload`,
		n.num, i.id, i.seq, i.publisher.String(), created, i.stamp.UnixMicro(), i.payload)
	if err == nil && fresh {
		_, err = tx.Exec(ctx, `UPDATE pubsub_node SET items = items + 1 WHERE num = ?`, n.num)
	}
	return fresh, err
}

// held returns how many items a node has.
func (s store) held(ctx context.Context, tx mod.Tx, n *node) (count int64, err error) {
	err = tx.QueryRow(ctx, `SELECT items FROM pubsub_node WHERE num = ?`, n.num).Scan(&count)
	return count, err
}

// stored returns the characters of all payloads of a creator's nodes at a service.
func (s store) stored(ctx context.Context, tx mod.Tx, n *node) (size int64, err error) {
	err = tx.QueryRow(ctx, `SELECT CAST(COALESCE(SUM(stored), 0) AS BIGINT) FROM pubsub_node WHERE service = ? AND creator = ?`,
		n.at.String(), n.creator.String()).Scan(&size)
	return size, err
}

// oldest returns the ids of the items that have not been published for the longest time.
func (s store) oldest(ctx context.Context, tx mod.Tx, n *node, count int64) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM pubsub_item WHERE node = ? ORDER BY seq LIMIT ?`, n.num, count)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanID)
}

func scanID(r scanner) (id string, err error) {
	err = r.Scan(&id)
	return id, err
}

// expired returns the ids of a node's items that were last published before a time.
func (s store) expired(ctx context.Context, tx mod.Tx, n *node, before time.Time) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM pubsub_item WHERE node = ? AND stamp < ?`, n.num, before.UnixMicro())
	if err != nil {
		return nil, err
	}
	return collect(rows, scanID)
}

// delete deletes an item with what is attached to it. It returns false where there is none.
func (s store) delete(ctx context.Context, tx mod.Tx, n *node, id string) (bool, error) {
	var size int64
	err := tx.QueryRow(ctx, `DELETE FROM pubsub_item WHERE node = ? AND id = ? RETURNING LENGTH(payload)`, n.num, id).Scan(&size)
	if errors.Is(err, mod.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err = tx.Exec(ctx, `UPDATE pubsub_node SET items = items - 1, stored = stored - ? WHERE num = ?`, size, n.num); err == nil {
		err = s.detach(ctx, tx, n, id)
	}
	return true, err
}

// purge deletes all items with what is attached to them.
func (s store) purge(ctx context.Context, tx mod.Tx, n *node) error {
	if _, err := tx.Exec(ctx, `DELETE FROM pubsub_item WHERE node = ?`, n.num); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE pubsub_node SET items = 0, stored = 0 WHERE num = ?`, n.num); err != nil {
		return err
	}
	return s.detach(ctx, tx, n, "")
}

// unexpired returns how many items of a node are not expired.
func (s store) unexpired(ctx context.Context, n *node, since time.Time) (count int64, err error) {
	if n.config.ItemExpire == 0 {
		return n.items, nil
	}
	err = s.db.QueryRow(ctx, `SELECT COUNT(*) FROM pubsub_item WHERE node = ? AND stamp >= ?`, n.num, since.UnixMicro()).Scan(&count)
	return count, err
}

// item returns one item, or nil.
func (s store) item(ctx context.Context, n *node, id string, since time.Time) (*item, error) {
	i, err := scanItem(s.db.QueryRow(ctx, `SELECT `+itemFields+` FROM pubsub_item WHERE node = ? AND id = ? AND stamp >= ?`,
		n.num, id, since.UnixMicro()))
	if errors.Is(err, mod.ErrNoRows) {
		return nil, nil
	}
	return i, err
}

// last returns the item that was published last, or nil.
func (s store) last(ctx context.Context, n *node, since time.Time) (*item, error) {
	list, err := s.page(ctx, n, page{limit: 1, since: since})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// page says which items of a node are wanted, newest publication first unless asc.
type page struct {
	after    string    // behind the item of this id in the order of the page
	before   string    // before it; the page is then the one that ends there
	last     bool      // the last page
	limit    int       // of the items
	bytes    int       // of them all, but for the first; 0 for no limit
	asc      bool      // oldest first
	creation bool      // by the time of their first publication (XEP-0413)
	since    time.Time // only those that are not expired
}

const (
	countBase = `SELECT COUNT(*) FROM pubsub_item WHERE node = ? AND stamp >= ? AND `
	pageBase  = `SELECT ` + itemFields + ` FROM pubsub_item WHERE node = ? AND stamp >= ?`
	seqOf     = `(SELECT seq FROM pubsub_item WHERE node = ? AND id = ?)`
	createdOf = `(SELECT created FROM pubsub_item WHERE node = ? AND id = ?)`
	seqAbove  = ` AND (? = '' OR seq > ` + seqOf + `)`
	seqBelow  = ` AND (? = '' OR seq < ` + seqOf + `)`
	newAbove  = ` AND (? = '' OR created > ` + createdOf + ` OR created = ` + createdOf + ` AND seq > ` + seqOf + `)`
	newBelow  = ` AND (? = '' OR created < ` + createdOf + ` OR created = ` + createdOf + ` AND seq < ` + seqOf + `)`

	pageSeqUp   = pageBase + seqAbove + ` ORDER BY seq LIMIT ?`
	pageSeqDown = pageBase + seqBelow + ` ORDER BY seq DESC LIMIT ?`
	pageNewUp   = pageBase + newAbove + ` ORDER BY created, seq LIMIT ?`
	pageNewDown = pageBase + newBelow + ` ORDER BY created DESC, seq DESC LIMIT ?`
)

// page returns items in the order that p asks for.
func (s store) page(ctx context.Context, n *node, p page) ([]*item, error) {
	from, backward := p.after, p.last || p.before != ""
	if backward {
		from = p.before
	}
	args := []any{n.num, p.since.UnixMicro(), from}
	ids := 1
	if p.creation {
		ids = 3
	}
	for range ids {
		args = append(args, n.num, from)
	}
	args = append(args, p.limit)
	var query string
	switch up := p.asc != backward; {
	case p.creation && up:
		query = pageNewUp
	case p.creation:
		query = pageNewDown
	case up:
		query = pageSeqUp
	default:
		query = pageSeqDown
	}
	rows, err := s.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	left, first := p.bytes, true
	list, err := collectWhile(rows, scanItem, func(i *item) bool {
		left -= i.size()
		fits := first || p.bytes == 0 || left >= 0
		first = false
		return fits
	})
	if backward {
		for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
			list[i], list[j] = list[j], list[i]
		}
	}
	return list, err
}

// behindOf counts the items that come before one in the order of a page, for its index.
func (s store) behindOf(ctx context.Context, n *node, id string, p page) (count int64, err error) {
	args := []any{n.num, p.since.UnixMicro(), n.num, id}
	var query string
	switch {
	case p.creation && p.asc:
		query = countBase + `(created < ` + createdOf + ` OR created = ` + createdOf + ` AND seq < ` + seqOf + `)`
	case p.creation:
		query = countBase + `(created > ` + createdOf + ` OR created = ` + createdOf + ` AND seq > ` + seqOf + `)`
	case p.asc:
		query = countBase + `seq < ` + seqOf
	default:
		query = countBase + `seq > ` + seqOf
	}
	if p.creation {
		args = append(args, n.num, id, n.num, id)
	}
	err = s.db.QueryRow(ctx, query, args...).Scan(&count)
	return count, err
}

// ids returns the ids of a node's items, the newest first.
func (s store) ids(ctx context.Context, n *node, since time.Time, limit int) ([]string, error) {
	rows, err := s.db.Query(ctx, `SELECT id FROM pubsub_item WHERE node = ? AND stamp >= ? ORDER BY seq DESC LIMIT ?`, n.num, since.UnixMicro(), limit)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanID)
}

// offlineItem is one that goes with its publisher's presence.
type offlineItem struct {
	service jid.JID
	node    string
	id      string
}

// offline returns the items of a publisher at nodes that are purged when it goes offline.
func (s store) offline(ctx context.Context, publisher jid.JID) ([]offlineItem, error) {
	rows, err := s.db.Query(ctx, `SELECT n.service, n.name, i.id FROM pubsub_node n JOIN pubsub_item i ON i.node = n.num
		WHERE n.purge AND i.publisher = ?`, publisher.Bare().String())
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r scanner) (o offlineItem, err error) {
		err = r.Scan(address{&o.service}, &o.node, &o.id)
		return o, err
	})
}
