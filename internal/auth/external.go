package auth

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// The names of a subject alternative name and of the kind that holds an XMPP address (RFC 5280 §4.2.1.6, RFC 6120 §13.7.1.4).
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidXMPPAddr       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}
)

// certified returns the localparts of this host that the client's certificate is for; none where it has shown none, or where no
// authority of ours has issued it (XEP-0178#c2s: EXTERNAL is then not offered).
func (x *Exchange) certified() []string {
	if x.s.clientCAs == nil || x.conn.TLS == nil || len(x.conn.TLS.PeerCertificates) == 0 {
		return nil
	}
	cert := x.conn.TLS.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range x.conn.TLS.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots:         x.s.clientCAs,
		Intermediates: between,
		CurrentTime:   x.h.a.clock.Now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil // the reason is not ours: the user may still log in with a password
	}
	var locals []string
	for _, s := range xmppAddrs(cert) {
		if j, err := jid.Parse(s); err == nil && !j.IsFull() && j.Local() != "" && j.Domain() == x.h.domain {
			locals = append(locals, j.Local())
		}
	}
	slices.Sort(locals)
	return slices.Compact(locals)
}

// external decides who a certificate with these localparts logs in as (XEP-0178#c2s, steps 9 to 11).
func (x *Exchange) external(ctx context.Context, authzid string, certified []string) (string, error) {
	local := certified[0]
	if authzid != "" {
		j, err := jid.Parse(authzid)
		if err != nil || j.IsFull() || j.Domain() != x.h.domain || !slices.Contains(certified, j.Local()) {
			return "", &sasl.Failure{Condition: sasl.InvalidAuthzid}
		}
		local = j.Local()
	} else if len(certified) > 1 {
		return "", &sasl.Failure{Condition: sasl.InvalidAuthzid, Text: "the certificate has several addresses: name one"}
	}
	return local, x.authorize(ctx, local, "")
}

// xmppAddrs returns the XMPP addresses in the subject alternative names of a certificate: otherName values of type id-on-xmppAddr,
// each a UTF8String.
func xmppAddrs(cert *x509.Certificate) []string {
	var addrs []string
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 || names.Tag != asn1.TagSequence {
			continue
		}
		for rest := names.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				break
			}
			if s, ok := xmppAddr(name); ok {
				addrs = append(addrs, s)
			}
		}
	}
	return addrs
}

// xmppAddr reads one GeneralName: [0] { type OBJECT IDENTIFIER, value [0] EXPLICIT UTF8String }.
func xmppAddr(name asn1.RawValue) (string, bool) {
	if name.Class != asn1.ClassContextSpecific || name.Tag != 0 {
		return "", false
	}
	var id asn1.ObjectIdentifier
	rest, err := asn1.Unmarshal(name.Bytes, &id)
	if err != nil || !id.Equal(oidXMPPAddr) {
		return "", false
	}
	var s string
	if rest, err = asn1.UnmarshalWithParams(rest, &s, "explicit,tag:0,utf8"); err != nil || len(rest) > 0 {
		return "", false
	}
	return s, true
}
