package s2s

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sabir/internal/incoming"
	"sabir/internal/route"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// carrier is a stream on which a link may write: one that we have opened, or one of the peer that goes both ways (XEP-0288).
type carrier interface {
	// write writes whole elements.
	write(b []byte) error
	// end ends the stream in order, with an error or without.
	end(e *stream.Error)
	// cut closes the connection.
	cut()
	// ended is closed when nothing comes from the peer any more.
	ended() <-chan struct{}
	// base is how much the peer had acknowledged when the stream was resumed.
	base() uint32
	// managed tells whether stream management counts what we send (XEP-0198).
	managed() bool
	// maxBytes is how many bytes of a stanza the peer takes (XEP-0478); 0 where it does not say.
	maxBytes() int
}

// link is the way from a domain of ours to another one: what waits, what was sent and not acknowledged, and the stream. A
// goroutine runs while something waits or a stream is open.
type link struct {
	srv *Server
	pair
	wake chan struct{} // has room for one

	mu      sync.Mutex
	waiting []*item
	sent    []*item // in the order of stream management, from acked on
	bytes   int     // of both
	running bool
	c       carrier
	counted carrier // of which acked and sent tell
	peer    carrier // one that the peer has opened, for when c has ended
	stopped bool
	// The peer may resume its stream (suspended), or does so (resuming).
	suspended, resuming bool
	broken              bool // our last stream

	// With a peer that does not count, a ping behind each batch does instead: its answer says that all before was handled.
	barrier string // the id of the ping that is out; "" for none
	answers bool   // it has answered one on this stream, so it is dead where it does not
	plain   bool   // the peer does not answer: what was written has left

	acked  uint32    // how many the peer has acknowledged (XEP-0198#acking)
	asked  bool      // <r/> waits for its answer
	smID   string    // with which the last stream can be resumed; "" for none
	smIn   *receiver // of that stream, where it went both ways
	opened time.Time

	// While a domain is known to be out of reach, senders get its error at once.
	closedUntil time.Time
	failure     *stanza.Error
	used        time.Time // when a stanza came last
}

func newLink(s *Server, p pair) *link { return &link{srv: s, pair: p, wake: make(chan struct{}, 1)} }

// accept tells whether a stanza may be queued.
func (l *link) accept(s *stanza.Stanza) (route.Departure, *stanza.Error) {
	set := l.srv.settings()
	now := l.srv.o.Clock.Now()
	i := &item{l: l, s: s, size: s.Wire().Size() + overhead, expires: now.Add(time.Duration(set.QueueTime))}
	// Chat states and the like are worth nothing after a restart (XEP-0334).
	i.volatile = s.Kind != stanza.Message || s.Type == stanza.TypeHeadline || s.Has(nsHints, "no-store") || s.Has(nsHints, "no-permanent-store")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = now
	if l.failure != nil && now.Before(l.closedUntil) {
		return nil, l.failure
	}
	if l.bytes+i.size > set.QueueBytes && l.bytes > 0 {
		return nil, stanza.Err(stanza.ResourceConstraint, "too much waits for that server").OfType(stanza.Wait)
	}
	if !i.volatile {
		i.id = l.srv.nextID()
	}
	return i, nil
}

const nsHints = "urn:xmpp:hints"

// put queues an item, and sees to it that somebody sends it.
func (l *link) put(i *item) {
	l.mu.Lock()
	l.waiting = append(l.waiting, i)
	l.bytes += i.size
	l.startLocked()
	l.mu.Unlock()
	l.poke()
}

// startLocked starts the goroutine. While the server stops it does not: what has a row stays there.
func (l *link) startLocked() {
	if !l.running && !l.stopped {
		l.running = l.srv.goes(l.run)
	}
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// attach gives the link a stream that the peer has opened.
func (l *link) attach(c carrier) {
	l.mu.Lock()
	l.peer = c
	l.startLocked()
	l.mu.Unlock()
	l.poke()
}

// detach takes it away again.
func (l *link) detach(c carrier) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer == c {
		l.peer = nil
	}
}

// run sends what waits until there is no stream and nothing waits.
func (l *link) run() {
	for attempt := 0; ; {
		var c carrier
		if !l.owes() {
			c = l.carry()
		}
		if c == nil {
			if !l.pending() {
				return
			}
			if l.awaitPeer() {
				continue
			}
			o, err := l.connect()
			if err != nil {
				if !l.failed(err, attempt) {
					return
				}
				attempt++
				continue
			}
			attempt, c = 0, o
		}
		l.serve(c)
		if l.srv.ctx.Err() != nil {
			return
		}
	}
}

// owes tells whether stanzas are unacknowledged on a stream of ours that can be resumed: on another stream they could come
// twice.
func (l *link) owes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ours := l.counted.(*outStream)
	return ours && l.smID != "" && len(l.sent) > 0
}

// carry takes over a stream that the peer has opened, where there is one.
func (l *link) carry() carrier {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peer == nil {
		return nil
	}
	c := l.peer
	l.peer = nil
	if l.resuming {
		// Its count goes on, and what was lost is on its way again.
		l.resuming, l.c, l.counted, l.asked, l.failure = false, c, c, false, nil
		return c
	}
	l.beginLocked(c)
	return c
}

// peerTime is how long the peer has to resume a stream of its own on which stanzas of ours are not acknowledged, before they
// go out on a stream of ours, perhaps once more.
const peerTime = 20 * time.Second

// awaitPeer waits for that, where it is the case. It returns true where a stream came.
func (l *link) awaitPeer() bool {
	l.mu.Lock()
	wait := l.suspended && len(l.sent) > 0
	l.suspended = false
	l.mu.Unlock()
	if !wait {
		return false
	}
	t := time.NewTimer(peerTime)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return false
		case <-l.srv.ctx.Done():
			return false
		case <-l.wake:
			l.mu.Lock()
			come, stopped := l.peer != nil, l.stopped
			l.mu.Unlock()
			if come || stopped {
				return come
			}
		}
	}
}

// suspend notes that a stream of the peer has broken which it may resume.
func (l *link) suspend() {
	l.mu.Lock()
	l.suspended = true
	l.mu.Unlock()
}

// resume prepares the link for a stream on which the peer goes on with the count of before, of which it has handled h
// stanzas. It returns what the peer has not got yet, to be written before anything else; attach follows. ok is false where
// the count is that of another stream by now.
func (l *link) resume(before carrier, h uint32) (again []byte, ok bool, err error) {
	l.mu.Lock()
	if ok = l.counted == before; ok {
		l.c, l.resuming = nil, true // nothing goes out on the old one any more
	}
	l.mu.Unlock()
	if !ok {
		return nil, false, nil
	}
	if err := l.ack(h); err != nil {
		return nil, true, err
	}
	return l.unacked(), true, nil
}

// beginLocked makes c the stream of the link. What a stream before it has left unacknowledged is sent again.
func (l *link) beginLocked(c carrier) {
	l.c, l.counted, l.acked, l.asked, l.opened = c, c, c.base(), false, l.srv.o.Clock.Now()
	l.resuming, l.barrier, l.answers, l.plain = false, "", false, false
	l.waiting = append(l.sent, l.waiting...)
	l.sent = nil
	l.failure = nil
}

// pending tells whether something waits; where not, the goroutine has ended.
func (l *link) pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A broken stream that went both ways is resumed at once: the peer may have something that we have not got.
	resume := l.broken && l.smID != "" && l.smIn != nil
	l.broken = false
	if len(l.waiting)+len(l.sent) == 0 && !resume || l.stopped {
		l.running = false
		return false
	}
	return true
}

// breaks notes that a stream of ours has ended without the peer's end.
func (l *link) breaks() {
	l.mu.Lock()
	l.broken = true
	l.mu.Unlock()
}

// connect opens a stream, within the time that the oldest stanza has left.
func (l *link) connect() (*outStream, error) {
	set := l.srv.settings()
	l.mu.Lock()
	deadline := l.srv.o.Clock.Now().Add(time.Duration(set.ConnectTimeout))
	for _, i := range l.waiting[:min(1, len(l.waiting))] {
		if i.expires.Before(deadline) {
			deadline = i.expires
		}
	}
	l.mu.Unlock()
	ctx, cancel := context.WithDeadline(l.srv.ctx, deadline)
	defer cancel()
	return l.srv.openOut(ctx, l)
}

const (
	firstBackOff = 500 * time.Millisecond
	maxBackOff   = 15 * time.Second
	// closedTime is how long a domain that cannot be reached for good is not tried again.
	closedTime = 30 * time.Second
)

// failed handles a failed attempt: it answers those who have waited long enough, all where there is no hope, and waits
// before the next. It returns false, with the goroutine ended, where nothing waits any more.
func (l *link) failed(err error, attempt int) bool {
	if l.srv.ctx.Err() != nil || errors.Is(err, errStopping) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.running = false
		return false
	}
	f := failureOf(err)
	level := slog.LevelInfo
	if attempt > 0 {
		level = slog.LevelDebug // the first one has told
	}
	l.srv.o.Log.Log(l.srv.ctx, level, "a server cannot be reached", "domain", l.remote.Domain(), "from", l.local.Domain(), "attempt", attempt+1, "for_good", f.final, "error", err)
	now := l.srv.o.Clock.Now()
	pause := min(maxBackOff, firstBackOff<<min(attempt, 10))
	pause = pause/2 + jitter(pause/2)
	l.mu.Lock()
	if attempt > 1 && l.peer != nil {
		l.smID = "" // it cannot be resumed, but the peer is there
	}
	var late []*item
	if f.final {
		l.failure, l.closedUntil = f.stanza(), now.Add(closedTime)
		late = l.takeAllLocked()
	} else {
		late = l.takeExpiredLocked(now)
	}
	more := len(l.waiting)+len(l.sent) > 0
	if !more {
		l.running = false
	} else {
		for _, i := range l.waiting {
			pause = min(pause, max(0, i.expires.Sub(now)))
		}
	}
	l.mu.Unlock()
	l.bounce(late, f.stanza())
	if !more {
		return false
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return true
		case <-l.srv.ctx.Done():
			return true
		case <-l.wake: // the peer may have come by itself
			l.mu.Lock()
			come := l.peer != nil || l.stopped
			if come {
				l.smID = "" // it cannot be resumed, but the peer is there
			}
			l.mu.Unlock()
			if come {
				return true
			}
		}
	}
}

// jitter returns a random part of d.
func jitter(d time.Duration) time.Duration {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(max(d, 1)))
}

func (l *link) takeAllLocked() []*item {
	all := append(l.sent, l.waiting...)
	l.sent, l.waiting, l.bytes = nil, nil, 0
	return all
}

func (l *link) takeExpiredLocked(now time.Time) []*item {
	var late []*item
	expired := func(i *item) bool {
		if now.Before(i.expires) {
			return false
		}
		late = append(late, i)
		l.bytes -= i.size
		return true
	}
	l.sent = slices.DeleteFunc(l.sent, expired)
	l.waiting = slices.DeleteFunc(l.waiting, expired)
	return late
}

// bounce answers the senders, and forgets the stanzas.
func (l *link) bounce(items []*item, e *stanza.Error) {
	for _, i := range items {
		if r := i.s.ErrorReply(e); r != nil {
			l.srv.router.Route(context.WithoutCancel(l.srv.ctx), r)
		}
	}
	l.srv.reaper.done(items)
}

// refuse answers all that waits, and ends the stream.
func (l *link) refuse(e *stanza.Error) {
	l.mu.Lock()
	all := l.takeAllLocked()
	c := l.c
	l.mu.Unlock()
	l.bounce(all, e)
	if c != nil {
		c.end(stream.Err(stream.PolicyViolation, e.Text))
	}
}

// stop ends the stream and lets the goroutine go.
func (l *link) stop() {
	l.mu.Lock()
	l.stopped = true
	c := l.c
	l.mu.Unlock()
	if c != nil {
		c.end(nil)
	}
	l.poke()
}

func (l *link) cut() {
	l.mu.Lock()
	c := l.c
	l.mu.Unlock()
	if c != nil {
		c.cut()
	}
}

// drain waits until all was written and, where the stream counts, acknowledged.
func (l *link) drain(ctx context.Context) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		l.mu.Lock()
		busy := l.c != nil && len(l.waiting)+len(l.sent) > 0
		l.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// oneWrite is about how many bytes go into one write.
const oneWrite = 64 << 10

// serve writes what waits until the stream ends.
func (l *link) serve(c carrier) {
	defer l.lost(c)
	idle := time.NewTimer(time.Duration(l.srv.settings().IdleTimeout))
	defer idle.Stop()
	late := time.NewTimer(time.Hour)
	late.Stop()
	defer late.Stop()
	var buf []byte
	for {
		l.bounceLarge(c)
		batch, b, ask, kept := l.next(buf[:0], c)
		buf = b
		if ask || kept && !c.managed() {
			late.Reset(l.answerTime(c))
		}
		if len(batch) > 0 || ask {
			if err := l.write(c, batch, buf, kept); err != nil {
				l.abandon(c)
				return
			}
			idle.Reset(time.Duration(l.srv.settings().IdleTimeout))
			continue
		}
		select {
		case <-l.wake:
		case <-late.C:
			if l.overdue(c) {
				l.srv.o.Log.Info("a server does not confirm what was sent", "domain", l.remote.Domain(), "from", l.local.Domain())
				l.abandon(c)
				return
			}
		case <-c.ended():
			c.end(nil)
			return
		case <-idle.C:
			if l.quiet() {
				c.end(nil)
				<-c.ended()
				return
			}
			l.abandon(c) // it has not acknowledged for so long: it is dead
			return
		}
	}
}

// lost notes that c is the stream of the link no more.
func (l *link) lost(c carrier) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c == c {
		l.c = nil
	}
}

// abandon gives a broken stream up, once what has come before the end was read: it may say what was handled.
func (l *link) abandon(c carrier) {
	t := time.NewTimer(incoming.LingerTimeout)
	defer t.Stop()
	select {
	case <-c.ended():
	case <-t.C:
	}
	c.cut()
	<-c.ended()
}

// quiet tells whether nothing waits and nothing is unacknowledged.
func (l *link) quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)+len(l.sent) == 0
}

// bounceLarge answers what is larger than the peer takes (XEP-0478#rules).
func (l *link) bounceLarge(c carrier) {
	most := c.maxBytes()
	if most == 0 {
		return
	}
	var large []*item
	l.mu.Lock()
	l.waiting = slices.DeleteFunc(l.waiting, func(i *item) bool {
		if i.size-overhead <= most-namespaceRoom || len(i.s.AppendServer(nil)) <= most {
			return false
		}
		large = append(large, i)
		l.bytes -= i.size
		return true
	})
	l.mu.Unlock()
	if len(large) > 0 {
		l.bounce(large, stanza.Errf(stanza.PolicyViolation, "the server of %s takes stanzas of up to %d bytes", l.remote.Domain(), most))
	}
}

// namespaceRoom is how many bytes the form of a stanza between servers may have more than that which is counted.
const namespaceRoom = 256

// next takes what goes into the next write and encodes it. Where ask is true a request for an acknowledgement stands at its
// end.
// kept says that the batch is in l.sent until it is acknowledged.
func (l *link) next(buf []byte, c carrier) (batch []*item, b []byte, ask, kept bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c != c || l.barrier != "" { // the peer has resumed it already, or has not handled the batch before
		return nil, buf, false, false
	}
	n := 0
	for n < len(l.waiting) && len(buf) < oneWrite {
		buf = l.waiting[n].s.AppendServer(buf)
		n++
	}
	batch = slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	switch {
	case c.managed():
		kept = true
		l.sent = append(l.sent, batch...)
		if ask = !l.asked && len(l.sent) > 0; ask {
			buf = append(buf, sm.Request...)
			l.asked = true
		}
	case !l.plain && slices.ContainsFunc(batch, func(i *item) bool { return !i.volatile }):
		kept = true
		l.sent = append(l.sent, batch...)
		ping := stanza.NewIQ(stanza.TypeGet, l.local, l.remote, xmlstream.El("urn:xmpp:ping", "ping"))
		l.barrier = ping.ID
		buf = ping.AppendServer(buf)
	}
	return batch, buf, ask, kept
}

// barrierTime is how long a peer that does not count may take to answer the first ping behind a batch. Where it does not,
// nothing is known of what becomes of what is sent to it.
const barrierTime = 10 * time.Second

// answerTime is how long the peer may take for its next answer.
func (l *link) answerTime(c carrier) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.managed() || l.answers {
		return time.Duration(l.srv.settings().AckTimeout)
	}
	return barrierTime
}

// overdue tells whether the stream is dead, at the end of that time: the peer has not answered, although it can. One that has
// answered no ping yet may be one that never does: the batch is taken as handled, and no more pings are sent on this stream.
func (l *link) overdue(c carrier) bool {
	l.mu.Lock()
	switch {
	case c.managed():
		defer l.mu.Unlock()
		return l.asked
	case l.barrier == "" || l.answers:
		defer l.mu.Unlock()
		return l.barrier != ""
	}
	l.plain = true
	l.releaseLocked()
	return false
}

// passed tells whether an answer is that to the ping behind a batch, which was handled then.
func (l *link) passed(id string) bool {
	l.mu.Lock()
	if l.barrier == "" || id != l.barrier {
		l.mu.Unlock()
		return false
	}
	l.answers = true
	l.releaseLocked()
	return true
}

// releaseLocked forgets what was sent. It unlocks.
func (l *link) releaseLocked() {
	done := l.sent
	l.sent, l.barrier = nil, ""
	for _, i := range done {
		l.bytes -= i.size
	}
	l.mu.Unlock()
	l.srv.reaper.done(done)
	l.poke()
}

// write writes a batch. Where it is not kept it has left then, as far as we can know.
func (l *link) write(c carrier, batch []*item, b []byte, kept bool) error {
	err := c.write(b)
	if kept {
		return err
	}
	l.mu.Lock()
	if err != nil {
		l.waiting = append(batch, l.waiting...)
	} else {
		for _, i := range batch {
			l.bytes -= i.size
		}
	}
	l.mu.Unlock()
	if err == nil {
		l.srv.reaper.done(batch)
	}
	return err
}

// ack notes that the peer has handled h stanzas of the stream. The error is that of the stream where it was not sent as many
// (XEP-0198#acking).
func (l *link) ack(h uint32) error {
	l.mu.Lock()
	n := int(h - l.acked) // modulo 2^32
	if n < 0 || n > len(l.sent) {
		high := &sm.TooHigh{H: h, Sent: l.acked + uint32(len(l.sent))}
		l.mu.Unlock()
		return high.Stream()
	}
	done := slices.Clone(l.sent[:n])
	l.sent = slices.Delete(l.sent, 0, n)
	l.acked = h
	for _, i := range done {
		l.bytes -= i.size
	}
	l.mu.Unlock()
	l.srv.reaper.done(done)
	return nil
}

// answered notes an answer to <r/>, so that the next may be sent.
func (l *link) answered() {
	l.mu.Lock()
	l.asked = false
	l.mu.Unlock()
	l.poke()
}

// unacked returns the encoded form of what was sent and not acknowledged, for a resumed stream.
func (l *link) unacked() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b []byte
	for _, i := range l.sent {
		b = i.s.AppendServer(b)
	}
	return b
}
