package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/transcript"
	"sabir/xmpp/client"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func loadCommand() *cobra.Command {
	var f targetFlags
	l := load{}
	c := &cobra.Command{
		Use:   "load [flags]",
		Short: "Let accounts chat in pairs and measure",
		Long: `Logs clients in, lets them write to each other in pairs for a while, and prints logins and messages per second and the
times that messages took. It is made to see what a server does, not to bring one down: clients, rate and duration are bounded.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t, accounts, err := f.target()
			if err != nil {
				return err
			}
			l.t, l.out = t, c.OutOrStdout()
			return l.run(c.Context(), accounts)
		},
	}
	f.add(c)
	c.Flags().IntVar(&l.clients, "clients", 10, "number of clients, at most 20000; accounts are used again, under other resources, where there are fewer")
	c.Flags().DurationVar(&l.duration, "duration", 10*time.Second, "how long to chat, at most 10m")
	c.Flags().Float64Var(&l.rate, "rate", 100, "messages per second in all, at most 100000; 0 for as fast as the answers come")
	c.Flags().IntVar(&l.size, "size", 80, "bytes of a message's body, at most 65536")
	c.Flags().IntVar(&l.window, "window", 4, "messages of a client under way with --rate 0")
	c.Flags().IntVar(&l.logins, "logins", 16, "logins at a time")
	return c
}

type load struct {
	t                             *transcript.Target
	out                           io.Writer
	clients, size, window, logins int
	rate                          float64
	duration                      time.Duration

	peers []*peer
	sent  atomic.Int64
	gone  atomic.Int64
	body  string
}

// peer is one client. Its times are written by its reading goroutine only.
type peer struct {
	l      *load
	c      *client.Client
	to     *peer
	credit chan struct{} // one for each message that may be sent, with rate 0
	took   []time.Duration
}

// stampLen is the length of the time at the start of each body.
const stampLen = 20

func (l *load) check(accounts int) error {
	switch {
	case accounts == 0:
		return errors.New("load needs accounts: --json or --account")
	case l.clients < 2 || l.clients > 20_000:
		return errors.New("--clients is from 2 to 20000")
	case l.duration <= 0 || l.duration > 10*time.Minute:
		return errors.New("--duration is at most 10m")
	case l.rate < 0 || l.rate > 100_000:
		return errors.New("--rate is from 0 to 100000")
	case l.size < stampLen || l.size > 65536:
		return fmt.Errorf("--size is from %d to 65536", stampLen)
	case l.window < 1 || l.window > 1000 || l.logins < 1 || l.logins > 1000:
		return errors.New("--window and --logins are from 1 to 1000")
	}
	return nil
}

func (l *load) run(ctx context.Context, accounts []transcript.Account) error {
	if err := l.check(len(accounts)); err != nil {
		return err
	}
	l.clients -= l.clients % 2
	l.body = strings.Repeat("x", l.size-stampLen)
	start := time.Now()
	err := l.login(ctx, accounts)
	defer l.close()
	if err != nil {
		return err
	}
	took := time.Since(start)
	fmt.Fprintf(l.out, "%d clients logged in within %v, %.0f/s\n", len(l.peers), took.Round(time.Millisecond), float64(len(l.peers))/took.Seconds())
	start = time.Now()
	chat, cancel := context.WithTimeout(ctx, l.duration)
	defer cancel()
	err = l.chat(chat)
	took = time.Since(start)
	time.Sleep(min(time.Second, l.duration/4)) // what is under way arrives
	l.close()
	l.report(took)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// login connects all clients, l.logins at a time.
func (l *load) login(ctx context.Context, accounts []transcript.Account) error {
	l.peers = make([]*peer, l.clients)
	for i := range l.peers {
		l.peers[i] = &peer{l: l, credit: make(chan struct{}, l.window)}
	}
	for i, p := range l.peers {
		p.to = l.peers[i^1]
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range l.logins {
		wg.Go(func() {
			for i := range next {
				if err := l.peers[i].login(ctx, accounts[i%len(accounts)], i); err != nil {
					cancel(fmt.Errorf("client %d: %w", i, err))
				}
			}
		})
	}
	for i := range l.peers {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

func (p *peer) login(ctx context.Context, a transcript.Account, i int) error {
	cfg := p.l.t.Client
	full, err := a.JID.WithResource("load-" + strconv.Itoa(i))
	if err != nil {
		return err
	}
	cfg.JID, cfg.Password, cfg.Handle = full, a.Password, p.handle
	if p.c, err = client.Dial(ctx, &cfg); err != nil {
		return err
	}
	return p.c.Send(stanza.New(stanza.Presence, stanza.TypeAvailable))
}

// handle takes the time of a message, and lets its sender send the next.
func (p *peer) handle(_ *client.Client, s *stanza.Stanza) bool {
	if s.Kind != stanza.Message {
		return false
	}
	if s.Type == stanza.TypeError {
		p.l.gone.Add(1)
		return true
	}
	if b := s.Body(); len(b) >= stampLen {
		if at, err := strconv.ParseInt(strings.TrimSpace(b[:stampLen]), 10, 64); err == nil {
			p.took = append(p.took, time.Duration(time.Now().UnixNano()-at))
			select {
			case p.to.credit <- struct{}{}:
			default:
			}
		}
	}
	return true
}

func (p *peer) send() error {
	body := fmt.Sprintf("%-*d", stampLen, time.Now().UnixNano()) + p.l.body
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", body))
	m.ID, m.To = stanza.NewID(), p.to.c.JID()
	p.l.sent.Add(1)
	return p.c.Send(m)
}

// fill gives all the credit that there is room for: a message of an earlier run, which comes late, may have given some.
func (p *peer) fill() {
	for {
		select {
		case p.credit <- struct{}{}:
		default:
			return
		}
	}
}

func (l *load) chat(ctx context.Context) error {
	if l.rate > 0 {
		return l.paced(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, p := range l.peers {
		p.fill()
		wg.Go(func() {
			for {
				select {
				case <-p.credit:
				case <-ctx.Done():
					return
				}
				if err := p.send(); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// paced sends at the rate, one client after the other.
func (l *load) paced(ctx context.Context) error {
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		for due := int(time.Since(start).Seconds() * l.rate); n < due; n++ {
			if err := l.peers[n%len(l.peers)].send(); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// close ends all sessions; after it nobody writes times any more.
func (l *load) close() {
	var wg sync.WaitGroup
	for _, p := range l.peers {
		if p == nil || p.c == nil {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := p.c.Close(ctx); err != nil {
				p.l.gone.Add(1)
			}
			<-p.c.Done()
		})
	}
	wg.Wait()
}

func (l *load) report(took time.Duration) {
	var all []time.Duration
	for _, p := range l.peers {
		all = append(all, p.took...)
	}
	slices.Sort(all)
	fmt.Fprintf(l.out, "%d messages sent, %d received, %d errors, %.0f/s\n", l.sent.Load(), len(all), l.gone.Load(), float64(len(all))/took.Seconds())
	if len(all) == 0 {
		return
	}
	at := func(q float64) time.Duration {
		return all[min(len(all)-1, int(q*float64(len(all))))].Round(10 * time.Microsecond)
	}
	fmt.Fprintf(l.out, "took: half %v, 90%% %v, 99%% %v, all %v\n", at(0.5), at(0.9), at(0.99), all[len(all)-1].Round(10*time.Microsecond))
}
