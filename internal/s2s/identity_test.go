package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/xmpp/certname"
)

// TestCertificates asks of each certificate of the matrix whether it proves its domain, as that of a server and as that of a client; and
// whether it is refused as a revoked one, and taken as a pinned one.
func TestCertificates(t *testing.T) {
	m := NewMatrix(t)
	roots := x509.NewCertPool()
	roots.AddCert(m.Root)
	for _, c := range m.Cases {
		t.Run(c.Name, func(t *testing.T) {
			state := &tls.ConnectionState{}
			for _, der := range c.Pair.Certificate {
				cert, err := x509.ParseCertificate(der)
				if err != nil {
					t.Fatal(err)
				}
				state.PeerCertificates = append(state.PeerCertificates, cert)
			}
			leaf := &tls.ConnectionState{PeerCertificates: state.PeerCertificates[:1]}
			print := certname.Fingerprint(leaf.PeerCertificates[0])
			for _, x := range []struct {
				what   string
				state  *tls.ConnectionState
				change func(*config.Federation)
				usage  []x509.ExtKeyUsage
				want   string
			}{
				{"as a server", state, func(*config.Federation) {}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, c.Out},
				{"as a client", state, func(*config.Federation) {}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, c.In},
				{"revoked", leaf, func(f *config.Federation) { f.Revoked = []string{print} }, nil, "is revoked by s2s.revoked"},
				{"pinned", leaf, func(f *config.Federation) {
					f.Domains = []config.FederationDomain{{Domain: c.Domain, Auth: "pin", Pins: []string{print}}}
				}, nil, ""},
				{"another is pinned", leaf, func(f *config.Federation) {
					f.Domains = []config.FederationDomain{{Domain: c.Domain, Auth: "pin", Pins: []string{strings.Repeat("0", 64)}}}
				}, nil, "is not pinned"},
			} {
				set := config.Default().S2S
				x.change(&set)
				err := newPolicy(set, roots, nil).verify(x.state, c.Domain, time.Now(), x.usage...)
				if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
					t.Errorf("%s: got %v, want %q", x.what, err, x.want)
				}
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
