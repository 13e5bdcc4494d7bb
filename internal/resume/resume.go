// Package resume keeps sessions that can be resumed (XEP-0198#resumption), so that they survive a restart of the server and
// its sudden end: who they are, how many stanzas of the client were handled, and what the client has not acknowledged.
//
// What is promised rests on when it is written. A message is written here in the transaction that stores it everywhere
// else, before anybody gets it, and how many stanzas the sender has sent in the same one. <a/> goes out after that. So after
// SIGKILL a client is told exactly what it need not send again, and gets again what it may not have got: messages once by
// their stanza-id, and in order. After a stop in good order everything is exact, all kinds of stanzas included.
//
// Acknowledged messages are deleted a little later, many at once.
package resume

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Schema is the package's tables.
//
//go:embed schema
var Schema embed.FS

// ID is how a session is known here: the hash of its SM-ID.
type ID [sha256.Size]byte

// rowBits are those of the number of a stanza within its session.
const rowBits = 32

// every is how often what was acknowledged is deleted.
const every = time.Second

// Store keeps sessions. Its methods may be called from any goroutine.
type Store struct {
	db  mod.DB
	log *slog.Logger

	mu   sync.Mutex
	open map[int64]*Record
}

// New returns a store on a database that has the Schema.
func New(db mod.DB, log *slog.Logger) *Store {
	return &Store{db: db, log: log, open: make(map[int64]*Record)}
}

// Record is one session in the store. It is its session.Journal.
type Record struct {
	st     *Store
	s      *session.Session
	num    int64
	id     ID
	max    time.Duration
	pruned int64 // up to which stanza was deleted; belongs to Run
}

var _ session.Journal = (*Record)(nil)

// Open begins to keep a session, which waits for its client for max. When it returns, the session survives the process.
func (st *Store) Open(ctx context.Context, s *session.Session, id ID, max time.Duration) (*Record, error) {
	r := st.record(s, id, max)
	p := s.Progress()
	state, err := json.Marshal(s.State())
	if err == nil {
		err = st.db.Write(ctx, func(tx mod.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO resume_session (num, hash, jid, seconds, handled, acked, exact, state) VALUES (?, ?, ?, ?, ?, 0, ?, ?)`,
				r.num, id[:], s.JID().String(), int64(max/time.Second), int64(p.Handled), false, string(state))
			return err
		})
	}
	if err != nil {
		st.forget(r)
		return nil, fmt.Errorf("resume: %w", err)
	}
	s.SetJournal(r, p)
	return r, nil
}

// record enters a session under a number that no other has.
func (st *Store) record(s *session.Session, id ID, max time.Duration) *Record {
	st.mu.Lock()
	defer st.mu.Unlock()
	for {
		var b [4]byte
		rand.Read(b[:]) // never fails
		num := int64(binary.BigEndian.Uint32(b[:]) >> 1)
		if _, taken := st.open[num]; !taken {
			r := &Record{st: st, s: s, num: num, id: id, max: max}
			st.open[num] = r
			return r
		}
	}
}

func (st *Store) forget(r *Record) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.open, r.num)
}

func (st *Store) all() []*Record {
	st.mu.Lock()
	defer st.mu.Unlock()
	all := make([]*Record, 0, len(st.open))
	for _, r := range st.open {
		all = append(all, r)
	}
	return all
}

// first is the id before those of the session's stanzas.
func (r *Record) first() int64 { return r.num << rowBits }

// Keep implements session.Journal.
func (r *Record) Keep(ctx context.Context, tx mod.Tx, row int64, k session.Kept) error {
	_, err := tx.Exec(ctx, `INSERT INTO resume_stanza (id, queued, sent, stanza) VALUES (?, ?, ?, ?)`,
		r.first()+row, k.At, k.Sent, string(k.Stanza.Wire().Append(nil, k.To, stanza.NSClient)))
	return err
}

// Progress implements session.Journal.
func (r *Record) Progress(ctx context.Context, tx mod.Tx, handled uint32, now *session.State) error {
	if now == nil {
		_, err := tx.Exec(ctx, `UPDATE resume_session SET handled = ? WHERE num = ?`, int64(handled), r.num)
		return err
	}
	b, err := json.Marshal(now)
	if err == nil {
		_, err = tx.Exec(ctx, `UPDATE resume_session SET handled = ?, state = ? WHERE num = ?`, int64(handled), string(b), r.num)
	}
	return err
}

// Deletion returns a write that deletes the session.
func (r *Record) Deletion(ctx context.Context) func(tx mod.Tx) error {
	return func(tx mod.Tx) error { return r.st.remove(ctx, tx, r.num) }
}

// Forget ends the keeping of a session. Where its Deletion was not committed it comes back with the next start.
func (r *Record) Forget() { r.st.forget(r) }

// Close deletes the session.
func (r *Record) Close(ctx context.Context) error {
	err := r.st.db.Write(ctx, r.Deletion(ctx))
	r.Forget()
	return err
}

func (st *Store) remove(ctx context.Context, tx mod.Tx, num int64) error {
	if _, err := tx.Exec(ctx, `DELETE FROM resume_session WHERE num = ?`, num); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM resume_stanza WHERE id > ? AND id < ?`, num<<rowBits, (num+1)<<rowBits)
	return err
}

// Run deletes what was acknowledged and writes how far sessions have got that nobody has asked about, until ctx ends.
func (st *Store) Run(ctx context.Context) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := st.sweep(ctx); err != nil && ctx.Err() == nil {
				st.log.Error("acknowledged messages not deleted", "error", err)
			}
		}
	}
}

// late is what sweep writes of one session.
type late struct {
	r    *Record
	done int64
	a    *session.Advance
}

// maxSweep is how many sessions share a transaction.
const maxSweep = 500

func (st *Store) sweep(ctx context.Context) error {
	var batch []late
	for _, r := range st.all() {
		l := late{r: r, done: r.s.Queue.Done(), a: r.s.Advance()}
		if l.done <= r.pruned && l.a == nil {
			continue
		}
		if batch = append(batch, l); len(batch) == maxSweep {
			if err := st.write(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return st.write(ctx, batch)
}

func (st *Store) write(ctx context.Context, batch []late) error {
	if len(batch) == 0 {
		return nil
	}
	err := st.db.Write(ctx, func(tx mod.Tx) error {
		for _, l := range batch {
			if err := l.a.Write(ctx, tx); err != nil {
				return err
			}
			if l.done <= l.r.pruned {
				continue
			}
			if _, err := tx.Exec(ctx, `DELETE FROM resume_stanza WHERE id > ? AND id <= ?`, l.r.first()+l.r.pruned, l.r.first()+l.done); err != nil {
				return err
			}
		}
		return nil
	})
	for _, l := range batch {
		l.a.Done(err == nil)
		if err == nil {
			l.r.pruned = max(l.r.pruned, l.done)
		}
	}
	return err
}

// jidOf reads the address of a stored session.
func jidOf(s string) (jid.JID, error) {
	full, err := jid.Parse(s)
	if err == nil && !full.IsFull() {
		err = fmt.Errorf("%q is no full JID", s)
	}
	return full, err
}
