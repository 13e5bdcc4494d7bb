package server

import (
	"context"
	"slices"
	"strings"

	"sabir/internal/admin"
	"sabir/internal/auth"
	"sabir/internal/config"
	"sabir/internal/listen"
	"sabir/internal/observe"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Backend returns the server as the commands see it.
func (s *Server) Backend() admin.Backend { return backend{s} }

// Registry returns all commands, those of the extensions that may be enabled included.
func (s *Server) Registry() *admin.Registry { return admin.New(s.o.Extensions) }

type backend struct{ *Server }

var _ admin.Backend = backend{}

func (b backend) Credentials(domain jid.JID) *auth.Host {
	if b.Accounts(domain) == nil {
		return nil
	}
	return b.auth.Accounts(domain)
}

func (b backend) Import(ctx context.Context, csv string, o auth.ImportOptions) (auth.ImportResult, error) {
	c := b.Config()
	for i := range c.Hosts { // so that an import can tell them from others
		b.auth.Accounts(c.Hosts[i].JID())
	}
	return b.auth.Import(ctx, strings.NewReader(csv), o)
}

func (b backend) Sessions(bare jid.JID) []mod.Session {
	var list []mod.Session
	for _, s := range b.Server.Sessions() {
		if bare.IsZero() || s.JID().Bare() == bare {
			list = append(list, s)
		}
	}
	return list
}

// Reload reads the file again from which the configuration came.
func (b backend) Reload(ctx context.Context) ([]config.Change, error) {
	now, err := config.LoadFS(b.o.Files, b.Config().Path(), Sections(b.o.Extensions))
	if err != nil {
		return nil, err
	}
	return b.Server.Reload(ctx, now)
}

func (b backend) Stop() {
	if b.o.Stop != nil {
		b.o.Stop()
	}
}

func (b backend) Health(ctx context.Context) observe.Report { return b.health.Report(ctx) }

func (b backend) Certificates() []listen.CertificateStatus { return b.certs.List() }

func (b backend) Roster(domain jid.JID) mod.Roster {
	if h := b.router.Host(domain); h != nil {
		return h.Roster()
	}
	return nil
}

func (b backend) Commands(domain jid.JID) (jid.JID, []mod.Command, error) {
	hosts := b.router.Hosts()
	for d, h := range hosts {
		if d == domain || domain.IsZero() && len(hosts) == 1 {
			return d, h.ExtensionCommands(), nil
		}
		for _, v := range h.Services() {
			if v.Domain == domain {
				return d, h.ExtensionCommands(), nil
			}
		}
	}
	if domain.IsZero() {
		return domain, nil, stanza.Err(stanza.BadRequest, "there are several hosts: name one")
	}
	return domain, nil, stanza.Errf(stanza.ItemNotFound, "there is no host %s in the configuration", domain)
}

// right tells what somebody, by bare JID, may do with a host.
func (s *Server) right(host, who jid.JID) mod.Right {
	cfg := s.cfg.Load()
	h := cfg.Host(host.Domain())
	switch {
	case slices.Contains(cfg.AdminJIDs(), who):
		return mod.ServerAdmin
	case h != nil && slices.Contains(h.AdminJIDs(), who):
		return mod.HostAdmin
	case who.DomainJID() == host:
		return mod.User
	}
	return mod.Stranger
}
