package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sabir/internal/admin"
	"sabir/internal/auth"
	"sabir/internal/config"
	"sabir/internal/db"
	"sabir/internal/listen"
	"sabir/internal/observe"
	"sabir/internal/s2s"
	"sabir/internal/server"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// knowHosts makes all hosts known to the accounts, so that an import can tell them from others.
func knowHosts(a *auth.Auth, c *config.Config) {
	for i := range c.Hosts {
		a.Accounts(c.Hosts[i].JID())
	}
}

// stopped is a server that does not run: its accounts can be kept all the same.
type stopped struct {
	cfg  *config.Config
	db   db.DB
	auth *auth.Auth
}

var _ admin.Backend = (*stopped)(nil)

// openStopped opens the accounts of a configuration.
func openStopped(ctx context.Context, cfg *config.Config) (*stopped, error) {
	d, err := db.Open(ctx, cfg.Database.URL.Reveal(), db.Options{})
	if err != nil {
		return nil, err
	}
	b := &stopped{cfg: cfg, db: d}
	if err = db.Migrate(ctx, d, "auth", auth.Schema); err == nil {
		b.auth, err = auth.New(ctx, d, auth.Options{Config: cfg.Auth, Clock: observe.SystemClock{}, Metrics: observe.NewMetrics()})
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	knowHosts(b.auth, cfg)
	return b, nil
}

func (b *stopped) Config() *config.Config { return b.cfg }

func (b *stopped) Credentials(domain jid.JID) *auth.Host {
	if b.cfg.Host(domain.Domain()) == nil {
		return nil
	}
	return b.auth.Accounts(domain)
}

func (b *stopped) Accounts(domain jid.JID) mod.Accounts {
	if h := b.Credentials(domain); h != nil {
		return &stoppedAccounts{h, b, domain}
	}
	return nil
}

func (b *stopped) Import(ctx context.Context, csv string, o auth.ImportOptions) (auth.ImportResult, error) {
	return b.auth.Import(ctx, strings.NewReader(csv), o)
}

func (b *stopped) Sessions(jid.JID) []mod.Session { return nil }

func (b *stopped) Reload(context.Context) ([]config.Change, error) {
	return nil, admin.ErrNotRunning
}

func (b *stopped) Stop() {}

func (b *stopped) Trace(context.Context, string) (admin.Trace, error) {
	return admin.Trace{}, admin.ErrNotRunning
}

func (b *stopped) Federation() *s2s.Server { return nil }

func (b *stopped) Certificates() []listen.CertificateStatus { return nil }

func (b *stopped) Commands(jid.JID) (jid.JID, []mod.Command, error) {
	return jid.JID{}, nil, admin.ErrNotRunning
}

func (b *stopped) Route(context.Context, *stanza.Stanza) {}

func (b *stopped) Roster(jid.JID) mod.Roster { return nil }

func (b *stopped) Health(context.Context) observe.Report {
	return observe.Report{Reason: admin.ErrNotRunning.Error()}
}

// stoppedAccounts are the accounts of one host of a server that does not run.
type stoppedAccounts struct {
	*auth.Host
	b      *stopped
	domain jid.JID
}

// Delete removes an account with all that the extensions keep of it. They are part of a server, so one is built, without sockets.
func (a *stoppedAccounts) Delete(ctx context.Context, local string, done ...func()) error {
	cfg := *a.b.cfg
	cfg.Listen = nil
	if err := a.b.db.Close(); err != nil {
		return err
	}
	s, err := server.New(ctx, &cfg, server.Options{})
	if err != nil {
		return fmt.Errorf("building a server to remove the account: %w", err)
	}
	err = s.Accounts(a.domain).Delete(ctx, local, done...)
	over, cancel := context.WithCancel(ctx)
	cancel()
	return errors.Join(err, s.Serve(over)) // which closes what New has opened
}
