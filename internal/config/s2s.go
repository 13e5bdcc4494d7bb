package config

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// Federation says how this server talks to others.
type Federation struct {
	Enabled bool     `toml:"enabled" doc:"Talk to other servers. Without it, addresses of other domains cannot be reached and nobody reaches us from there."`
	Auth    string   `toml:"auth" enum:"certificate,dialback" doc:"What a domain must show by default: certificate (one that is valid for it, by an authority that is trusted) or dialback (a certificate, or else the key of dialback over TLS, which protects against no one who can change DNS or the network)."`
	Allow   []string `toml:"allow" doc:"If there are any, the only domains to talk to. \"*.example.org\" stands for all below example.org."`
	Deny    []string `toml:"deny" doc:"Domains not to talk to, written likewise. A change takes effect on open streams."`

	Revoked  []string `toml:"revoked" doc:"SHA-256 fingerprints, in hex, of certificates that are refused wherever they stand in a chain."`
	Resolver string   `toml:"resolver" reload:"restart" doc:"Address and port of the DNS server to ask; the system's if there is none."`

	DNSSEC string `toml:"dnssec" enum:"loopback,always,never" reload:"restart" doc:"Whether to believe the DNS server that DNSSEC has validated an answer: loopback (one on this machine), always (also one to which nobody else can change the way) or never. TLSA records (DANE) that were validated say which certificate a server must show: that one and no other, by whatever authority; and they vouch for that of one which connects to this server, where no authority does."`

	HostMeta string `toml:"host_meta" enum:"never,fallback,first" doc:"Whether to read at https://DOMAIN/.well-known/host-meta.json where the server of a domain is (XEP-0487): never, as a fallback where the way of DNS has led to no server, or first."`

	Limits           StreamLimits `toml:"limits" doc:"Of a stream whose domain has proved who it is; before, limits.before_auth holds."`
	Skip             int          `toml:"skip" min:"0" max:"67108864" doc:"Bytes of a stanza beyond limits.bytes that are read and thrown away, so that its sender gets an error and the stream goes on for the others."`
	ByteRate         int          `toml:"byte_rate" doc:"Bytes per second that are read from one domain in the long run; 0 for no limit."`
	ByteBurst        int          `toml:"byte_burst" doc:"Bytes that a domain may send at once beyond that rate."`
	StanzaRate       int          `toml:"stanza_rate" min:"0" doc:"Stanzas per second that are read from one domain in the long run; 0 for no limit."`
	StanzaBurst      int          `toml:"stanza_burst" min:"1" doc:"Stanzas that a domain may send at once beyond that rate."`
	StreamsPerDomain int          `toml:"streams_per_domain" min:"1" max:"1000" doc:"Streams at a time that one domain may open to us."`
	DomainsPerStream int          `toml:"domains_per_stream" min:"1" max:"1000" doc:"Pairs of domains that may prove themselves on one stream."`

	ConnectTimeout mod.Duration `toml:"connect_timeout" min:"1s" doc:"Time for an attempt to reach a domain, from DNS to authentication."`
	QueueTime      mod.Duration `toml:"queue_time" min:"1s" doc:"Time that a stanza waits for a domain that cannot be reached; then its sender gets an error."`
	QueueBytes     int          `toml:"queue_bytes" min:"10000" doc:"Bytes that may wait for one domain; beyond, senders get an error at once."`
	AckTimeout     mod.Duration `toml:"ack_timeout" min:"1s" doc:"Time that another server may take to confirm what was sent to it; then the stream counts as dead, and what was not confirmed goes out on another."`
	IdleTimeout    mod.Duration `toml:"idle_timeout" min:"10s" doc:"Silence after which we close a stream that we have opened."`

	Domains []FederationDomain `toml:"domain" doc:"One block for each domain that is treated otherwise."`
}

// FederationDomain is what holds for one remote domain.
type FederationDomain struct {
	Domain  string   `toml:"domain" example:"partner.example" doc:"The domain, or \"*.partner.example\" for all below it."`
	Auth    string   `toml:"auth" enum:"certificate,dialback,pin,deny" doc:"certificate, dialback (both as s2s.auth), pin (the certificate is one of those in pins, whoever issued it) or deny (do not talk to it)."`
	Pins    []string `toml:"pins" doc:"SHA-256 fingerprints of certificates, in hex."`
	Address []string `toml:"address" doc:"Where to connect to instead of asking DNS: host:port, or tls://host:port for direct TLS."`
}

func defaultS2S() Federation {
	return Federation{
		Enabled:          true,
		Auth:             "certificate",
		DNSSEC:           "loopback",
		HostMeta:         "never",
		Limits:           StreamLimits{Bytes: 512 << 10, Depth: 100, Attributes: 50, Elements: 10000, Name: 256},
		Skip:             4 << 20,
		ByteRate:         2 << 20,
		ByteBurst:        8 << 20,
		StanzaRate:       10_000,
		StanzaBurst:      40_000,
		StreamsPerDomain: 16,
		DomainsPerStream: 50,
		ConnectTimeout:   seconds(20),
		QueueTime:        seconds(25),
		QueueBytes:       16 << 20,
		AckTimeout:       seconds(45),
		IdleTimeout:      seconds(10 * 60),
	}
}

func (r *reader) validateS2S(c *Config) {
	s := &c.S2S
	for _, list := range []struct {
		key     string
		domains []string
	}{{"allow", s.Allow}, {"deny", s.Deny}} {
		for i := range list.domains {
			list.domains[i] = r.domainPattern("s2s."+list.key+"["+strconv.Itoa(i)+"]", list.domains[i])
		}
	}
	r.fingerprints("s2s.revoked", s.Revoked)
	if s.Resolver != "" {
		if _, err := netip.ParseAddrPort(s.Resolver); err != nil {
			r.problem("s2s.resolver", `write address and port, such as "127.0.0.1:53"`, "%q is no address of a DNS server", s.Resolver)
		}
	}
	if s.ByteRate > 0 && s.ByteBurst < s.Limits.Bytes {
		r.problem("s2s.byte_burst", "give at least s2s.limits.bytes", "a single stanza may be larger than it")
	}
	for i := range s.Domains {
		d, key := &s.Domains[i], "s2s.domain["+strconv.Itoa(i)+"]"
		d.Domain = r.domainPattern(key+".domain", d.Domain)
		r.fingerprints(key+".pins", d.Pins)
		if d.Auth == "pin" && len(d.Pins) == 0 {
			r.problem(key+".auth", "add pins", "no certificate would do")
		}
		if d.Auth != "pin" && len(d.Pins) > 0 {
			r.problem(key+".pins", `write auth = "pin"`, "the pins have no effect")
		}
		for j, a := range d.Address {
			host, port, err := net.SplitHostPort(strings.TrimPrefix(a, "tls://"))
			if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
				r.problem(key+".address["+strconv.Itoa(j)+"]", `write "host:5269" or "tls://host:5270"`, "%q is no address of a server", a)
			}
		}
	}
}

// domainPattern checks and prepares a domain, or one with "*." before it.
func (r *reader) domainPattern(key, s string) string {
	name, below := strings.CutPrefix(s, "*.")
	j, err := jid.New("", name, "")
	if err != nil {
		r.problem(key, `write "example.org" or "*.example.org"`, "%q is no domain", s)
		return s
	}
	if below {
		return "*." + j.Domain()
	}
	return j.Domain()
}

// fingerprints checks a list and brings it into the form of lower-case hex.
func (r *reader) fingerprints(key string, list []string) {
	for i, s := range list {
		f := strings.ToLower(strings.ReplaceAll(s, ":", ""))
		if b, err := hex.DecodeString(f); err != nil || len(b) != 32 {
			r.problem(key+"["+strconv.Itoa(i)+"]", "openssl x509 -noout -fingerprint -sha256 prints it", "%q is no SHA-256 fingerprint", s)
		}
		list[i] = f
	}
}
