package pam

import (
	"context"
	"sync"

	"sabir/xmpp/jid"
)

// orderly does what there is to do for an account one thing after another, in the order in which it came: what services say of a
// subscription changes it in the order in which they say it, and the devices are told of the changes in that order. Nobody waits for
// it, since who brings it may hold what it needs: the lock of a node that tells of its end, for one.
type orderly struct {
	// spawn starts a goroutine.
	spawn func(f func(ctx context.Context))

	mu    sync.Mutex
	lists map[jid.JID][]func(ctx context.Context) // the first is being done
}

func newOrderly(spawn func(f func(ctx context.Context))) *orderly {
	return &orderly{spawn: spawn, lists: make(map[jid.JID][]func(ctx context.Context))}
}

// put has f done after all that was put before for the account. It returns false, and f is not done, where limit things wait; 0
// stands for no limit.
func (o *orderly) put(account jid.JID, limit int, f func(ctx context.Context)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.lists[account]
	if limit > 0 && len(list) > limit {
		return false
	}
	o.lists[account] = append(list, f)
	if len(list) == 0 {
		o.spawn(func(ctx context.Context) { o.do(ctx, account, f) })
	}
	return true
}

// do does the first of an account's list, and has the next one done whatever becomes of it.
func (o *orderly) do(ctx context.Context, account jid.JID, f func(ctx context.Context)) {
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		list := o.lists[account]
		list[0] = nil
		if list = list[1:]; len(list) == 0 {
			delete(o.lists, account)
			return
		}
		o.lists[account] = list
		o.spawn(func(ctx context.Context) { o.do(ctx, account, list[0]) })
	}()
	f(ctx)
}
