package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sabir/xmpp/certname"
)

// namesOf lists for whom a certificate is, for people.
func namesOf(cert *x509.Certificate) string {
	names := slices.Clone(cert.DNSNames)
	for _, n := range certname.OtherNames(cert) {
		names = append(names, n.Value)
	}
	if len(names) == 0 {
		return "nobody: it has no subject alternative name of use here"
	}
	return strings.Join(names, ", ")
}

// errNoCertificate says that the peer has shown no certificate.
var errNoCertificate = errors.New("it has shown no certificate")

// verify checks that the certificate of a connection proves a domain, by the rule for that domain. usage says in which
// role it was shown. The error names what is wrong with it.
func (p *policy) verify(state *tls.ConnectionState, domain string, now time.Time, usage ...x509.ExtKeyUsage) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return errNoCertificate
	}
	chain := state.PeerCertificates
	if err := p.revoked(chain); err != nil {
		return err
	}
	leaf := chain[0]
	if r := p.rule(domain); r.auth == authPin {
		if slices.Contains(r.pins, certname.Fingerprint(leaf)) {
			return nil
		}
		return fmt.Errorf("the certificate %s is not pinned", certname.Fingerprint(leaf))
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: p.roots, Intermediates: between(state), CurrentTime: now, KeyUsages: usage})
	if err != nil {
		return certname.Explain(err, chain, now)
	}
	if !certname.Certifies(leaf, domain) {
		return fmt.Errorf("the certificate is not for %s, but for %s", domain, namesOf(leaf))
	}
	return nil
}

// revoked tells whether one of the certificates is refused wherever it stands.
func (p *policy) revoked(chain []*x509.Certificate) error {
	for _, c := range chain {
		if slices.Contains(p.set.Revoked, certname.Fingerprint(c)) {
			return fmt.Errorf("the certificate %s… is revoked by s2s.revoked", certname.Fingerprint(c)[:16])
		}
	}
	return nil
}
