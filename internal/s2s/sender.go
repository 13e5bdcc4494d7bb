package s2s

import (
	"context"
	"slices"
	"sync"
	"time"

	"sabir/xmpp/stream"
)

// carrier is a connection on which a sender may write: one that we have opened, or one of the peer that goes both ways (XEP-0288).
type carrier interface {
	// write writes whole elements.
	write(b []byte) error
	// end ends the stream in order, with an error or without.
	end(e *stream.Error)
	// cut closes the connection.
	cut()
	// ended is closed when nothing comes from the peer any more.
	ended() <-chan struct{}
	// managed tells whether stream management counts what we send (XEP-0198).
	managed() bool
	// maxBytes is how many bytes of a stanza the peer takes (XEP-0478); 0 where it does not say.
	maxBytes() int
}

// sender is the half of a stream on which our stanzas go out: the links that ride on it, and the account of what was sent. It outlives the
// connection where the stream can be resumed. A goroutine runs as long as there is a connection, or something is owed.
type sender struct {
	srv    *Server
	pair   // in whose names the stream was opened
	theirs bool
	wake   chan struct{} // has room for one

	writes  sync.Mutex // held while something is taken and written; before mu
	mu      sync.Mutex
	riders  []*link
	turn    int // which of them is asked first
	running bool
	over    bool      // nobody rides any more
	stopped bool      // nothing is begun any more
	rests   bool      // nothing is taken any more
	c       carrier   // nil while there is no connection
	begun   bool      // there was one
	broken  time.Time // when the last one was lost without the end of the stream; zero where it was not
	opened  time.Time
	comes   *arrival // a connection of the peer
	claimed bool     // one will come
	account

	smID string    // with which a stream of ours can be resumed; "" for not at all
	in   *receiver // the other half, where a stream of ours goes both ways
	rec  *record   // nil where nothing is on disk
}

// arrival is a connection that the peer has made for its stream: the first, or one on which it goes on, of which it has
// handled h stanzas.
type arrival struct {
	c       carrier
	resumes bool
	h       uint32
}

// newSender returns the sender of a stream of ours that is to be opened for a link.
func newSender(l *link) *sender {
	return &sender{srv: l.srv, pair: l.pair, wake: make(chan struct{}, 1), riders: []*link{l}}
}

// newTheirSender returns the sender of a stream that the peer has opened.
func newTheirSender(srv *Server, p pair) *sender {
	return &sender{srv: srv, pair: p, theirs: true, wake: make(chan struct{}, 1)}
}

// start sees to it that the goroutine runs and looks at what there is.
func (s *sender) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.launchLocked()
}

func (s *sender) launchLocked() {
	if !s.running && !s.stopped && !s.over {
		if s.running = s.srv.goes(s.run); s.running {
			s.srv.register(s)
		}
	}
	s.poke()
}

func (s *sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sends until there is no connection and nothing is owed.
func (s *sender) run() {
	for c := s.connect(); c != nil && s.srv.ctx.Err() == nil; c = s.connect() {
		s.serve(c)
	}
	s.dissolve()
}

// ride lets a link write on the stream, which another sender carries so far; nil for none. It returns false where the stream is over, or the
// link is carried by somebody else.
func (s *sender) ride(l *link, from *sender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.stopped || s.theirs && s.c == nil && s.comes == nil {
		return false
	}
	l.mu.Lock()
	ok := l.on == from
	if ok {
		l.on = s
		if l.spare == s {
			l.spare = nil
		}
		if s.c != nil {
			l.failure = nil
		}
	}
	l.mu.Unlock()
	if !ok {
		return false
	}
	if !slices.Contains(s.riders, l) {
		s.riders = append(s.riders, l)
	}
	s.launchLocked()
	return true
}

// drop takes a link off that another sender carries now.
func (s *sender) drop(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.riders = slices.DeleteFunc(s.riders, func(r *link) bool { return r == l })
}

// dismiss takes a link off, and returns what of it may not have arrived. A stream of ours that nobody rides on ends.
func (s *sender) dismiss(l *link, why string) []*item {
	s.mu.Lock()
	s.riders = slices.DeleteFunc(s.riders, func(r *link) bool { return r == l })
	items := s.account.withdraw(func(i *item) bool { return i.l == l })
	c, last := s.c, len(s.riders) == 0 && !s.theirs
	s.stopped = s.stopped || last
	s.mu.Unlock()
	release(items)
	l.left(s)
	if c != nil && last {
		c.end(stream.Err(stream.PolicyViolation, why))
	}
	s.poke()
	return items
}

// dissolve lets the links go, with what of theirs may not have arrived. A stream that the peer may resume, and on which nothing is open, waits
// for that without links.
func (s *sender) dissolve() {
	s.mu.Lock()
	s.running = false
	if (s.claimed || s.comes != nil) && !s.stopped && s.srv.ctx.Err() == nil {
		s.launchLocked() // the peer has come back at the last moment
		s.mu.Unlock()
		return
	}
	rests := s.theirs && !s.broken.IsZero() && s.account.owed() == 0 && !s.stopped
	// What is on disk of a stream that broke while the server stops is what the next start goes on with.
	keep := rests || s.srv.ctx.Err() != nil && s.account.owed() > 0 && !s.broken.IsZero()
	s.over = !rests
	riders, rec := s.riders, s.rec
	s.riders = nil
	items := s.account.take()
	if s.over {
		s.c = nil
		s.rec = nil
	}
	s.mu.Unlock()
	switch {
	case keep || rec == nil:
	case s.theirs: // the count of what has come is kept
		s.srv.reaper.unnote(rec.num)
	default:
		s.srv.reaper.end(rec.num)
	}
	s.srv.unregister(s)
	giveBack(items)
	for _, l := range riders {
		l.left(s)
	}
}

// breaks notes that a connection has ended without the peer's end of the stream.
func (s *sender) breaks(c carrier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == c || s.comes != nil && s.comes.c == c {
		s.broken = s.srv.o.Clock.Now()
	}
}

// stop ends the stream and lets the goroutine go.
func (s *sender) stop() {
	s.mu.Lock()
	s.stopped = true
	c := s.c
	s.mu.Unlock()
	if c != nil {
		c.end(nil)
	}
	s.poke()
}

func (s *sender) cut() {
	if c := s.carrier(); c != nil {
		c.cut()
	}
}

// carrier returns the connection, or nil.
func (s *sender) carrier() carrier {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c
}

// out returns the connection of a stream of ours, or nil.
func (s *sender) out() *outStream {
	o, _ := s.carrier().(*outStream)
	return o
}

func (s *sender) links() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.riders)
}

// busy tells whether something waits or is not acknowledged.
func (s *sender) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account.owed() > 0 || s.waitsLocked()
}

func (s *sender) waitsLocked() bool {
	return slices.ContainsFunc(s.riders, func(l *link) bool { return l.waits() > 0 })
}

// rest has nothing more be taken.
func (s *sender) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rests = true
}

// owesForGood tells whether something is not acknowledged of which nobody will tell later, because the stream cannot be resumed.
func (s *sender) owesForGood() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.resumableLocked() && s.account.owed() > 0
}

// wait waits while a condition holds and there is a connection.
func (s *sender) wait(ctx context.Context, while func() bool) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for s.carrier() != nil && while() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
