package s2s

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sabir/internal/incoming"
	"sabir/mod"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
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

// drain waits until all was written and, where the stream counts, acknowledged.
func (s *sender) drain(ctx context.Context) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for s.carrier() != nil && s.busy() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// oneWrite is about how many bytes go into one write, and oneTurn the least that a link may put into it when others wait.
const (
	oneWrite = 64 << 10
	oneTurn  = 4 << 10
)

// serve writes what waits until the connection ends.
func (s *sender) serve(c carrier) {
	defer s.lost(c)
	every := time.Duration(s.srv.settings().IdleTimeout)
	idle := time.NewTimer(every)
	defer idle.Stop()
	late := time.NewTimer(time.Hour)
	late.Stop()
	defer late.Stop()
	var w writing
	came := s.came()
	for {
		s.bounceLarge(c)
		var err error
		w, err = s.send(c, w.b[:0])
		if err != nil {
			abandon(c)
			return
		}
		if w.due {
			late.Reset(s.answerTime(c))
		}
		if len(w.b) > 0 {
			idle.Reset(every)
			continue
		}
		select {
		case <-s.wake:
		case <-late.C:
			left, dead := s.overdue(c)
			if left > 0 {
				late.Reset(left)
			}
			if dead {
				s.srv.o.Log.Info("a server does not confirm what was sent", "domain", s.remote.Domain(), "from", s.local.Domain())
				abandon(c)
				return
			}
		case <-c.ended():
			c.end(nil)
			return
		case <-idle.C:
			switch now := s.came(); {
			case s.theirs || now != came: // who has opened it ends it
				came = now
				idle.Reset(every)
			case s.busy():
				abandon(c) // it has not acknowledged for so long: it is dead
				return
			default:
				c.end(nil)
				<-c.ended()
				return
			}
		}
	}
}

// came returns how much has come on the stream.
func (s *sender) came() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in == nil {
		return 0
	}
	return s.in.handled()
}

// lost notes that there is a connection no more.
func (s *sender) lost(c carrier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == c {
		s.c = nil
	}
}

// abandon gives a broken stream up, once what has come before the end was read: it may say what was handled.
func abandon(c carrier) {
	t := time.NewTimer(incoming.LingerTimeout)
	defer t.Stop()
	select {
	case <-c.ended():
	case <-t.C:
	}
	c.cut()
	<-c.ended()
}

func (s *sender) bounceLarge(c carrier) {
	most := c.maxBytes()
	if most == 0 {
		return
	}
	for _, l := range s.links() {
		l.bounceLarge(most)
	}
}

// writing is what goes into one write.
type writing struct {
	batch []*item
	first uint32 // the number of its first stanza, where it is in the account
	b     []byte
	due   bool // it has the first question in it after which an answer is due
	kept  bool // the batch is in the account until it is acknowledged
}

// What is not confirmed when a stream breaks that cannot be resumed is sent once more, although the peer may have handled it. So such a
// peer is asked behind each message, by <r/> or by a ping, and gets no more than window stanzas beyond what it has confirmed.
const window = 256

// send writes what may be written now. buf is used again.
func (s *sender) send(c carrier, buf []byte) (writing, error) {
	s.writes.Lock()
	defer s.writes.Unlock()
	w := s.next(buf, c)
	if len(w.b) == 0 {
		return w, nil
	}
	return w, s.write(c, w)
}

// count begins to count what goes out on a connection that is in use: enabled tells the peer.
func (s *sender) count(enabled func() error) error {
	s.writes.Lock()
	defer s.writes.Unlock()
	s.mu.Lock()
	s.account.uncounted = s.unacked.Count()
	s.mu.Unlock()
	return enabled()
}

// next takes what goes into the next write, of each link in turn, and encodes it with the questions behind it.
func (s *sender) next(buf []byte, c carrier) writing {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := writing{b: buf}
	if s.c != c {
		return w
	}
	asked := len(s.asks)
	w.batch = s.batchLocked()
	w.kept = c.managed() || !s.plain && slices.ContainsFunc(w.batch, (*item).durable)
	if !w.kept {
		for _, i := range w.batch {
			w.b = i.s.AppendServer(w.b)
		}
		return w
	}
	w.first = s.account.sent(w.batch)
	for k, i := range w.batch {
		w.b = i.s.AppendServer(w.b)
		if last := k == len(w.batch)-1; !s.resumableLocked() && (i.durable() || last && !c.managed()) {
			w.b = s.askLocked(w.b, c, i.l, w.first+uint32(k))
		}
	}
	if c.managed() && len(s.asks) == 0 && s.unacked.Len() > 0 {
		w.b = s.askLocked(w.b, c, nil, s.unacked.Count())
	}
	w.due = asked == 0 && len(s.asks) > 0
	return w
}

// resumableLocked tells whether the stream goes on after a loss of its connection.
func (s *sender) resumableLocked() bool { return s.smID != "" || s.rec != nil }

// batchLocked takes what may be written now.
func (s *sender) batchLocked() (batch []*item) {
	room := oneWrite
	if !s.resumableLocked() {
		room = window - s.unacked.Len()
	}
	turn := max(oneTurn, oneWrite/max(1, len(s.riders)))
	for bytes, idle := 0, 0; idle < len(s.riders) && bytes < oneWrite && len(batch) < room; {
		l := s.riders[s.turn%len(s.riders)]
		s.turn++
		some := l.take(turn, room-len(batch))
		if len(some) == 0 {
			idle++
			continue
		}
		idle = 0
		for _, i := range some {
			bytes += i.size - overhead
		}
		batch = append(batch, some...)
	}
	return batch
}

// askLocked asks how far the peer has got, behind the stanza of number n, which is of link l.
func (s *sender) askLocked(b []byte, c carrier, l *link, n uint32) []byte {
	if c.managed() {
		s.account.ask("", n)
		return append(b, sm.Request...)
	}
	ping := stanza.NewIQ(stanza.TypeGet, l.local, l.remote, xmlstream.El("urn:xmpp:ping", "ping"))
	s.account.ask(ping.ID, n)
	return ping.AppendServer(b)
}

// write writes a batch. Where it is not kept it has left then, as far as we can know.
func (s *sender) write(c carrier, w writing) error {
	if w.kept && c.managed() {
		s.note(w)
	}
	err := c.write(w.b)
	if err == nil {
		s.trace(mod.TraceWritten, w.batch)
	}
	if w.kept {
		return err
	}
	if err != nil {
		giveBack(w.batch)
		return err
	}
	release(w.batch)
	s.srv.reaper.done(w.batch)
	return nil
}

// note puts on disk which rows a write has in it, where the stream may be resumed after a restart.
func (s *sender) note(w writing) {
	s.mu.Lock()
	rec := s.rec
	s.mu.Unlock()
	if rec == nil || !slices.ContainsFunc(w.batch, (*item).durable) {
		return
	}
	n := note{id: s.srv.nextID(), last: w.first + uint32(len(w.batch)) - 1}
	if err := rec.note(context.WithoutCancel(s.srv.ctx), n.id, w.first, w.batch); err != nil {
		s.srv.o.Log.Error("what is sent to a server is not noted; after a sudden end it is sent once more", "domain", s.remote.Domain(), "error", err)
		return
	}
	s.mu.Lock()
	s.notes = append(s.notes, n)
	s.mu.Unlock()
}

// barrierTime is how long a peer that does not count may take to answer the first ping behind a batch. Where it does not,
// nothing is known of what becomes of what is sent to it.
const barrierTime = 10 * time.Second

// answerTime is how long the peer may take for its next answer.
func (s *sender) answerTime(c carrier) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.managed() || s.answers {
		return time.Duration(s.srv.settings().AckTimeout)
	}
	return barrierTime
}

// overdue tells whether the stream is dead, since the peer has not given the answer that is due, although it can; or else how long it has left. One
// that has answered no ping yet may be one that never does: what was sent is taken as handled, and no more pings are sent on this stream.
func (s *sender) overdue(c carrier) (left time.Duration, dead bool) {
	patience := s.answerTime(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asks) == 0 {
		return 0, false
	}
	if left = patience - time.Since(s.since); left > 0 {
		return left, false
	}
	if c.managed() || s.answers {
		return 0, true
	}
	s.plain = true
	s.gone(s.account.take())
	s.poke()
	return 0, false
}

// passed tells whether an answer is that to a ping behind what was sent.
func (s *sender) passed(id string) bool {
	s.mu.Lock()
	done, ok := s.account.pong(id)
	s.mu.Unlock()
	if !ok {
		return false
	}
	s.trace(mod.TraceAcked, done)
	s.gone(done)
	s.poke()
	return true
}

// trace notes at messages what has become of them.
func (s *sender) trace(what string, items []*item) {
	if s.srv.o.Trace == nil {
		return
	}
	for _, i := range items {
		s.srv.o.Trace.Note(i.s.Mark, what, i.l.remote.String(), "")
	}
}

// gone forgets items that have arrived.
func (s *sender) gone(items []*item) {
	release(items)
	s.srv.reaper.done(items)
}

// ack notes that the peer has handled h stanzas of the stream. The error is that of the stream where it was not sent as many
// (XEP-0198#acking).
func (s *sender) ack(h uint32) error {
	s.mu.Lock()
	done, over, err := s.account.settle(h)
	s.mu.Unlock()
	if err != nil {
		return tooHigh(err)
	}
	s.trace(mod.TraceAcked, done)
	s.gone(done)
	s.srv.reaper.unneeded(over)
	return nil
}

// tooHigh makes a stream error of an acknowledgement of too much (XEP-0198#errors).
func tooHigh(err error) error {
	var high *sm.TooHigh
	if errors.As(err, &high) {
		return high.Stream()
	}
	return err
}

// answered notes an answer to <r/>, so that more may be sent.
func (s *sender) answered() {
	s.mu.Lock()
	s.account.answered("")
	s.mu.Unlock()
	s.poke()
}
