package s2s

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"sabir/xmpp/jid"
)

// Names in a certificate that Go does not read (RFC 5280 §4.2.1.6).
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidXMPPAddr       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5} // RFC 6120 §13.7.1.4
	oidSRVName        = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7} // RFC 4985 §2
)

// ascii returns a domain in A-labels, as it stands in DNS and in certificates.
func ascii(domain string) string {
	if a, err := idna.Lookup.ToASCII(domain); err == nil {
		return strings.ToLower(a)
	}
	return strings.ToLower(domain)
}

// certifies tells whether a certificate is for an XMPP domain as a server (RFC 6120 §13.7.1.2, RFC 9525 §6). The domain
// is the only reference identifier: never the name that SRV records gave, never the common name.
func certifies(cert *x509.Certificate, domain string) bool {
	want := ascii(domain)
	if slices.ContainsFunc(cert.DNSNames, func(name string) bool { return matchesDNS(name, want) }) {
		return true
	}
	for _, n := range otherNames(cert) {
		switch {
		case n.id.Equal(oidSRVName):
			if rest, ok := strings.CutPrefix(n.value, "_xmpp-server."); ok && strings.EqualFold(rest, want) {
				return true
			}
		case n.id.Equal(oidXMPPAddr):
			if j, err := jid.Parse(n.value); err == nil && j.IsDomain() && j.Domain() == domain {
				return true
			}
		}
	}
	return false
}

// matchesDNS compares a dNSName with a domain, both in A-labels. A wildcard is the whole first label, and stands for one
// label (RFC 9525 §6.3).
func matchesDNS(name, want string) bool {
	name = strings.TrimSuffix(name, ".")
	if below, ok := strings.CutPrefix(name, "*."); ok {
		_, parent, ok := strings.Cut(want, ".")
		return ok && strings.Contains(below, ".") && strings.EqualFold(parent, below)
	}
	return strings.EqualFold(name, want)
}

// otherName is a name of a type of its own in a certificate.
type otherName struct {
	id    asn1.ObjectIdentifier
	value string
}

// otherNames returns the names of the types that hold a string.
func otherNames(cert *x509.Certificate) []otherName {
	var found []otherName
	for _, e := range cert.Extensions {
		var names asn1.RawValue
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 || names.Tag != asn1.TagSequence {
			continue
		}
		for rest := names.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				break
			}
			if n, ok := readOtherName(name); ok {
				found = append(found, n)
			}
		}
	}
	return found
}

// readOtherName reads [0] { type OBJECT IDENTIFIER, value [0] EXPLICIT string }.
func readOtherName(name asn1.RawValue) (otherName, bool) {
	var n otherName
	if name.Class != asn1.ClassContextSpecific || name.Tag != 0 {
		return n, false
	}
	rest, err := asn1.Unmarshal(name.Bytes, &n.id)
	if err != nil {
		return n, false
	}
	var outer, value asn1.RawValue
	if rest, err = asn1.Unmarshal(rest, &outer); err != nil || len(rest) > 0 || outer.Class != asn1.ClassContextSpecific || outer.Tag != 0 {
		return n, false
	}
	if rest, err = asn1.Unmarshal(outer.Bytes, &value); err != nil || len(rest) > 0 || value.Class != asn1.ClassUniversal {
		return n, false
	}
	switch value.Tag {
	case asn1.TagUTF8String, asn1.TagIA5String, asn1.TagPrintableString:
		n.value = string(value.Bytes)
		return n, true
	}
	return n, false
}

// namesOf lists for whom a certificate is, for people.
func namesOf(cert *x509.Certificate) string {
	names := slices.Clone(cert.DNSNames)
	for _, n := range otherNames(cert) {
		names = append(names, n.value)
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
	for _, c := range chain {
		if slices.Contains(p.set.Revoked, fingerprint(c)) {
			return fmt.Errorf("the certificate %s… is revoked by s2s.revoked", fingerprint(c)[:16])
		}
	}
	leaf := chain[0]
	if r := p.rule(domain); r.auth == authPin {
		if slices.Contains(r.pins, fingerprint(leaf)) {
			return nil
		}
		return fmt.Errorf("the certificate %s is not pinned", fingerprint(leaf))
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: p.roots, Intermediates: between, CurrentTime: now, KeyUsages: usage})
	if err != nil {
		return explain(err, chain, now)
	}
	if !certifies(leaf, domain) {
		return fmt.Errorf("the certificate is not for %s, but for %s", domain, namesOf(leaf))
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
