package roster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// Bits of the column state beyond those of the type.
const (
	flagApproved = 16
	flagListed   = 32
)

// maxRemovals bounds the removed items that are remembered of each roster, so that clients with an older version can be
// told of the difference (RFC 6121 §2.6.3).
const maxRemovals = 100

// item is what an account keeps of a contact.
type item struct {
	jid    jid.JID
	name   string
	groups []string
	state  state
	// approved says that a request of the contact is granted as soon as it comes (RFC 6121 §3.4).
	approved bool
	// listed says that the item is in the roster. One that only holds a contact's request is not (RFC 6121 §3.1.3).
	listed bool
	ver    int64
}

// items is the roster of an account at one version. It is immutable.
type items struct {
	ver, floor int64  // floor: since then all removals are remembered
	all        []item // by address
	listed     int
	requests   int // items with a request that waits

	contacts func() []mod.Contact
}

func newItems(ver, floor int64, all []item) *items {
	l := &items{ver: ver, floor: floor, all: all}
	for i := range all {
		if all[i].listed {
			l.listed++
		}
		if all[i].state&bitIn != 0 {
			l.requests++
		}
	}
	l.contacts = sync.OnceValue(func() []mod.Contact {
		cs := make([]mod.Contact, 0, l.listed)
		for i := range all {
			if all[i].listed {
				cs = append(cs, all[i].contact())
			}
		}
		return cs
	})
	return l
}

func (it *item) contact() mod.Contact {
	return mod.Contact{JID: it.jid, Name: it.name, Subscription: it.state.subscription(), Groups: it.groups}
}

// seen returns what other extensions see of an item, listed or not.
func (it *item) seen() mod.Contact {
	if !it.listed {
		return mod.Contact{JID: it.jid}
	}
	return it.contact()
}

func (l *items) search(contact jid.JID) (int, bool) {
	return slices.BinarySearchFunc(l.all, contact, func(it item, j jid.JID) int {
		return strings.Compare(it.jid.String(), j.String())
	})
}

// find returns the item of a contact, or one in the state None that is not listed.
func (l *items) find(contact jid.JID) (it item, ok bool) {
	if i, ok := l.search(contact); ok {
		return l.all[i], true
	}
	return item{jid: contact}, false
}

// with returns the roster with an item put in or replaced.
func (l *items) with(it item, ver, floor int64) *items {
	i, found := l.search(it.jid)
	all := make([]item, 0, len(l.all)+1)
	all = append(append(all, l.all[:i]...), it)
	if found {
		i++
	}
	return newItems(ver, floor, append(all, l.all[i:]...))
}

// without returns the roster without an item.
func (l *items) without(contact jid.JID, ver, floor int64) *items {
	i, found := l.search(contact)
	if !found {
		return newItems(ver, floor, l.all)
	}
	all := make([]item, 0, len(l.all))
	return newItems(ver, floor, append(append(all, l.all[:i]...), l.all[i+1:]...))
}

// store reads and writes rosters. Its methods but items are called with the account's lock held.
type store struct {
	db    mod.DB
	clock mod.Clock
	cache *cache
	locks locks
}

// items returns the roster of an account. The lock of the account must not be held.
func (s *store) items(ctx context.Context, account jid.JID) (*items, error) {
	if l := s.cache.get(account); l != nil {
		return l, nil
	}
	defer s.locks.lock(account)()
	return s.load(ctx, account)
}

// load returns the roster of an account.
func (s *store) load(ctx context.Context, account jid.JID) (*items, error) {
	if l := s.cache.get(account); l != nil {
		return l, nil
	}
	l, err := s.read(ctx, account)
	if err != nil {
		return nil, fmt.Errorf("reading a roster: %w", err)
	}
	s.cache.put(account.Clone(), l)
	return l, nil
}

// read reads a roster with its version. One query does for both, and has a row without a contact where there are none, since
// a login waits for it.
func (s *store) read(ctx context.Context, account jid.JID) (_ *items, err error) {
	var ver, floor int64
	var all []item
	rows, err := s.db.Query(ctx, `SELECT COALESCE(v.ver, 0), COALESCE(v.floor, 0), i.contact, i.name, i.item_groups, i.state, i.ver
		FROM (SELECT CAST(? AS TEXT) AS account) a
		LEFT JOIN roster_versions v ON v.account = a.account
		LEFT JOIN roster_items i ON i.account = a.account`, account.String())
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	for rows.Next() {
		var it item
		var contact, name, groups *string
		var bits, iver *int64
		if err := rows.Scan(&ver, &floor, &contact, &name, &groups, &bits, &iver); err != nil {
			return nil, err
		}
		if contact == nil {
			break
		}
		if it.jid, err = jid.Parse(*contact); err != nil {
			return nil, err
		}
		it.name, it.ver = *name, *iver
		if *groups != "" {
			if err := json.Unmarshal([]byte(*groups), &it.groups); err != nil {
				return nil, err
			}
		}
		it.state = state(*bits & 15)
		it.approved, it.listed = *bits&flagApproved != 0, *bits&flagListed != 0
		all = append(all, it)
	}
	slices.SortFunc(all, func(a, b item) int { return strings.Compare(a.jid.String(), b.jid.String()) })
	return newItems(ver, floor, all), rows.Err()
}

// edit is a change of one item.
type edit struct {
	item item
	gone bool // the item is removed
	push bool // clients see the change: it makes a new version
	// request is the stanza to keep with an item whose state has come to hold bitIn, otherwise "".
	request string
}

// commit makes a change durable and returns the roster after it.
func (s *store) commit(ctx context.Context, account jid.JID, l *items, e edit) (*items, error) {
	_, known := l.search(e.item.jid)
	if !known {
		e.item.jid = e.item.jid.Clone()
	}
	ver := l.ver
	if e.push {
		// Versions grow with the clock, so that one that a client remembers from an account of the same name that
		// was removed, or from before the database was restored, is not given out again for other content.
		ver = max(l.ver+1, s.clock.Now().UnixMilli())
		e.item.ver = ver
	}
	start := l.floor
	if l.ver == 0 {
		start = ver
	}
	var floor int64
	err := s.db.Write(ctx, func(tx mod.Tx) (err error) {
		floor = start
		t := change{ctx, tx, account.String(), e.item.jid.String()}
		if e.gone {
			floor, err = t.remove(e.push, ver, start)
		} else {
			err = t.put(e, known)
		}
		if err != nil || !e.push {
			return err
		}
		return t.exec(`INSERT INTO roster_versions (account, ver, floor) VALUES (?, ?, ?)
			ON CONFLICT (account) DO UPDATE SET ver = excluded.ver, floor = excluded.floor`, t.account, ver, floor)
	})
	if err != nil {
		s.cache.drop(account) // it may have been kept all the same
		return nil, fmt.Errorf("change of a roster: %w", err)
	}
	if e.gone {
		l = l.without(e.item.jid, ver, floor)
	} else {
		l = l.with(e.item, ver, floor)
	}
	s.cache.put(account.Clone(), l)
	return l, nil
}

// change is a transaction on one item.
type change struct {
	ctx              context.Context
	tx               mod.Tx
	account, contact string
}

func (t change) exec(query string, args ...any) error {
	_, err := t.tx.Exec(t.ctx, query, args...)
	return err
}

func (t change) put(e edit, known bool) error {
	bits := int64(e.item.state)
	if e.item.approved {
		bits |= flagApproved
	}
	if e.item.listed {
		bits |= flagListed
	}
	groups := ""
	if len(e.item.groups) > 0 {
		b, err := json.Marshal(e.item.groups)
		if err != nil {
			return err
		}
		groups = string(b)
	}
	err := t.exec(`INSERT INTO roster_items (account, contact, name, item_groups, state, ver) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (account, contact) DO UPDATE SET name = excluded.name, item_groups = excluded.item_groups,
			state = excluded.state, ver = excluded.ver`,
		t.account, t.contact, e.item.name, groups, bits, e.item.ver)
	if err != nil {
		return err
	}
	if !known {
		if err := t.exec(`DELETE FROM roster_removals WHERE account = ? AND contact = ?`, t.account, t.contact); err != nil {
			return err
		}
	}
	switch {
	case e.request != "":
		return t.exec(`INSERT INTO roster_requests (account, contact, request) VALUES (?, ?, ?)
			ON CONFLICT (account, contact) DO UPDATE SET request = excluded.request`, t.account, t.contact, e.request)
	case known && e.item.state&bitIn == 0:
		return t.exec(`DELETE FROM roster_requests WHERE account = ? AND contact = ?`, t.account, t.contact)
	}
	return nil
}

// remove deletes the item, remembers its removal if clients knew of it, and returns the new floor.
func (t change) remove(push bool, ver, floor int64) (int64, error) {
	if err := t.exec(`DELETE FROM roster_items WHERE account = ? AND contact = ?`, t.account, t.contact); err != nil {
		return 0, err
	}
	if err := t.exec(`DELETE FROM roster_requests WHERE account = ? AND contact = ?`, t.account, t.contact); err != nil {
		return 0, err
	}
	if !push {
		return floor, nil
	}
	err := t.exec(`INSERT INTO roster_removals (account, contact, ver) VALUES (?, ?, ?)
		ON CONFLICT (account, contact) DO UPDATE SET ver = excluded.ver`, t.account, t.contact, ver)
	if err != nil {
		return 0, err
	}
	var oldest int64
	err = t.tx.QueryRow(t.ctx, `SELECT ver FROM roster_removals WHERE account = ? ORDER BY ver DESC LIMIT 1 OFFSET ?`,
		t.account, maxRemovals).Scan(&oldest)
	if err == mod.ErrNoRows {
		return floor, nil
	}
	if err != nil {
		return 0, err
	}
	// Whoever has this version or a newer one knows of the removals that are forgotten here.
	return max(floor, oldest), t.exec(`DELETE FROM roster_removals WHERE account = ? AND ver <= ?`, t.account, oldest)
}

// removal is an item that was removed, and the version that made.
type removal struct {
	jid jid.JID
	ver int64
}

// removals returns what was removed after a version.
func (s *store) removals(ctx context.Context, account jid.JID, since int64) (gone []removal, err error) {
	rows, err := s.db.Query(ctx, `SELECT contact, ver FROM roster_removals WHERE account = ? AND ver > ?`, account.String(), since)
	if err != nil {
		return nil, fmt.Errorf("removals from a roster: %w", err)
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	for rows.Next() {
		var r removal
		var contact string
		if err := rows.Scan(&contact, &r.ver); err != nil {
			return nil, err
		}
		if r.jid, err = jid.Parse(contact); err != nil {
			return nil, err
		}
		gone = append(gone, r)
	}
	return gone, rows.Err()
}

// requests returns the requests that wait for the account's answer, as they came.
func (s *store) requests(ctx context.Context, account jid.JID) (all []string, err error) {
	rows, err := s.db.Query(ctx, `SELECT request FROM roster_requests WHERE account = ? ORDER BY contact`, account.String())
	if err != nil {
		return nil, fmt.Errorf("requests to an account: %w", err)
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	for rows.Next() {
		var r string
		if err := rows.Scan(&r); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// forget deletes all of an account.
func (s *store) forget(ctx context.Context, tx mod.Tx, account jid.JID) error {
	s.cache.bar(account.Clone())
	for _, query := range [...]string{
		`DELETE FROM roster_items WHERE account = ?`,
		`DELETE FROM roster_requests WHERE account = ?`,
		`DELETE FROM roster_versions WHERE account = ?`,
		`DELETE FROM roster_removals WHERE account = ?`,
	} {
		if _, err := tx.Exec(ctx, query, account.String()); err != nil {
			return err
		}
	}
	return nil
}

// now is the clock as the cache wants it.
func (s *store) now() time.Time { return s.clock.Now() }
