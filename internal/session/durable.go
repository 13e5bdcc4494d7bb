package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Journal is where a session that can be resumed is kept, so that it survives the process. internal/resume implements it.
// Its methods write within a transaction.
type Journal interface {
	// Keep writes a message that is about to be queued, under a number that the session has not used before.
	Keep(ctx context.Context, tx mod.Tx, row int64, k Kept) error
	// Progress writes how many stanzas of the client were handled and, where it is not nil, what else is known of the
	// session.
	Progress(ctx context.Context, tx mod.Tx, handled uint32, st *State) error
}

// durable is what a session knows of its journal.
type durable struct {
	journal Journal
	mu      sync.Mutex // held while progress is written, so that it goes forward only
	written Progress   // what is on disk
}

// Progress is how far a session has got at a moment.
type Progress struct {
	Handled uint32
	version uint64
}

// SetJournal says where the session is kept, which has it as it is at p. It is called before the session handles or is
// sent anything that it must not lose.
func (s *Session) SetJournal(j Journal, p Progress) {
	s.durable.Store(&durable{journal: j, written: p})
}

// Durable tells whether the session has a journal: then what Keep has written survives the process.
func (s *Session) Durable() bool { return s.durable.Load() != nil }

// Progress returns how far the session has got.
func (s *Session) Progress() Progress { return Progress{s.Handled(), s.version.Load()} }

// advance begins to write p. d.mu is held, and goes to what it returns.
func (d *durable) advance(s *Session, p Progress) *Advance {
	if p == d.written {
		d.mu.Unlock()
		return nil
	}
	a := &Advance{d: d, p: p}
	if p.version != d.written.version {
		st := s.State()
		a.state = &st
	}
	return a
}

// Advance is progress on its way to the journal. See Counter.Advance. The methods of nil do nothing.
type Advance struct {
	d     *durable
	p     Progress
	state *State
}

// Write writes within tx.
func (a *Advance) Write(ctx context.Context, tx mod.Tx) error {
	if a == nil {
		return nil
	}
	return a.d.journal.Progress(ctx, tx, a.p.Handled, a.state)
}

// Done tells whether it was committed.
func (a *Advance) Done(committed bool) {
	if a == nil {
		return
	}
	if committed {
		a.d.written = a.p
	}
	a.d.mu.Unlock()
}

// Keep writes a message for the session to its journal and returns its number for DeliverLater, or 0 where there is no
// journal or the message is not kept. at is when the server took the message in, zero for now.
func (s *Session) Keep(ctx context.Context, tx mod.Tx, st *stanza.Stanza, at time.Time) (row int64, err error) {
	d := s.durable.Load()
	if d == nil || !lasting(st) {
		return 0, nil
	}
	if at.IsZero() {
		at = time.Now()
	}
	row = s.Queue.reserve()
	if err := d.journal.Keep(ctx, tx, row, Kept{Stanza: st, To: s.to(st), At: at}); err != nil {
		s.Queue.Waive(row)
		return 0, err
	}
	return row, nil
}

// entrusted is a message that comes from a store. See mod.Session.
type entrusted struct {
	s   *Session
	st  *stanza.Stanza
	row int64
	at  time.Time
}

// Entrust reserves a place in the journal. See mod.Session.
func (s *Session) Entrust(st *stanza.Stanza, at time.Time) mod.Entrusted {
	if !s.Durable() || !lasting(st) {
		return nil
	}
	return &entrusted{s, st, s.Queue.reserve(), at}
}

func (e *entrusted) Write(ctx context.Context, tx mod.Tx) error {
	return e.s.durable.Load().journal.Keep(ctx, tx, e.row, Kept{Stanza: e.st, To: e.s.to(e.st), At: e.at})
}

func (e *entrusted) Deliver() bool {
	taken, start := e.s.deliver(item{s: e.st, row: e.row, at: e.at})
	if start {
		e.s.Queue.Start()
	}
	return taken
}

func (e *entrusted) Drop() { e.s.Queue.Waive(e.row) }

// lasting tells whether a message is worth keeping: not the typing of somebody, nor what asks not to be stored
// (XEP-0334#no-store).
func lasting(st *stanza.Stanza) bool {
	if st.Kind != stanza.Message || st.Has("urn:xmpp:hints", "no-store") {
		return false
	}
	for n := range st.ChildNames() {
		if n.Space != "http://jabber.org/protocol/chatstates" {
			return true
		}
	}
	return false
}

// State is what is known of a session beside its queue.
type State struct {
	Presence  string            `json:"presence,omitempty"`
	Priority  int8              `json:"priority,omitempty"`
	Flags     map[string]string `json:"flags,omitempty"`
	Directed  []jid.JID         `json:"directed,omitempty"`
	Since     time.Time         `json:"since"`
	Reached   time.Time         `json:"reached,omitzero"`
	Client    string            `json:"client,omitempty"`
	Software  string            `json:"software,omitempty"`
	Device    string            `json:"device,omitempty"`
	Mechanism string            `json:"mechanism,omitempty"`
}

// State returns the state as it is now.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := State{
		Since: s.Since, Reached: s.reached, Client: s.Agent.ID, Software: s.Agent.Software, Device: s.Agent.Device, Mechanism: s.Agent.Mechanism,
		Directed: append([]jid.JID(nil), s.directed...),
	}
	if s.presence != nil {
		st.Presence, st.Priority = string(s.presence.Append(nil, stanza.NSClient)), s.prio
	}
	for _, f := range s.flags {
		if st.Flags == nil {
			st.Flags = make(map[string]string)
		}
		st.Flags[f.key] = f.value
	}
	return st
}

// SetState gives a new session the state of one before a restart.
func (s *Session) SetState(st State) error {
	s.Since = st.Since
	s.Agent = mod.Client{ID: st.Client, Software: st.Software, Device: st.Device, Mechanism: st.Mechanism}
	for k, v := range st.Flags {
		s.SetFlag(k, v)
	}
	for _, to := range st.Directed {
		s.Direct(to, true)
	}
	if st.Presence == "" {
		return nil
	}
	p, err := ParseStanza(st.Presence)
	if err != nil {
		return err
	}
	s.SetPresence(p, st.Priority)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reached.IsZero() {
		return nil
	}
	if s.reached = st.Reached; s.reached.IsZero() { // written before it was noted
		s.reached = st.Since
	}
	return nil
}

// storedLimits are those of a stored stanza: what was accepted once is accepted again.
var storedLimits = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

// ParseStanza reads a stanza as it was stored, with its namespace.
func ParseStanza(wire string) (*stanza.Stanza, error) {
	f, err := xmlstream.ParseFrame(wire, storedLimits)
	if err != nil {
		return nil, err
	}
	s, bad := stanza.FromFrame(f)
	if bad != nil {
		return nil, bad
	}
	if s == nil {
		return nil, fmt.Errorf("no stanza")
	}
	return s, nil
}

// rows knows which numbers of a journal are done with: acknowledged, or never queued.
type rows struct {
	next int64 // the last that was given out
	low  int64 // all up to this are done
	done map[int64]struct{}
}

func (r *rows) mark(n int64) {
	if n <= r.low {
		return
	}
	if n != r.low+1 {
		if r.done == nil {
			r.done = make(map[int64]struct{})
		}
		r.done[n] = struct{}{}
		return
	}
	for r.low = n; ; r.low++ {
		if _, ok := r.done[r.low+1]; !ok {
			return
		}
		delete(r.done, r.low+1)
	}
}

// skip marks all numbers behind the last that was given out, up to n.
func (r *rows) skip(n int64) {
	for i := max(r.next, r.low) + 1; i <= n; i++ {
		r.mark(i)
	}
	r.next = max(r.next, n)
}

// reserve gives out a number.
func (q *Queue) reserve() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rows.next++
	return q.rows.next
}

// Waive says that a number of the journal is not needed: what it was for is not queued.
func (q *Queue) Waive(row int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rows.mark(row)
}

// Done returns up to which number the journal is not needed any more.
func (q *Queue) Done() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rows.low
}
