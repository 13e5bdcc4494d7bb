package host

import (
	"context"
	"sync"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// askTimeout is how long an answer to an own request is waited for.
const askTimeout = 30 * time.Second

// asks are the requests that the host made and that are not answered yet. An answer is taken only from the address
// that was asked (RFC 6120 §8.2.3; CVE-2024-46957 shows what happens otherwise).
type asks struct {
	h  *Host
	mu sync.Mutex
	m  map[string]*asked // by id: 96 random bits
}

type asked struct {
	to    jid.JID
	done  func(*stanza.Stanza)
	timer *time.Timer
}

func (a *asks) init(h *Host) { a.h, a.m = h, make(map[string]*asked) }

func (a *asks) ask(ctx context.Context, s *stanza.Stanza, done func(*stanza.Stanza)) {
	s = s.Clone()
	s.ID = stanza.NewID()
	q := &asked{to: s.To, done: done}
	a.mu.Lock()
	q.timer = time.AfterFunc(askTimeout, func() { a.finish(s.ID, nil) })
	a.m[s.ID] = q
	a.mu.Unlock()
	a.h.o.Router.Route(ctx, s)
}

// finish ends a request; answer is nil on timeout. It returns false where the answer belongs to no request.
func (a *asks) finish(id string, answer *stanza.Stanza) bool {
	a.mu.Lock()
	q := a.m[id]
	if q == nil || answer != nil && q.to != answer.From {
		a.mu.Unlock()
		return false
	}
	delete(a.m, id)
	a.mu.Unlock()
	q.timer.Stop()
	defer func() {
		if r := recover(); r != nil {
			a.h.recovered("ask", r)
		}
	}()
	q.done(answer)
	return true
}

// Answer takes an iq of type result or error that is addressed to the host or to an account. It returns false where
// nothing was asked.
func (h *Host) Answer(s *stanza.Stanza) bool { return h.asks.finish(s.ID, s) }
