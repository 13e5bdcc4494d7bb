// Package intake owns the way in of a session: the batch in which what its client has sent waits for a commit, and the count
// of what was handled (XEP-0198#acking). The two are one thing: a client that is told a count forgets what it covers, so what
// it covers must be committed. They outlive the stream, and are handed over whole where another takes the session over
// (docs/adr/0029-one-owner-of-the-way-in.md).
//
// An Intake has one owner at a time, who has the only Lease that is in force. Nothing is handled or counted but within a Turn,
// which a Lease gives, so a stream that has lost its session can neither handle nor count anything more, however late it
// notices.
package intake

import (
	"context"
	"sync"

	"sabir/internal/route"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/stanza"
)

// Intake is the way in of one session. Its methods may be called from any goroutine.
type Intake struct {
	db mod.DB
	s  *session.Session

	mu    sync.Mutex // held by who has a turn, and by who takes the intake over
	owner *Lease     // nil while nobody has it
	batch *route.Batch
	asked bool // <r/> came, and is answered behind the batch
	turn  Turn // the one that is under way, if any
}

// Lease is the right of one stream to have handled what it reads, until another takes it. It belongs to the reader of that
// stream.
type Lease struct{ in *Intake }

// Turn is a lease in use: while there is one nobody takes the intake over. Its methods belong to the goroutine that began it.
type Turn struct{ in *Intake }

// New returns the lease of the stream that has bound a new session.
func New(r *route.Router, db mod.DB, s *session.Session) *Lease {
	in := &Intake{db: db, s: s, batch: r.NewBatch(s)}
	in.owner = &Lease{in}
	return in.owner
}

// Restored returns the intake of a session that has come back after a restart of the server, with so many stanzas handled. It
// has no owner until a stream takes it over.
func Restored(r *route.Router, db mod.DB, s *session.Session, handled uint32) *Intake {
	in := &Intake{db: db, s: s, batch: r.NewBatch(s)}
	in.batch.Counter().Set(handled)
	return in
}

// TakeOver makes the caller the owner. It waits until the owner before has handled what it is at, commits what waits in the
// batch, and makes the count durable: so the client can be told it, and is told the same after a sudden end of the server.
// From its begin on the lease before is not in force any more. Where the count cannot be made durable nobody is the owner.
func (in *Intake) TakeOver(ctx context.Context) (*Lease, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.owner, in.asked = nil, false
	in.batch.Flush(ctx)
	if err := in.progress(ctx); err != nil {
		return nil, err
	}
	in.owner = &Lease{in}
	return in.owner, nil
}

// Close takes the intake away from its owner, as TakeOver does, and gives it to nobody.
func (in *Intake) Close(ctx context.Context) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.owner = nil
	in.batch.Flush(ctx)
}

// Idle tells whether nothing is being handled or waits in the batch.
func (in *Intake) Idle() bool {
	if !in.mu.TryLock() {
		return false
	}
	defer in.mu.Unlock()
	return in.batch.Len() == 0
}

// progress makes the count durable. in.mu is held.
func (in *Intake) progress(ctx context.Context) error {
	a := in.batch.Counter().Advance()
	if a == nil {
		return nil
	}
	err := in.db.Write(ctx, func(tx mod.Tx) error { return a.Write(ctx, tx) })
	a.Done(err == nil)
	return err
}

// Intake returns what the lease is of.
func (l *Lease) Intake() *Intake { return l.in }

// Begin begins a turn, whose End is owed. It returns nil where the lease is not in force any more: the session is another
// stream's.
func (l *Lease) Begin() *Turn {
	l.in.mu.Lock()
	if l.in.owner != l {
		l.in.mu.Unlock()
		return nil
	}
	l.in.turn.in = l.in
	return &l.in.turn
}

// End ends the turn.
func (t *Turn) End() {
	in := t.in
	t.in = nil // who uses it after its end has made a mistake that shows
	in.mu.Unlock()
}

// Handle handles a stanza of the client, whose From is that of the session, and counts it. What it owes may wait for Flush.
func (t *Turn) Handle(ctx context.Context, s *stanza.Stanza) {
	defer t.in.batch.Counter().Add()
	t.in.batch.Do(ctx, s)
}

// Refuse counts a stanza of the client that is not handled, and sends the answer that is owed; nil for none.
func (t *Turn) Refuse(ctx context.Context, answer *stanza.Stanza) {
	defer t.in.batch.Counter().Add()
	t.in.batch.Flush(ctx)
	if answer != nil {
		t.in.s.Send(answer)
	}
}

// Repeat handles in the client's name what it has sent before, and was counted then.
func (t *Turn) Repeat(ctx context.Context, s *stanza.Stanza) {
	t.in.batch.Do(ctx, s)
	t.in.batch.Flush(ctx)
}

// Flush commits and delivers what waits.
func (t *Turn) Flush(ctx context.Context) { t.in.batch.Flush(ctx) }

// Restart counts from 0 on: stream management was enabled. Nothing waits in the batch.
func (t *Turn) Restart() { t.in.batch.Counter().Set(0) }

// Ask notes that the client asks for the count. Answer tells it.
func (t *Turn) Ask() { t.in.asked = true }

// Answer returns the count for a client that has asked for it. Everything that the stanzas so far owe has been committed, and
// the count as well: after a sudden end of the server the client is told no less. ok is false where it has not asked, or where
// the count cannot be made durable now, which err tells: then a later call answers.
func (t *Turn) Answer(ctx context.Context) (handled uint32, ok bool, err error) {
	in := t.in
	in.batch.Flush(ctx)
	if !in.asked {
		return 0, false, nil
	}
	if err := in.progress(ctx); err != nil {
		return 0, false, err
	}
	in.asked = false
	return in.s.Handled(), true, nil
}
