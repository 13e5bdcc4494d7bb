package s2s

import (
	"context"
	"strconv"
	"time"

	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Namespaces of bidirectional streams (XEP-0288) and stream limits (XEP-0478).
const (
	nsBidi        = "urn:xmpp:bidi"
	nsBidiFeature = "urn:xmpp:features:bidi"
	nsLimits      = "urn:xmpp:stream-limits:0"
)

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

// manage resumes the stream before or agrees on a new count (XEP-0198), and takes the connection into use.
func (o *outStream) manage(p *peerStream) error {
	s := o.snd
	if p.features.Element.Child(sm.NS, "sm") == nil {
		s.begin(o, o.in)
		return nil
	}
	if id, h := s.resumable(); id != "" {
		resumed, err := o.resume(id, h)
		if err != nil || resumed {
			return err
		}
	}
	x, err := o.ask(sm.Enable(true, 0))
	if err != nil {
		return err
	}
	o.sm = x.Is(sm.NS, "enabled")
	id := ""
	if o.sm {
		id, _ = sm.ParseEnabled(x)
		if o.in != nil {
			o.in.flush()
			o.in.restore(nil, 0) // what came before is not counted (XEP-0198#acking)
		}
	}
	s.begin(o, o.in)
	if id != "" {
		s.remember(id)
	}
	return nil
}

// resume asks to go on with a stream of which h stanzas were handled. Where the peer does not, it may say all the same how much it has
// got (XEP-0198#resumption).
func (o *outStream) resume(id string, h uint32) (bool, error) {
	s := o.snd
	x, err := o.ask(sm.Resume(id, h))
	if err != nil {
		return false, err
	}
	handled, known := sm.ParseH(x.Attr("h"))
	if !x.Is(sm.NS, "resumed") || !known {
		if known {
			err = s.ack(handled)
		}
		return false, err
	}
	o.sm = true
	if o.in != nil {
		s.mu.Lock()
		before := s.in
		s.in = o.in
		s.mu.Unlock()
		if before != nil {
			o.in.continueFrom(before)
		}
	}
	if err := s.resumed(o, handled); err != nil {
		return false, err
	}
	s.srv.o.Log.Info("a stream to a server was resumed", "domain", s.remote.Domain(), "from", s.local.Domain())
	return true, nil
}

// resumed goes on with a stream of ours on another connection, of which the peer has handled h stanzas.
func (s *sender) resumed(c carrier, h uint32) error {
	if err := s.rewind(h); err != nil {
		return err
	}
	s.mu.Lock()
	s.broken = time.Time{}
	s.mu.Unlock()
	s.use(c)
	return nil
}

// ask sends a request of stream management and waits for its answer. What else comes until then waits no longer.
func (o *outStream) ask(request *xmlstream.Element) (*xmlstream.Element, error) {
	if err := o.tcp.Write(request.Append(nil, stanza.NSServer)); err != nil {
		return nil, err
	}
	for {
		f, err := o.tcp.Next()
		if err != nil {
			return nil, err
		}
		if f.Name().Space == sm.NS {
			return f.Element(), nil
		}
		if err := o.frame(f); err != nil {
			return nil, err
		}
	}
}

// resumable returns the id with which the stream may be resumed, and how much of it we have handled.
func (s *sender) resumable() (id string, h uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in != nil {
		h = s.in.handled()
	}
	return s.smID, h
}

// remember keeps what is needed to resume a stream that has just begun, after a restart too.
func (s *sender) remember(id string) {
	rec, err := s.srv.newRecord(s.srv.ctx, stored{pair: s.pair, ours: true, bothWays: s.in != nil, id: id})
	if err != nil {
		s.srv.o.Log.Error("a stream to a server cannot be resumed after a restart", "domain", s.remote.Domain(), "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.smID, s.rec = id, rec
	if s.in != nil {
		s.in.restore(rec, 0)
	}
}

// How long a stream of a peer may be resumed after its connection was lost, how long it is known after that how much has come on it where
// the peer has not closed it, and of how many streams.
const (
	resumeTime    = 5 * time.Minute
	rememberTime  = 24 * time.Hour
	maxResumables = 20000
)

// resumable is a stream of a peer that it may resume.
type resumable struct {
	pair             // one that was proved
	in     *receiver // counts
	snd    *sender   // nil where the stream went one way
	stream *inStream // nil when it has ended, and after a restart
	ended  time.Time // zero while its connection is open
	closed bool      // by the peer, in order: there is nothing that it does not know, unless it was stopped in that moment
}

// resumes tells whether it may be resumed still.
func (r *resumable) resumes(now time.Time) bool {
	return r.ended.IsZero() || now.Sub(r.ended) < resumeTime
}

// keepResumable notes that a stream may be resumed under an id, of which we have the hash.
func (s *Server) keepResumable(hash string, r *resumable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resume[hash] = r
}

// mayKeep tells whether one stream more may be resumable.
func (s *Server) mayKeep() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.resume) < maxResumables
}

// takeResumable returns the stream of an id that belongs to a pair which was proved, once, after its connection has ended.
func (s *Server) takeResumable(hash string, proved []pair) *resumable {
	s.mu.Lock()
	r := s.resume[hash]
	known := false
	for _, p := range proved {
		known = known || r != nil && r.pair == p
	}
	if !known {
		s.mu.Unlock()
		return nil
	}
	delete(s.resume, hash)
	before := r.stream
	s.mu.Unlock()
	if before != nil {
		before.t.Close() // the peer has given it up
		<-before.done
		r.end(s.o.Clock.Now())
	}
	return r
}

// endResumable starts the time within which a stream that has ended may be resumed. closed tells whether the peer has closed it in order.
func (s *Server) endResumable(hash string, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.resume[hash]; r != nil {
		r.end(s.o.Clock.Now())
		r.closed = closed
	}
}

// end starts that time, and lets go of the connection, which is much more than what is to be known.
func (r *resumable) end(now time.Time) { r.ended, r.stream = now, nil }

// forgetResumables forgets streams whose time is over. s.mu is held.
func (s *Server) forgetResumables(now time.Time) {
	for hash, r := range s.resume {
		keep := rememberTime
		if r.closed {
			keep = resumeTime
		}
		if r.ended.IsZero() || now.Sub(r.ended) < keep {
			continue
		}
		delete(s.resume, hash)
		if r.in.rec != nil {
			s.reaper.end(r.in.rec.num)
		}
	}
}

// management handles stream management (XEP-0198).
func (c *inStream) management(f *xmlstream.Frame) error {
	switch f.Name().Local {
	case "enable":
		return c.enable(f.Element())
	case "resume":
		return c.resume(f.Element())
	case "r":
		if !c.sm.Load() {
			return c.writeElement(sm.Failed(stanza.UnexpectedRequest))
		}
		return c.t.write(sm.AppendAck(nil, c.in.acknowledge()))
	case "a":
		h, err := sm.ParseAck(f.Attr("h"))
		if err != nil {
			return err
		}
		if c.snd == nil {
			return nil
		}
		if err := c.snd.ack(h); err != nil {
			return err
		}
		c.snd.answered()
		return nil
	}
	return stream.Err(stream.UnsupportedStanzaType, "")
}

// enable begins to count. Where the stream goes both ways it may carry our stanzas already, which wait for no count once the peer has sent some without:
// COMPAT Prosody 0.12, 2026-11: it sends what had waited for the stream before <enable/>, and ends the stream where that is refused.
func (c *inStream) enable(x *xmlstream.Element) error {
	resume, _, bad := sm.ParseEnable(x)
	if bad != nil {
		return c.writeElement(sm.Failed(bad.Condition))
	}
	pairs := c.in.proved()
	if len(pairs) == 0 || c.sm.Load() {
		return c.writeElement(sm.Failed(stanza.UnexpectedRequest))
	}
	c.in.flush()
	c.in.restore(nil, 0)
	if c.snd != nil {
		return c.snd.count(func() error {
			c.sm.Store(true)
			return c.writeElement(sm.Enabled("", 0))
		})
	}
	reply := sm.Enabled("", 0)
	if resume && c.srv.mayKeep() {
		if id := c.keep(pairs[0]); id != "" {
			reply = sm.Enabled(id, uint32(resumeTime/time.Second))
		}
	}
	c.sm.Store(true)
	c.sends()
	if c.smID != "" {
		if c.snd != nil {
			c.snd.rec = c.in.rec
		}
		c.srv.keepResumable(c.smID, &resumable{pair: pairs[0], in: c.in, snd: c.snd, stream: c})
	}
	err := c.writeElement(reply)
	c.attach()
	return err
}

// keep puts the stream on disk, so that the peer can resume it, and returns the id for that; "" where it cannot be.
func (c *inStream) keep(p pair) (id string) {
	id = stream.NewStreamID()
	rec, err := c.srv.newRecord(context.WithoutCancel(c.ctx), stored{pair: p, bothWays: c.bidi, id: hashID(id)})
	if err != nil {
		c.srv.o.Log.Error("a stream of a server cannot be resumed", "domain", p.remote.Domain(), "error", err)
		return ""
	}
	c.smID = hashID(id)
	c.in.restore(rec, 0)
	return id
}

func (c *inStream) resume(x *xmlstream.Element) error {
	previd, h, bad := sm.ParseResumption(x)
	if bad != nil {
		return c.writeElement(sm.Failed(bad.Condition))
	}
	pairs := c.in.proved()
	if len(pairs) == 0 || c.sm.Load() || c.snd != nil {
		return c.writeElement(sm.Failed(stanza.UnexpectedRequest))
	}
	hash := hashID(previd)
	r := c.srv.takeResumable(hash, pairs)
	if r == nil {
		c.srv.o.Log.Info("a server wants to resume a stream that is not known", "domain", pairs[0].remote.Domain(), "to", pairs[0].local.Domain())
		return c.writeElement(sm.Failed(stanza.ItemNotFound))
	}
	if !r.in.settle() {
		c.srv.keepResumable(hash, r)
		return c.writeElement(sm.Failed(stanza.InternalServerError))
	}
	goes := r.resumes(c.srv.o.Clock.Now())
	if goes && r.snd != nil && c.bidi {
		var err error
		if goes, err = r.snd.covers(h); err != nil {
			c.srv.keepResumable(hash, r)
			return err
		}
	}
	if !goes {
		c.srv.keepResumable(hash, r) // it may be asked once more
		c.srv.o.Log.Info("a server wants to resume a stream that is over", "domain", r.remote.Domain(), "to", r.local.Domain(), "handled", h)
		return c.writeElement(sm.FailedAt(stanza.ItemNotFound, r.in.handled()))
	}
	c.in.continueFrom(r.in)
	c.smID = hash
	c.sm.Store(true)
	if c.bidi {
		c.snd, c.resumed = r.snd, &h
		c.sends()
	}
	c.srv.keepResumable(hash, &resumable{pair: r.pair, in: c.in, snd: c.snd, stream: c})
	err := c.writeElement(sm.Resumed(previd, c.in.handled()))
	c.attach() // also where the connection is broken, which its end will tell
	return err
}
