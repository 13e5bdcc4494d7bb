package s2s

import (
	"crypto/x509"
	"strings"

	"sabir/internal/config"
)

// auth is what a domain must show.
type authRule uint8

const (
	authCertificate authRule = iota // a certificate that is valid for it
	authDialback                    // that, or a key of dialback over TLS with any certificate
	authPin                         // one of certain certificates
	authDeny                        // nothing helps
)

func authOf(s string) authRule {
	switch s {
	case "dialback":
		return authDialback
	case "pin":
		return authPin
	case "deny":
		return authDeny
	}
	return authCertificate
}

// rule is what holds for one remote domain.
type rule struct {
	auth    authRule
	pins    []string
	address []string
}

// policy is the configuration, ready to be asked. It does not change.
type policy struct {
	set     config.Federation
	roots   *x509.CertPool // nil for those of the system
	rules   map[string]rule
	listed  bool // there is an allow-list
	allowed map[string]bool
	denied  map[string]bool // by configuration or by command
}

// newPolicy makes a policy of the configuration and the domains that were blocked by command.
func newPolicy(set config.Federation, roots *x509.CertPool, blocked []string) *policy {
	p := &policy{set: set, roots: roots, rules: make(map[string]rule), listed: len(set.Allow) > 0, allowed: setOf(set.Allow), denied: setOf(set.Deny)}
	for _, d := range blocked {
		p.denied[d] = true
	}
	for _, d := range set.Domains {
		p.rules[d.Domain] = rule{auth: authOf(d.Auth), pins: d.Pins, address: d.Address}
		if d.Auth == "" {
			r := p.rules[d.Domain]
			r.auth = authOf(set.Auth)
			p.rules[d.Domain] = r
		}
	}
	return p
}

func setOf(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}

// patterns calls f with all patterns that a domain matches, the most exact first, until it returns true.
func patterns(domain string, f func(pattern string) bool) bool {
	if f(domain) {
		return true
	}
	for {
		_, parent, ok := strings.Cut(domain, ".")
		if !ok {
			return false
		}
		if f("*." + parent) {
			return true
		}
		domain = parent
	}
}

// rule returns what holds for a domain.
func (p *policy) rule(domain string) rule {
	r := rule{auth: authOf(p.set.Auth)}
	if len(p.rules) > 0 {
		patterns(domain, func(pattern string) bool {
			found, ok := p.rules[pattern]
			if ok {
				r = found
			}
			return ok
		})
	}
	return r
}

// refuses tells whether nothing goes to a domain or comes from there.
func (p *policy) refuses(domain string) bool {
	if len(p.denied) > 0 && patterns(domain, func(pattern string) bool { return p.denied[pattern] }) {
		return true
	}
	if p.listed && !patterns(domain, func(pattern string) bool { return p.allowed[pattern] }) {
		return true
	}
	return p.rule(domain).auth == authDeny
}
