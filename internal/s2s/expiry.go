package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"sabir/xmpp/stream"
)

// lasts returns until when a certificate proves a domain, with those on which it depends (RFC 6120 §13.7.2.3): the end of the chain that
// holds longest. The zero time stands for always: it does not go by its dates, or proves nothing, so that a key of dialback did.
func (p *policy) lasts(state *tls.ConnectionState, domain string, now time.Time) (until time.Time) {
	if state == nil || len(state.PeerCertificates) == 0 || p.rule(domain).auth == authPin {
		return until
	}
	chains, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: p.roots, Intermediates: between(state), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return until
	}
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(until) {
			until = end
		}
	}
	return until
}

// endExpired ends the streams whose peers have shown certificates that have expired since. Who has a new one opens another.
func (s *Server) endExpired(now time.Time) {
	over := func(until time.Time) bool { return !until.IsZero() && now.After(until) }
	reset := func(domain string, until time.Time) *stream.Error {
		s.o.Log.Info("a stream ends with the certificate of the other server", "domain", domain, "until", until)
		return stream.Err(stream.Reset, "your certificate has expired")
	}
	for _, c := range s.inStreams() {
		if until := c.until.Load(); until != nil && over(*until) {
			c.end(reset(c.remote.Load().Domain(), *until))
		}
	}
	for _, snd := range s.allSenders() {
		snd.mu.Lock()
		o, ours := snd.c.(*outStream)
		snd.mu.Unlock()
		if ours && over(o.until) {
			o.end(reset(snd.remote.Domain(), o.until))
		}
	}
}
