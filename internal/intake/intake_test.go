package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/host"
	"sabir/internal/route"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// disk is a database whose commits are slow, or fail, as the test says. Its Tx writes into what is not committed yet.
type disk struct {
	mod.DB
	commit func() error // called before each commit

	mu      sync.Mutex
	open    state
	durable state
}

type state struct {
	handled uint32
	stored  []string
}

func (d *disk) Write(_ context.Context, fn func(mod.Tx) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = state{d.durable.handled, d.durable.stored[:len(d.durable.stored):len(d.durable.stored)]}
	if err := fn(nil); err != nil {
		return err
	}
	if err := d.commit(); err != nil {
		return err
	}
	d.durable = d.open
	return nil
}

func (d *disk) now() state {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.durable
}

// Keep and Progress implement session.Journal.
func (d *disk) Keep(context.Context, mod.Tx, int64, session.Kept) error { return nil }

func (d *disk) Progress(_ context.Context, _ mod.Tx, handled uint32, _ *session.State) error {
	d.open.handled = handled
	return nil
}

type everybody struct{ mod.Accounts }

func (everybody) Exists(context.Context, string) (bool, error) { return true, nil }

type clock struct{}

func (clock) Now() time.Time { return time.Unix(1e9, 0) }

// world returns the intake of romeo's session on a server that stores each message on the disk.
func world(t *testing.T, d *disk) (*Lease, *session.Session) {
	t.Helper()
	log, dir := slog.New(slog.DiscardHandler), session.NewDirectory()
	r := route.New(route.Options{Directory: dir, DB: d, Log: log, Clock: clock{}})
	store := mod.Info{Name: "store", New: func(mod.Host, any) (*mod.Hooks, error) {
		return &mod.Hooks{Record: []mod.RecordHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
			p.Stored = true
			id := p.Stanza.ID
			return func(mod.Tx) error { d.open.stored = append(d.open.stored, id); return nil }, nil
		}}}}, nil
	}}
	domain := jid.MustParse("x.example")
	h, err := host.New(host.Options{Domain: domain, Clock: clock{}, Log: log, Directory: dir, Router: r, Accounts: everybody{}, Extensions: []host.Enabled{{Info: store}}})
	if err != nil {
		t.Fatal(err)
	}
	r.SetHosts(map[jid.JID]*host.Host{domain: h})
	q := session.NewQueue(session.QueueOptions{Limit: 1 << 30, Full: func() {}})
	q.Track("", 1<<30, true)
	s := session.New(jid.MustParse("romeo@x.example/orchard"), q, clock{}.Now(), func(string, string) {})
	s.SetJournal(d, s.Progress())
	return New(r, d, s), s
}

func message(id string) *stanza.Stanza {
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", id))
	m.ID, m.From, m.To = id, jid.MustParse("romeo@x.example/orchard"), jid.MustParse("juliet@x.example")
	return m
}

// TestTakeOverWaits takes an intake over while its owner's commit is under way: it waits for that, and the owner can do nothing
// more.
func TestTakeOverWaits(t *testing.T) {
	begun, gate := make(chan struct{}), make(chan struct{})
	d := &disk{commit: func() error { close(begun); <-gate; return nil }}
	l, _ := world(t, d)
	ctx := t.Context()
	go func() {
		turn := l.Begin()
		defer turn.End()
		turn.Handle(ctx, message("1"))
		turn.Handle(ctx, message("2"))
		turn.Flush(ctx)
	}()
	<-begun
	took := make(chan *Lease)
	go func() {
		next, err := l.Intake().TakeOver(ctx)
		if err != nil {
			t.Error(err)
		}
		took <- next
	}()
	select {
	case <-took:
		t.Fatal("it was taken over in the midst of a commit")
	case <-time.After(20 * time.Millisecond): // a mistake would show
	}
	close(gate)
	next := <-took
	if l.Begin() != nil {
		t.Error("the old lease is in force")
	}
	turn := next.Begin()
	if turn == nil {
		t.Fatal("the new lease is not in force")
	}
	turn.End()
	if s := d.now(); len(s.stored) != 2 || s.handled != 2 {
		t.Errorf("on the disk is %+v", s)
	}
}

// TestTakeOverCommits takes over from an owner that has left messages in the batch, of a disk that fails first: then nobody is
// the owner, and what is told later is on the disk.
func TestTakeOverCommits(t *testing.T) {
	broken := true
	d := &disk{commit: func() error {
		if broken {
			return mod.ErrUnavailable
		}
		return nil
	}}
	l, s := world(t, d)
	ctx := t.Context()
	turn := l.Begin()
	turn.Handle(ctx, message("1"))
	turn.End()
	if l.Intake().Idle() {
		t.Error("a message waits, and the intake is idle")
	}
	if next, err := l.Intake().TakeOver(ctx); !errors.Is(err, mod.ErrUnavailable) || next != nil {
		t.Fatalf("taken over on a broken disk: %v", err)
	}
	if l.Begin() != nil {
		t.Error("the old lease is in force after a take-over that failed")
	}
	if n := len(s.Queue.Held()); n != 1 { // the error for the message
		t.Errorf("%d answers wait for the client", n)
	}
	broken = false
	next, err := l.Intake().TakeOver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.now(); got.handled != 1 || s.Handled() != 1 || len(got.stored) != 0 {
		t.Errorf("on the disk is %+v, and %d were handled", got, s.Handled())
	}
	next.Intake().Close(ctx)
	if next.Begin() != nil {
		t.Error("a lease is in force that was taken away")
	}
}

// TestOwners has streams take an intake over from one another at random, on a disk that is slow and fails at random: no two
// handle at once, what a client is told is on the disk, and each message that it covers is stored once or was answered.
func TestOwners(t *testing.T) {
	const streams, takeovers = 8, 400
	var r struct {
		sync.Mutex
		*rand.Rand
	}
	r.Rand = rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	chance := func(n int) bool {
		r.Lock()
		defer r.Unlock()
		return r.IntN(n) == 0
	}
	d := &disk{commit: func() error {
		if chance(4) {
			time.Sleep(100 * time.Microsecond)
		}
		if chance(5) {
			return mod.ErrUnavailable
		}
		return nil
	}}
	first, s := world(t, d)
	in := first.Intake()
	ctx := t.Context()
	var at, sent, told, over atomic.Int64
	claim := make(chan struct{}, 1) // as c2s: one takes over at a time
	// tell is where a client would be told the count.
	tell := func(h uint32) {
		now := d.now()
		if now.handled < h {
			t.Errorf("%d are told, on the disk are %d", h, now.handled)
		}
		told.Add(1)
	}
	stream := func(l *Lease) {
		for {
			turn := l.Begin()
			if turn == nil {
				over.Add(1)
				return
			}
			if at.Add(1) != 1 {
				t.Error("two handle at once")
			}
			for range 3 {
				turn.Handle(ctx, message(fmt.Sprint(sent.Add(1))))
			}
			turn.Ask()
			if chance(2) { // otherwise the rest is left to whoever comes
				if h, ok, _ := turn.Answer(ctx); ok {
					tell(h)
				}
			}
			at.Add(-1)
			turn.End()
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { stream(first) })
	var n atomic.Int64
	for range streams {
		wg.Go(func() {
			for n.Add(1) <= takeovers {
				claim <- struct{}{}
				l, err := in.TakeOver(ctx)
				if err == nil {
					tell(s.Handled())
					wg.Go(func() { stream(l) })
				}
				if chance(2) { // the owner gets to work
					time.Sleep(200 * time.Microsecond)
				}
				<-claim
			}
		})
	}
	wg.Go(func() {
		for n.Load() <= takeovers+streams-1 {
			time.Sleep(time.Millisecond)
		}
		claim <- struct{}{}
		in.Close(ctx)
		<-claim
	})
	wg.Wait()
	stored := make(map[string]bool)
	for _, id := range d.now().stored {
		if stored[id] {
			t.Errorf("%s is stored twice", id)
		}
		stored[id] = true
	}
	refused := 0
	for _, a := range s.Queue.Held() {
		if stored[a.ID] {
			t.Errorf("%s is stored and was answered with %v", a.ID, a.Err())
		}
		refused++
	}
	if int(sent.Load()) != len(stored)+refused || uint32(sent.Load()) != s.Handled() {
		t.Errorf("%d were sent and %d counted, %d stored, %d answered", sent.Load(), s.Handled(), len(stored), refused)
	}
	t.Logf("%d messages, %d stored, %d answered with errors; %d counts told; %d streams have lost it", sent.Load(), len(stored), refused, told.Load(), over.Load())
}
