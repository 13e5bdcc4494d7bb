package modtest

import (
	"errors"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// service returns the extension's service of an address, or nil.
func (h *Host) service(to jid.JID) *mod.Service {
	for _, v := range h.Hooks.Services {
		if v.Domain == to.DomainJID() {
			return v
		}
	}
	return nil
}

// toService runs a request through the handler of a service, or through Other.
func (h *Host) toService(v *mod.Service, r *mod.Request) *stanza.Stanza {
	h.t.Helper()
	at := mod.AtHost
	if r.To.Local() != "" {
		at, r.Account = mod.AtAccount, r.To.Bare()
	}
	if r.To.IsFull() {
		at = mod.AtResource
	}
	if q := find(v.IQ, []mod.Where{at}, r.Type, r.Payload.Name); q != nil {
		return h.answer(q, r)
	}
	err := error(stanza.Err(stanza.ServiceUnavailable, ""))
	if v.Other != nil {
		err = v.Other(h.ctx, r.Stanza)
	}
	if err == nil || errors.Is(err, mod.ErrAnswered) {
		return h.takeRouted(r.ID)
	}
	return r.ErrorReply(h.stanzaError(err))
}

// takeRouted returns the answer with this id that was routed, or nil.
func (h *Host) takeRouted(id string) *stanza.Stanza {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.routed, func(x *stanza.Stanza) bool {
		return x.Kind == stanza.IQ && x.ID == id && (x.Type == stanza.TypeResult || x.Type == stanza.TypeError)
	})
	if i < 0 {
		return nil
	}
	a := h.routed[i]
	h.routed = slices.Delete(h.routed, i, i+1)
	return a
}

// ToService hands a message or a presence to the extension's service that it is for, waits until it is durable, and returns
// the error that the service gave for it.
func (h *Host) ToService(s *stanza.Stanza) error {
	h.t.Helper()
	v := h.service(s.To)
	if v == nil {
		h.t.Fatalf("%s has no service at %s", h.info.Name, s.To)
	}
	if s.Kind == stanza.Presence {
		return v.Presence(h.ctx, s)
	}
	wait, err := v.Message(h.ctx, s)
	if err != nil || wait == nil {
		return err
	}
	return wait(h.ctx)
}
