package s2s

import (
	"cmp"
	"slices"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stream"
)

// Status is what is to be told of a stream, or of what waits for one.
type Status struct {
	Local     string    `json:"local"`
	Remote    string    `json:"remote"`
	Direction string    `json:"direction"` // in, out or none
	Address   string    `json:"address,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Proved    bool      `json:"proved"`    // the domain was proved
	BothWays  bool      `json:"both_ways"` // XEP-0288
	Acks      bool      `json:"acks"`      // XEP-0198
	Waiting   int       `json:"waiting"`   // stanzas that were not written
	Unacked   int       `json:"unacked"`   // stanzas that were written and not acknowledged
	Bytes     int       `json:"bytes"`     // of both
	Problem   string    `json:"problem,omitempty"`
}

// List tells of all streams, and of the domains for which something waits or which cannot be reached.
func (s *Server) List() []Status {
	list := []Status{}
	for _, c := range s.inStreams() {
		remote := c.remote.Load()
		if remote == nil {
			continue
		}
		st := Status{Remote: remote.Domain(), Direction: "in", Address: c.t.Addr().String(), Since: c.since, Acks: c.sm.Load(), BothWays: len(c.links()) > 0}
		pairs := c.in.proved()
		for _, p := range pairs {
			st.Local, st.Remote, st.Proved = p.local.Domain(), p.remote.Domain(), true
			list = append(list, st)
		}
		if len(pairs) == 0 {
			list = append(list, st)
		}
	}
	now := s.o.Clock.Now()
	for _, l := range s.allLinks() {
		if st, ok := l.status(now); ok {
			list = append(list, st)
		}
	}
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Remote, b.Remote), cmp.Compare(a.Local, b.Local), cmp.Compare(a.Direction, b.Direction))
	})
	return list
}

// status returns false where there is nothing to tell.
func (l *link) status(now time.Time) (Status, bool) {
	l.mu.Lock()
	on := l.on
	st := Status{Local: l.local.Domain(), Remote: l.remote.Domain(), Direction: "none", Waiting: len(l.waiting), Bytes: l.bytes}
	if l.failure != nil && now.Before(l.closedUntil) {
		st.Problem = l.failure.Text
	}
	l.mu.Unlock()
	if on != nil {
		on.status(l, &st)
	}
	return st, st.Direction == "out" || st.Waiting+st.Unacked > 0 || st.Problem != ""
}

// status tells of a link that rides on the stream. One that a peer has opened is listed by itself.
func (s *sender) status(l *link, st *Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Unacked = s.account.of(l)
	if o, ok := s.c.(*outStream); ok {
		st.Direction, st.Proved, st.Since, st.Acks, st.BothWays, st.Address = "out", true, s.opened, o.sm, o.in != nil, o.target.String()
	}
}

// Peers returns the domains with which a local one has streams on which they were proved, by name.
func (s *Server) Peers(local jid.JID) (list []mod.Peer) {
	for _, st := range s.List() { // in the order of the remote domains
		if st.Local != local.Domain() || !st.Proved {
			continue
		}
		remote, err := jid.Parse(st.Remote)
		if err != nil {
			continue
		}
		if len(list) == 0 || list[len(list)-1].Domain != remote {
			list = append(list, mod.Peer{Domain: remote})
		}
		switch p := &list[len(list)-1]; {
		case st.BothWays:
			p.Both++
		case st.Direction == "in":
			p.In++
		default:
			p.Out++
		}
	}
	return list
}

// CloseDomain ends the streams of a domain, and tries it anew where something waits. It returns how many they were.
func (s *Server) CloseDomain(domain jid.JID) int {
	n := 0
	for _, c := range s.inStreams() {
		if slices.Contains(c.remotes(), domain) {
			c.endOrderly(stream.Err(stream.Reset, "closed by an administrator"))
			n++
		}
	}
	for _, l := range s.allLinks() {
		if l.remote == domain {
			l.reached()
		}
	}
	for _, snd := range s.allSenders() {
		o := snd.out()
		if o != nil && slices.ContainsFunc(snd.links(), func(l *link) bool { return l.remote == domain }) {
			o.end(stream.Err(stream.Reset, "closed by an administrator"))
			n++
		}
	}
	return n
}
