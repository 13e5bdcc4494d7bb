package route

import (
	"context"
	"slices"
	"time"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
)

// Redeliver finds new places for what was queued to a session which ended before its client had it, as far as anybody knows,
// in order: for a message another session, the offline store, or an error to its sender; for a request an error
// (XEP-0198#acking). It has passed Admit and Rewrite already, and its copies were made. A message that the archive of its
// recipient has, or the journal of the session, is never answered with an error.
//
// All of it moves in one transaction, and forget, where it is not nil, in the same one, which takes the session out of its
// journal: after a sudden end of the server everything is in the one place or in the other. err says that forget was not
// committed.
func (r *Router) Redeliver(ctx context.Context, list []session.Kept, forget func(mod.Tx) error) (err error) {
	b := &Batch{r: r}
	defer b.start()
	m := &moving{b: b, forget: forget}
	for _, k := range list {
		m.take(ctx, k)
	}
	err = m.commit(ctx)
	for _, v := range m.list {
		m.arrive(ctx, v)
	}
	return err
}

// returned answers what needs no new place, and returns the journey of a message that does, or nil.
func (b *Batch) returned(ctx context.Context, k session.Kept) *journey {
	s, to := k.Stanza, k.Stanza.To
	if s.Request() && !to.IsZero() {
		b.refuse(ctx, s, stanza.Err(stanza.ServiceUnavailable, ""))
		return nil
	}
	if s.Kind != stanza.Message || s.Type == stanza.TypeError || to.Local() == "" {
		return nil
	}
	if s.From == to.Bare() {
		// What the account itself sends to one of its resources, a copy or the result of a query, is for that one alone. An
		// error about it must reach nobody (XEP-0280#bizrules-errors).
		b.r.o.Count(stanza.Message, mod.Dropped)
		return nil
	}
	h := b.r.Host(to.DomainJID())
	if h == nil {
		return nil
	}
	_, stored := delay.Of(s, h.Domain()) // XEP-0203: a store gave it to that session alone
	if others, _ := targets(nil, s, to, b.r.o.Directory.Sessions(to.Bare())); !stored && b.carried(ctx, h, s, k.At, others) {
		return nil // the other sessions have it
	}
	if !k.At.IsZero() && !stored { // XEP-0198#acking: say since when it waits
		s = s.Clone().Add(delay.Delay{From: h.Domain(), Stamp: k.At}.Element())
	}
	j := &journey{inHost: h, in: mod.Pass{Stanza: s, Side: mod.In, Account: to.Bare(), At: k.At}}
	if id := sid.Of(s, j.in.Account); id != "" {
		j.in.Archived, j.in.Stored = &mod.Archived{By: j.in.Account, ID: id}, true
	}
	return j
}

// carried tells whether one of the sessions that are left has had its own copy of a message that was queued at a time: of
// one to the bare JID those that were reached by it then; of any those for which the Fork hooks make a copy, and who has sent it.
func (b *Batch) carried(ctx context.Context, h *host.Host, s *stanza.Stanza, at time.Time, others []mod.Session) bool {
	before := func(t time.Time) bool { return !t.IsZero() && (at.IsZero() || !t.After(at)) }
	there := slices.DeleteFunc(slices.Clone(others), func(t mod.Session) bool {
		return !before(t.(*session.Session).Since) || t.JID() == s.To && s.To.IsFull()
	})
	if len(there) == 0 {
		return false
	}
	if s.To.IsBare() && slices.ContainsFunc(there, func(t mod.Session) bool { return before(t.(*session.Session).Reached()) }) {
		return true
	}
	copies := b.fork(ctx, h, &mod.Pass{Stanza: s, Side: mod.In, Account: s.To.Bare()})
	return slices.ContainsFunc(there, func(t mod.Session) bool {
		return t.JID() == s.From || slices.ContainsFunc(copies, func(c mod.Copy) bool { return c.To == t })
	})
}

// moving is messages on their way to new places, in order.
type moving struct {
	b      *Batch
	list   []*moved
	forget func(mod.Tx) error
}

// moved is a message, and where it goes: to a session, or where the Record hooks have said.
type moved struct {
	j   *journey
	t   *session.Session // or nil
	row int64            // in the journal of t
	err error            // of its write
}

// take takes a stanza that was queued to the session. A panic costs that stanza: the session is forgotten with it, or it would be met
// again after each start.
func (m *moving) take(ctx context.Context, k session.Kept) {
	defer func() {
		if v := recover(); v != nil {
			m.panicked(ctx, k.Stanza, v)
		}
	}()
	if j := m.b.returned(ctx, k); j != nil {
		m.place(ctx, j)
	}
}

// panicked contains a panic to the stanza that met it.
func (m *moving) panicked(ctx context.Context, s *stanza.Stanza, v any) {
	if s.Kind != stanza.Message || sid.Of(s, s.To.Bare()) == "" {
		m.b.recovered(ctx, s, v)
		return
	}
	m.b.r.o.Panicked(m.b.ext) // its archive has it: it is not answered with an error
	m.b.r.o.Log.Error("panic while a message goes to a new place", "extension", m.b.ext, "id", s.ID, "panic", v, "stack", stack())
}

// place finds the place of a message: copies were made before, so it goes to one session.
func (m *moving) place(ctx context.Context, j *journey) {
	all, f := targets(j.inline[:0], j.in.Stanza, j.in.Stanza.To, m.b.r.o.Directory.Sessions(j.in.Account))
	for _, t := range all {
		if s := t.(*session.Session); !s.Queue.Ended() {
			m.list = append(m.list, &moved{j: j, t: s})
			return
		}
	}
	if m.b.shelve(ctx, j, f) {
		m.list = append(m.list, &moved{j: j})
	}
}

// shelve asks the Record hooks to store a message that no session gets. It returns false where its sender was answered.
func (b *Batch) shelve(ctx context.Context, j *journey, f fate) bool {
	if !b.record(ctx, j.inHost, &j.in, j) {
		return false
	}
	if !j.in.Stored {
		b.undeliverable(ctx, j.in.Stanza, f)
		return false
	}
	return true
}

// writes tells whether there is something to write.
func (v *moved) writes() bool {
	if v.t != nil {
		return v.t.Durable()
	}
	return len(v.j.writes) > 0
}

// write writes a message to its new place. It may run more than once.
func (v *moved) write(ctx context.Context, tx mod.Tx) (err error) {
	if v.t == nil {
		return v.j.write(tx)
	}
	v.waive()
	v.row, err = v.t.Keep(ctx, tx, v.j.in.Stanza, v.j.in.At)
	return err
}

// waive gives up the place in the journal of the session.
func (v *moved) waive() {
	if v.row > 0 {
		v.t.Queue.Waive(v.row)
		v.row = 0
	}
}

// commit moves all. Where the store refuses, each message is tried alone, so that a bad one does not take its neighbours with
// it; where it failed, what is in the journal stays there.
func (m *moving) commit(ctx context.Context) error {
	if m.forget == nil && !slices.ContainsFunc(m.list, (*moved).writes) {
		return nil
	}
	write := func(list []*moved, forget func(mod.Tx) error) error {
		return m.b.r.o.DB.Write(ctx, func(tx mod.Tx) error {
			for _, v := range list {
				if err := v.write(ctx, tx); err != nil {
					return err
				}
			}
			if forget == nil {
				return nil
			}
			return forget(tx)
		})
	}
	err := write(m.list, m.forget)
	if err == nil {
		return nil
	}
	for _, v := range m.list {
		if v.err = err; !storeFailed(err) {
			if v.err = write([]*moved{v}, nil); storeFailed(v.err) {
				err = v.err // the rest stays, too
			}
		}
		if v.err != nil && v.t != nil {
			v.waive()
		}
	}
	switch {
	case m.forget == nil:
		return nil
	case storeFailed(err):
		return err
	}
	return write(nil, m.forget)
}

// arrive does what is left once a message has its place on the disk.
func (m *moving) arrive(ctx context.Context, v *moved) {
	b, j := m.b, v.j
	defer func() {
		if r := recover(); r != nil {
			m.panicked(ctx, j.in.Stanza, r)
		}
	}()
	switch {
	case v.t != nil: // also where it could not be written: it is no worse off than before
		if b.queueKept(v.t, j.in.Stanza, v.row, j.in.At) {
			j.in.Targets = []mod.Session{v.t}
			return
		}
		if b.again(ctx, j, j.inHost, false) != mod.Stored { // that one has ended meanwhile
			return
		}
	case v.err != nil && (m.forget != nil || j.in.Archived != nil):
		b.r.o.Log.Error("a message has no new place", "account", j.in.Account.String(), "error", v.err)
		return
	case v.err != nil:
		b.fail(ctx, j.in.Stanza, "store", v.err)
		return
	}
	b.r.o.Count(stanza.Message, mod.Stored)
	b.observe(ctx, j.inHost, &j.in, mod.Stored) // a session may have become available meanwhile
}

// again finds out anew where a message goes and takes it there: to all sessions that RFC 6121 §8.5 names or, where copies
// were made before, to one. Afterwards the Targets are those that have it.
func (b *Batch) again(ctx context.Context, j *journey, h *host.Host, toAll bool) mod.Outcome {
	s, to := j.in.Stanza, j.in.Stanza.To
	if to.IsZero() {
		to = j.in.Account
	}
	all, f := targets(j.inline[:0], s, to, b.r.o.Directory.Sessions(j.in.Account))
	j.in.Targets = nil
	for _, t := range all {
		v := &moved{j: j, t: t.(*session.Session)}
		if err := b.keepMoved(ctx, v); err != nil {
			b.fail(ctx, s, "store", err)
			return mod.Refused
		}
		if b.queueKept(v.t, s, v.row, j.in.At) {
			j.in.Targets = append(j.in.Targets, t)
			if !toAll {
				break
			}
		}
	}
	if len(j.in.Targets) > 0 {
		return mod.Delivered
	}
	j.writes = nil
	if !b.shelve(ctx, j, f) {
		return mod.Refused
	}
	if err := b.r.o.DB.Write(ctx, j.write); err != nil {
		b.fail(ctx, s, "store", err)
		return mod.Refused
	}
	return mod.Stored
}

// keepMoved keeps a message for another session than it was kept for.
func (b *Batch) keepMoved(ctx context.Context, v *moved) error {
	if !v.writes() {
		return nil
	}
	err := b.r.o.DB.Write(ctx, func(tx mod.Tx) error { return v.write(ctx, tx) })
	if err != nil {
		v.waive()
	}
	return err
}
