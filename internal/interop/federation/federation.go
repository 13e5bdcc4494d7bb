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
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// Options say what two servers are like.
type Options struct {
	// Users is how many each has. The first of one writes to the first of the other, and so on.
	Users int
	// Databases are the URLs of either side's; "" for SQLite in its folder.
	Databases [2]string
	// Dialback has them prove themselves by dialback over TLS, on streams that go one way. Else they do it by certificate, and streams go both.
	Dialback bool
	// S2S are lines of the section [s2s] of both.
	S2S string
	// Host is the address at which both wait for the other, and Reached the one by which they find each other, which may lead through
	// something that fails. "" is loopback for both.
	Host, Reached string
	// Burst is how many messages a user writes before it asks whether they were accepted, and Pause how long it rests then.
	Burst int
	Pause time.Duration
}

// Pair is two servers that know and trust one another.
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

// introduce writes into the configuration of a server where the other is, and whom to trust.
func (p *Pair) introduce(s, other *Side) error {
	path := filepath.Join(s.o.Dir, "sabir.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	host, reached := p.o.Host, p.o.Reached
	if host == "" {
		host, reached = "127.0.0.1", "127.0.0.1"
	}
	ours := s.Addresses["s2s"]
	_, own, err := net.SplitHostPort(ours)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(other.Addresses["s2s"])
	if err != nil {
		return err
	}
	changes := [][2]string{
		{fmt.Sprintf("address = %q", ours), fmt.Sprintf("address = %q", net.JoinHostPort(host, own))},
		{`allow = ["127.0.0.0/8", "::1"]`, fmt.Sprintf(`allow = ["127.0.0.0/8", "::1", %q]`, reached)},
	}
	auth := "dialback"
	if !p.o.Dialback {
		auth = "certificate"
		trusted, err := s.trust(other)
		if err != nil {
			return err
		}
		changes = append(changes, [2]string{fmt.Sprintf("ca = %q", s.CAFile), fmt.Sprintf("ca = %q", trusted)})
	}
	now := string(text)
	for _, c := range changes {
		if !strings.Contains(now, c[0]) {
			return fmt.Errorf("%s has no %s", path, c[0])
		}
		now = strings.Replace(now, c[0], c[1], 1)
	}
	now += fmt.Sprintf("\n[s2s]\nauth = %q\n%s\n[[s2s.domain]]\ndomain = %q\naddress = [%q]\n", auth, p.o.S2S, other.Domain, net.JoinHostPort(reached, port))
	return os.WriteFile(path, []byte(now), 0o600)
}

// trust writes the authorities of both into a file.
func (s *Side) trust(other *Side) (file string, err error) {
	file = filepath.Join(s.o.Dir, "trusted.pem")
	var bundle []byte
	for _, l := range []*Side{s, other} {
		pem, err := os.ReadFile(l.CAFile)
		if err != nil {
			return "", err
		}
		bundle = append(bundle, pem...)
	}
	return file, os.WriteFile(file, bundle, 0o600)
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
