package s2s

import (
	"context"
	"sync/atomic"
	"time"

	"sabir/internal/incoming"
	"sabir/xmpp/stream"
)

// phaseTimeout is how long Shutdown lets links write what waits, then waits for the answers to what was written, and then hears what is under
// way from others; quietTime is how long nothing must have come for that to be over.
const (
	phaseTimeout = 3 * time.Second
	quietTime    = 200 * time.Millisecond
)

// drain lets what waits be written, and answered.
func (s *Server) drain(ctx context.Context) {
	for _, snd := range s.allSenders() {
		snd.wait(ctx, snd.busy)
	}
}

// await has nothing more be written, and waits for the answers to what was, on streams that do not go on after a restart.
func (s *Server) await(ctx context.Context) {
	for _, snd := range s.allSenders() {
		snd.rest()
	}
	for _, snd := range s.allSenders() {
		snd.wait(ctx, snd.owesForGood)
	}
}

// hush waits until nothing more comes from other servers. What they have sent and learn not to have arrived they send again or
// return, as far as they remember it, and some do not.
func (s *Server) hush(ctx context.Context) {
	type source interface{ loud() time.Duration }
	var all []source
	for _, c := range s.inStreams() {
		all = append(all, c)
	}
	for _, snd := range s.allSenders() {
		if o := snd.out(); o != nil {
			all = append(all, o)
		}
	}
	for _, c := range all {
		for wait := c.loud(); wait > 0 && incoming.Pause(wait, ctx.Done()); wait = c.loud() {
		}
	}
}

// lastCame is when something came last on a stream and was handled: the zero value for never.
type lastCame struct{ nano atomic.Int64 }

// handling stands for a time while something is handled.
const handling = -1

func (l *lastCame) begins() { l.nano.Store(handling) }

func (l *lastCame) ends() { l.nano.Store(time.Now().UnixNano()) }

// loud returns how long nothing more must come for the stream to be quiet, or 0 where it is.
func (l *lastCame) loud() time.Duration {
	nano := l.nano.Load()
	if nano == handling {
		return quietTime
	}
	return max(0, quietTime-time.Since(time.Unix(0, nano)))
}

// Shutdown lets the links write what waits, hears what is under way, ends all streams with system-shutdown (RFC 6120 §4.9.3.21) and waits for them
// until ctx ends. Messages that have not left stay on disk.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	for _, phase := range []func(context.Context){s.drain, s.await, s.hush} {
		within, cancel := context.WithTimeout(ctx, phaseTimeout)
		phase(within)
		cancel()
	}
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	for _, c := range s.inStreams() {
		c.endOrderly(stream.Err(stream.SystemShutdown, ""))
	}
	s.cancel()
	for _, snd := range s.allSenders() {
		snd.stop()
	}
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		for _, c := range s.inStreams() {
			c.t.Close()
		}
		for _, snd := range s.allSenders() {
			snd.cut()
		}
		<-done
	}
	s.reaper.stop()
}
