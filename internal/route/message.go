package route

import (
	"context"
	"errors"
	"runtime/debug"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

func stack() string { return string(debug.Stack()) }

// journey is a message between Record and delivery.
type journey struct {
	out, in         mod.Pass
	outHost, inHost *host.Host // nil where that side is not local
	service         *host.Service
	there           []*session.Session          // the sessions of the recipient
	departure       Departure                   // to another server
	wait            func(context.Context) error // until the service has made the message durable; or nil
	debt            *debt                       // what the service is asked to write with it; or nil
	writes          []func(mod.Tx) error
	inline          [4]mod.Session // room for in.Targets
	ended           bool
	fanned          bool // it is a branch of a fan
	// silent says that the way of the message ends on side In without an answer. Side Out goes on as ever: what the sender
	// has of it, an archive or a copy on another device, must not tell who exists. lost: it ended before side In was
	// complete, so there are no copies there either.
	silent, lost bool
	keep         keeping
}

// fate says what becomes of a message that no session gets.
type fate uint8

const (
	bounce fate = iota // stored, or answered with service-unavailable
	ignore             // nothing
)

// message runs a message through the phases up to Record. Flush does the rest.
func (b *Batch) message(ctx context.Context, s *stanza.Stanza) {
	b.j = append(b.j, journey{})
	j := &b.j[len(b.j)-1]
	defer func() {
		if j.ended {
			j.stay()
			b.j = b.j[:len(b.j)-1]
		}
	}()
	j.ended = true // until all has gone well
	if j.fanned = b.fanned; !j.fanned {
		b.begin(s, s.To.String())
	}
	if j.outHost = b.r.Host(s.From.DomainJID()); j.outHost != nil {
		j.out = mod.Pass{Stanza: s, Side: mod.Out, Account: s.From.Bare()}
		if b.s != nil {
			j.out.Session = b.s
		}
		if !b.admit(ctx, j.outHost, &j.out) || !b.rewrite(ctx, j.outHost, &j.out) {
			return
		}
		s = j.out.Stanza
	}
	to := s.To
	if to.IsZero() { // RFC 6120 §10.3.1
		to = s.From.Bare()
	}
	if j.inHost = b.r.Host(to.DomainJID()); j.inHost != nil && !b.arrive(ctx, j, s, to) {
		return
	}
	if j.inHost == nil {
		if j.service = b.r.Service(to.DomainJID()); j.service != nil || j.outHost == nil {
			j.in.Stanza = s // from a service of ours, it has no other side
		}
	}
	if j.inHost == nil && j.service == nil && !b.depart(ctx, j, s) {
		return
	}
	if j.outHost != nil && !b.record(ctx, j.outHost, &j.out, j) {
		return
	}
	j.ended = j.lost && j.outHost == nil
}

// depart asks whether a message may go to another server. It returns false where it was answered with an error.
func (b *Batch) depart(ctx context.Context, j *journey, s *stanza.Stanza) bool {
	d, e := b.r.o.Remote.Accept(ctx, s)
	if e != nil {
		b.refuse(ctx, s, e)
		return false
	}
	if w := d.Write(); w != nil {
		j.writes = append(j.writes, w)
	}
	j.departure = d
	return true
}

// arrive runs the recipient's side up to Record. It returns false where the message was answered with an error.
func (b *Batch) arrive(ctx context.Context, j *journey, s *stanza.Stanza, to jid.JID) bool {
	f, ok := b.messageIn(ctx, j, s, to)
	if !ok {
		j.silent = j.lost
		return j.lost
	}
	if !b.record(ctx, j.inHost, &j.in, j) {
		return false
	}
	if len(j.in.Targets) > 0 || j.in.Stored {
		return true
	}
	j.writes = nil
	j.silent = b.undeliverable(ctx, j.in.Stanza, f)
	return j.silent
}

// messageIn runs Admit and Rewrite of the recipient's side, and finds the sessions that will get the message.
func (b *Batch) messageIn(ctx context.Context, j *journey, s *stanza.Stanza, to jid.JID) (fate, bool) {
	j.in = mod.Pass{Stanza: s, Side: mod.In, Account: to.Bare(), At: b.r.o.Clock.Now()}
	if to.Local() == "" { // the server itself reads no messages
		f := bounce
		if s.Type == stanza.TypeHeadline || s.Type == stanza.TypeError {
			f = ignore
		}
		j.lost = b.undeliverable(ctx, s, f)
		return 0, false
	}
	j.there = b.r.o.Directory.Sessions(to.Bare())
	if len(j.there) == 0 {
		ok, err := j.inHost.Accounts().Exists(ctx, to.Local())
		if err != nil {
			b.fail(ctx, s, "accounts", err)
			return 0, false
		}
		if !ok {
			// RFC 6121 §8.5.1 allows silence or an error. Silence, so that an address cannot be probed: to somebody
			// who is offline a message gets no answer either (RFC 6120 §13.11).
			j.lost = b.fail(ctx, s, "route", mod.Drop{Why: "no such account"})
			return 0, false
		}
	}
	if ok, dropped := b.admission(ctx, j.inHost, &j.in); !ok {
		j.lost = dropped
		return 0, false
	}
	var f fate
	j.in.Targets, f = targets(j.inline[:0], s, to, j.there)
	return f, b.rewrite(ctx, j.inHost, &j.in)
}

// targets applies RFC 6121 §8.5.2 and §8.5.3: which of the account's sessions get the message, and where none does,
// its fate.
func targets(dst []mod.Session, s *stanza.Stanza, to jid.JID, there []*session.Session) ([]mod.Session, fate) {
	if to.IsFull() {
		for _, t := range there {
			if t.JID() == to { // §8.5.3.1: whatever its type, presence or priority
				return append(dst, t), bounce
			}
		}
		switch s.Type { // §8.5.3.2.1
		case stanza.TypeChat: // as if sent to the bare JID
		case stanza.TypeError:
			return dst, ignore
		case stanza.TypeHeadline:
			return dst, ignore
		default:
			return dst, bounce
		}
	}
	switch s.Type {
	case stanza.TypeGroupchat: // §8.5.2.1.1
		return dst, bounce
	case stanza.TypeError:
		return dst, ignore
	}
	for _, t := range there { // §8.5.2.1.1: all with a non-negative priority
		if ok, prio := t.Available(); ok && prio >= 0 {
			dst = append(dst, t)
		}
	}
	if s.Type == stanza.TypeHeadline {
		return dst, ignore
	}
	return dst, bounce
}

// undeliverable ends the way of a message that nobody gets. It tells whether that was without an answer.
func (b *Batch) undeliverable(ctx context.Context, s *stanza.Stanza, f fate) (silent bool) {
	if f == ignore || s.Type == stanza.TypeError {
		b.r.o.Count(s.Kind, mod.Dropped)
		b.r.o.Trace.Note(s.Mark, mod.TraceDropped, "route", b.detail(s, "nobody is there to get it, and its type asks for no error"))
		return true
	}
	b.r.o.Trace.Note(s.Mark, mod.TraceBounced, s.From.String(), b.detail(s, string(stanza.ServiceUnavailable)))
	b.refuse(ctx, s, stanza.Err(stanza.ServiceUnavailable, ""))
	return false
}

// record collects what the Record hooks want committed.
func (b *Batch) record(ctx context.Context, h *host.Host, p *mod.Pass, j *journey) bool {
	for _, k := range h.Phases(p.Side, p.Stanza.Kind).Record {
		b.ext = k.Extension
		stored := p.Stored
		w, err := k.H.Func(ctx, p)
		if err != nil {
			b.fail(ctx, p.Stanza, k.Extension, err)
			return false
		}
		if p.Stored && !stored {
			b.r.o.Trace.Note(p.Stanza.Mark, mod.TraceStored, k.Extension, p.Account.String())
		}
		if w != nil {
			j.writes = append(j.writes, w)
		}
	}
	return true
}

// Flush commits what the waiting messages must record, in one transaction, and delivers them in order. A message whose
// write fails is answered with an error and reaches nobody.
func (b *Batch) Flush(ctx context.Context) {
	if b.s != nil {
		defer b.count.Settle()
	}
	messages := len(b.j) > 0
	defer func() {
		b.start()
		if messages {
			b.r.o.CrashPoint(AfterDelivery)
		}
	}()
	b.land(ctx)
}

// land commits and delivers what waits, and starts no queue.
func (b *Batch) land(ctx context.Context) {
	if len(b.j) == 0 {
		return
	}
	js := b.j
	b.j = nil // a handler below may send more through this batch's router, never through this batch
	debt := b.owe(js)
	if debt != nil {
		defer b.settleDebt(ctx, debt)
	}
	b.commit(ctx, js, debt == nil)
	b.r.o.CrashPoint(BeforeDelivery)
	for i := range js {
		if j := &js[i]; !j.ended {
			b.fanned = j.fanned
			b.deliverOne(ctx, j)
		}
	}
	b.fanned = false
	for i := range js {
		b.await(ctx, &js[i])
		js[i].stay()
		js[i] = journey{}
	}
	b.j = js[:0]
}

// commit writes what the messages must record. counted says that how far the sender has got belongs to it.
func (b *Batch) commit(ctx context.Context, js []journey, counted bool) {
	n := 0
	for i := range js {
		if j := &js[i]; b.keeps(j) {
			j.writes = append(j.writes, func(tx mod.Tx) error { return b.keep(ctx, tx, j) })
		}
		n += len(js[i].writes)
	}
	if n == 0 {
		return
	}
	var progress Progress
	if counted {
		progress = b.progress()
	}
	err := b.r.o.DB.Write(ctx, func(tx mod.Tx) error {
		for i := range js {
			if err := js[i].write(tx); err != nil {
				return err
			}
		}
		if progress == nil {
			return nil
		}
		return progress.Write(ctx, tx)
	})
	if progress != nil {
		progress.Done(err == nil)
	}
	if err == nil {
		for i := range js {
			js[i].committed(b.r.o.Trace)
		}
		return
	}
	// One bad write shall not take its neighbours with it. But where the store itself failed, it may not even be known
	// whether the commit was kept: a second try could store a message twice.
	again := len(js) > 1 && !storeFailed(err)
	for i := range js {
		j := &js[i]
		if len(j.writes) == 0 {
			continue
		}
		if again {
			err = b.r.o.DB.Write(ctx, j.write)
		}
		if err != nil {
			j.unkeep()
			b.fanned = j.fanned
			b.fail(ctx, j.stanza(), "store", err)
			b.fanned = false
			j.ended = true
			continue
		}
		j.committed(b.r.o.Trace)
	}
}

// storeFailed tells whether it was the store that failed, and not what it was to write.
func storeFailed(err error) bool {
	return errors.Is(err, mod.ErrUnavailable) || errors.Is(err, mod.ErrFull)
}

// stay ends the way of a message to another server, where it has not left.
func (j *journey) stay() {
	if j.departure != nil {
		j.departure.Stay()
	}
}

func (j *journey) write(tx mod.Tx) error {
	for _, w := range j.writes {
		if err := w(tx); err != nil {
			return err
		}
	}
	return nil
}

// stanza returns the message as it stands.
func (j *journey) stanza() *stanza.Stanza {
	switch {
	case j.in.Stanza != nil:
		return j.in.Stanza
	case j.keep.out != nil: // what Settle put in is for the sender's side alone
		return j.keep.out
	}
	return j.out.Stanza
}

// deliverOne delivers a message that was committed.
func (b *Batch) deliverOne(ctx context.Context, j *journey) {
	defer func() {
		j.keep.waive() // what was kept and not queued after all
		if v := recover(); v != nil {
			b.r.o.Panicked(b.ext)
			b.r.o.Log.Error("panic while delivering a message", "extension", b.ext, "panic", v, "stack", stack())
		}
	}()
	switch {
	case j.service != nil:
		if !b.messageToService(ctx, j) {
			return
		}
	case j.inHost == nil:
		j.departure.Go()
		b.r.o.Trace.Note(j.stanza().Mark, mod.TraceForwarded, j.stanza().To.Domain(), "")
		b.r.o.Count(stanza.Message, mod.Forwarded)
	case j.silent:
		if !j.lost {
			b.settle(ctx, j, &j.in)
			b.copies(ctx, j, &j.in)
		}
	default:
		b.settle(ctx, j, &j.in)
		o := mod.Stored
		if len(j.in.Targets) > 0 {
			if o = b.deliver(ctx, j); o == mod.Refused {
				return
			}
		}
		b.r.o.Count(stanza.Message, o)
		b.copies(ctx, j, &j.in)
		b.observe(ctx, j.inHost, &j.in, o)
	}
	if j.outHost != nil {
		b.r.o.CrashPoint(BeforeCopies)
		b.settle(ctx, j, &j.out)
		b.copies(ctx, j, &j.out)
		b.observe(ctx, j.outHost, &j.out, mod.Forwarded)
	}
}

// deliver queues a message to its targets. Where none of them takes it any more, it is treated as one that arrives
// now, with the outcome Refused where its sender was answered.
func (b *Batch) deliver(ctx context.Context, j *journey) mod.Outcome {
	taken := false
	for _, t := range j.in.Targets {
		if b.queueKept(t.(*session.Session), j.in.Stanza, j.keep.take(t, j.in.Stanza), j.in.At) {
			taken = true
		}
	}
	if taken || j.in.Stored {
		return mod.Delivered
	}
	return b.again(ctx, j, j.inHost, true)
}

// settle lets the Settle hooks put in what the commit has made known. Where the message was kept that is done.
func (b *Batch) settle(ctx context.Context, j *journey, p *mod.Pass) {
	if !j.keep.done {
		b.settleNow(ctx, j.host(p), p)
	}
	if p.Archived != nil && p.Stanza.Mark != 0 {
		b.r.o.Trace.Note(p.Stanza.Mark, mod.TraceArchived, p.Archived.By.String(), p.Archived.ID)
	}
}

func (b *Batch) settleNow(ctx context.Context, h *host.Host, p *mod.Pass) {
	for _, k := range h.Phases(p.Side, stanza.Message).Settle {
		b.ext = k.Extension
		k.H.Func(ctx, p)
	}
}

// copies queues what the Fork hooks add, behind what was queued before.
func (b *Batch) copies(ctx context.Context, j *journey, p *mod.Pass) {
	list := j.keep.copies[p.Side>>1]
	if !j.keep.done {
		list = b.fork(ctx, j.host(p), p)
	}
	for _, c := range list {
		b.r.o.Trace.Note(c.Stanza.Mark, mod.TraceCopied, c.To.JID().String(), "")
		b.queueKept(c.To.(*session.Session), c.Stanza, j.keep.take(c.To, c.Stanza), p.At)
	}
}

func (b *Batch) fork(ctx context.Context, h *host.Host, p *mod.Pass) []mod.Copy {
	var all []mod.Copy
	for _, k := range h.Phases(p.Side, stanza.Message).Fork {
		b.ext = k.Extension
		for _, c := range k.H.Func(ctx, p) {
			if c.Stanza.Mark != p.Stanza.Mark {
				c.Stanza.Mark = p.Stanza.Mark // it is the extension's own until it is queued
			}
			all = append(all, c)
		}
	}
	return all
}

// host returns the host of a side.
func (j *journey) host(p *mod.Pass) *host.Host {
	if p.Side == mod.In {
		return j.inHost
	}
	return j.outHost
}
