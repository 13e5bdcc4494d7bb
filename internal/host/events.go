package host

import (
	"context"
	"fmt"
	"slices"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// each calls f for each extension, and contains its panics.
func (h *Host) each(f func(e *mod.Hooks)) {
	for _, e := range h.t.ext {
		func() {
			defer func() {
				if r := recover(); r != nil {
					h.recovered(e.name, r)
				}
			}()
			f(e.hooks)
		}()
	}
}

// Bound tells the extensions of a new session.
func (h *Host) Bound(ctx context.Context, s *session.Session) {
	h.each(func(e *mod.Hooks) {
		if e.Bound != nil {
			e.Bound(ctx, s)
		}
	})
}

// Parked tells the extensions that a session has lost its stream and waits for its client, with what that may not have got.
func (h *Host) Parked(ctx context.Context, s *session.Session, held []*stanza.Stanza) {
	h.each(func(e *mod.Hooks) {
		if e.Parked != nil {
			e.Parked(ctx, s, held)
		}
	})
}

// Nonza hands an element that is no stanza to the extension that handles it. It returns false where none does.
func (h *Host) Nonza(ctx context.Context, s *session.Session, f *xmlstream.Frame) bool {
	n, ok := h.t.nonzas[f.Name()]
	if !ok {
		return false
	}
	defer func() {
		if r := recover(); r != nil {
			h.recovered(n.extension, r)
		}
	}()
	n.Func(ctx, s, f.Element())
	return true
}

// Available tells the extensions that a session broadcast available presence.
func (h *Host) Available(ctx context.Context, s mod.Session, initial bool) {
	h.each(func(e *mod.Hooks) {
		if e.Available != nil {
			e.Available(ctx, s, initial)
		}
	})
}

// Unbound tells the extensions that a session ended.
func (h *Host) Unbound(ctx context.Context, s *session.Session, presence *stanza.Stanza) {
	h.each(func(e *mod.Hooks) {
		if e.Unbound != nil {
			e.Unbound(ctx, s, presence)
		}
	})
}

// Stored returns what the extensions have stored of the messages with an id, in the order of time.
func (h *Host) Stored(ctx context.Context, id string) ([]mod.TraceEvent, error) {
	var all []mod.TraceEvent
	for _, e := range h.t.ext {
		if e.hooks.Trace == nil {
			continue
		}
		list, err := e.hooks.Trace(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("extension %s: %w", e.name, err)
		}
		all = append(all, list...)
	}
	slices.SortStableFunc(all, func(a, b mod.TraceEvent) int { return a.At.Compare(b.At) })
	return all, nil
}

// BeforeAccountRemoved lets the extensions do what an account owes to others.
func (h *Host) BeforeAccountRemoved(ctx context.Context, account jid.JID) error {
	for _, e := range h.t.ext {
		if e.hooks.BeforeAccountRemoved != nil {
			if err := e.hooks.BeforeAccountRemoved(ctx, account); err != nil {
				return err
			}
		}
	}
	return nil
}

// AccountRemoved lets the extensions delete what they keep of an account.
func (h *Host) AccountRemoved(ctx context.Context, tx mod.Tx, account jid.JID) error {
	for _, e := range h.t.ext {
		if e.hooks.AccountRemoved != nil {
			if err := e.hooks.AccountRemoved(ctx, tx, account); err != nil {
				return err
			}
		}
	}
	return nil
}

// Closing tells the extensions that are not on now any more, or whose services are not, that they end for good. now is nil where
// the host itself is gone.
func (h *Host) Closing(ctx context.Context, now *Host) {
	for _, e := range h.t.ext {
		if e.hooks.Closing == nil || now != nil && now.has(e) {
			continue
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					h.recovered(e.name, r)
				}
			}()
			e.hooks.Closing(ctx)
		}()
	}
}

// Restored tells the extensions that the sessions of before the start are there again.
func (h *Host) Restored(ctx context.Context) {
	h.each(func(e *mod.Hooks) {
		if e.Restored != nil {
			e.Restored(ctx)
		}
	})
}

// has tells whether an extension of another host is on here as well, with the domains that it had.
func (h *Host) has(e extension) bool {
	if !slices.Contains(h.Extensions(), e.name) {
		return false
	}
	for _, v := range e.hooks.Services {
		if !slices.ContainsFunc(h.t.services, func(o *Service) bool { return o.Domain == v.Domain }) {
			return false
		}
	}
	return true
}
