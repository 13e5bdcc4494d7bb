package config

import (
	"encoding/base64"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// validate checks what goes beyond the type of a single value.
func (r *reader) validate(c *Config, sections []Section) {
	c.admins = r.validateAdmins("admins", "write user@domain", "", c.Admins)
	r.validateHosts(c, sections)
	r.validateListen(c)
	r.validateAuth(c)
	r.validateS2S(c)
	switch u := c.Database.URL.Reveal(); {
	case strings.HasPrefix(u, "sqlite:"), strings.HasPrefix(u, "postgres://"), strings.HasPrefix(u, "postgresql://"):
	default:
		r.problem("database.url", "write sqlite:PATH or postgres://user:password@host/name", "it names no database that is known")
	}
	for i, a := range c.Web.HostMeta.Addresses {
		if _, err := netip.ParseAddr(a); err != nil {
			r.problem("web.host_meta.addresses["+strconv.Itoa(i)+"]", "write an IP address, such as \"192.0.2.1\"", "%q is no address", a)
		}
	}
	for i, p := range c.Web.HostMeta.Pins {
		if h, err := base64.StdEncoding.DecodeString(p); err != nil || len(h) != 32 {
			r.problem("web.host_meta.pins["+strconv.Itoa(i)+"]", "openssl x509 -in CERT -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64", "%q is no SHA-256 in base64", p)
		}
	}
	for i, o := range c.Web.Origins {
		if u, err := url.Parse(o); o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "") {
			r.problem("web.origins["+strconv.Itoa(i)+"]", `write scheme and host, such as "https://chat.example.org"`, "%q is no origin", o)
		}
	}
	if _, _, err := c.Outbound.Networks(); err != nil {
		key, _, _ := strings.Cut(err.Error(), ":")
		r.problem("outbound."+key, "", "%v", err)
	}
	r.validateLimits("limits", &c.Limits.HostLimits)
	for i := range c.Hosts {
		if c.Hosts[i].ownLimits {
			r.validateLimits(hostKey(i)+".limits", &c.Hosts[i].Limits)
		}
	}
}

func (r *reader) validateLimits(key string, l *HostLimits) {
	if l.ByteRate > 0 && l.ByteBurst < l.AfterAuth.Bytes {
		r.problem(key+".byte_burst", "give at least "+key+".after_auth.bytes", "a single stanza may be larger than it")
	}
	if l.QueueBytes < l.AfterAuth.Bytes {
		r.problem(key+".queue_bytes", "give at least "+key+".after_auth.bytes", "a single stanza may be larger than it")
	}
}

func (r *reader) validateHosts(c *Config, sections []Section) {
	if len(c.Hosts) == 0 {
		r.problem("host", "add a [[host]] block with domain, certificate and key", "there is no host")
	}
	seen := make(map[string]bool)
	for i := range c.Hosts {
		h := &c.Hosts[i]
		key := hostKey(i)
		j, err := jid.Parse(h.Domain)
		switch {
		case h.Domain == "":
			r.problem(key+".domain", `write domain = "example.org"`, "the host has no domain")
			continue
		case err != nil:
			r.problem(key+".domain", "", "%q is no domain: %v", h.Domain, err)
			continue
		case j.Local() != "" || j.IsFull():
			r.problem(key+".domain", "write the domain alone", "%q is an address, not a domain", h.Domain)
			continue
		case seen[j.Domain()]:
			r.problem(key+".domain", "remove one of the blocks", "%s is served by another [[host]] already", j.Domain())
			continue
		}
		h.jid = j
		seen[j.Domain()] = true
		r.validateHost(key, h, sections)
	}
}

func (r *reader) validateHost(key string, h *Host, sections []Section) {
	switch {
	case h.Certificate != "" && h.Key == "":
		r.problem(key+".certificate", "add key", "there is a certificate without its key")
	case h.Certificate == "" && h.Key != "":
		r.problem(key+".key", "add certificate", "there is a key without its certificate")
	case h.Certificate == "":
		r.problem(key+".domain", "add certificate and key", "%s has no certificate", h.jid.Domain())
	}
	h.admins = r.validateAdmins(key+".admins", "write user@domain or the user's name alone", h.jid.Domain(), h.Admins)
	known := names(sections)
	for _, list := range []struct {
		key   string
		names []string
	}{{"enabled", h.Enabled}, {"disabled", h.Disabled}} {
		for i, n := range list.names {
			if !slices.Contains(known, n) {
				r.unknown(key+"."+list.key+"["+strconv.Itoa(i)+"]", n, known, "extension "+strconv.Quote(n))
			}
		}
	}
	for i, n := range h.Enabled {
		if slices.Contains(h.Disabled, n) {
			r.problem(key+".enabled["+strconv.Itoa(i)+"]", "remove it from one of the lists", "%s is disabled too", n)
		}
	}
}

// validateAdmins reads addresses of users, or names of users of a domain where that is not "".
func (r *reader) validateAdmins(key, cure, domain string, list []string) (all []jid.JID) {
	for i, a := range list {
		s := a
		if !strings.Contains(s, "@") && domain != "" {
			s += "@" + domain
		}
		j, err := jid.Parse(s)
		if err != nil || j.IsFull() || j.Local() == "" {
			r.problem(key+"["+strconv.Itoa(i)+"]", cure, "%q is no address of a user", a)
			continue
		}
		all = append(all, j)
	}
	return all
}

func (r *reader) validateListen(c *Config) {
	seen := make(map[string]bool)
	for i := range c.Listen {
		l := &c.Listen[i]
		key := "listen[" + strconv.Itoa(i) + "]"
		if l.Purpose == "" {
			r.problem(key+".purpose", `write purpose = "c2s" or another one`, "the socket has no purpose")
		}
		host, port, err := net.SplitHostPort(l.Address)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil {
			r.problem(key+".address", `write address and port, such as "[::]:5222"`, "%q is no address of a socket", l.Address)
			continue
		}
		if seen[l.Address] && n != 0 {
			r.problem(key+".address", "remove one of the blocks, or choose another port", "%s is used by another [[listen]] already", l.Address)
		}
		seen[l.Address] = true
		if l.Purpose == Admin && !loopback(host) {
			r.problem(key+".address", `write "127.0.0.1:`+port+`" and reach it by a tunnel, or by a reverse proxy that asks for credentials`, "the admin listener may stand on a loopback address only")
		}
		if l.Purpose == Admin && l.Proxy {
			r.problem(key+".proxy", "remove it", "the admin listener has no proxy before it")
		}
		if c.Insecure && !loopback(host) {
			r.problem(key+".address", `remove insecure, or write "127.0.0.1:`+port+`"`, "insecure is for loopback addresses only")
		}
		if _, err := l.TrustedProxies(); err != nil {
			r.problem(key+".proxy_from", "", "%v", err)
		}
		if len(l.ProxyFrom) > 0 && !l.Proxy {
			r.problem(key+".proxy_from", "add proxy = true", "it has no effect without proxy")
		}
	}
}

// loopback tells whether the host of an address is reached from this machine only.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func (r *reader) validateAuth(c *Config) {
	a := &c.Auth
	known := []string{
		sasl.External, sasl.ScramSHA512Plus, sasl.ScramSHA256Plus, sasl.ScramSHA1Plus,
		sasl.ScramSHA512, sasl.ScramSHA256, sasl.ScramSHA1, sasl.Plain, sasl.Anonymous,
	}
	for i, m := range a.Mechanisms {
		if !slices.Contains(known, m) {
			cure := "known: " + strings.Join(known, ", ")
			if best := nearestFold(m, known); best != "" {
				cure = "did you mean " + best + "?"
			}
			r.problem("auth.mechanisms["+strconv.Itoa(i)+"]", cure, "unknown mechanism %q", m)
		}
	}
	if len(a.Mechanisms) == 0 {
		r.problem("auth.mechanisms", "remove the line to have all", "nobody could log in")
	}
	for _, needs := range []struct {
		on             bool
		key, mechanism string
	}{{a.Plain, "auth.plain", sasl.Plain}, {a.Anonymous, "auth.anonymous", sasl.Anonymous}, {a.ClientCA != "", "auth.client_ca", sasl.External}} {
		if needs.on && !slices.Contains(a.Mechanisms, needs.mechanism) {
			r.problem(needs.key, "add it there", "%s is not in auth.mechanisms", needs.mechanism)
		}
	}
}

func nearestFold(s string, known []string) string {
	lower := make([]string, len(known))
	for i, k := range known {
		lower[i] = strings.ToLower(k)
	}
	return strings.ToUpper(nearest(s, lower))
}
