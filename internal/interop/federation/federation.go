// Package federation owns two servers, processes of their own, whose users write to one another, and the book that tells what has become of
// each message: what was accepted is delivered or comes back, and never both (reliability, section 3). Tests kill a server, cut the network or stop
// the clock of one, and then ask for the Report.
package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"sabir/internal/interop"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
)

// Options say what two servers are like.
type Options struct {
	// Users is how many each has. The first of one writes to the first of the other, and so on.
	Users int
	// Databases are the URLs of either side's; "" for SQLite in its folder.
	Databases [2]string
	// S2S are lines of the section [s2s] of both.
	S2S string
	// Host is the address at which both wait for the other, and Reached the one by which they find each other, which may lead through
	// something that fails. "" is loopback for both.
	Host, Reached string
	// Burst is how many messages a user writes before it asks whether they were accepted, and Pause how long it rests then.
	Burst int
	Pause time.Duration
}

// Pair is two servers that prove themselves to one another by certificate.
type Pair struct {
	Sides [2]*Side
	o     Options
}

// Side is one of two servers, run after run, with the users that it has.
type Side struct {
	*interop.Local
	Domain string
	Users  []*User

	o    interop.Options
	keys *sasl.KeyCache
}

// New starts two servers in folders below dir, has each know where the other is, and logs their users in. It leaves nothing running where it
// returns an error.
func New(ctx context.Context, dir string, o Options) (*Pair, error) {
	p := &Pair{o: o}
	keys := sasl.NewKeyCache(2 * o.Users)
	err := func() error {
		for i, domain := range []string{"one.test", "two.test"} {
			s := &Side{Domain: domain, keys: keys, o: interop.Options{Dir: filepath.Join(dir, domain), Within: time.Minute,
				Args: []string{"--domain", domain, "--accounts", strconv.Itoa(o.Users), "--password", "first", "--scram-iterations", "4096"}}}
			if o.Databases[i] != "" {
				s.o.Args = append(s.o.Args, "--database", o.Databases[i])
			}
			if err := os.Mkdir(s.o.Dir, 0o700); err != nil {
				return err
			}
			p.Sides[i] = s
			if err := s.Start(); err != nil {
				return err
			}
		}
		for i, s := range p.Sides {
			other := p.Sides[1-i]
			for k, a := range s.Accounts {
				s.Users = append(s.Users, newUser(a, jid.MustParse(other.Accounts[k].JID)))
			}
			if err := p.introduce(s, other); err != nil {
				return err
			}
		}
		for _, s := range p.Sides {
			if err := errors.Join(s.Stop(), s.Start()); err != nil {
				return err
			}
		}
		return p.Login(ctx)
	}()
	if err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

// Start starts the server, with the data and on the ports that it has had before.
func (s *Side) Start() (err error) {
	if s.Local, err = interop.Start(context.Background(), s.o); err != nil {
		return err
	}
	s.o.PortOffset, s.o.Args = s.PortOffset, nil
	return nil
}

// Login logs the users in, anew where they were.
func (s *Side) Login(ctx context.Context) error {
	for _, u := range s.Users {
		cfg, err := s.ClientConfig(u.account)
		if err != nil {
			return err
		}
		cfg.Keys, cfg.Handle = s.keys, u.handle
		if err := u.login(ctx, cfg); err != nil {
			return err
		}
	}
	return nil
}

// introduce writes into the configuration of a server where the other is, and that its authority is to be trusted.
func (p *Pair) introduce(s, other *Side) error {
	path := filepath.Join(s.o.Dir, "sabir.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	trusted := filepath.Join(s.o.Dir, "trusted.pem")
	var bundle []byte
	for _, l := range []*Side{s, other} {
		pem, err := os.ReadFile(l.CAFile)
		if err != nil {
			return err
		}
		bundle = append(bundle, pem...)
	}
	if err := os.WriteFile(trusted, bundle, 0o600); err != nil {
		return err
	}
	ours, theirs := s.Addresses["s2s"], other.Addresses["s2s"]
	host, reached := p.o.Host, p.o.Reached
	if host == "" {
		host, reached = "127.0.0.1", "127.0.0.1"
	}
	_, port, err := net.SplitHostPort(theirs)
	if err != nil {
		return err
	}
	_, own, err := net.SplitHostPort(ours)
	if err != nil {
		return err
	}
	now := string(text)
	for _, change := range [][2]string{
		{fmt.Sprintf("address = %q", ours), fmt.Sprintf("address = %q", net.JoinHostPort(host, own))},
		{`allow = ["127.0.0.0/8", "::1"]`, fmt.Sprintf(`allow = ["127.0.0.0/8", "::1", %q]`, reached)},
		{fmt.Sprintf("ca = %q", s.CAFile), fmt.Sprintf("ca = %q", trusted)},
	} {
		if !strings.Contains(now, change[0]) {
			return fmt.Errorf("%s has no %s", path, change[0])
		}
		now = strings.Replace(now, change[0], change[1], 1)
	}
	now += fmt.Sprintf("\n[s2s]\n%s\n[[s2s.domain]]\ndomain = %q\naddress = [%q]\n", p.o.S2S, other.Domain, net.JoinHostPort(reached, port))
	return os.WriteFile(path, []byte(now), 0o600)
}

// Login logs all users in.
func (p *Pair) Login(ctx context.Context) error {
	return errors.Join(p.Sides[0].Login(ctx), p.Sides[1].Login(ctx))
}

// Write has all users write to one another until stop is called, which waits for them. Whose connection breaks stops before.
func (p *Pair) Write(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, s := range p.Sides {
		for _, u := range s.Users {
			all.Go(func() { u.write(ctx, p.o.Burst, p.o.Pause) })
		}
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// Stop stops both servers in order.
func (p *Pair) Stop() error { return p.each((*interop.Local).Stop) }

// Kill ends both without a word.
func (p *Pair) Kill() error { return p.each((*interop.Local).Kill) }

func (p *Pair) each(f func(*interop.Local) error) error {
	var errs []error
	for _, s := range p.Sides {
		if s == nil || s.Local == nil {
			continue
		}
		for _, u := range s.Users {
			errs = append(errs, u.abort())
		}
		errs = append(errs, f(s.Local))
	}
	return errors.Join(errs...)
}

// Report is what has become of the messages that were accepted.
type Report struct {
	Accepted, Delivered int
	// Bounced counts those that came back, by type and condition of the error.
	Bounced map[string]int
	// Lost are neither delivered nor back; Both are both; Twice came more than once; Disordered came behind a later one of their sender.
	Lost, Both, Twice, Disordered []string
}

// Bad tells whether a promise is broken. That messages come twice is none: see docs/durability.md.
func (r *Report) Bad() bool { return len(r.Lost)+len(r.Both) > 0 }

// Returned is how many came back.
func (r *Report) Returned() (n int) {
	for _, k := range r.Bounced {
		n += k
	}
	return n
}

func (r *Report) String() string {
	text := fmt.Sprintf("%d accepted, %d delivered, %d back %v; lost %d, both %d, twice %d, disordered %d", r.Accepted, r.Delivered, r.Returned(), r.Bounced, len(r.Lost), len(r.Both), len(r.Twice), len(r.Disordered))
	for what, ids := range map[string][]string{"lost": r.Lost, "both": r.Both, "twice": r.Twice, "disordered": r.Disordered} {
		if len(ids) > 0 {
			text += fmt.Sprintf("; %s: %s", what, strings.Join(ids[:min(len(ids), 5)], ", "))
		}
	}
	return text
}

// Settle waits until all that was accepted is somewhere, at most so long, and tells what has become of it.
func (p *Pair) Settle(within time.Duration) *Report {
	for deadline := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		if r := p.report(); len(r.Lost) == 0 || time.Now().After(deadline) {
			return r
		}
	}
}

func (p *Pair) report() *Report {
	r := &Report{Bounced: make(map[string]int)}
	for i, s := range p.Sides {
		for k, u := range s.Users {
			u.tell(r, p.Sides[1-i].Users[k])
		}
	}
	return r
}

// tell adds what has become of the messages of a user.
func (u *User) tell(r *Report, to *User) {
	u.mu.Lock()
	accepted := u.accepted[:len(u.accepted):len(u.accepted)]
	bounced := make(map[string]string, len(u.bounced))
	for id, why := range u.bounced {
		bounced[id] = why
	}
	u.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	for _, id := range accepted {
		r.Accepted++
		n, why := to.delivered[id], bounced[id]
		switch {
		case n == 0 && why == "":
			r.Lost = append(r.Lost, id)
		case n > 0 && why != "":
			r.Both = append(r.Both, id)
		case why != "":
			r.Bounced[why]++
		}
		if n > 0 {
			r.Delivered++
		}
		if n > 1 {
			r.Twice = append(r.Twice, id)
		}
	}
	r.Disordered = append(r.Disordered, to.disordered...)
}

// handle notes what comes for a user.
func (u *User) handle(_ *client.Client, s *stanza.Stanza) bool {
	if s.Kind != stanza.Message {
		return s.Kind != stanza.IQ
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.Type == stanza.TypeError {
		u.bounced[s.ID] = "unknown"
		if e := s.Err(); e != nil {
			u.bounced[s.ID] = fmt.Sprintf("%s %s", e.Type, e.Condition)
		}
		return true
	}
	if s.Body() == "" {
		return true
	}
	if u.delivered[s.ID]++; u.delivered[s.ID] > 1 {
		return true
	}
	if n, err := strconv.Atoi(s.ID[strings.LastIndexByte(s.ID, '/')+1:]); err == nil {
		if n < u.last {
			u.disordered = append(u.disordered, s.ID)
		}
		u.last = max(u.last, n)
	}
	return true
}
