package s2s

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
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

// fingerprint returns the SHA-256 of a certificate in hex.
func fingerprint(cert *x509.Certificate) string {
	h := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(h[:])
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
		if slices.Contains(r.pins, fingerprint(leaf)) {
			return nil
		}
		return fmt.Errorf("the certificate %s is not pinned", fingerprint(leaf))
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: p.roots, Intermediates: between(state), CurrentTime: now, KeyUsages: usage})
	if err != nil {
		return explain(err, chain, now)
	}
	if !certname.Certifies(leaf, domain) {
		return fmt.Errorf("the certificate is not for %s, but for %s", domain, namesOf(leaf))
	}
	return nil
}

// revoked tells whether one of the certificates is refused wherever it stands.
func (p *policy) revoked(chain []*x509.Certificate) error {
	for _, c := range chain {
		if slices.Contains(p.set.Revoked, fingerprint(c)) {
			return fmt.Errorf("the certificate %s… is revoked by s2s.revoked", fingerprint(c)[:16])
		}
	}
	return nil
}

// explain names what is wrong with a chain.
func explain(err error, chain []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate has expired on %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case errors.As(err, &unknown) && leaf.CheckSignatureFrom(leaf) == nil:
		return errors.New("the certificate is self-signed")
	case errors.As(err, &unknown) && string(leaf.RawIssuer) == string(leaf.RawSubject):
		return errors.New("the certificate is self-signed")
	case errors.As(err, &unknown) && len(chain) == 1:
		return fmt.Errorf("the certificate is of an unknown authority (%s), or the chain to it was not sent", leaf.Issuer)
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate is of an unknown authority (%s)", chain[len(chain)-1].Issuer)
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return errors.New("the certificate is not for servers (extended key usage)")
	}
	return err
}
