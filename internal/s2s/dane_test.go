package s2s

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/xmpp/certname"
	"sabir/xmpp/dial"
)

// TestDANERecords checks each usage, selector and matching type (RFC 6698 §2.1) and what holds beside it (RFC 7671 §5).
func TestDANERecords(t *testing.T) {
	known, own := newAuthority(t, "known"), newAuthority(t, "their own")
	roots := x509.NewCertPool()
	roots.AddCert(known.cert)
	p := newPolicy(config.Federation{}, roots, nil)
	leaf := func(by *authority, c *x509.Certificate) *x509.Certificate { return by.issue(c, newKey(t), by.cert) }
	names := func(n ...string) *x509.Certificate { return &x509.Certificate{DNSNames: n} }
	late := names("b.example")
	late.NotBefore, late.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	good, theirs, host, other, expired := leaf(known, names("b.example")), leaf(own, names("b.example")), leaf(own, names("host.b.example")), leaf(own, names("evil.example")), leaf(own, late)
	client := names("b.example")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	notServer := leaf(own, client)
	of := func(usage, selector, matching uint8, c *x509.Certificate) dial.TLSA {
		b := c.Raw
		if selector == 1 {
			b = c.RawSubjectPublicKeyInfo
		}
		switch matching {
		case 1:
			h := sha256.Sum256(b)
			b = h[:]
		case 2:
			h := sha512.Sum512(b)
			b = h[:]
		}
		return dial.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: b}
	}
	chain := func(c ...*x509.Certificate) []*x509.Certificate { return c }
	for _, c := range []struct {
		name    string
		records []dial.TLSA
		chain   []*x509.Certificate
		want    string // part of the error, "" where it is proved
	}{
		{"3 0 0", []dial.TLSA{of(3, 0, 0, other)}, chain(other), ""},
		{"3 0 1", []dial.TLSA{of(3, 0, 1, other)}, chain(other), ""},
		{"3 0 2", []dial.TLSA{of(3, 0, 2, other)}, chain(other), ""},
		{"3 1 0", []dial.TLSA{of(3, 1, 0, other)}, chain(other), ""},
		{"3 1 1", []dial.TLSA{of(3, 1, 1, expired)}, chain(expired), ""},
		{"3 1 2", []dial.TLSA{of(3, 1, 2, other)}, chain(other), ""},
		{"3 of another", []dial.TLSA{of(3, 1, 1, good)}, chain(theirs), "none of those"},
		{"3 of one in the chain", []dial.TLSA{of(3, 1, 1, own.cert)}, chain(theirs, own.cert), "none of those"},
		{"3 is one of two", []dial.TLSA{of(3, 1, 1, good), of(3, 1, 1, theirs)}, chain(theirs), ""},
		{"2 1 1", []dial.TLSA{of(2, 1, 1, own.cert)}, chain(theirs, own.cert), ""},
		{"2 of the host", []dial.TLSA{of(2, 1, 1, own.cert)}, chain(host, own.cert), ""},
		{"2 of another name", []dial.TLSA{of(2, 1, 1, own.cert)}, chain(other, own.cert), "for neither"},
		{"2 expired", []dial.TLSA{of(2, 1, 1, own.cert)}, chain(expired, own.cert), "expired"},
		{"2 not for servers", []dial.TLSA{of(2, 1, 1, own.cert)}, chain(notServer, own.cert), "not for servers"},
		{"2 not sent", []dial.TLSA{of(2, 1, 1, own.cert)}, chain(theirs), "none of those"},
		{"2 0 0 in the record", []dial.TLSA{of(2, 0, 0, own.cert)}, chain(theirs), ""},
		{"2 beside a chain of others", []dial.TLSA{of(2, 0, 1, own.cert)}, chain(good, own.cert), "unknown authority"},
		{"1", []dial.TLSA{of(1, 1, 1, good)}, chain(good), ""},
		{"1 of another", []dial.TLSA{of(1, 1, 1, theirs)}, chain(good), "none of those"},
		{"1 by an unknown authority", []dial.TLSA{of(1, 1, 1, theirs)}, chain(theirs, own.cert), "unknown authority"},
		{"0", []dial.TLSA{of(0, 0, 1, known.cert)}, chain(good), ""},
		{"0 sent, not used", []dial.TLSA{of(0, 0, 1, own.cert)}, chain(good, own.cert), "none of those"},
	} {
		err := p.dane(usable(c.records), &tls.ConnectionState{PeerCertificates: c.chain}, "b.example", "host.b.example", time.Now())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	p = newPolicy(config.Federation{Revoked: []string{certname.Fingerprint(theirs)}}, roots, nil)
	if err := p.dane([]dial.TLSA{of(3, 1, 1, theirs)}, &tls.ConnectionState{PeerCertificates: chain(theirs)}, "b.example", "", time.Now()); err == nil {
		t.Error("a revoked certificate is taken")
	}
	strange := []dial.TLSA{{Usage: 4, Data: []byte{1}}, {Usage: 3, Selector: 2, Data: []byte{1}}, {Usage: 3, Matching: 3, Data: []byte{1}}, {Usage: 3}}
	if got := usable(strange); len(got) != 0 {
		t.Errorf("%v is said to be understood", got)
	}
}
