package server

import (
	"sabir/internal/config"
	"sabir/internal/resolve"
	"sabir/internal/s2s"
)

// newS2S makes what talks to other servers. It connects by the one dialler, with the DNS server of the configuration or those
// of the system.
func (s *Server) newS2S(cfg *config.Config) *s2s.Server {
	d := *s.dialer
	trust := func(server string) bool {
		return cfg.S2S.DNSSEC == "always" || cfg.S2S.DNSSEC == "loopback" && resolve.Loopback(server)
	}
	if a := cfg.S2S.Resolver; a != "" {
		d.Resolver = resolve.New(resolve.Options{Servers: []string{a}, Trust: trust(a)})
	} else if r, err := resolve.System("/etc/resolv.conf", trust); err == nil {
		d.Resolver = r
	} else {
		s.log.Warn("the DNS servers of the system are not known, so DNSSEC counts for nothing", "error", err)
	}
	return s2s.New(s2s.Options{
		DB: s.db, Log: s.log, Clock: s.o.Clock, TLS: s.certs, Dialer: &d, Roots: s.roots, Metrics: s.metrics, Trace: s.trace,
		Settings: s2s.Settings{Federation: cfg.S2S, Limits: cfg.Limits}, Default: cfg.Hosts[0].JID(),
	})
}

// Federation returns what talks to other servers.
func (s *Server) Federation() *s2s.Server { return s.s2s }
