package s2s

import (
	"strconv"
	"time"

	"sabir/xmpp/xmlstream"
)

// Namespaces of bidirectional streams (XEP-0288) and stream limits (XEP-0478).
const (
	nsBidi        = "urn:xmpp:bidi"
	nsBidiFeature = "urn:xmpp:features:bidi"
	nsLimits      = "urn:xmpp:stream-limits:0"
)

// resumeTime is how long a stream may be resumed after its connection was lost.
const resumeTime = 5 * time.Minute

func count(h uint32) string { return strconv.FormatUint(uint64(h), 10) }

// limits are what a peer may send us (XEP-0478#advertise).
func (s *Server) limits() *xmlstream.Element {
	set := s.settings()
	return xmlstream.El(nsLimits, "limits",
		xmlstream.El(nsLimits, "max-bytes", count(uint32(set.Limits.Bytes))),
		xmlstream.El(nsLimits, "idle-seconds", count(uint32(time.Duration(set.IdleTimeout)/time.Second))))
}

// largest reads how many bytes of a stanza a peer takes, in its features or its request for a stream that goes both ways; 0
// where it does not say.
func largest(x *xmlstream.Element) int {
	n, err := strconv.ParseUint(x.Child(nsLimits, "limits").ChildText(nsLimits, "max-bytes"), 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// begin makes o the stream of the link, with a new count.
func (l *link) begin(c carrier) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beginLocked(c)
	l.smID = ""
}

// remember keeps what a later stream needs to go on with the count of this one.
func (l *link) remember(id string, in *receiver) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.smID, l.smIn = id, in
}

func (l *link) forget() { l.remember("", nil) }

// resumable returns the id of a stream before that may be resumed, and how much of it we have handled.
func (l *link) resumable() (id string, h uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.smIn != nil {
		h = l.smIn.handled()
	}
	return l.smID, h
}

// resumed makes c the stream of the link that goes on with the count of the one before, and returns what the peer has not
// got yet.
func (l *link) resumed(c *outStream, h uint32) ([]byte, error) {
	if err := l.ack(h); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.c, l.counted, l.asked, l.failure, l.opened = c, c, false, nil, l.srv.o.Clock.Now()
	if l.smIn != nil && c.in != nil {
		c.in.continueFrom(l.smIn)
	}
	l.smIn = c.in
	l.mu.Unlock()
	l.srv.o.Log.Info("a stream to a server was resumed", "domain", l.remote.Domain(), "from", l.local.Domain())
	return l.unacked(), nil
}

// resumable is a stream of a peer that it may resume.
type resumable struct {
	pair
	in      *receiver
	stream  *inStream
	expires time.Time
}

// keepResumable notes that a stream may be resumed under an id. Those whose time is over are forgotten on the way.
func (s *Server) keepResumable(id string, r *resumable) {
	now := s.o.Clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, o := range s.resume {
		if !o.expires.IsZero() && now.After(o.expires) {
			delete(s.resume, k)
		}
	}
	s.resume[id] = r
}

// takeResumable returns the stream of an id that belongs to a pair, once, after its connection has ended.
func (s *Server) takeResumable(id string, p pair) *resumable {
	s.mu.Lock()
	r := s.resume[id]
	if r == nil || r.pair != p || !r.expires.IsZero() && s.o.Clock.Now().After(r.expires) {
		s.mu.Unlock()
		return nil
	}
	delete(s.resume, id)
	s.mu.Unlock()
	r.stream.t.Close() // the peer has given it up
	<-r.stream.done
	return r
}

// endResumable starts the time within which a stream that has ended may be resumed.
func (s *Server) endResumable(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.resume[id]; r != nil {
		r.expires = s.o.Clock.Now().Add(resumeTime)
	}
}
