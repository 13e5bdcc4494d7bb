package offline

import (
	"context"
	"sync"

	"sabir/xmpp/jid"
)

// turns let one goroutine at a time work for an account.
type turns struct {
	mu sync.Mutex
	m  map[jid.JID]*turn
}

type turn struct {
	mu   sync.Mutex
	wait int
}

// take waits for the account's turn and returns the function that ends it.
func (t *turns) take(account jid.JID) func() {
	t.mu.Lock()
	if t.m == nil {
		t.m = make(map[jid.JID]*turn)
	}
	u := t.m[account]
	if u == nil {
		u = &turn{}
		t.m[account] = u
	}
	u.wait++
	t.mu.Unlock()
	u.mu.Lock()
	return func() {
		u.mu.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if u.wait--; u.wait == 0 {
			delete(t.m, account)
		}
	}
}

// context keeps the values of ctx and outlives it: an answer may come after the call that asked has returned.
func (*turns) context(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
