package s2s

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"sabir/xmpp/certname"
)

// Matrix has the certificates that another server may show, one of each kind.
type Matrix struct {
	Root  *x509.Certificate // whom to trust
	Cases []MatrixCase
}

// MatrixCase is a certificate that is shown for a domain.
type MatrixCase struct {
	Name   string
	Domain string
	Pair   tls.Certificate // with its chain
	// Out is what is said of it where the server to which we connect shows it, In where one shows it that connects to us: part of the
	// refusal, or "" where the domain is proved.
	Out, In string
}

// NewMatrix makes the certificates.
func NewMatrix(t *testing.T) *Matrix {
	ca, other := newAuthority(t, "good"), newAuthority(t, "other")
	sub := func(name string, c *x509.Certificate) *authority {
		key := newKey(t)
		c.Subject = pkix.Name{CommonName: name}
		return &authority{t, ca.issue(c, key, ca.cert), key}
	}
	signs := func() *x509.Certificate {
		return &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	aged := func(c *x509.Certificate, from, to time.Duration) *x509.Certificate {
		c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to)
		return c
	}
	const day = 24 * time.Hour
	under, late := sub("middle", signs()), sub("late", aged(signs(), -2*day, -day))
	leaf := sub("evil", &x509.Certificate{DNSNames: []string{"evil.example"}}) // it may not sign others
	dns := func(names ...string) *x509.Certificate { return &x509.Certificate{DNSNames: names} }
	with := func(e pkix.Extension) *x509.Certificate {
		return &x509.Certificate{ExtraExtensions: []pkix.Extension{e}}
	}
	used := func(usage ...x509.ExtKeyUsage) *x509.Certificate {
		return &x509.Certificate{DNSNames: []string{"b.example"}, ExtKeyUsage: usage}
	}
	named := func(n pkix.Name) *x509.Certificate { return &x509.Certificate{Subject: n} }
	injected := dns("evil.example")
	injected.Subject = pkix.Name{OrganizationalUnit: []string{"x, CN=b.example,"}, CommonName: "evil.example"}
	m := &Matrix{Root: ca.cert}
	for _, c := range []struct {
		name   string
		domain string
		cert   *x509.Certificate
		by     *authority // nil: self-signed
		chain  []*x509.Certificate
		want   string
	}{
		{"right", "b.example", used(x509.ExtKeyUsageServerAuth), ca, nil, ""},
		{"right in capitals", "b.example", dns("B.Example"), ca, nil, ""},
		{"wrong name", "b.example", dns("c.example"), ca, nil, "not for b.example, but for c.example"},
		{"above", "sub.b.example", dns("b.example"), ca, nil, "not for sub.b.example"},
		{"below", "b.example", dns("sub.b.example"), ca, nil, "not for b.example"},
		{"suffix", "b.example", dns("evilb.example"), ca, nil, "not for b.example"},
		{"wildcard", "x.b.example", dns("*.b.example"), ca, nil, ""},
		{"wildcard for its parent", "b.example", dns("*.b.example"), ca, nil, "not for b.example"},
		{"wildcard for two labels", "x.y.b.example", dns("*.b.example"), ca, nil, "not for x.y.b.example"},
		{"wildcard in part of a label", "xmpp.b.example", dns("x*.b.example"), ca, nil, "not for xmpp.b.example"},
		{"wildcard for all", "b.example", dns("*.example"), ca, nil, "not for b.example"},
		{"IDN", "bücher.example", dns("xn--bcher-kva.example"), ca, nil, ""},
		{"expired", "b.example", aged(dns("b.example"), -2*day, -day), ca, nil, "has expired on"},
		{"not yet valid", "b.example", aged(dns("b.example"), day, 2*day), ca, nil, "is not valid before"},
		{"self-signed", "b.example", dns("b.example"), nil, nil, "is self-signed"},
		{"other authority", "b.example", dns("b.example"), other, []*x509.Certificate{other.cert}, "unknown authority"},
		{"common name only", "b.example", named(pkix.Name{CommonName: "b.example"}), ca, nil, "for nobody"},
		{"name in another field", "b.example", injected, ca, nil, "not for b.example"},
		{"SRV name", "b.example", with(otherNameSAN(t, certname.SRVName, "ia5", "_xmpp-server.b.example")), ca, nil, ""},
		{"SRV name of clients", "b.example", with(otherNameSAN(t, certname.SRVName, "ia5", "_xmpp-client.b.example")), ca, nil, "not for b.example"},
		{"SRV name of the target", "b.example", with(otherNameSAN(t, certname.SRVName, "ia5", "_xmpp-server.host.b.example")), ca, nil, "not for b.example"},
		{"XMPP address", "b.example", with(otherNameSAN(t, certname.XMPPAddr, "utf8", "b.example")), ca, nil, ""},
		{"XMPP address of a user", "b.example", with(otherNameSAN(t, certname.XMPPAddr, "utf8", "user@b.example")), ca, nil, "not for b.example"},
		{"chain", "b.example", dns("b.example"), under, []*x509.Certificate{under.cert}, ""},
		{"chain missing", "b.example", dns("b.example"), under, nil, "or the chain to it was not sent"},
		{"client-only usage", "b.example", used(x509.ExtKeyUsageClientAuth), ca, nil, "extended key usage"},
		{"chain with an end in the past", "b.example", dns("b.example"), late, []*x509.Certificate{late.cert}, "in its chain has expired"},
		{"signed by who may not", "b.example", dns("b.example"), leaf, []*x509.Certificate{leaf.cert}, "may not sign others"},
	} {
		if c.cert.Subject.CommonName == "" {
			c.cert.Subject.CommonName = "leaf"
		}
		key := newKey(t)
		by, signer := ca, (*x509.Certificate)(nil)
		if c.by != nil {
			by, signer = c.by, c.by.cert
		}
		pair := tls.Certificate{Certificate: [][]byte{by.issue(c.cert, key, signer).Raw}, PrivateKey: key}
		for _, x := range c.chain {
			pair.Certificate = append(pair.Certificate, x.Raw)
		}
		k := MatrixCase{c.name, c.domain, pair, c.want, c.want}
		if c.name == "client-only usage" { // it is shown as that of a client
			k.In = ""
		}
		m.Cases = append(m.Cases, k)
	}
	return m
}

// authority makes certificates for the matrix.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	a.key = newKey(t)
	a.cert = a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, a.key, nil)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue signs a certificate for a key; by is nil for the authority's own.
func (a *authority) issue(c *x509.Certificate, key *ecdsa.PrivateKey, by *x509.Certificate) *x509.Certificate {
	a.t.Helper()
	c.SerialNumber = big.NewInt(1)
	if c.NotBefore.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	signer := a.key
	if by == nil {
		by, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made
}

// otherNameSAN encodes names of a type of their own beside dNSNames.
func otherNameSAN(t *testing.T, id asn1.ObjectIdentifier, params, value string, dns ...string) pkix.Extension {
	t.Helper()
	inner, err := asn1.MarshalWithParams(value, params)
	if err != nil {
		t.Fatal(err)
	}
	name, err := asn1.MarshalWithParams(struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}{id, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner}}, "tag:0")
	if err != nil {
		t.Fatal(err)
	}
	names := []asn1.RawValue{{FullBytes: name}}
	for _, d := range dns {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(d)})
	}
	b, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: b}
}
