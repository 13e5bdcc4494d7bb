package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
)

// Server is what is broken.
type Server interface {
	// Start starts it, for the first time or again on the same data, and returns once it accepts connections.
	Start(ctx context.Context) error
	// Kill ends all its processes by SIGKILL.
	Kill() error
	// Stop ends it as an administrator does.
	Stop() error
	// PIDs returns its processes.
	PIDs() []int
	// Done is closed when it has ended since the last Start.
	Done() <-chan struct{}
	// Log returns the end of what it has logged.
	Log() string
	// Account returns the address of the nth account, from 0, and what logs it in.
	Account(n int) (jid.JID, *client.Config, error)
}

// Account is an account with its devices.
type Account struct {
	JID     jid.JID
	Devices []*Device
	Offline bool // it logs in to look, between the loads alone

	n    int
	last string // what was read last of its archive
}

// Options say who plays.
type Options struct {
	Chatters int // accounts with two devices each
	Sleepers int // accounts that are offline under load
	// Pause bounds the time that a device rests between two bursts of messages.
	Pause time.Duration
	// Most bounds the messages of a round.
	Most int
	// Visits has those who are offline log in for a moment now and then, one at a time, where the server archives.
	Visits bool
	// SM and Ping say which devices there are: those that use stream management, and those that do not. At least one.
	SM, Ping bool
	// Tries is how often a page of an archive is asked for where the server answers with an error; 0 means once.
	Tries int
	// Book is what the devices write in; nil for a new one.
	Book *Book
	// SettleWithin bounds how long the rest of a round may take; 0 means a minute.
	SettleWithin time.Duration
}

// Play is the accounts and the server, round after round.
type Play struct {
	Book    *Book
	Server  Server
	Archive bool // the server archives; known after the first Connect

	o        Options
	accounts []*Account
	chatters []*Account
	sleepers []*Account
}

// New makes the accounts' side. The server runs.
func New(s Server, o Options) (*Play, error) {
	if o.SettleWithin == 0 {
		o.SettleWithin = time.Minute
	}
	if o.Book == nil {
		o.Book = NewBook()
	}
	p := &Play{Book: o.Book, Server: s, o: o}
	for n := range o.Chatters + o.Sleepers {
		j, _, err := s.Account(n)
		if err != nil {
			return nil, err
		}
		a := &Account{JID: j, n: n, Offline: n >= o.Chatters}
		for i := range 2 {
			if a.Offline && i > 0 {
				break
			}
			sm := o.SM && (!o.Ping || (n+i)%2 == 0 && !a.Offline)
			a.Devices = append(a.Devices, &Device{
				Name: fmt.Sprintf("%s/%c", j, 'a'+i), account: a, book: p.Book, sm: sm, tries: o.Tries, acked: make(chan struct{}, 1),
			})
		}
		p.accounts = append(p.accounts, a)
	}
	p.chatters, p.sleepers = p.accounts[:o.Chatters], p.accounts[o.Chatters:]
	return p, nil
}

// Devices returns the devices that chat.
func (p *Play) Devices() []*Device {
	var out []*Device
	for _, a := range p.chatters {
		out = append(out, a.Devices...)
	}
	return out
}

// Chatters returns the accounts that chat, Sleepers those that are offline under load.
func (p *Play) Chatters() []*Account { return p.chatters }

// Sleepers returns the accounts that are offline under load.
func (p *Play) Sleepers() []*Account { return p.sleepers }

// Connect logs all devices that chat in.
func (p *Play) Connect(ctx context.Context) error {
	if err := each(p.Devices(), func(d *Device) error { return p.connect(ctx, d) }); err != nil {
		return err
	}
	var err error
	p.Archive, err = p.chatters[0].Devices[0].Archives(ctx)
	return err
}

// Begin begins the first round on a server that has been used before: what its archives hold is read and forgotten.
func (p *Play) Begin(ctx context.Context) error {
	if p.Archive {
		if err := p.readArchives(ctx); err != nil {
			return err
		}
	}
	if err := p.visit(ctx); err != nil {
		return err
	}
	p.Book.Next()
	return nil
}

func (p *Play) readArchives(ctx context.Context) error {
	var first []*Device
	for _, a := range p.chatters {
		first = append(first, a.Devices[0])
	}
	return each(first, func(d *Device) error { return d.ReadArchive(ctx) })
}

func (p *Play) connect(ctx context.Context, d *Device) error {
	_, cfg, err := p.Server.Account(d.account.n)
	if err != nil {
		return err
	}
	if err := d.Connect(ctx, cfg); err != nil {
		return fmt.Errorf("%s cannot log in: %w", d.Name, err)
	}
	return nil
}

// Reconnect breaks the connection of a device that has stream management and resumes its session, beside the load. A device
// without does nothing: its session would end.
func (p *Play) Reconnect(ctx context.Context, d *Device) error {
	if !d.sm {
		return nil
	}
	if err := d.Abort(); err != nil {
		return err
	}
	return p.connect(ctx, d)
}

// each calls f for all devices, 32 at a time.
func each(ds []*Device, f func(d *Device) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	gate := make(chan struct{}, 32)
	for _, d := range ds {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			if err := f(d); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:min(len(errs), 5)]...)
}

// below returns a random number from 0 to n-1.
func below(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return int(v.Int64())
}

// Load has all devices write until ctx ends, their connections break or enough was sent. It returns errors that are neither.
func (p *Play) Load(ctx context.Context) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, d := range p.Devices() {
		wg.Go(func() {
			for ctx.Err() == nil && p.Book.Sent() < p.o.Most {
				err := d.Write(ctx, p.pick(d.account), below(4) == 0)
				if err != nil {
					d.mu.Lock()
					ended := d.err != nil
					d.mu.Unlock()
					if !ended && ctx.Err() == nil && !errors.Is(err, errLost) && !broken(err) {
						mu.Lock()
						errs = append(errs, fmt.Errorf("%s: %w", d.Name, err))
						mu.Unlock()
					}
					return
				}
				rest(ctx, time.Duration(below(int(p.o.Pause)+1)))
			}
		})
	}
	if p.o.Visits && p.Archive && len(p.sleepers) > 0 {
		wg.Go(func() {
			if err := p.visits(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:min(len(errs), 5)]...)
}

// visits has those who are offline look in for a moment and go without a word, in turn, until ctx or the server ends.
func (p *Play) visits(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		d := p.sleepers[n%len(p.sleepers)].Devices[0]
		if err := p.connect(ctx, d); err != nil {
			return nil // the server has ended
		}
		rest(ctx, time.Duration(below(200))*time.Millisecond)
		if err := d.Abort(); err != nil {
			return err
		}
		rest(ctx, time.Duration(below(50))*time.Millisecond)
	}
	return nil
}

// pick chooses who gets the messages of a burst: anybody but the one who writes.
func (p *Play) pick(not *Account) []*Account {
	var to []*Account
	for range 1 + below(4) {
		if len(p.sleepers) > 0 && below(3) == 0 {
			to = append(to, p.sleepers[below(len(p.sleepers))])
			continue
		}
		a := p.chatters[below(len(p.chatters))]
		for a == not { // servers differ on what one writes to oneself
			a = p.chatters[below(len(p.chatters))]
		}
		to = append(to, a)
	}
	return to
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Round has all devices write, lets breaks end the server, starts it again and compares. breaks is called with a context
// that lasts as long as the load; the load ends when it returns. Before the first round the devices are connected.
func (p *Play) Round(ctx context.Context, breaks func(ctx context.Context) error) (Report, error) {
	p.Book.Next()
	load, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.Load(load) }()
	err := breaks(load)
	stop()
	err = errors.Join(err, <-ended)
	if err != nil {
		return Report{}, err
	}
	if err := p.Abort(); err != nil {
		return Report{}, err
	}
	if err := p.Server.Start(ctx); err != nil {
		return Report{}, err
	}
	if err := p.Connect(ctx); err != nil {
		return Report{}, err
	}
	return p.Settle(ctx)
}

// Abort ends all connections.
func (p *Play) Abort() error { return each(p.Devices(), (*Device).Abort) }

// Settle waits until everything that is under way has come, reads the archives, and compares. All devices are connected.
func (p *Play) Settle(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.SettleWithin)
	defer cancel()
	err := each(p.Devices(), func(d *Device) error {
		if d.sm {
			if err := d.awaitAck(ctx); err != nil {
				return fmt.Errorf("%s: waiting for the acknowledgement: %w", d.Name, err)
			}
		}
		return d.Ping(ctx)
	})
	if err != nil {
		return Report{}, err
	}
	if err := p.visit(ctx); err != nil {
		return Report{}, err
	}
	if p.Archive {
		if err := p.readArchives(ctx); err != nil {
			return Report{}, err
		}
	}
	// What others' answers and redeliveries have caused meanwhile.
	if err := each(p.Devices(), func(d *Device) error { return d.Ping(ctx) }); err != nil {
		return Report{}, err
	}
	return p.Book.Check(p.Archive), nil
}

// visit logs those in who were offline, takes what was kept for them, and logs them out.
func (p *Play) visit(ctx context.Context) error {
	var ds []*Device
	for _, a := range p.sleepers {
		ds = append(ds, a.Devices...)
	}
	return each(ds, func(d *Device) error {
		if err := p.connect(ctx, d); err != nil {
			return err
		}
		if err := p.collect(ctx, d); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		if p.Archive {
			if err := d.ReadArchive(ctx); err != nil {
				return err
			}
		}
		return d.Close(ctx)
	})
}

// quiet is how long nothing may come before all is taken to have come; patience how long is waited for what is due.
const (
	quiet    = 150 * time.Millisecond
	patience = 15 * time.Second
)

// collect waits for the messages that were kept while the account was offline.
func (p *Play) collect(ctx context.Context, d *Device) error {
	end := time.Now().Add(patience)
	for before := -1; time.Now().Before(end); {
		if err := d.Ping(ctx); err != nil {
			return err
		}
		due, came := p.Book.offlineDue(d.account.JID.String())
		if came == before && (p.Archive || came >= due) {
			return nil
		}
		before = came
		rest(ctx, quiet)
	}
	return nil // the checker tells what is missing
}
