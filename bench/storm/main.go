// Command storm restarts a Sabir to which many clients are connected and has all of them come back at once, by the tokens that
// they were given (XEP-0484). It prints how long it takes until the last one is back, and what somebody who was there before
// them sees of it.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sabir/bench/load"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

const password = "bench-password"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

// storm is one run.
type storm struct {
	n      int
	server *load.Running
	cfgs   []*client.Config
	wait   time.Duration // the first pause after a failed try
}

func run() (err error) {
	n := flag.Int("n", 10_000, "`clients`")
	sabir := flag.String("sabir", "bin/sabir", "Sabir's `command`, further arguments for \"sabir local\" after it")
	port := flag.Int("port", 15222, "first `port` to use, on loopback")
	within := flag.Duration("within", time.Minute, "fail where it takes longer")
	pause := flag.Duration("pause", time.Second, "first `pause` of a client after a failed try; it doubles, and half of it is random")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur < uint64(*n)+200 {
		return fmt.Errorf("%d clients need as many descriptors in each of two processes, and there are %d: raise ulimit -n", *n, limit.Cur)
	}
	dir, err := os.MkdirTemp("", "storm-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	servers := load.Servers("", "", strings.Fields(*sabir))
	i := slices.IndexFunc(servers, func(s load.Server) bool { return s.Name == "sabir" })
	setup := load.Setup{Dir: dir, Port: *port, Accounts: *n + 1, Password: password, Archive: true}
	s := &storm{n: *n, wait: *pause}
	start := time.Now()
	if s.server, err = servers[i].Start(ctx, setup); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.server.Stop()) }()
	fmt.Printf("%d accounts after %v\n", *n+1, since(start))
	s.configure()
	start = time.Now()
	if err := s.first(ctx); err != nil {
		return err
	}
	fmt.Printf("first logins, by password: %v\n", since(start))
	if err := s.server.Stop(); err != nil {
		return err
	}
	if s.server, err = servers[i].Start(ctx, setup); err != nil {
		return err
	}
	return s.all(ctx, *within)
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

// configure makes the clients. The last is the one that watches.
func (s *storm) configure() {
	keys := sasl.NewKeyCache(16)
	for i := range s.n + 1 {
		s.cfgs = append(s.cfgs, &client.Config{
			JID: jid.MustParse(s.server.Bare(i)), Password: password, Via: client.STARTTLS, Address: s.server.Addr,
			TLS: &tls.Config{InsecureSkipVerify: true}, Keys: keys, Timeout: 30 * time.Second, Buffer: 1,
			Mechanisms: []string{sasl.ScramSHA256Plus, sasl.ScramSHA256},
			Login:      &client.Login{ID: uuid(), Software: "storm", Pipeline: true},
		})
	}
}

// jitter returns about d, half of which is random.
func jitter(d time.Duration) time.Duration {
	var b [2]byte
	rand.Read(b[:]) // never fails
	return d/2 + time.Duration(uint64(d)*uint64(binary.LittleEndian.Uint16(b[:]))>>16)
}

func uuid() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// first gives each client its token, a few at a time. All stay connected.
func (s *storm) first(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan *client.Config)
	var workers sync.WaitGroup
	for range 20 {
		workers.Go(func() {
			for cfg := range next {
				if _, err := client.Dial(ctx, cfg); err != nil {
					cancel(fmt.Errorf("%s: %w", cfg.JID, err))
				} else if cfg.Login.Token == "" {
					cancel(fmt.Errorf("%s got no token", cfg.JID))
				}
				cfg.Password = "" // from now on it is the token or nothing
			}
		})
	}
	for _, cfg := range s.cfgs {
		select {
		case next <- cfg:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// all has all clients come at once, and one that is there already ping the server meanwhile.
func (s *storm) all(ctx context.Context, within time.Duration) error {
	watcher, err := client.Dial(ctx, s.cfgs[s.n])
	if err != nil {
		return fmt.Errorf("the one that watches: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, within+time.Minute)
	defer cancel()
	var tries atomic.Int64
	back := make([]time.Duration, s.n)
	start := time.Now()
	var clients sync.WaitGroup
	for i, cfg := range s.cfgs[:s.n] {
		clients.Go(func() {
			for pause := s.wait; ctx.Err() == nil; pause = min(2*pause, 10*time.Second) {
				tries.Add(1)
				if _, err := client.Dial(ctx, cfg); err == nil {
					back[i] = time.Since(start)
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(jitter(pause)):
				}
			}
		})
	}
	in := make(chan struct{})
	go func() { clients.Wait(); close(in) }()
	var pings []time.Duration
	for waiting := true; waiting; {
		at := time.Now()
		if err := watcher.Ping(ctx, jid.JID{}); err != nil {
			return fmt.Errorf("the server does not answer who was there: %w", err)
		}
		pings = append(pings, time.Since(at))
		select {
		case <-in:
			waiting = false
		case <-time.After(100 * time.Millisecond):
		}
	}
	return s.report(back, pings, tries.Load(), within)
}

func (s *storm) report(back, pings []time.Duration, tries int64, within time.Duration) error {
	missing := 0
	for _, d := range back {
		if d == 0 {
			missing++
		}
	}
	slices.Sort(back)
	slices.Sort(pings)
	at := func(all []time.Duration, part float64) time.Duration {
		return all[int(part*float64(len(all)-1))].Round(time.Millisecond)
	}
	fmt.Printf("back by token, all at once: half of %d after %v, 99 of 100 after %v, the last after %v; %d tries\n",
		s.n, at(back, 0.5), at(back, 0.99), at(back, 1), tries)
	fmt.Printf("pings of one who was there: median %v, 99 of 100 within %v, the slowest %v (%d pings)\n", at(pings, 0.5), at(pings, 0.99), at(pings, 1), len(pings))
	if missing > 0 || back[len(back)-1] > within {
		return fmt.Errorf("%d are missing; all must be back within %v", missing, within)
	}
	return nil
}
