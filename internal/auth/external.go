package auth

import (
	"context"
	"crypto/x509"
	"slices"

	"sabir/xmpp/certname"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
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
	for _, s := range certname.XMPPAddrs(cert) {
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
