// Package certname owns the names in certificates by which XMPP tells domains and accounts apart (RFC 6120 §13.7.1.2, RFC 9525):
// those that crypto/x509 does not read, and how they match.
package certname

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"sabir/xmpp/jid"
)

// Types of names that an OtherName has.
var (
	XMPPAddr = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5} // RFC 6120 §13.7.1.4
	SRVName  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7} // RFC 4985 §2

	subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// ASCII returns a domain in A-labels, as it stands in DNS and in certificates.
func ASCII(domain string) string {
	if a, err := idna.Lookup.ToASCII(domain); err == nil {
		return strings.ToLower(a)
	}
	return strings.ToLower(domain)
}

// Certifies tells whether a certificate is for an XMPP domain as a server (RFC 6120 §13.7.1.2, RFC 9525 §6). The domain
// is the only reference identifier: never the name that SRV records gave, never the common name.
func Certifies(cert *x509.Certificate, domain string) bool {
	want := ASCII(domain)
	if slices.ContainsFunc(cert.DNSNames, func(name string) bool { return matchesDNS(name, want) }) {
		return true
	}
	for _, n := range OtherNames(cert) {
		switch {
		case n.Type.Equal(SRVName):
			if rest, ok := strings.CutPrefix(n.Value, "_xmpp-server."); ok && strings.EqualFold(rest, want) {
				return true
			}
		case n.Type.Equal(XMPPAddr):
			if j, err := jid.Parse(n.Value); err == nil && j.IsDomain() && j.Domain() == domain {
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

// OtherName is a name of a type of its own in a certificate.
type OtherName struct {
	Type  asn1.ObjectIdentifier
	Value string
}

// OtherNames returns the names of the types that hold a string (RFC 5280 §4.2.1.6).
func OtherNames(cert *x509.Certificate) []OtherName {
	var found []OtherName
	for _, e := range cert.Extensions {
		var names asn1.RawValue
		if !e.Id.Equal(subjectAltName) {
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
func readOtherName(name asn1.RawValue) (OtherName, bool) {
	var n OtherName
	if name.Class != asn1.ClassContextSpecific || name.Tag != 0 {
		return n, false
	}
	rest, err := asn1.Unmarshal(name.Bytes, &n.Type)
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
		n.Value = string(value.Bytes)
		return n, true
	}
	return n, false
}

// XMPPAddrs returns the XMPP addresses of a certificate, as they are written there (RFC 6120 §13.7.1.4).
func XMPPAddrs(cert *x509.Certificate) []string {
	var addrs []string
	for _, n := range OtherNames(cert) {
		if n.Type.Equal(XMPPAddr) {
			addrs = append(addrs, n.Value)
		}
	}
	return addrs
}
