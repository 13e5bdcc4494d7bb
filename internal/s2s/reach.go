package s2s

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"time"

	"sabir/xmpp/sm"
)

// This file is how a sender comes to a connection: it makes one, again and again, or waits for the peer.

// connect returns a connection, or nil where none is needed or to be had.
func (s *sender) connect() carrier {
	if s.theirs {
		return s.await()
	}
	since := s.srv.o.Clock.Now()
	for attempt := 0; s.goesOn(attempt, since); attempt++ {
		if attempt == 0 && s.join() {
			continue // somebody else carries the link now
		}
		s.part(func(l *link) bool { return l.waits() > 0 })
		before := s.others()
		err := s.open()
		if err == nil {
			return s.carrier()
		}
		if !s.failed(err, attempt, before) {
			break
		}
	}
	return nil
}

// goesOn tells whether a connection is needed: something waits that no stream of the peer can take, or a stream can be resumed and somebody
// is owed something. Where it goes both ways that may be us, as long as the peer may be expected to remember. since is when the attempts began.
func (s *sender) goesOn(attempt int, since time.Time) bool {
	now := s.srv.o.Clock.Now()
	s.mu.Lock()
	resumable := s.begun && s.smID != ""
	owed := s.account.owed() > 0
	peer := s.in != nil && !s.broken.IsZero() && now.Sub(s.broken) < resumeTime
	s.mu.Unlock()
	// What was sent goes out on no other stream, where it might come twice, before it was tried for a while to resume this one: also where the
	// peer has come by itself meanwhile, since it may just have been started again.
	if resumable && owed && (attempt < 2 || now.Sub(since) < peerTime) {
		return !s.isStopped()
	}
	moved := s.yield()
	if owed && moved {
		return false // it cannot be resumed, but the peer is there
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return false
	case resumable && peer:
		return true
	}
	return owed || s.waitsLocked()
}

func (s *sender) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// yield lets the links go over to streams of the peer, where there are. It tells whether one did.
func (s *sender) yield() (moved bool) {
	for _, l := range s.links() {
		if other := l.other(); other != nil && other.ride(l, s) {
			s.drop(l)
			moved = true
		}
	}
	return moved
}

// open makes a connection.
func (s *sender) open() error {
	ctx, cancel := context.WithDeadline(s.srv.ctx, s.deadline(1))
	defer cancel()
	return s.srv.openOut(ctx, s)
}

// deadline is when an attempt has had its share of the time that the oldest stanza has left: all of it, or a half.
func (s *sender) deadline(share time.Duration) time.Time {
	now := s.srv.o.Clock.Now()
	left := time.Duration(s.srv.settings().ConnectTimeout)
	for _, l := range s.links() {
		if t, ok := l.oldest(); ok {
			left = min(left, t.Sub(now))
		}
	}
	return now.Add(left / share)
}

func (s *sender) hasBegun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

const (
	firstBackOff = 500 * time.Millisecond
	maxBackOff   = 15 * time.Second
	// closedTime is how long a domain that cannot be reached for good is not tried again.
	closedTime = 30 * time.Second
)

// failed handles a failed attempt: it answers those who have waited long enough, all where there is no hope, and waits
// before the next. It returns false where there is to be none. before is what others returned before the attempt.
func (s *sender) failed(err error, attempt int, before []*sender) bool {
	if s.srv.ctx.Err() != nil || errors.Is(err, errStopping) {
		return false
	}
	f := failureOf(err)
	level := slog.LevelInfo
	if attempt > 0 {
		level = slog.LevelDebug // the first one has told
	}
	s.srv.o.Log.Log(s.srv.ctx, level, "a server cannot be reached", "domain", s.remote.Domain(), "from", s.local.Domain(), "attempt", attempt+1, "for_good", f.final, "error", err)
	s.part(func(*link) bool { return false })
	now := s.srv.o.Clock.Now()
	if f.final { // what rides with the pair in whose names the stream is opened finds its own way
		s.srv.bounce(s.giveUp(f, now.Add(closedTime)), f.stanza())
		return false
	}
	s.srv.bounce(s.expired(now), f.stanza())
	pause := min(maxBackOff, firstBackOff<<min(attempt, 10))
	pause = pause/2 + jitter(pause/2)
	if t, ok := s.oldest(); ok {
		pause = min(pause, max(0, t.Sub(now)))
	}
	return s.pause(pause, before)
}

// part lets links go that have nothing on the stream, which was opened in the names of others, unless they are to stay.
func (s *sender) part(stays func(*link) bool) {
	for _, l := range s.links() {
		s.mu.Lock()
		tied := l.pair == s.pair || s.account.of(l) > 0
		s.mu.Unlock()
		if !tied && !stays(l) {
			s.drop(l)
			l.left(s)
		}
	}
}

// giveUp returns all that is for the domain that cannot be reached.
func (s *sender) giveUp(f *failure, until time.Time) []*item {
	s.mu.Lock()
	items := s.account.withdraw(func(i *item) bool { return i.l.pair == s.pair })
	s.mu.Unlock()
	release(items)
	for _, l := range s.links() {
		if l.pair == s.pair {
			items = append(items, l.shut(f.stanza(), until)...)
		}
	}
	return items
}

// expired returns what has waited long enough.
func (s *sender) expired(now time.Time) []*item {
	late := func(i *item) bool { return !now.Before(i.expires) }
	s.mu.Lock()
	items := s.account.withdraw(late)
	s.mu.Unlock()
	release(items)
	for _, l := range s.links() {
		items = append(items, l.withdraw(late)...)
	}
	return items
}

// oldest returns when the next of what waits or may not have arrived expires.
func (s *sender) oldest() (expires time.Time, ok bool) {
	s.mu.Lock()
	expires, ok = s.account.oldest()
	s.mu.Unlock()
	for _, l := range s.links() {
		if t, waits := l.oldest(); waits && (!ok || t.Before(expires)) {
			expires, ok = t, true
		}
	}
	return expires, ok
}

// pause waits, unless the peer has come by itself since others returned before: then another attempt is worth while, or not needed.
func (s *sender) pause(d time.Duration, before []*sender) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return true
		case <-s.srv.ctx.Done():
			return false
		case <-s.wake:
			switch {
			case s.isStopped():
				return false
			case !slices.Equal(before, s.others()):
				return true
			}
		}
	}
}

// others returns the streams of the peer to which the links might go over; nil for those that have none.
func (s *sender) others() (list []*sender) {
	for _, l := range s.links() {
		list = append(list, l.other())
	}
	return list
}

// jitter returns a random part of d.
func jitter(d time.Duration) time.Duration {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(max(d, 1)))
}

// peerTime is how long it is tried to resume a stream of ours on which stanzas are not acknowledged, and how long the peer has to resume one of its
// own, before they go out on another, perhaps once more. It is longer than maxBackOff, which is what a peer like this one may let pass, and shorter than the time of the queue.
const peerTime = 20 * time.Second

// await returns a connection that the peer has made for its stream, and waits for it where something was lost with the one before.
func (s *sender) await() carrier {
	t := time.NewTimer(peerTime)
	defer t.Stop()
	for {
		s.mu.Lock()
		a := s.comes
		s.comes = nil
		waits := s.claimed || !s.broken.IsZero() && s.account.owed() > 0 && !s.stopped
		s.mu.Unlock()
		switch {
		case a != nil:
			if s.take(a) {
				return a.c
			}
		case !waits:
			return nil
		}
		select {
		case <-s.wake:
		case <-t.C:
			return nil // where the stream is claimed now, dissolve comes back here
		case <-s.srv.ctx.Done():
			return nil
		}
	}
}

// take goes on with a connection of the peer. It returns false where that is no use.
func (s *sender) take(a *arrival) bool {
	if a.resumes {
		if err := s.rewind(a.h); err != nil {
			s.srv.o.Log.Error("a stream cannot be resumed", "domain", s.remote.Domain(), "error", err)
			a.c.cut()
			return false
		}
	}
	s.use(a.c)
	return true
}

// covers tells whether the peer can go on with its stream, of which it has handled h stanzas. Where it can, arrive follows. The error is that
// of the stream where more was acknowledged than sent.
func (s *sender) covers(h uint32) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.stopped {
		return false, nil
	}
	if !s.unsure {
		if _, back, err := s.unacked.Check(h); err != nil || back {
			return false, sm.AsStream(err)
		}
	}
	s.claimed = true
	return true, nil
}

// arrive hands over a connection that the peer has made for its stream.
func (s *sender) arrive(a *arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.comes, s.broken, s.claimed = a, time.Time{}, false
	s.launchLocked()
}

// begin counts anew, on a connection of ours that could not resume a stream. in is the other half, where it goes both ways.
func (s *sender) begin(c carrier, in *receiver) {
	s.mu.Lock()
	items, rec := s.account.take(), s.rec
	s.account, s.rec, s.smID, s.in, s.broken = account{}, nil, "", in, time.Time{}
	s.mu.Unlock()
	if rec != nil {
		s.srv.reaper.end(rec.num)
	}
	giveBack(items)
	s.use(c)
}

// use makes c the connection of the stream.
func (s *sender) use(c carrier) {
	s.mu.Lock()
	s.c, s.begun, s.asks, s.opened = c, true, nil, s.srv.o.Clock.Now()
	s.mu.Unlock()
	for _, l := range s.links() {
		l.reached()
	}
}

// rewind makes ready to go on, where the peer has handled h stanzas: the others wait again. What is on disk of their numbers is
// deleted first, since they will have others.
func (s *sender) rewind(h uint32) error {
	s.mu.Lock()
	done, _, err := s.account.settle(h)
	if err != nil {
		s.mu.Unlock()
		return sm.AsStream(err)
	}
	items, rec := s.account.take(), s.rec
	s.notes = nil
	s.mu.Unlock()
	s.gone(done)
	giveBack(items)
	if rec == nil {
		return nil
	}
	s.srv.reaper.unnote(rec.num)
	return s.srv.reaper.flush()
}
