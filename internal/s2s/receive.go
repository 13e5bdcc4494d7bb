package s2s

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"sabir/internal/incoming"
	"sabir/internal/route"
	"sabir/mod"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// receiver takes the stanzas of one stream: it knows which pairs of domains were proved there, counts, and hands on in
// batches. Its stanzas come from one goroutine; pairs may be allowed from others.
type receiver struct {
	srv   *Server
	ctx   context.Context
	batch *route.Batch

	mu    sync.Mutex
	pairs map[pair]bool
	order []pair // the same in the order in which they were proved

	// How many stanzas were handled (XEP-0198#acking), which is on disk where the stream has a record: the peer is told nothing else.
	h      atomic.Uint32
	got    uint32 // the same with those of the batch; it belongs to the reader
	lately int    // how many came since fresh was asked; it belongs to the reader
	rec    *record
}

func newReceiver(s *Server) *receiver {
	r := &receiver{srv: s, ctx: context.Background(), pairs: make(map[pair]bool)}
	r.batch = s.router.NewBatchFrom(r.advance)
	return r
}

// allow notes that a pair was proved.
func (r *receiver) allow(p pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.pairs[p] {
		r.pairs[p] = true
		r.order = append(r.order, p)
	}
}

// proved returns the pairs, the first one first.
func (r *receiver) proved() []pair {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.order)
}

func (r *receiver) handled() uint32 { return r.h.Load() }

// continueFrom goes on with the count of a stream before.
func (r *receiver) continueFrom(before *receiver) { r.restore(before.rec, before.handled()) }

// restore begins to count from h. rec may be nil.
func (r *receiver) restore(rec *record, h uint32) {
	r.rec, r.got = rec, h
	r.h.Store(h)
}

// fresh returns how many stanzas have come since it was asked.
func (r *receiver) fresh() int {
	n := r.lately
	r.lately = 0
	return n
}

// advance is the count on its way to the disk: see route.Progress.
type advance struct {
	r *receiver
	h uint32
}

// advance implements what route.Router.NewBatchFrom asks for.
func (r *receiver) advance() route.Progress {
	if r.rec == nil || r.got == r.handled() {
		return nil
	}
	return &advance{r, r.got}
}

// Write implements route.Progress.
func (a *advance) Write(ctx context.Context, tx mod.Tx) error { return a.r.rec.progress(ctx, tx, a.h) }

// Done implements route.Progress.
func (a *advance) Done(committed bool) {
	if committed {
		a.r.h.Store(a.h)
	}
}

// settle puts the count on disk where the batch before has not: what it had in it has written nothing. It returns false where that cannot be.
func (r *receiver) settle() bool {
	p := r.advance()
	if p == nil {
		return true
	}
	err := r.srv.o.DB.Write(r.ctx, func(tx mod.Tx) error { return p.Write(r.ctx, tx) })
	p.Done(err == nil)
	if err != nil {
		r.srv.o.Log.Error("stanzas of a server cannot be acknowledged", "error", err)
	}
	return err == nil
}

// acknowledge ends the batch and returns how many stanzas were handled, for the peer to know: what is not on disk does not count.
func (r *receiver) acknowledge() uint32 {
	r.flush()
	r.settle()
	return r.handled()
}

// stanza takes one stanza, or returns the stream error that it deserves.
func (r *receiver) stanza(f *xmlstream.Frame) error {
	s, bad := stanza.FromServerFrame(f)
	if s == nil {
		return incoming.Unknown(f, stanza.NSServer)
	}
	r.lately++
	if f.Prefixed() {
		return stream.Err(stream.BadNamespacePrefix, "stanzas have no prefix") // RFC 6120 §4.8.5
	}
	if err := r.check(f, s); err != nil {
		return err
	}
	switch {
	case s.Kind == stanza.IQ && !s.Request() && s.To.IsDomain() && s.From.IsDomain() && r.srv.answered(s):
		r.got++
	case bad != nil:
		r.flush()
		r.got++
		r.answer(s, bad)
	case s.Kind == stanza.Message:
		r.got++ // with the batch that has it in it
		r.batch.Do(r.ctx, s)
	default:
		r.batch.Do(r.ctx, s) // which ends the batch first
		r.got++
	}
	return nil
}

// answered tells whether an answer is that to a ping of a link.
func (s *Server) answered(a *stanza.Stanza) bool {
	s.mu.Lock()
	l := s.links[pair{a.To, a.From}]
	s.mu.Unlock()
	if l == nil {
		return false
	}
	l.mu.Lock()
	on := l.on
	l.mu.Unlock()
	return on != nil && on.passed(a.ID)
}

// oversize answers a stanza of which only the start was kept: its sender gets an error, the others their stream (RFC 6120
// §13.12 rule 4).
func (r *receiver) oversize(f *xmlstream.Frame) error {
	s, _ := stanza.FromServerFrame(f)
	if s == nil {
		return incoming.Unknown(f, stanza.NSServer)
	}
	r.lately++
	if err := r.check(f, s); err != nil {
		return err
	}
	r.flush()
	r.got++
	r.answer(s, stanza.Err(stanza.PolicyViolation, "the stanza is too large"))
	return nil
}

// check applies RFC 6120 §8.1.1.2 and §8.1.2.2: both addresses are there, and of a pair of domains that was proved.
func (r *receiver) check(f *xmlstream.Frame, s *stanza.Stanza) error {
	_, hasTo := f.LookupAttr(xmlstream.Name{Local: "to"})
	switch {
	case s.From.IsZero():
		return stream.Err(stream.ImproperAddressing, "a stanza between servers has a good `from`")
	case !hasTo:
		return stream.Err(stream.ImproperAddressing, "a stanza between servers has a `to`")
	}
	p := pair{s.To.DomainJID(), s.From.DomainJID()}
	r.mu.Lock()
	ok, none, known := r.pairs[p], len(r.pairs) == 0, false
	for q := range r.pairs {
		known = known || q.remote == p.remote
	}
	r.mu.Unlock()
	switch {
	case none:
		return stream.Err(stream.NotAuthorized, "no domain was proved yet")
	case !known:
		return stream.Err(stream.InvalidFrom, "")
	case s.To.IsZero(): // it is malformed: its sender is told
	case ok && r.srv.hosted(p.local):
	case !r.srv.hosted(p.local):
		return stream.Err(stream.HostUnknown, "")
	default:
		return stream.Err(stream.ImproperAddressing, "that pair of domains was not proved on this stream")
	}
	if r.srv.policy.Load().refuses(p.remote.Domain()) {
		return stream.Err(stream.PolicyViolation, "this server does not talk to that domain")
	}
	return nil
}

// answer sends the error that the sender of a stanza is owed.
func (r *receiver) answer(s *stanza.Stanza, e *stanza.Error) {
	reply := s.ErrorReply(e)
	if reply == nil {
		return
	}
	if reply.From.IsZero() {
		for _, p := range r.proved() {
			if p.remote == s.From.DomainJID() {
				reply.From = p.local
			}
		}
	}
	if bad := r.srv.Send(r.ctx, reply); bad != nil {
		r.srv.o.Log.Debug("answer not sent", "to_domain", reply.To.Domain(), "error", bad)
	}
}

// flush ends the batch. What was in it is handled.
func (r *receiver) flush() {
	r.batch.Flush(r.ctx)
	if r.rec == nil {
		r.h.Store(r.got)
	}
}
