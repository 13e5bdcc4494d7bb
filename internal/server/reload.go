package server

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"sabir/internal/config"
	"sabir/internal/host"
	"sabir/internal/s2s"
	"sabir/xmpp/jid"
)

// Reload puts a configuration in force, as a whole or not at all, and returns what has changed. Changes marked Restart
// take effect at the next start only.
func (s *Server) Reload(ctx context.Context, now *config.Config) ([]config.Change, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	was := s.cfg.Load()
	changes := config.Diff(was, now)
	if len(changes) == 0 {
		// The files of certificates may have changed although their names have not.
		return nil, s.certs.Reload()
	}
	hosts, built, err := s.rebuild(ctx, now, changes)
	if err != nil {
		return nil, err
	}
	if err := s.certs.Set(pairs(now)); err != nil {
		stopAll(built)
		return nil, err
	}
	if err := s.auth.Configure(now.Auth, was.Insecure); err != nil {
		stopAll(built)
		if back := s.certs.Set(pairs(was)); back != nil {
			s.log.Error("the certificates before could not be put back", "error", back)
		}
		return nil, err
	}
	before := s.router.Hosts()
	for domain, h := range before {
		if hosts[domain] != h {
			h.Closing(ctx, hosts[domain])
		}
	}
	s.cfg.Store(now)
	s.router.SetHosts(hosts)
	s.c2s.Configure(streamSettings(now))
	s.s2s.Configure(s2s.Settings{Federation: now.S2S, Limits: now.Limits})
	s.limiter.Set(now.Limits.ConnectionsPerAddress, now.Limits.Connections)
	s.web.Configure(s.webOptions(now))
	s.setLevel(now.Log.Level)
	for domain, h := range before {
		if hosts[domain] == h {
			continue
		}
		if hosts[domain] == nil {
			s.c2s.CloseHost(domain)
		}
		h.Stop()
	}
	for _, c := range changes {
		s.log.Info("setting changed", "key", c.Key, "restart", c.Restart)
	}
	return changes, nil
}

// rebuild returns the hosts of a new configuration: those before, where nothing that concerns them has changed, else new
// ones, which are started.
func (s *Server) rebuild(ctx context.Context, now *config.Config, changes []config.Change) (hosts map[jid.JID]*host.Host, built []*host.Host, err error) {
	same := !slices.ContainsFunc(changes, func(c config.Change) bool { return strings.HasPrefix(c.Key, "mod.") })
	hosts = make(map[jid.JID]*host.Host)
	for i := range now.Hosts {
		c := &now.Hosts[i]
		own := "host[" + c.JID().Domain() + "]"
		touched := slices.ContainsFunc(changes, func(c config.Change) bool {
			return strings.HasPrefix(c.Key, own) && !strings.HasPrefix(c.Key, own+".limits.") // streams look these up
		})
		if old := s.router.Host(c.JID()); old != nil && same && !touched {
			hosts[c.JID()] = old
			continue
		}
		h, err := s.buildHost(now, c)
		if err == nil {
			built = append(built, h)
			err = h.Start(ctx)
		}
		if err != nil {
			stopAll(built)
			return nil, nil, err
		}
		hosts[c.JID()] = h
	}
	if err := host.Services(hosts); err != nil {
		stopAll(built)
		return nil, nil, err
	}
	return hosts, built, nil
}

func stopAll(hosts []*host.Host) {
	for _, h := range hosts {
		h.Stop()
	}
}

func (s *Server) setLevel(name string) {
	if s.o.Level == nil {
		return
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		s.log.Error("the level of the log is unknown", "level", name)
		return
	}
	s.o.Level.Set(l)
}
