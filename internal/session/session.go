// Package session owns bound resources (RFC 6120 §7): their state, their bounded out-queue, and the Directory in which
// routing finds them.
package session

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// maxDirected bounds the addresses that a session remembers to have sent directed presence to. Whoever needs more is no
// person.
const maxDirected = 1000

// Session is a bound resource. Its methods may be called from any goroutine.
type Session struct {
	jid  jid.JID
	full string
	// Queue is where stanzas for the client wait; the stream that carries the session writes it out.
	Queue *Queue
	// Since is when the session was bound.
	Since time.Time
	// Agent is the client behind the stream. It is set before the session enters a directory.
	Agent mod.Client

	carrier atomic.Pointer[Carrier]
	last    atomic.Int64 // unix nanoseconds of the last stanza
	count   count
	version atomic.Uint64 // of what State returns
	durable atomic.Pointer[durable]

	mu       sync.Mutex
	presence *stanza.Stanza
	flags    []flag
	directed []jid.JID
	prio     int8
	reached  time.Time // see Reached

	// view is what routing reads at each message, without the lock.
	view atomic.Uint32

	worker worker
}

type flag struct{ key, value string }

var _ mod.Session = (*Session)(nil)

// Carrier is what carries a session: a stream, or nothing but the hope that its client comes back.
type Carrier struct {
	// Secure and Addr describe the stream, for people and policies.
	Secure bool
	Addr   string
	// Transport is what it goes over; "" where there is no stream.
	Transport string
	// Close ends the session, and the stream with it. It does not block.
	Close func(condition, text string)
	// Full is told that the queue had no room for a stanza. It does not block. See Queue.
	Full func()
}

// New returns a session for a stream. closeFn ends it and must not block.
func New(full jid.JID, q *Queue, now time.Time, closeFn func(condition, text string)) *Session {
	s := &Session{jid: full, full: full.String(), Queue: q, Since: now}
	s.SetCarrier(Carrier{Close: closeFn, Full: func() {}})
	if q.full == nil {
		q.full = func() { s.Carrier().Full() }
	}
	s.last.Store(now.UnixNano())
	return s
}

// SetCarrier tells what carries the session from now on.
func (s *Session) SetCarrier(c Carrier) { s.carrier.Store(&c) }

// Carrier returns what carries the session.
func (s *Session) Carrier() Carrier { return *s.carrier.Load() }

// Connected tells whether a stream carries the session. See mod.Session.
func (s *Session) Connected() bool { return s.Carrier().Transport != "" }

// Unanswered returns since when the client has not acknowledged what it was sent. See mod.Session.
func (s *Session) Unanswered() time.Time { return s.Queue.Asked() }

// JID returns the full JID.
func (s *Session) JID() jid.JID { return s.jid }

// Room returns how many bytes the session has room for. See mod.Session.
func (s *Session) Room() int { return s.Queue.Room() }

// Send queues a stanza. See mod.Session.
func (s *Session) Send(st *stanza.Stanza) { s.Deliver(st) }

// Deliver is Send, and tells whether the session took the stanza: not after it ended, nor where its queue is full.
func (s *Session) Deliver(st *stanza.Stanza) bool { return s.Queue.Put(st, s.to(st)) }

// DeliverLater is Deliver for what routing brings here, but where start is true the caller owes a call of Queue.Start. Keep has
// written the stanza as row, or it is kept nowhere and row is 0; at is when the server took it in, zero for now. A message waits
// while a store is handed over; see CatchUp.
func (s *Session) DeliverLater(st *stanza.Stanza, row int64, at time.Time) (taken, start bool) {
	return s.deliver(item{s: st, row: row, at: at, routed: st.Kind == stanza.Message})
}

func (s *Session) deliver(it item) (taken, start bool) {
	it.to = s.to(it.s)
	it.size = it.s.Wire().Size() + len(it.to) + overhead
	if taken, start = s.Queue.put(it); !taken && it.row > 0 {
		s.Queue.Waive(it.row)
	}
	return taken, start
}

func (s *Session) to(st *stanza.Stanza) string {
	if st.To.IsZero() {
		return s.full
	}
	return st.To.String()
}

// availability in view: bit 8 available, bits 0-7 the priority.
const viewAvailable = 1 << 8

// Presence returns the last available presence, or nil.
func (s *Session) Presence() *stanza.Stanza {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.presence
}

// SetPresence keeps the last presence. See mod.Session.
func (s *Session) SetPresence(p *stanza.Stanza, priority int8) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.Add(1)
	switch {
	case p == nil || priority < 0:
		s.reached = time.Time{}
	case s.reached.IsZero():
		s.reached = time.Now()
	}
	s.presence, s.prio = p, priority
	var v uint32
	if p != nil {
		v = viewAvailable | uint32(uint8(priority))
	}
	s.view.Store(v)
}

// Forget makes the session one that has sent no presence, for who is about to repeat the last one to all: since when it is reached stays.
func (s *Session) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.Add(1)
	s.presence, s.prio = nil, 0
	s.view.Store(0)
}

// Priority returns the priority of the last presence.
func (s *Session) Priority() int8 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prio
}

// Reached returns since when the session is one of those that get what is sent to the bare JID (RFC 6121 §8.5.2.1): with available presence
// and no negative priority. It is zero where it gets nothing.
func (s *Session) Reached() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached
}

// Available tells whether the session sent available presence, and its priority.
func (s *Session) Available() (bool, int8) {
	v := s.view.Load()
	return v&viewAvailable != 0, int8(uint8(v))
}

// Flag returns a value kept with the session. See mod.Session.
func (s *Session) Flag(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.flags {
		if f.key == key {
			return f.value
		}
	}
	return ""
}

// SetFlag keeps a value with the session. See mod.Session.
func (s *Session) SetFlag(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.Add(1)
	i := slices.IndexFunc(s.flags, func(f flag) bool { return f.key == key })
	switch {
	case i >= 0 && value == "":
		s.flags = slices.Delete(s.flags, i, i+1)
	case i >= 0:
		s.flags[i].value = value
	case value != "":
		s.flags = append(s.flags, flag{key, value})
	}
}

// Directed returns the addresses that know of the session by directed presence.
func (s *Session) Directed() []jid.JID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.directed)
}

// Direct notes directed presence. See mod.Session.
func (s *Session) Direct(to jid.JID, available bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.Add(1)
	i := slices.Index(s.directed, to)
	switch {
	case !available && i >= 0:
		s.directed = slices.Delete(s.directed, i, i+1)
	case available && i < 0:
		if len(s.directed) >= maxDirected {
			return false
		}
		s.directed = append(s.directed, to)
	}
	return true
}

// Close ends the session, and its stream where it has one. See mod.Session.
func (s *Session) Close(condition, text string) { s.Carrier().Close(condition, text) }

// LastActive returns when the client sent its last stanza.
func (s *Session) LastActive() time.Time { return time.Unix(0, s.last.Load()) }

// Client returns what is known of the client. See mod.Session.
func (s *Session) Client() mod.Client { return s.Agent }

// Touch notes that the client sent a stanza.
func (s *Session) Touch(now time.Time) { s.last.Store(now.UnixNano()) }
