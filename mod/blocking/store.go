package blocking

import (
	"context"
	"errors"
	"sync"

	"sabir/engine/lru"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// lists keeps the block lists: the table blocking_item with a cache of the accounts in use.
type lists struct {
	db    mod.DB
	cache *lru.Cache[jid.JID, set]

	mu  sync.Mutex
	gen uint64 // counts changes, so that a read that began before one does not put its old answer into the cache
}

// of returns the list of an account.
func (l *lists) of(ctx context.Context, account jid.JID) (set, error) {
	if s, ok := l.cache.Get(account); ok {
		return s, nil
	}
	l.mu.Lock()
	gen := l.gen
	l.mu.Unlock()
	s, err := l.read(ctx, account)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if gen == l.gen {
		l.cache.Put(account, s)
	}
	return s, nil
}

func (l *lists) read(ctx context.Context, account jid.JID) (s set, err error) {
	rows, err := l.db.Query(ctx, `SELECT jid FROM blocking_item WHERE account = ?`, account.String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		j, err := jid.Parse(text)
		if err != nil {
			return nil, err
		}
		if s == nil {
			s = make(set)
		}
		s[j] = struct{}{}
	}
	return s, rows.Err()
}

// put sets what the cache holds for an account after its list was changed.
func (l *lists) put(account jid.JID, s set) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gen++
	l.cache.Put(account, s)
}

// forget drops an account from the cache.
func (l *lists) forget(account jid.JID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gen++
	l.cache.Delete(account)
}

// add writes items; limit bounds the whole list, and errLimit says that it would be exceeded.
func (l *lists) add(ctx context.Context, tx mod.Tx, account jid.JID, items []jid.JID, limit int) error {
	for _, j := range items {
		_, err := tx.Exec(ctx, `INSERT INTO blocking_item (account, jid) VALUES (?, ?) ON CONFLICT DO NOTHING`, account.String(), j.String())
		if err != nil {
			return err
		}
	}
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM blocking_item WHERE account = ?`, account.String()).Scan(&n); err != nil {
		return err
	}
	if n > limit {
		return errLimit
	}
	return nil
}

func (l *lists) del(ctx context.Context, tx mod.Tx, account jid.JID, items []jid.JID) error {
	for _, j := range items {
		if _, err := tx.Exec(ctx, `DELETE FROM blocking_item WHERE account = ? AND jid = ?`, account.String(), j.String()); err != nil {
			return err
		}
	}
	return nil
}

func (l *lists) clear(ctx context.Context, tx mod.Tx, account jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM blocking_item WHERE account = ?`, account.String())
	return err
}
