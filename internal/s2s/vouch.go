package s2s

import (
	"context"
	"crypto/tls"
	"time"

	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
)

// vouchTime bounds how long DNS is asked about the certificate of a stranger, and maxVouchers about how many of the hosts that it names.
const (
	vouchTime   = 5 * time.Second
	maxVouchers = 4
)

// vouched tells whether TLSA records that DNSSEC has validated name what a server shows that connects to us, of which no authority vouches (RFC 7712):
// those of the hosts that serve the domain, as where we connect to one of them (RFC 7673). Asking takes one of the places in which keys of
// dialback are checked, so that strangers have us ask no more than that.
func (s *Server) vouched(state *tls.ConnectionState, remote jid.JID) bool {
	pol, domain := s.policy.Load(), remote.Domain()
	if r := pol.rule(domain); r.auth == authPin || len(r.address) > 0 || oneLabel(domain) || !s.o.Dialer.Validates() {
		return false
	}
	select {
	case s.checks <- struct{}{}:
		defer func() { <-s.checks }()
	default:
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, vouchTime)
	defer cancel()
	targets, err := s.o.Dialer.Lookup(ctx, dial.Server(), certname.ASCII(domain))
	asked := 0
	for _, t := range targets {
		if !t.Secure {
			continue
		}
		if asked++; asked > maxVouchers {
			break
		}
		var records []dial.TLSA
		if records, err = s.o.Dialer.TLSA(ctx, t); err != nil {
			break
		}
		if records = usable(records); len(records) > 0 && pol.dane(records, state, domain, t.Host, s.o.Clock.Now()) == nil {
			return true
		}
	}
	if err != nil {
		s.o.Log.Debug("whether DNS vouches for a certificate is not known", "domain", domain, "error", err)
	}
	return false
}
