package server

import (
	"context"
	"net"

	"sabir/internal/config"
	"sabir/internal/s2s"
)

// newS2S makes what talks to other servers. It connects by the one dialler, with the DNS server of the configuration.
func (s *Server) newS2S(cfg *config.Config) *s2s.Server {
	d := *s.dialer
	if a := cfg.S2S.Resolver; a != "" {
		d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, a)
		}}
	}
	return s2s.New(s2s.Options{
		DB: s.db, Log: s.log, Clock: s.o.Clock, TLS: s.certs, Dialer: &d, Roots: s.roots, Metrics: s.metrics,
		Settings: s2s.Settings{Federation: cfg.S2S, Limits: cfg.Limits}, Default: cfg.Hosts[0].JID(),
	})
}

// Federation returns what talks to other servers.
func (s *Server) Federation() *s2s.Server { return s.s2s }
