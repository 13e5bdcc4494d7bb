package route

import (
	"context"
	"errors"

	"sabir/internal/host"
	"sabir/mod"
	"sabir/xmpp/stanza"
)

// toService hands an answer or an error to the service that is concerned. No answer is owed to it.
func (b *Batch) toService(ctx context.Context, v *host.Service, s *stanza.Stanza) {
	switch s.Kind {
	case stanza.IQ:
		b.iqToService(ctx, v, s)
	case stanza.Presence:
		b.presenceToService(ctx, v, s)
	default:
		b.ext = v.Extension
		wait, err := v.Message(ctx, s)
		if err == nil && wait != nil {
			err = wait(ctx)
		}
		b.handed(ctx, v, s, err)
	}
}

// handed counts what became of a stanza that a service has taken, or answers it with the error.
func (b *Batch) handed(ctx context.Context, v *host.Service, s *stanza.Stanza, err error) bool {
	if err != nil && !errors.Is(err, mod.ErrAnswered) {
		b.fail(ctx, s, v.Extension, err)
		return false
	}
	b.r.o.Count(s.Kind, mod.Delivered)
	return true
}

// iqToService finds the handler of a request and sees to its answer, or hands over what answers one.
func (b *Batch) iqToService(ctx context.Context, v *host.Service, s *stanza.Stanza) {
	if !s.Request() && v.Answer(s) {
		b.r.o.Count(stanza.IQ, mod.Delivered)
		return
	}
	if s.Request() {
		at := host.Place(s.To)
		if q, ok := v.Handler(at, s.Type, s.PayloadName()); ok {
			r := &mod.Request{Stanza: s, Payload: s.Payload()}
			if at != mod.AtHost {
				r.Account = s.To.Bare()
			}
			if b.s != nil {
				on := b.s.Carrier()
				r.Session, r.Secure, r.Addr = b.s, on.Secure, on.Addr
			}
			b.call(ctx, q, r)
			return
		}
	}
	switch {
	case v.Other != nil:
		b.ext = v.Extension
		b.handed(ctx, v, s, v.Other(ctx, s))
	case s.Request():
		b.refuse(ctx, s, stanza.Err(stanza.ServiceUnavailable, ""))
	default:
		b.r.o.Count(stanza.IQ, mod.Dropped)
	}
}

func (b *Batch) presenceToService(ctx context.Context, v *host.Service, s *stanza.Stanza) {
	b.ext = v.Extension
	b.handed(ctx, v, s, v.Presence(ctx, s))
}

// messageToService hands a message over that was committed on its sender's side. Flush waits until it is durable on the
// other. It returns false where the service has refused it.
func (b *Batch) messageToService(ctx context.Context, j *journey) bool {
	b.ext = j.service.Extension
	if j.debt != nil {
		ctx = mod.Owing(ctx, j.debt.write)
	}
	wait, err := j.service.Message(ctx, j.in.Stanza)
	if err == nil && wait != nil {
		j.wait = wait
		return true
	}
	return b.handed(ctx, j.service, j.in.Stanza, err)
}

// await waits until a service has made a message durable that it took.
func (b *Batch) await(ctx context.Context, j *journey) {
	if j.wait == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			b.recovered(ctx, j.in.Stanza, v)
		}
	}()
	b.ext = j.service.Extension
	if b.handed(ctx, j.service, j.in.Stanza, j.wait(ctx)) && j.debt != nil {
		j.debt.paid()
	}
}
