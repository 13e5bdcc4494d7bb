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
	"strings"
	"testing"
	"time"

	"sabir/internal/config"

	"sabir/xmpp/certname"
)

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

// TestCertificates is the matrix: which certificates prove a domain, and what is said of the others.
func TestCertificates(t *testing.T) {
	ca, other := newAuthority(t, "good"), newAuthority(t, "other")
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	middleKey := newKey(t)
	middle := ca.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "middle"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, middleKey, ca.cert)
	under := &authority{t, middle, middleKey}
	dns := func(names ...string) *x509.Certificate { return &x509.Certificate{DNSNames: names} }
	with := func(e pkix.Extension) *x509.Certificate {
		return &x509.Certificate{ExtraExtensions: []pkix.Extension{e}}
	}
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	old := dns("b.example")
	old.NotBefore, old.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	early := dns("b.example")
	early.NotBefore, early.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
	client := dns("b.example")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	both := dns("b.example")
	both.ExtKeyUsage = server
	injected := dns("evil.example")
	injected.Subject = pkix.Name{OrganizationalUnit: []string{"x, CN=b.example,"}, CommonName: "evil.example"}
	for _, c := range []struct {
		name   string
		domain string
		cert   *x509.Certificate
		by     *authority // nil: self-signed
		chain  []*x509.Certificate
		want   string // part of the error; "" where the domain is proved
	}{
		{"right", "b.example", both, ca, nil, ""},
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
		{"expired", "b.example", old, ca, nil, "has expired on"},
		{"not yet valid", "b.example", early, ca, nil, "is not valid before"},
		{"self-signed", "b.example", dns("b.example"), nil, nil, "is self-signed"},
		{"other authority", "b.example", dns("b.example"), other, []*x509.Certificate{other.cert}, "unknown authority"},
		{"common name only", "b.example", &x509.Certificate{Subject: pkix.Name{CommonName: "b.example"}}, ca, nil, "for nobody"},
		{"name in another field", "b.example", injected, ca, nil, "not for b.example"},
		{"SRV name", "b.example", with(otherNameSAN(t, certname.SRVName, "ia5", "_xmpp-server.b.example")), ca, nil, ""},
		{"SRV name of clients", "b.example", with(otherNameSAN(t, certname.SRVName, "ia5", "_xmpp-client.b.example")), ca, nil, "not for b.example"},
		{"SRV name of the target", "b.example", with(otherNameSAN(t, certname.SRVName, "ia5", "_xmpp-server.host.b.example")), ca, nil, "not for b.example"},
		{"XMPP address", "b.example", with(otherNameSAN(t, certname.XMPPAddr, "utf8", "b.example")), ca, nil, ""},
		{"XMPP address of a user", "b.example", with(otherNameSAN(t, certname.XMPPAddr, "utf8", "user@b.example")), ca, nil, "not for b.example"},
		{"chain", "b.example", dns("b.example"), under, []*x509.Certificate{middle}, ""},
		{"chain missing", "b.example", dns("b.example"), under, nil, "or the chain to it was not sent"},
		{"client-only usage", "b.example", client, ca, nil, "extended key usage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := newKey(t)
			var cert *x509.Certificate
			if c.cert.Subject.CommonName == "" {
				c.cert.Subject.CommonName = "leaf"
			}
			if c.by == nil {
				cert = ca.issue(c.cert, key, nil)
			} else {
				cert = c.by.issue(c.cert, key, c.by.cert)
			}
			p := newPolicy(config.Default().S2S, roots, nil)
			err := p.verify(&tls.ConnectionState{PeerCertificates: append([]*x509.Certificate{cert}, c.chain...)}, c.domain, time.Now(), server...)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
			set := config.Default().S2S
			set.Revoked = []string{certname.Fingerprint(cert)}
			if err := newPolicy(set, roots, nil).verify(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}, c.domain, time.Now(), server...); err == nil || !strings.Contains(err.Error(), "revoked") {
				t.Errorf("revoked: got %v", err)
			}
			set = config.Default().S2S
			set.Domains = []config.FederationDomain{{Domain: c.domain, Auth: "pin", Pins: []string{certname.Fingerprint(cert)}}}
			if err := newPolicy(set, roots, nil).verify(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}, c.domain, time.Now(), server...); err != nil {
				t.Errorf("pinned: got %v", err)
			}
		})
	}
	if err := newPolicy(config.Default().S2S, roots, nil).verify(&tls.ConnectionState{}, "b.example", time.Now()); err == nil {
		t.Error("no certificate was taken for one")
	}
}

// TestPolicy checks which domains are refused.
func TestPolicy(t *testing.T) {
	set := config.Default().S2S
	set.Deny = []string{"bad.example", "*.worse.example"}
	set.Domains = []config.FederationDomain{{Domain: "shut.example", Auth: "deny"}, {Domain: "*.lax.example", Auth: "dialback"}}
	p := newPolicy(set, nil, []string{"blocked.example"})
	for domain, want := range map[string]bool{
		"good.example": false, "bad.example": true, "sub.bad.example": false, "worse.example": false, "a.worse.example": true, "a.b.worse.example": true,
		"shut.example": true, "blocked.example": true, "notbad.example": false,
	} {
		if got := p.refuses(domain); got != want {
			t.Errorf("%s is refused: %v", domain, got)
		}
	}
	if p.rule("x.lax.example").auth != authDialback || p.rule("lax.example").auth != authCertificate {
		t.Error("the rule for domains below lax.example is not that of the block")
	}
	set.Allow = []string{"friend.example"}
	p = newPolicy(set, nil, nil)
	if p.refuses("friend.example") || !p.refuses("good.example") {
		t.Error("the allow-list is not obeyed")
	}
}

// TestDialbackKeys checks that each field counts, and where it ends.
func TestDialbackKeys(t *testing.T) {
	k := newDialbackKeys()
	key := k.key("a.example", "b.example", "id")
	if !k.valid("a.example", "b.example", "id", key) {
		t.Error("the key is not valid")
	}
	for _, f := range [][3]string{{"b.example", "a.example", "id"}, {"a.example", "b.example", "i"}, {"a.exampleb", ".example", "id"}, {"a.example", "b.examplei", "d"}} {
		if k.valid(f[0], f[1], f[2], key) {
			t.Errorf("the key is valid for %q", f)
		}
	}
	if newDialbackKeys().valid("a.example", "b.example", "id", key) || k.valid("a.example", "b.example", "id", "") {
		t.Error("another key is valid")
	}
}
