package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"sabir/internal/config"
	"sabir/internal/disk"
	"sabir/xmpp/dial"
)

// openOutbound makes the one dialler of the server, with the policy of the configuration.
func (s *Server) openOutbound(c config.Outbound) error {
	allow, deny, err := c.Networks()
	if err != nil {
		return fmt.Errorf("outbound.%w", err)
	}
	s.dialer = &dial.Dialer{Policy: &dial.Policy{Allow: allow, Deny: deny}}
	if s.roots, err = Authorities(disk.Or(s.o.Files), c.CA); err != nil {
		return err
	}
	s.http = s.dialer.HTTPClient(&tls.Config{RootCAs: s.roots})
	return nil
}

// Authorities returns whom outbound connections trust: the authorities of the system, for which nil stands where there are no others, and
// those of a file.
func Authorities(files disk.FS, ca string) (*x509.CertPool, error) {
	if ca == "" {
		return nil, nil
	}
	pem, err := files.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("outbound.ca: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("the authorities of the system: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("outbound.ca: " + ca + " has no certificate in PEM")
	}
	return pool, nil
}
