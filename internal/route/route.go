// Package route owns the way of a stanza from a sender to its recipients (RFC 6120 §10, RFC 6121 §8): which host,
// account and resource an address means, the phases of the extensions on the way, one commit for a batch, and exactly
// one answer to each request.
package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Remote carries stanzas to domains that are not of this server.
type Remote interface {
	// Send takes s over, or returns the error that its sender is owed. It does not wait for the other server.
	Send(ctx context.Context, s *stanza.Stanza) *stanza.Error
	// Accept is Send for a message that is to survive a restart: it leaves with Departure.Go, after the commit.
	Accept(ctx context.Context, s *stanza.Stanza) (Departure, *stanza.Error)
}

// Departure is a message that was accepted for another server and has not left.
type Departure interface {
	// Write returns what must be committed before Go; nil where there is nothing.
	Write() func(tx mod.Tx) error
	// Go sends it on its way. Without Go it goes nowhere.
	Go()
	// Stay gives back what was kept free for it, where it does not go; behind Go it does nothing.
	Stay()
}

// NoRemote is the Remote of a server that does not federate.
type NoRemote struct{}

// Send refuses s (RFC 6120 §10.4).
func (NoRemote) Send(context.Context, *stanza.Stanza) *stanza.Error {
	return stanza.Err(stanza.RemoteServerNotFound, "this server does not talk to other servers")
}

// Accept refuses s.
func (r NoRemote) Accept(ctx context.Context, s *stanza.Stanza) (Departure, *stanza.Error) {
	return nil, r.Send(ctx, s)
}

// Options say what a Router works with.
type Options struct {
	DB        mod.DB
	Directory *session.Directory
	Log       *slog.Logger
	Clock     mod.Clock
	Remote    Remote
	// Count is told what became of each stanza.
	Count func(k stanza.Kind, o mod.Outcome)
	// Trace remembers what becomes of messages. It may be nil.
	Trace Tracer
	// Panicked counts a panic in an extension.
	Panicked func(extension string)
	// CrashPoint is called at the named points below; nil for none.
	CrashPoint func(name string)
}

// Names of the crash points, where a test may end the process. All are between a commit and the answer to its sender.
const (
	// BeforeDelivery: a batch of messages is committed, nobody has got any.
	BeforeDelivery = "route.before-delivery"
	// BeforeCopies: a message is queued for the recipient's devices, not for the other devices of its sender.
	BeforeCopies = "route.before-copies"
	// AfterDelivery: the batch was handed to the connections of the recipients, its sender knows nothing yet.
	AfterDelivery = "route.after-delivery"
)

// Tracer remembers what becomes of messages. internal/observe implements it.
type Tracer interface {
	// Mark returns the mark of a new message.
	Mark() uint64
	// Note remembers something of the message of a mark. See mod.TraceEvent for the words.
	Note(mark uint64, what, who, detail string)
}

// Router sends stanzas on their way. Its methods may be called from any goroutine.
type Router struct {
	o        Options
	hosts    atomic.Pointer[map[jid.JID]*host.Host]
	services atomic.Pointer[map[jid.JID]*host.Service]
}

// New returns a router without hosts.
func New(o Options) *Router {
	if o.Remote == nil {
		o.Remote = NoRemote{}
	}
	if o.Count == nil {
		o.Count = func(stanza.Kind, mod.Outcome) {}
	}
	if o.Trace == nil {
		o.Trace = noTrace{}
	}
	if o.Panicked == nil {
		o.Panicked = func(string) {}
	}
	if o.CrashPoint == nil {
		o.CrashPoint = func(string) {}
	}
	r := &Router{o: o}
	r.hosts.Store(&map[jid.JID]*host.Host{})
	r.services.Store(&map[jid.JID]*host.Service{})
	return r
}

// SetHosts replaces the hosts, by domain, and with them their services. The map must not be changed any more.
// host.Services has found nothing wrong with it.
func (r *Router) SetHosts(m map[jid.JID]*host.Host) {
	services := make(map[jid.JID]*host.Service)
	for _, h := range m {
		for _, v := range h.Services() {
			services[v.Domain] = v
		}
	}
	r.services.Store(&services)
	r.hosts.Store(&m)
}

// Host returns the host of a domain, or nil.
func (r *Router) Host(domain jid.JID) *host.Host { return (*r.hosts.Load())[domain] }

// Hosts returns all hosts by domain. The map must not be changed.
func (r *Router) Hosts() map[jid.JID]*host.Host { return *r.hosts.Load() }

// Service returns the service of a domain, or nil.
func (r *Router) Service(domain jid.JID) *host.Service { return (*r.services.Load())[domain] }

// Serves tells whether a domain is that of a host or of a service: it is not reached by way of another server, and stanzas
// from other servers are not from it.
func (r *Router) Serves(domain jid.JID) bool {
	return r.Host(domain) != nil || r.Service(domain) != nil
}

// Domains returns the domains of the hosts and of their services, sorted.
func (r *Router) Domains() []jid.JID {
	var all []jid.JID
	for d := range r.Hosts() {
		all = append(all, d)
	}
	for d := range *r.services.Load() {
		all = append(all, d)
	}
	slices.SortFunc(all, jid.JID.Compare)
	return all
}

// Trace returns what remembers what becomes of messages; never nil.
func (r *Router) Trace() Tracer { return r.o.Trace }

// Directory returns the sessions.
func (r *Router) Directory() *session.Directory { return r.o.Directory }

// Route sends one stanza that the server itself made, as from s.From.
func (r *Router) Route(ctx context.Context, s *stanza.Stanza) {
	b := Batch{r: r}
	b.Do(ctx, s)
	b.Flush(ctx)
}

// Batch handles the stanzas of one sender in order, and commits together what they must record. It belongs to one
// goroutine.
type Batch struct {
	r     *Router
	s     *session.Session // nil for the server itself, and for other servers
	count *session.Counter // that of s
	adv   func() Progress  // instead of count; nil where nobody counts
	j     []journey
	ext   string // the extension that is running, for recovered
	// started are the sessions whose queues wait for Start.
	started []*session.Session
	list    bool // of the server's own: written at its end
	fanned  bool // what comes is a branch of a fan: it has its mark
}

// NewBatch returns the batch for the stanzas of a session, which has one, as it has one counter (session.Session.Counter).
func (r *Router) NewBatch(s *session.Session) *Batch { return &Batch{r: r, s: s, count: s.Counter()} }

// Len returns how many messages wait for Flush.
func (b *Batch) Len() int { return len(b.j) }

// Counter returns the counter of the session.
func (b *Batch) Counter() *session.Counter { return b.count }

// Progress is how far the sender of a batch has got (XEP-0198#acking): it is written in the transaction of what its stanzas owe, or what is
// sent again after a sudden end of the server would be handled twice.
type Progress interface {
	// Write writes within tx. It may be called any number of times.
	Write(ctx context.Context, tx mod.Tx) error
	// Done tells whether it was committed.
	Done(committed bool)
}

// NewBatchFrom returns a batch for the stanzas of another server. Before each commit advance is asked how far its stream has got; it may
// return nil.
func (r *Router) NewBatchFrom(advance func() Progress) *Batch { return &Batch{r: r, adv: advance} }

// progress returns how far the sender has got, or nil.
func (b *Batch) progress() Progress {
	if b.s != nil {
		if a := b.count.Advance(); a != nil {
			return a
		}
	} else if b.adv != nil {
		return b.adv()
	}
	return nil
}

// Do handles one stanza, whose From is that of the sender. Messages may wait for Flush.
func (b *Batch) Do(ctx context.Context, s *stanza.Stanza) {
	defer func() {
		if v := recover(); v != nil {
			b.recovered(ctx, s, v)
		}
	}()
	switch s.Kind {
	case stanza.Message:
		b.message(ctx, s)
	case stanza.Presence:
		b.catchUp(ctx)
		b.presence(ctx, s)
	default:
		b.catchUp(ctx)
		b.iq(ctx, s)
	}
}

// catchUp delivers what came before a stanza that does not wait for Flush. Where that is somebody's, it is written as well, since
// what is done next may take a while.
func (b *Batch) catchUp(ctx context.Context) {
	if b.list {
		b.land(ctx)
		return
	}
	b.Flush(ctx)
}

// recovered contains a panic to the stanza that met it.
func (b *Batch) recovered(ctx context.Context, s *stanza.Stanza, v any) {
	b.r.o.Panicked(b.ext)
	b.r.o.Log.Error("panic while handling a stanza", "extension", b.ext, "kind", s.Kind.String(), "id", s.ID, "panic", fmt.Sprint(v), "stack", stack())
	b.refuse(ctx, s, stanza.Err(stanza.InternalServerError, ""))
}

// refuse answers s with an error, where an answer is owed.
func (b *Batch) refuse(ctx context.Context, s *stanza.Stanza, e *stanza.Error) {
	b.r.o.Count(s.Kind, mod.Refused)
	if r := s.ErrorReply(e); r != nil {
		if s.To.IsZero() {
			r.From = s.From.Bare() // RFC 6120 §8.1.2.1: who was not named is the sender's own account
		}
		b.answer(ctx, r)
	}
}

// fail ends the way of s with the error of a hook or handler. It tells whether that was without an answer, by a Drop.
func (b *Batch) fail(ctx context.Context, s *stanza.Stanza, extension string, err error) (silent bool) {
	var drop mod.Drop
	if errors.As(err, &drop) {
		b.r.o.Count(s.Kind, mod.Dropped)
		b.r.o.Trace.Note(s.Mark, mod.TraceDropped, extension, b.detail(s, drop.Why))
		b.r.o.Log.Debug("stanza dropped", "extension", extension, "kind", s.Kind.String(), "why", drop.Why)
		return true
	}
	e := b.r.stanzaError(extension, err)
	if s.Mark != 0 {
		b.r.o.Trace.Note(s.Mark, mod.TraceRefused, extension, b.detail(s, e.Error()))
	}
	b.refuse(ctx, s, e)
	return false
}

// stanzaError gives the error that the sender is owed for err.
func (r *Router) stanzaError(extension string, err error) *stanza.Error {
	var se *stanza.Error
	switch {
	case errors.As(err, &se):
		return se
	case errors.Is(err, mod.ErrFull):
		r.o.Log.Error("the store is full", "extension", extension, "error", err)
		return stanza.Err(stanza.ResourceConstraint, "the server has no room left; try again later").OfType(stanza.Wait)
	case errors.Is(err, mod.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		r.o.Log.Error("the store is unavailable", "extension", extension, "error", err)
		return stanza.Err(stanza.InternalServerError, "the server cannot store this now; try again later").OfType(stanza.Wait)
	}
	r.o.Log.Error("an extension failed", "extension", extension, "error", err)
	return stanza.Err(stanza.InternalServerError, "")
}

// answer sends a reply back: to the session of the batch, or wherever its address leads. Replies pass no phases: they
// belong to a stanza that has passed them.
func (b *Batch) answer(ctx context.Context, s *stanza.Stanza) {
	if b.s != nil && s.To == b.s.JID() {
		b.queue(b.s, s)
		return
	}
	if s.To.IsZero() {
		return
	}
	h := b.r.Host(s.To.DomainJID())
	v := b.r.Service(s.To.DomainJID())
	switch {
	case v != nil:
		b.toService(ctx, v, s)
	case h == nil:
		// Its sender is gone or beyond reach. There is no answer to an answer.
		if e := b.r.o.Remote.Send(ctx, s); e != nil {
			b.r.o.Log.Debug("answer not sent", "to_domain", s.To.Domain(), "error", e)
		}
	case s.To.IsFull():
		if t := b.r.o.Directory.Find(s.To); t != nil {
			t.Send(s)
		}
	case s.Kind == stanza.IQ:
		h.Answer(s)
	case s.Kind == stanza.Presence:
		b.presenceIn(ctx, h, s)
	}
}

// queue gives a stanza to a session, which begins to write at the end of the batch.
func (b *Batch) queue(t *session.Session, s *stanza.Stanza) bool {
	return b.queueKept(t, s, 0, time.Time{})
}

// queueKept is queue for a message that was taken in at a time, and is kept as row, or is not where row is 0.
func (b *Batch) queueKept(t *session.Session, s *stanza.Stanza, row int64, at time.Time) bool {
	b.r.o.Trace.Note(s.Mark, mod.TraceQueued, t.JID().String(), "") // before it can be written
	taken, start := t.DeliverLater(s, row, at)
	if start {
		b.started = append(b.started, t)
	}
	return taken
}

// admit asks the Admit hooks. It returns false where the stanza's way ends.
func (b *Batch) admit(ctx context.Context, h *host.Host, p *mod.Pass) bool {
	ok, _ := b.admission(ctx, h, p)
	return ok
}

// admission is admit, and tells whether the way ended without an answer.
func (b *Batch) admission(ctx context.Context, h *host.Host, p *mod.Pass) (ok, silent bool) {
	for _, k := range h.Phases(p.Side, p.Stanza.Kind).Admit {
		b.ext = k.Extension
		if err := k.H.Func(ctx, p); err != nil {
			return false, b.fail(ctx, p.Stanza, k.Extension, err)
		}
	}
	return true, false
}

func (b *Batch) rewrite(ctx context.Context, h *host.Host, p *mod.Pass) bool {
	for _, k := range h.Phases(p.Side, p.Stanza.Kind).Rewrite {
		b.ext = k.Extension
		was := p.Stanza
		if err := k.H.Func(ctx, p); err != nil {
			b.fail(ctx, p.Stanza, k.Extension, err)
			return false
		}
		if p.Stanza != was {
			b.r.o.Trace.Note(p.Stanza.Mark, mod.TraceChanged, k.Extension, "")
		}
	}
	return true
}

func (b *Batch) observe(ctx context.Context, h *host.Host, p *mod.Pass, o mod.Outcome) {
	for _, k := range h.Phases(p.Side, p.Stanza.Kind).Observe {
		b.ext = k.Extension
		k.H.Func(ctx, p, o)
	}
}

// out runs Admit and Rewrite of the sender's side and returns the stanza as it goes on. Where the sender is not local
// it goes on as it is.
func (b *Batch) out(ctx context.Context, s *stanza.Stanza) (*stanza.Stanza, bool) {
	h := b.r.Host(s.From.DomainJID())
	if h == nil {
		return s, true
	}
	p := &mod.Pass{Stanza: s, Side: mod.Out, Account: s.From.Bare()}
	if b.s != nil {
		p.Session = b.s
	}
	if !b.admit(ctx, h, p) || !b.rewrite(ctx, h, p) {
		return nil, false
	}
	return p.Stanza, true
}

// send hands a stanza to another server. It returns false where that refuses it at once, which answers the sender.
func (b *Batch) send(ctx context.Context, s *stanza.Stanza) bool {
	if e := b.r.o.Remote.Send(ctx, s); e != nil {
		b.refuse(ctx, s, e)
		return false
	}
	b.r.o.Trace.Note(s.Mark, mod.TraceForwarded, s.To.Domain(), "")
	b.r.o.Count(s.Kind, mod.Forwarded)
	return true
}
