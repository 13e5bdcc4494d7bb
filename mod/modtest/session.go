package modtest

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Session is a fake bound resource that records what is sent to it.
type Session struct {
	h    *Host
	full jid.JID

	mu         sync.Mutex
	sent       []*stanza.Stanza
	presence   *stanza.Stanza
	priority   int8
	flags      map[string]string
	directed   []jid.JID
	maxDirect  int
	room       int // how many stanzas it takes; below zero: any number
	closed     bool
	parked     bool
	unanswered time.Time
	judge      func(*stanza.Stanza) (mod.Urgency, uint8)
	catching   int
	condition  string
	lastActive time.Time
	client     mod.Client
}

var _ mod.Session = (*Session)(nil)

// Login binds a resource of a local account, which it makes if need be, and runs Hooks.Bound.
func (h *Host) Login(full string) *Session {
	h.t.Helper()
	j := jid.MustParse(full)
	if !j.IsFull() || j.DomainJID() != h.domain {
		h.t.Fatalf("%s is no full JID of %s", full, h.domain)
	}
	s := &Session{h: h, full: j, flags: map[string]string{}, maxDirect: 100, room: -1, lastActive: h.Clock().Now()}
	h.mu.Lock()
	if _, ok := h.passwords[j.Local()]; !ok {
		h.passwords[j.Local()] = "secret of " + j.Local()
	}
	h.sessions[full] = s
	h.mu.Unlock()
	if h.Hooks.Bound != nil {
		h.Hooks.Bound(h.ctx, s)
	}
	return s
}

// Online is Login followed by Available with this priority.
func (h *Host) Online(full string, priority int8) *Session {
	h.t.Helper()
	s := h.Login(full)
	h.Available(s, priority)
	return s
}

// Available has the session broadcast available presence, given children in XML, and runs Hooks.Available.
func (h *Host) Available(s *Session, priority int8, children ...string) {
	h.t.Helper()
	p := stanza.New(stanza.Presence, stanza.TypeAvailable)
	for _, c := range children {
		p.Add(XML(h.t, c))
	}
	p.From = s.full
	initial := s.Presence() == nil
	s.SetPresence(p, priority)
	if h.Hooks.Available != nil {
		h.Hooks.Available(h.ctx, s, initial)
	}
}

// Unavailable has the session broadcast unavailable presence. Extensions learn of it by phases and Unbound only.
func (h *Host) Unavailable(s *Session) { s.SetPresence(nil, 0) }

// Logout ends the session and runs Hooks.Unbound.
func (h *Host) Logout(s *Session) {
	h.mu.Lock()
	delete(h.sessions, s.full.String())
	h.mu.Unlock()
	last := s.Presence()
	if h.Hooks.Unbound != nil {
		h.Hooks.Unbound(h.ctx, s, last)
	}
}

// Sessions returns the sessions of an account, highest priority first, those without presence last.
func (h *Host) Sessions(bare jid.JID) []mod.Session {
	h.mu.Lock()
	var found []*Session
	for _, s := range h.sessions {
		if s.full.Bare() == bare {
			found = append(found, s)
		}
	}
	h.mu.Unlock()
	rank := func(s *Session) int {
		if s.Presence() == nil {
			return -1000
		}
		return int(s.Priority())
	}
	slices.SortFunc(found, func(a, b *Session) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), a.full.Compare(b.full))
	})
	all := make([]mod.Session, len(found))
	for i, s := range found {
		all[i] = s
	}
	return all
}

// Session returns the session of this full JID, or nil.
func (h *Host) Session(full jid.JID) mod.Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sessions[full.String()]; s != nil {
		return s
	}
	return nil
}

// JID returns the full JID.
func (s *Session) JID() jid.JID { return s.full }

// Send records a stanza, stamped with the session's address where it has no `to`.
func (s *Session) Send(x *stanza.Stanza) { s.Deliver(x) }

// Entrust implements mod.Session: this one does not outlive its test.
func (s *Session) Entrust(*stanza.Stanza, time.Time) mod.Entrusted { return nil }

// Deliver is Send, and returns false once the session was closed or where Fill left no room.
func (s *Session) Deliver(x *stanza.Stanza) bool {
	if x.To.IsZero() {
		x = x.WithTo(s.full)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.room == 0 {
		return false
	}
	s.room--
	s.sent = append(s.sent, x)
	return true
}

// Fill leaves room for n more stanzas; a negative number, as at first, for any number.
func (s *Session) Fill(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = n
}

// Take returns what was sent to the session since the last call.
func (s *Session) Take() []*stanza.Stanza {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.sent
	s.sent = nil
	return t
}

// Presence returns the last available presence, or nil.
func (s *Session) Presence() *stanza.Stanza {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.presence
}

// SetPresence sets presence and priority.
func (s *Session) SetPresence(p *stanza.Stanza, priority int8) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.presence, s.priority = p, priority
}

// Priority returns the priority.
func (s *Session) Priority() int8 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.priority
}

// Flag returns a flag.
func (s *Session) Flag(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flags[key]
}

// SetFlag sets or removes a flag.
func (s *Session) SetFlag(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == "" {
		delete(s.flags, key)
		return
	}
	s.flags[key] = value
}

// Directed returns the addresses with directed presence.
func (s *Session) Directed() []jid.JID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.directed)
}

// LimitDirected sets how many addresses Direct accepts, 100 otherwise.
func (s *Session) LimitDirected(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxDirect = n
}

// Direct adds or removes an address with directed presence.
func (s *Session) Direct(to jid.JID, available bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.directed, to)
	switch {
	case !available:
		if i >= 0 {
			s.directed = slices.Delete(s.directed, i, i+1)
		}
	case i < 0:
		if len(s.directed) >= s.maxDirect {
			return false
		}
		s.directed = append(s.directed, to)
	}
	return true
}

// Room implements mod.Session: there is as much as a client that reads has.
func (s *Session) Room() int { return 1 << 20 }

// CatchUp counts what is handed over. See mod.Session.
func (s *Session) CatchUp() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catching++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.catching--
	})
}

// CatchingUp tells whether something is being handed over.
func (s *Session) CatchingUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catching > 0
}

// Close records the stream error and ends the session as Logout does.
func (s *Session) Close(condition, _ string) {
	s.mu.Lock()
	was := s.closed
	s.closed, s.condition = true, condition
	s.mu.Unlock()
	if !was {
		s.h.Logout(s)
	}
}

// Closed tells whether Close was called, and with which condition.
func (s *Session) Closed() (condition string, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.condition, s.closed
}

// Connected returns true until Park was called.
func (s *Session) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.parked
}

// Unanswered returns what SetUnanswered has set.
func (s *Session) Unanswered() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unanswered
}

// SetUnanswered says since when the client has not acknowledged what it was sent.
func (s *Session) SetUnanswered(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unanswered = t
}

// Park takes the stream away, and runs Hooks.Parked with what the client may not have got.
func (h *Host) Park(s *Session, held ...*stanza.Stanza) {
	s.mu.Lock()
	s.parked = true
	s.mu.Unlock()
	if h.Hooks.Parked != nil {
		h.Hooks.Parked(h.ctx, s, held)
	}
}

// HoldBack records judge, see Judge.
func (s *Session) HoldBack(judge func(*stanza.Stanza) (mod.Urgency, uint8)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge = judge
}

// Judge returns what HoldBack was called with last. What is sent is recorded at once all the same.
func (s *Session) Judge() func(*stanza.Stanza) (mod.Urgency, uint8) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.judge
}

// LastActive returns the time of the login, or of the last Touch.
func (s *Session) LastActive() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastActive
}

// Touch stands for a stanza that the client sends now.
func (s *Session) Touch() {
	now := s.h.Clock().Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastActive = now
}

// Client returns what SetClient was told.
func (s *Session) Client() mod.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

// SetClient says what client stands behind the session.
func (s *Session) SetClient(c mod.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = c
}
