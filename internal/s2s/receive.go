package s2s

import (
	"context"
	"sync"
	"sync/atomic"

	"sabir/internal/incoming"
	"sabir/internal/route"
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
	h     atomic.Uint32 // stanzas handled (XEP-0198#acking)
	got   uint32        // of them and those of the batch
}

func newReceiver(s *Server, _ any) *receiver {
	return &receiver{srv: s, ctx: context.Background(), batch: s.router.NewBatch(nil), pairs: make(map[pair]bool)}
}

// allow notes that a pair was proved.
func (r *receiver) allow(p pair) {
	r.mu.Lock()
	r.pairs[p] = true
	r.mu.Unlock()
}

// proved returns the pairs.
func (r *receiver) proved() []pair {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []pair
	for p := range r.pairs {
		all = append(all, p)
	}
	return all
}

func (r *receiver) handled() uint32 { return r.h.Load() }

// continueFrom goes on with the count of a stream before.
func (r *receiver) continueFrom(before *receiver) {
	r.got = before.h.Load()
	r.h.Store(r.got)
}

// stanza takes one stanza, or returns the stream error that it deserves.
func (r *receiver) stanza(f *xmlstream.Frame) error {
	s, bad := stanza.FromServerFrame(f)
	if s == nil {
		return incoming.Unknown(f, stanza.NSServer)
	}
	if f.Prefixed() {
		return stream.Err(stream.BadNamespacePrefix, "stanzas have no prefix") // RFC 6120 §4.8.5
	}
	if err := r.check(f, s); err != nil {
		return err
	}
	r.got++
	if s.Kind == stanza.IQ && !s.Request() && s.To.IsDomain() && s.From.IsDomain() && r.srv.answered(s) {
		return nil
	}
	if bad != nil {
		r.flush()
		r.answer(s, bad)
		return nil
	}
	r.batch.Do(r.ctx, s)
	return nil
}

// answered tells whether an answer is that to a ping of a link.
func (s *Server) answered(a *stanza.Stanza) bool {
	s.mu.Lock()
	l := s.links[pair{a.To, a.From}]
	s.mu.Unlock()
	return l != nil && l.passed(a.ID)
}

// oversize answers a stanza of which only the start was kept: its sender gets an error, the others their stream (RFC 6120
// §13.12 rule 4).
func (r *receiver) oversize(f *xmlstream.Frame) error {
	s, _ := stanza.FromServerFrame(f)
	if s == nil {
		return incoming.Unknown(f, stanza.NSServer)
	}
	if err := r.check(f, s); err != nil {
		return err
	}
	r.got++
	r.flush()
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
	r.h.Store(r.got)
}
