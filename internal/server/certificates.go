package server

import (
	"context"
	"slices"
	"time"

	"sabir/internal/config"
	"sabir/internal/listen"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// openCertificates reads the certificates of the hosts, and has them told of.
func (s *Server) openCertificates(cfg *config.Config) error {
	s.certs = listen.NewCertificates(listen.CertificateOptions{
		Files: s.o.Files, Log: s.log, AskClients: cfg.Auth.ClientCA != "", Now: s.o.Clock.Now, Alert: s.alertAdmins,
	})
	s.metrics.CertificatesFunc(func(tell func(string, time.Time, bool)) {
		for _, c := range s.certs.List() {
			tell(c.Domain, c.NotAfter, c.Refused != "")
		}
	})
	return s.certs.Set(pairs(cfg))
}

func pairs(cfg *config.Config) []listen.Pair {
	var out []listen.Pair
	for i := range cfg.Hosts {
		h := &cfg.Hosts[i]
		out = append(out, listen.Pair{Domain: h.JID().Domain(), Certificate: h.Certificate, Key: h.Key})
	}
	return out
}

// alertTimeout bounds the delivery of one alert.
const alertTimeout = 10 * time.Second

// alertAdmins writes to those who administer a host: they need not read the log to learn what only they can mend.
func (s *Server) alertAdmins(domain, text string) {
	cfg := s.cfg.Load()
	h := cfg.Host(domain)
	if h == nil {
		return // it was taken out of the configuration meanwhile
	}
	ctx, cancel := context.WithTimeout(context.Background(), alertTimeout)
	defer cancel()
	all := append(slices.Clone(h.AdminJIDs()), cfg.AdminJIDs()...)
	slices.SortFunc(all, jid.JID.Compare)
	for _, to := range slices.Compact(all) {
		m := stanza.New(stanza.Message, stanza.TypeNormal,
			xmlstream.El(stanza.NSClient, "subject", "Certificate of "+domain), xmlstream.El(stanza.NSClient, "body", text))
		m.ID, m.From, m.To = stanza.NewID(), h.JID(), to
		s.router.Route(ctx, m)
	}
}
