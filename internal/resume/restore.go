package resume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Saved is a session as it was when the server stopped.
type Saved struct {
	ID      ID
	JID     jid.JID
	Max     time.Duration
	Handled uint32
	State   session.State
	// Exact says that the server stopped in good order: Held is everything that the client has not acknowledged, and Acked
	// how many it has. Otherwise Held are messages that it may not have got.
	Exact bool
	Acked uint32
	Held  []session.Kept
	// Last is the highest number of a stanza of the session in the store.
	Last int64

	num int64
}

// Load returns all sessions of before. What cannot be read is left out, and logged.
func (st *Store) Load(ctx context.Context) ([]*Saved, error) {
	list, err := st.sessions(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range list {
		if v.Held, err = st.held(ctx, v); err != nil {
			return nil, err
		}
	}
	// From now on the rows say no more than after a sudden end.
	if len(list) > 0 {
		err = st.db.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE resume_session SET exact = ? WHERE exact = ?`, false, true)
			return err
		})
	}
	return list, err
}

func (st *Store) sessions(ctx context.Context) (list []*Saved, err error) {
	rows, err := st.db.Query(ctx, `SELECT num, hash, jid, seconds, handled, acked, exact, state FROM resume_session ORDER BY num`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var hash []byte
		var full, state string
		var seconds, handled, acked int64
		v := &Saved{}
		if err := rows.Scan(&v.num, &hash, &full, &seconds, &handled, &acked, &v.Exact, &state); err != nil {
			return nil, err
		}
		v.Max, v.Handled, v.Acked = time.Duration(seconds)*time.Second, uint32(handled), uint32(acked)
		var bad error
		if v.JID, bad = jidOf(full); bad == nil {
			bad = json.Unmarshal([]byte(state), &v.State)
		}
		if copy(v.ID[:], hash) != len(v.ID) || bad != nil {
			st.log.Error("a session cannot be resumed: its record is damaged", "jid", full, "error", bad)
			continue
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// held reads what a session holds. After a sudden end only messages are of use: the rest is older than what is true now.
func (st *Store) held(ctx context.Context, v *Saved) (list []session.Kept, err error) {
	first := v.num << rowBits
	rows, err := st.db.Query(ctx, `SELECT id, queued, sent, stanza FROM resume_stanza WHERE id > ? AND id < ? ORDER BY id`, first, first+1<<rowBits)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		var k session.Kept
		var wire string
		if err := rows.Scan(&id, &k.At, &k.Sent, &wire); err != nil {
			return nil, err
		}
		v.Last = id - first
		s, bad := session.ParseStanza(wire)
		if bad != nil {
			st.log.Error("a stanza of a session that was kept cannot be read", "jid", v.JID.String(), "error", bad)
			continue
		}
		if v.Exact || s.Kind == stanza.Message {
			k.Row, k.Stanza, k.To = id-first, s, s.To.String()
			list = append(list, k)
		}
	}
	return list, rows.Err()
}

// Adopt goes on keeping a session that Load has returned, as s.
func (st *Store) Adopt(v *Saved, s *session.Session) *Record {
	r := &Record{st: st, s: s, num: v.num, id: v.ID, max: v.Max}
	st.mu.Lock()
	st.open[v.num] = r
	st.mu.Unlock()
	s.SetJournal(r, s.Progress())
	return r
}

// Discard deletes a session that Load has returned.
func (st *Store) Discard(ctx context.Context, v *Saved) error {
	return st.db.Write(ctx, func(tx mod.Tx) error { return st.remove(ctx, tx, v.num) })
}

// maxSave is how many sessions share a transaction.
const maxSave = 100

// Save writes sessions exactly as they are, and ends their queues: the server stops. It goes on after an error.
func (st *Store) Save(ctx context.Context) error {
	var errs []error
	all := st.all()
	for len(all) > 0 {
		n := min(len(all), maxSave)
		errs = append(errs, st.save(ctx, all[:n]))
		all = all[n:]
	}
	return errors.Join(errs...)
}

// frozen is a session at its end.
type frozen struct {
	r     *Record
	held  []session.Kept
	acked uint32
	state string
}

func (st *Store) save(ctx context.Context, list []*Record) error {
	var all []frozen
	for _, r := range list {
		state, err := json.Marshal(r.s.State())
		if err != nil {
			return err
		}
		f := frozen{r: r, state: string(state)}
		f.held, f.acked = r.s.Queue.Freeze()
		all = append(all, f)
	}
	err := st.db.Write(ctx, func(tx mod.Tx) error {
		for _, f := range all {
			if err := f.write(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("resume: %d sessions are not saved exactly: %w", len(all), err)
	}
	return nil
}

func (f *frozen) write(ctx context.Context, tx mod.Tx) error {
	r := f.r
	if _, err := tx.Exec(ctx, `DELETE FROM resume_stanza WHERE id > ? AND id < ?`, r.first(), r.first()+1<<rowBits); err != nil {
		return err
	}
	for i, k := range f.held {
		if err := r.Keep(ctx, tx, int64(i+1), k); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE resume_session SET handled = ?, acked = ?, exact = ?, state = ? WHERE num = ?`,
		int64(r.s.Handled()), int64(f.acked), true, f.state, r.num)
	return err
}
