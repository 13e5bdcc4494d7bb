package muc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// inbox is how many stanzas may wait for a room.
const inbox = 20_000

// errBusy is what a sender is owed when a room has too much to do.
func errBusy() *stanza.Error {
	return stanza.Err(stanza.ResourceConstraint, "the room has too much to do; try again later").OfType(stanza.Wait)
}

// task is one thing for a room to do.
type task struct {
	// do does it. Its error is what the sender of s is owed; ErrAnswered says that it has or will have its answer.
	do func(t *turn) error
	s  *stanza.Stanza // what led to it, or nil
	// say marks what only says something to all. Such tasks share a commit.
	say bool
	// owed, where it is not nil, is to be written along with what is said (mod.Owed).
	owed func(ctx context.Context, tx mod.Tx) error
	// done, where it is not nil, gets the outcome after all is committed. Otherwise the room itself answers s.
	done chan error
}

// room returns a room as it is in memory, which may have to be loaded by its first task.
func (m *muc) room(r jid.JID) (*chat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil, stanza.Err(stanza.ServiceUnavailable, "the service is closing")
	}
	c := m.rooms[r]
	if c == nil {
		c = &chat{m: m, jid: r}
		c.loop = room.NewLoop(inbox, func(run func()) {
			m.h.Go("room", func(ctx context.Context) {
				c.ctx = ctx
				run()
			})
		}, c.handle)
		m.rooms[r] = c
	}
	return c, nil
}

// drop takes a room out of memory where it has nothing to do. own says that its loop itself asks for that.
func (m *muc) drop(c *chat, own bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.loop.Close(own) && m.rooms[c.jid] == c {
		delete(m.rooms, c.jid)
	}
}

// put gives a room something to do. r is any address in it.
func (m *muc) put(r jid.JID, k task) error {
	for {
		c, err := m.room(r.Bare())
		if err != nil {
			return err
		}
		taken, closed := c.loop.Put(k)
		switch {
		case taken:
			return nil
		case !closed:
			return errBusy()
		}
	}
}

// ask gives a room something to do and returns a function that waits until it is done.
func (m *muc) ask(k task) (func(context.Context) error, error) {
	k.done = make(chan error, 1)
	if err := m.put(k.s.To, k); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		select {
		case err := <-k.done:
			return byRoom(err, k.s.To)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the room: %w", ctx.Err())
		}
	}, nil
}

// byRoom says in an error about a stanza to an occupant that the room has found it, not the occupant (XEP-0045#privatemessage).
func byRoom(err error, at jid.JID) error {
	var e *stanza.Error
	if !at.IsFull() || !errors.As(err, &e) {
		return err
	}
	c := *e
	c.By = at.Bare()
	return &c
}

// inRoom makes a handler of a request out of a function that runs in the loop of its room. The answer leaves in the order in
// which the room sends, so that who asked hears of the consequences in the right order (XEP-0045#kick).
func (m *muc) inRoom(f func(c *chat, t *turn, r *mod.Request) (*xmlstream.Element, error)) func(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return func(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
		wait, err := m.ask(task{s: r.Stanza, do: func(t *turn) error {
			answered := false
			t.answer = func() {
				if !answered {
					answered = true
					t.send(r.Result(nil))
				}
			}
			payload, err := f(t.c, t, r)
			t.answer = nil
			if err == nil && !answered {
				t.send(r.Result(payload))
			}
			return err
		}})
		if err == nil {
			err = wait(ctx)
		}
		if err == nil {
			err = mod.ErrAnswered
		}
		return nil, err
	}
}

// turn is one go of a room's loop: what it does before it commits and sends.
type turn struct {
	c    *chat
	out  []mod.Fan
	n    int // how many recipients they have
	said []said
	ctx  context.Context
	// answer tells the sender of the request that is being done that it was done, where the others hear of it only
	// afterwards. It is nil where nobody has asked.
	answer func()
	// untold is the id of the first message that was committed and may not have reached the sessions of all in the room, or "".
	untold string
}

// maxOut is to how many recipients is gathered before it is sent: some entries of a room with thousands in it, so that who is there
// hears of several at once.
const maxOut = 32 << 10

// send sends a stanza behind those before it: where it is addressed, or to each of to. That may be nobody.
func (t *turn) send(s *stanza.Stanza, to ...jid.JID) {
	t.out = append(t.out, mod.Fan{Stanza: s, To: to})
	if t.n += max(len(to), 1); t.n >= maxOut {
		t.flush()
	}
}

// flush hands over what was gathered.
func (t *turn) flush() {
	if len(t.out) == 0 {
		return
	}
	list := t.out
	t.out, t.n = nil, 0
	t.c.m.h.RouteAll(t.ctx, list)
	clear(list)
	t.out = list[:0]
}

// write commits a change at once: what depends on it is told afterwards.
func (t *turn) write(fn func(tx mod.Tx) error) error {
	if err := t.c.m.h.DB().Write(t.ctx, fn); err != nil {
		return fmt.Errorf("room not written: %w", err)
	}
	return nil
}

// handle does what has come together. Messages that follow each other share a commit.
func (c *chat) handle(tasks []task) {
	c.used.Store(c.m.h.Clock().Now().UnixNano())
	c.idle = false
	t := &turn{c: c, ctx: c.ctx}
	defer func() { // whatever happens, the room goes on and nobody waits for ever
		var err error
		if v := recover(); v != nil {
			c.panicked(v)
			err = stanza.Err(stanza.InternalServerError, "")
		}
		for i := range tasks {
			if k := &tasks[i]; k.done != nil && len(k.done) == 0 {
				k.done <- err
			}
		}
	}()
	for i := range tasks {
		k := &tasks[i]
		if !k.say {
			t.commit() // what was said before is told before
		}
		said := len(t.said)
		err := c.run(t, k)
		if err == nil && len(t.said) > said {
			t.said[said].task = k // answered after its commit
			continue
		}
		c.finish(t, k, err)
	}
	t.commit()
	t.flush()
	t.toldAll()
	c.leaveMemory()
}

// run does one thing and contains its panics.
func (c *chat) run(t *turn, k *task) (err error) {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(v)
			err = stanza.Err(stanza.InternalServerError, "")
		}
	}()
	if !c.loaded {
		if err := c.load(t.ctx); err != nil {
			return err
		}
		c.loaded = true
	}
	return k.do(t)
}

// panicked has the host log and count a panic.
func (c *chat) panicked(v any) {
	text := fmt.Sprintf("room %s: %v\n%s", c.jid, v, debug.Stack())
	c.m.h.Go("room", func(context.Context) { panic(text) })
}

// finish tells what became of a task that failed, or that nobody waits for. The others are told when all was sent.
func (c *chat) finish(t *turn, k *task, err error) {
	if err == nil || errors.Is(err, mod.ErrAnswered) {
		return
	}
	if k.done != nil {
		k.done <- err
		return
	}
	var e *stanza.Error
	var drop mod.Drop
	switch {
	case k.s == nil, errors.As(err, &drop):
		return
	case !errors.As(err, &e):
		c.m.h.Log().Error("a room failed", "room", c.jid.String(), "error", err)
		e = stanza.Err(stanza.InternalServerError, "")
	}
	if r := refusal(k.s, c.jid, e); r != nil {
		t.send(r)
	}
}

// leaveMemory lets go of a room that is not there, and of one that is idle.
func (c *chat) leaveMemory() {
	if (c.idle || !c.exists) && len(c.seats) == 0 {
		if c.exists && !c.activity.kept.IsZero() {
			c.keepActivity(c.m.h.Clock().Now())
		}
		c.m.drop(c, true)
	}
}

// sweepEvery is how often idle rooms are looked for.
const sweepEvery = time.Minute

// sweep unloads idle rooms, until the host stops.
func (m *muc) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.unload()
	}
}

// unload asks each room whether it is idle, in its loop.
func (m *muc) unload() {
	for _, c := range m.loaded() {
		was := c.lastUse()
		if m.h.Clock().Now().Sub(was) < time.Duration(m.c.Idle) {
			continue
		}
		// One that has too much to do is not idle.
		c.loop.Put(task{do: func(*turn) error { c.idle = true; return nil }})
	}
}

// loaded returns the rooms in memory.
func (m *muc) loaded() []*chat {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*chat, 0, len(m.rooms))
	for _, c := range m.rooms {
		all = append(all, c)
	}
	return all
}
