package presence

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sabir/engine/lazy"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// maxKnown bounds the times that are held in memory.
const maxKnown = 20_000

// last keeps when the last resource of each account became unavailable. A login asks for each contact that is offline, so
// the times are held in memory, too: this process is the only one that sets them.
type last struct {
	db    mod.DB
	later *lazy.Writer

	mu sync.Mutex
	at map[jid.JID]time.Time // zero: never
}

// get returns the time, or zero.
func (l *last) get(ctx context.Context, account jid.JID) (time.Time, error) {
	l.mu.Lock()
	at, ok := l.at[account]
	l.mu.Unlock()
	if ok {
		return at, nil
	}
	if err := l.later.Flush(ctx); err != nil { // it may have been let go of before it was written
		return at, err
	}
	var ms int64
	switch err := l.db.QueryRow(ctx, `SELECT at FROM presence_last WHERE account = ?`, account.String()).Scan(&ms); err {
	case nil:
		at = time.UnixMilli(ms)
	case mod.ErrNoRows:
	default:
		return at, fmt.Errorf("time of the last presence: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if newer, ok := l.at[account]; ok {
		return newer, nil // set while we read
	}
	l.keep(account, at)
	return at, nil
}

// set keeps the time. It is on disk a little later.
func (l *last) set(account jid.JID, at time.Time) {
	l.mu.Lock()
	l.keep(account, at)
	l.mu.Unlock()
	l.later.Put(account.String(), func(tx mod.Tx) error {
		_, err := tx.Exec(context.Background(), `INSERT INTO presence_last (account, at) VALUES (?, ?)
			ON CONFLICT (account) DO UPDATE SET at = excluded.at`, account.String(), at.UnixMilli())
		return err
	})
}

// keep holds a time in memory, and lets go of some others where there are too many.
func (l *last) keep(account jid.JID, at time.Time) {
	if len(l.at) >= maxKnown {
		n := maxKnown / 8
		for a := range l.at {
			if delete(l.at, a); n == 0 {
				break
			}
			n--
		}
	}
	l.at[account.Clone()] = at
}

// forget deletes the time of an account. See mod.Hooks.AccountRemoved.
func (l *last) forget(ctx context.Context, tx mod.Tx, account jid.JID) error {
	l.mu.Lock()
	delete(l.at, account)
	l.mu.Unlock()
	l.later.Drop(account.String())
	_, err := tx.Exec(ctx, `DELETE FROM presence_last WHERE account = ?`, account.String())
	return err
}
