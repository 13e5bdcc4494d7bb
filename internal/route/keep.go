package route

import (
	"context"
	"slices"
	"time"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// A message for a session that can be resumed is kept, in the transaction that records it, until the client of the session
// has acknowledged it (XEP-0198). What is kept is what the session will be sent, ids of archives and copies included: where
// a message is kept, Settle and Fork run within the transaction, behind the writes of Record.

// keeping is what a message keeps where.
type keeping struct {
	done    bool
	in, out *stanza.Stanza // as they were before Settle
	copies  [2][]mod.Copy  // by side
	rows    []keptRow
}

// keptRow is a message in the journal of a session.
type keptRow struct {
	t   mod.Session
	s   *stanza.Stanza
	row int64
}

// take returns the number under which a message is kept for a session, once, or 0.
func (k *keeping) take(t mod.Session, s *stanza.Stanza) int64 {
	for i := range k.rows {
		if r := &k.rows[i]; r.t == t && r.s == s {
			row := r.row
			*r = keptRow{}
			return row
		}
	}
	return 0
}

// waive gives up what was kept and is not queued.
func (k *keeping) waive() {
	for _, r := range k.rows {
		if r.row > 0 {
			r.t.(*session.Session).Queue.Waive(r.row)
		}
	}
	k.rows = nil
}

// unkeep takes back what keep did, for a message that was not committed.
func (j *journey) unkeep() {
	k := &j.keep
	k.waive()
	if k.in != nil || k.out != nil {
		j.in.Stanza, j.out.Stanza = k.in, k.out
	}
	*k = keeping{}
}

// keeps tells whether a message may go to a session that can be resumed.
func (b *Batch) keeps(j *journey) bool {
	return j.inHost != nil && !j.lost && b.mayKeep(j.in.Account) || j.outHost != nil && b.mayKeep(j.out.Account)
}

// mayKeep tells whether one of the sessions of an account can be resumed.
func (b *Batch) mayKeep(account jid.JID) bool { return anyDurable(b.r.o.Directory.Sessions(account)) }

func anyDurable(list []*session.Session) bool {
	return slices.ContainsFunc(list, (*session.Session).Durable)
}

// keep settles a message, finds its copies and writes both into the journals of the sessions that will be sent them. It may
// run more than once.
func (b *Batch) keep(ctx context.Context, tx mod.Tx, j *journey) error {
	k := &j.keep
	k.waive()
	if k.in == nil && k.out == nil {
		k.in, k.out = j.in.Stanza, j.out.Stanza
	}
	j.in.Stanza, j.out.Stanza, k.copies = k.in, k.out, [2][]mod.Copy{}
	if j.inHost != nil && !j.lost {
		if err := b.keepSide(ctx, tx, j, &j.in); err != nil {
			return err
		}
	}
	if j.outHost != nil {
		if err := b.keepSide(ctx, tx, j, &j.out); err != nil {
			return err
		}
	}
	k.done = true
	return nil
}

func (b *Batch) keepSide(ctx context.Context, tx mod.Tx, j *journey, p *mod.Pass) error {
	b.settleNow(ctx, j.host(p), p)
	for _, t := range p.Targets {
		if err := b.keepFor(ctx, tx, j, t, p.Stanza, p.At); err != nil {
			return err
		}
	}
	list := b.fork(ctx, j.host(p), p)
	j.keep.copies[p.Side>>1] = list
	for _, c := range list {
		if err := b.keepFor(ctx, tx, j, c.To, c.Stanza, p.At); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batch) keepFor(ctx context.Context, tx mod.Tx, j *journey, t mod.Session, s *stanza.Stanza, at time.Time) error {
	row, err := t.(*session.Session).Keep(ctx, tx, s, at)
	if row > 0 {
		j.keep.rows = append(j.keep.rows, keptRow{t, s, row})
	}
	return err
}
