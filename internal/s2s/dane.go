package s2s

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
)

// The usages of TLSA records (RFC 7218 §2.1).
const (
	pkixTA = 0
	pkixEE = 1
	daneTA = 2
	daneEE = 3
)

// usable returns the records that can be understood (RFC 7671 §4).
func usable(records []dial.TLSA) []dial.TLSA {
	return slices.DeleteFunc(slices.Clone(records), func(r dial.TLSA) bool {
		return r.Usage > daneEE || r.Selector > 1 || r.Matching > 2 || len(r.Data) == 0
	})
}

// errTLSA says that a server does not show what DNSSEC says that it shows.
var errTLSA = errors.New("the certificate is none of those that the TLSA records of its host name")

// dane checks what a server shows against the TLSA records of its host, of which one must fit (RFC 7671 §5). domain is the
// one that it is to serve, host that which validated SRV records have named for it.
func (p *policy) dane(records []dial.TLSA, state *tls.ConnectionState, domain, host string, now time.Time) error {
	if err := p.revoked(state.PeerCertificates); err != nil {
		return err
	}
	err := errTLSA
	for _, r := range records {
		var bad error
		switch r.Usage {
		case daneEE: // RFC 7671 §5.1: neither the names nor the dates of the certificate matter
			bad = fits(r, state.PeerCertificates[:1])
		case daneTA:
			bad = p.daneTA(r, state, domain, host, now)
		case pkixTA, pkixEE: // RFC 7671 §5.3, §5.4: beside what holds for everybody
			if bad = p.verify(state, domain, now, x509.ExtKeyUsageServerAuth); bad == nil && r.Usage == pkixEE {
				bad = fits(r, state.PeerCertificates[:1])
			} else if bad == nil {
				bad = fits(r, slices.Concat(p.paths(state, now)...))
			}
		}
		if bad == nil {
			return nil
		}
		if !errors.Is(bad, errTLSA) {
			err = bad // it says more
		}
	}
	return err
}

// fits tells whether a record is of one of the certificates (RFC 6698 §2.1.2, §2.1.3).
func fits(r dial.TLSA, certs []*x509.Certificate) error {
	for _, c := range certs {
		b := c.Raw
		if r.Selector == 1 {
			b = c.RawSubjectPublicKeyInfo
		}
		switch r.Matching {
		case 1:
			h := sha256.Sum256(b)
			b = h[:]
		case 2:
			h := sha512.Sum512(b)
			b = h[:]
		}
		if bytes.Equal(b, r.Data) {
			return nil
		}
	}
	return errTLSA
}

// daneTA checks a chain that ends in an authority of the record (RFC 7671 §5.2).
func (p *policy) daneTA(r dial.TLSA, state *tls.ConnectionState, domain, host string, now time.Time) error {
	leaf, roots := state.PeerCertificates[0], x509.NewCertPool()
	found := false
	for _, c := range state.PeerCertificates[1:] {
		if fits(r, []*x509.Certificate{c}) == nil {
			roots.AddCert(c)
			found = true
		}
	}
	if r.Selector == 0 && r.Matching == 0 { // the record is the authority itself, which need not be sent
		if c, err := x509.ParseCertificate(r.Data); err == nil {
			roots.AddCert(c)
			found = true
		}
	}
	if !found {
		return errTLSA
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between(state), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return certname.Explain(err, state.PeerCertificates, now)
	}
	// RFC 7673 §4.2: the validated host is as good a name as the domain.
	if !certname.Certifies(leaf, domain) && leaf.VerifyHostname(host) != nil {
		return fmt.Errorf("the certificate is for neither %s nor %s, but for %s", domain, host, namesOf(leaf))
	}
	return nil
}

// between are the certificates that a peer has sent behind its own.
func between(state *tls.ConnectionState) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		pool.AddCert(c)
	}
	return pool
}

// paths are the ways from what a server shows to the authorities that are trusted, without its own certificate.
func (p *policy) paths(state *tls.ConnectionState, now time.Time) [][]*x509.Certificate {
	chains, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: p.roots, Intermediates: between(state), CurrentTime: now})
	if err != nil {
		return nil
	}
	for i := range chains {
		chains[i] = chains[i][1:]
	}
	return chains
}
