// Package config owns the settings of the server: one TOML 1.0 file, read strictly into typed values. A key that does not
// exist, a value of the wrong type or out of range, and settings that contradict each other are errors that name file, line
// and cure; a configuration is used as a whole or not at all. The structs of this package are also the reference: their `doc`
// tags make the example file and the description that `sabir config example` and `sabir config describe` print.
//
// Nothing is taken from the environment. Relative paths count from the folder of the file.
package config

import (
	"fmt"
	"net/netip"
	"slices"

	"sabir/internal/observe"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// Config is a whole configuration, validated. It does not change after Load returned it.
type Config struct {
	DataDir  string     `toml:"data_dir" reload:"restart" doc:"Folder for what the server keeps itself: the SQLite database and the token of the admin listener. It is made with mode 0700."`
	Insecure bool       `toml:"insecure" reload:"restart" doc:"For test suites and old tools: TLS becomes optional and PLAIN may be offered without it. Refused unless every listener is on a loopback address."`
	Admins   []string   `toml:"admins" doc:"Bare addresses of those who may administer the whole server with all its hosts by their clients."`
	Hosts    []Host     `toml:"host" doc:"One block for each domain that is served."`
	Database Database   `toml:"database" reload:"restart" doc:"Where accounts, rosters and messages are kept."`
	Listen   []Listen   `toml:"listen" reload:"restart" doc:"One block for each socket. Without any, the default ports are opened on all addresses, the admin port on loopback."`
	Limits   Limits     `toml:"limits" doc:"Bounds on what clients may use up."`
	Auth     Auth       `toml:"auth" doc:"How users log in."`
	S2S      Federation `toml:"s2s" doc:"How this server talks to others."`
	Web      Web        `toml:"web" doc:"What the HTTPS listener serves."`
	Outbound Outbound   `toml:"outbound" reload:"restart" doc:"Which addresses the server itself connects to, for whatever reason: other servers, push services."`
	Log      Log        `toml:"log" doc:"What is written to standard error."`

	path   string
	admins []jid.JID
	// mods holds the decoded section of each extension, "" for the whole server and by domain where a host differs.
	mods map[string]map[string]any
}

// Host is one virtual domain.
type Host struct {
	Domain      string   `toml:"domain" example:"example.org" doc:"The domain part of the addresses of its users."`
	Certificate string   `toml:"certificate" example:"example.org.crt" doc:"File with the certificate chain in PEM, the host's own certificate first."`
	Key         string   `toml:"key" example:"example.org.key" doc:"File with the private key in PEM."`
	Admins      []string `toml:"admins" doc:"Bare addresses, or local parts of this domain, of those who may administer it."`
	Enabled     []string `toml:"enabled" doc:"Extensions to enable besides those that are on by default."`
	Disabled    []string `toml:"disabled" doc:"Extensions to leave out."`
	Anonymous   *bool    `toml:"anonymous" doc:"Overrides auth.anonymous for this domain."`
	// Limits are those in force for the streams of this host: its own where it has some, else the server's.
	Limits HostLimits `toml:"limits" doc:"Bounds for the streams of this domain, from their header on, where they differ from those of the server."`

	ownLimits bool
	jid       jid.JID
	admins    []jid.JID
}

// JID returns the prepared address of the host.
func (h *Host) JID() jid.JID { return h.jid }

// AdminJIDs returns the bare addresses of those who may administer the server. The slice is not to be changed.
func (c *Config) AdminJIDs() []jid.JID { return c.admins }

// AdminJIDs returns the bare addresses of those who may administer the host. The slice is not to be changed.
func (h *Host) AdminJIDs() []jid.JID { return h.admins }

// Enables tells whether the host has the extension of this name; off says that the extension is not on by default.
func (h *Host) Enables(name string, off bool) bool {
	if slices.Contains(h.Disabled, name) {
		return false
	}
	return !off || slices.Contains(h.Enabled, name)
}

// Database says where the data is.
type Database struct {
	URL     observe.Secret `toml:"url" doc:"sqlite:PATH (by default sabir.db in data_dir) for the embedded database, or postgres://user:password@host/name for PostgreSQL 14 or newer."`
	URLFile string         `toml:"url_file" doc:"File that holds the URL instead, so that a password need not stand here."`
}

// Purpose says what is spoken on a socket.
type Purpose string

// The purposes of sockets.
const (
	C2S    Purpose = "c2s"     // clients, TCP with STARTTLS (RFC 6120)
	C2STLS Purpose = "c2s_tls" // clients, direct TLS (XEP-0368)
	HTTPS  Purpose = "https"   // web client, WebSocket (RFC 7395) and what else goes over HTTP
	S2S    Purpose = "s2s"     // other servers, TCP with STARTTLS
	S2STLS Purpose = "s2s_tls" // other servers, direct TLS (XEP-0368)
	Admin  Purpose = "admin"   // commands, metrics and health over HTTP without TLS; loopback only
)

// Purposes lists all purposes in the order in which they are documented.
var Purposes = []Purpose{C2S, C2STLS, HTTPS, S2S, S2STLS, Admin}

// Port returns the default port of a purpose.
func (p Purpose) Port() int {
	switch p {
	case C2S:
		return 5222
	case C2STLS:
		return 5223
	case HTTPS:
		return 5443
	case S2S:
		return 5269
	case S2STLS:
		return 5270
	case Admin:
		return 5280
	}
	return 0
}

// TLS tells whether a connection of this purpose starts with a TLS handshake.
func (p Purpose) TLS() bool { return p == C2STLS || p == HTTPS || p == S2STLS }

// Listen is one socket.
type Listen struct {
	Address   string   `toml:"address" doc:"Address and port, such as \"[::]:5222\" or \"127.0.0.1:5222\"; port 0 takes any free one."`
	Purpose   Purpose  `toml:"purpose" enum:"c2s,c2s_tls,https,s2s,s2s_tls,admin" doc:"What is spoken there: c2s (clients, STARTTLS), c2s_tls (clients, direct TLS), https, s2s, s2s_tls (other servers) or admin (loopback only)."`
	Proxy     bool     `toml:"proxy" doc:"A proxy stands before this socket and sends the PROXY protocol, version 1 or 2. Connections without it are refused."`
	ProxyFrom []string `toml:"proxy_from" doc:"Addresses or networks (CIDR) of the proxies that are believed; without any, whoever reaches the socket."`
}

// Limits are the bounds on what clients may use up: those of a connection, and those of a stream, in which hosts may differ.
type Limits struct {
	HostLimits
	HandshakeTimeout      mod.Duration `toml:"handshake_timeout" min:"1s" doc:"Time for a TLS handshake."`
	HandshakesWaiting     int          `toml:"handshakes_waiting" min:"1" max:"1000000" doc:"TLS handshakes that may wait for their turn, when many clients come at once; further connections are closed, so that their clients try again later."`
	WriteTimeout          mod.Duration `toml:"write_timeout" min:"1s" doc:"Time in which a client must take what is sent to it; then the stream is closed."`
	ConnectionsPerAddress int          `toml:"connections_per_address" doc:"Connections at a time from one IPv4 address or one IPv6 /64 network; 0 for no limit."`
	Connections           int          `toml:"connections" doc:"Connections at a time in all; 0 for no limit but that of the operating system."`
}

// HostLimits are the bounds on streams that may differ from host to host. Until the header of a stream names its host, those
// of the server hold.
type HostLimits struct {
	BeforeAuth     StreamLimits `toml:"before_auth" doc:"Of a stream before its user has logged in."`
	AfterAuth      StreamLimits `toml:"after_auth" doc:"Of a stream after that."`
	AuthTimeout    mod.Duration `toml:"auth_timeout" min:"1s" doc:"Time from the connection to the login, after which the connection is closed."`
	PingAfter      mod.Duration `toml:"ping_after" min:"10s" zero:"" doc:"Silence after which a client is asked whether it is still there (XEP-0199); 0 never asks."`
	PingTimeout    mod.Duration `toml:"ping_timeout" min:"1s" doc:"Time for any sign of life after that; then the stream is closed."`
	Resources      int          `toml:"resources" min:"1" max:"1000" doc:"Bound resources of one account at a time."`
	QueueBytes     int          `toml:"queue_bytes" min:"10000" doc:"Bytes that may wait for one session that does not read, with 512 more counted for each stanza; beyond, it is disconnected. Presence and headlines, of which a client that enters a large room gets much at once, are measured alone: 12 MiB of them may wait for a client that is connected."`
	ResumeTimeout  mod.Duration `toml:"resume_timeout" min:"1s" max:"24h" zero:"" doc:"Time for which a session whose connection was lost waits for its client to resume it (XEP-0198); 0 lets none be resumed."`
	ResumeBytes    int          `toml:"resume_bytes" min:"10000" doc:"In place of queue_bytes for a client with stream management: what waits for it and what it has not acknowledged. Presence and headlines are measured alone, as for queue_bytes. Beyond, its connection is closed, and the session waits for its client; where it waits already, it ends, and the messages go elsewhere."`
	ResumeSessions int          `toml:"resume_sessions" doc:"Sessions of one account that may wait for their clients at a time; beyond, the oldest ends."`
	ByteRate       int          `toml:"byte_rate" doc:"Bytes per second that are read from one client in the long run; 0 for no limit."`
	ByteBurst      int          `toml:"byte_burst" doc:"Bytes that a client may send at once beyond that rate."`
}

// StreamLimits bound the XML that is read from a stream.
type StreamLimits struct {
	Bytes      int `toml:"bytes" min:"10000" max:"16777216" doc:"Bytes of one stanza."`
	Depth      int `toml:"depth" min:"4" max:"1000" doc:"Nesting of elements; the stanza itself counts 1."`
	Attributes int `toml:"attributes" min:"10" max:"1000" doc:"Attributes of one element, namespace declarations included."`
	Elements   int `toml:"elements" min:"16" max:"1000000" doc:"Elements within one stanza."`
	Name       int `toml:"name" min:"64" max:"4096" doc:"Bytes of the name of an element or attribute, prefix included."`
}

// Auth says how users log in.
type Auth struct {
	Mechanisms    []string     `toml:"mechanisms" doc:"SASL mechanisms to offer; those that a connection does not allow are left out by themselves."`
	SCRAMSHA1     bool         `toml:"scram_sha1" doc:"Offer SCRAM-SHA-1, the only one that many older clients know."`
	Downgrade     bool         `toml:"downgrade_protection" doc:"Tell clients in SCRAM which mechanisms and channel bindings are offered, so that they notice when somebody in the middle has removed some (XEP-0474)."`
	Plain         bool         `toml:"plain" doc:"Offer PLAIN. It shows the password to the server, and is offered under TLS only."`
	Anonymous     bool         `toml:"anonymous" doc:"Offer ANONYMOUS: anybody may come in under a random temporary address."`
	ClientCA      string       `toml:"client_ca" doc:"File with the certificates, in PEM, of the authorities whose client certificates are accepted for EXTERNAL (XEP-0178)."`
	Iterations    int          `toml:"iterations" min:"4096" max:"10000000" doc:"Iterations of PBKDF2 for passwords that are set from now on. Clients that use Cyrus SASL, such as Psi+ and Pidgin, refuse more than 65536."`
	MinPassword   int          `toml:"min_password" min:"1" max:"128" doc:"Least number of characters of a new password."`
	Attempts      int          `toml:"attempts" min:"1" max:"100" doc:"Failed logins after which a stream is closed."`
	Failures      int          `toml:"failures" doc:"Failed logins of one account from one address within failure_window, after which further ones are refused for a while; 0 for no limit."`
	FailureWindow mod.Duration `toml:"failure_window" min:"1s" doc:"The time in which failures count."`
	Tokens        Tokens       `toml:"tokens" doc:"Logging in again without the password (XEP-0484)."`
	Devices       Devices      `toml:"devices" doc:"What is remembered of the clients of an account (XEP-0494)."`
}

// Tokens says how clients log in again by tokens that they were given.
type Tokens struct {
	Enabled  bool         `toml:"enabled" doc:"Give tokens to clients that ask for them. Turned off, those that were given are worth nothing."`
	Lifetime mod.Duration `toml:"lifetime" min:"1m" doc:"Time after which a token is worth nothing: a client that was away for longer needs the password."`
	Rotate   mod.Duration `toml:"rotate" min:"1s" doc:"Age from which on a token is replaced at the next login."`
}

// Devices says what is remembered of clients.
type Devices struct {
	Names          bool         `toml:"names" doc:"Keep what clients say of their software and device, so that users recognise them."`
	Keep           mod.Duration `toml:"keep" zero:"" min:"1h" doc:"Time after which a client that was not seen is forgotten, unless it has a token; 0s never forgets."`
	Max            int          `toml:"max" min:"1" max:"1000" doc:"Clients remembered for one account; beyond, the one that was not seen for the longest time is forgotten, and its token with it."`
	PasswordChange string       `toml:"password_change" enum:"others,all,none" doc:"Which clients lose their tokens and sessions when a password is changed: all but the one that changes it (others), that one too (all), or none."`
}

// Web says what the HTTPS listener serves.
type Web struct {
	Client   bool     `toml:"client" doc:"Serve the web client at /."`
	HostMeta HostMeta `toml:"host_meta" doc:"What host-meta.json says beside the address of the WebSocket (XEP-0487)."`

	Origins []string `toml:"origins" doc:"Origins of other web sites whose pages may connect over WebSocket, such as \"https://chat.example.org\"; \"*\" for all."`
}

// HostMeta is what a domain publishes of itself. Without addresses it says nothing.
type HostMeta struct {
	Addresses []string     `toml:"addresses" doc:"IP addresses under which this server can be reached from everywhere. If there are any, clients and other servers that read host-meta.json connect to them, at the ports of the listeners with TLS, and need not ask DNS."`
	TTL       mod.Duration `toml:"ttl" min:"1m" doc:"How long others may keep that."`
	Pins      []string     `toml:"pins" doc:"SHA-256 hashes, in base64, of public keys that are in use or will be: whoever reads them trusts them as a certificate. Add a new one two times ttl before it is used, and remove an old one after that."`
}

// Outbound says what the server itself may connect to. Whoever can name a host for it to connect to is kept away from the
// networks that only the server can reach.
type Outbound struct {
	Allow []string `toml:"allow" doc:"Addresses or networks (CIDR) that may be connected to although they are not public, such as \"10.0.0.0/8\"."`
	Deny  []string `toml:"deny" doc:"Further addresses or networks that may not."`
	CA    string   `toml:"ca" doc:"File with the certificates, in PEM, of authorities that are trusted beside those of the system."`
}

// Networks returns Allow and Deny.
func (o *Outbound) Networks() (allow, deny []netip.Prefix, err error) {
	if allow, err = networks("allow", o.Allow); err == nil {
		deny, err = networks("deny", o.Deny)
	}
	return allow, deny, err
}

// Log says what is logged.
type Log struct {
	Level  string `toml:"level" enum:"debug,info,warn,error" doc:"debug, info, warn or error."`
	Format string `toml:"format" enum:"text,json" doc:"text or json."`
	Trace  int    `toml:"trace" reload:"restart" max:"4294967296" doc:"Bytes of memory in which it is remembered what became of each message, for sabir trace: who sent it, which copies were made, when each was written and acknowledged. A message takes some 600. Below 65536: nothing is remembered."`
}

// Path returns the file from which the configuration was read, or "".
func (c *Config) Path() string { return c.path }

// Host returns the host of this prepared domain, or nil.
func (c *Config) Host(domain string) *Host {
	for i := range c.Hosts {
		if c.Hosts[i].jid.Domain() == domain {
			return &c.Hosts[i]
		}
	}
	return nil
}

// Mod returns the settings of an extension on the host of this prepared domain: what Section.New returned, filled in from [mod.NAME]
// and then from the host's own [host.mod.NAME]. It is nil for an extension that has none. The value is shared and must not be changed.
func (c *Config) Mod(domain, name string) any {
	if v, ok := c.mods[domain][name]; ok {
		return v
	}
	return c.mods[""][name]
}

// Section is what the composition root tells of an extension.
type Section struct {
	// Name is that of the extension and of its section [mod.NAME].
	Name string
	// Doc is one sentence for operators.
	Doc string
	// Off says that the extension is not on by default.
	Off bool
	// New returns a pointer to a struct of settings that holds the defaults; nil where there is nothing to configure.
	New func() any
}

// Default returns the configuration of an empty file: no host, everything else at its default.
func Default() *Config {
	return &Config{
		DataDir: "data",
		Limits: Limits{
			HostLimits: HostLimits{
				BeforeAuth:     StreamLimits{Bytes: 16 << 10, Depth: 16, Attributes: 50, Elements: 64, Name: 256},
				AfterAuth:      StreamLimits{Bytes: 256 << 10, Depth: 100, Attributes: 50, Elements: 10000, Name: 256},
				AuthTimeout:    seconds(60),
				PingAfter:      seconds(5 * 60),
				PingTimeout:    seconds(60),
				Resources:      16,
				QueueBytes:     1 << 20,
				ResumeTimeout:  seconds(10 * 60),
				ResumeBytes:    1 << 20,
				ResumeSessions: 8,
				ByteRate:       1 << 20,
				ByteBurst:      4 << 20,
			},
			HandshakeTimeout:      seconds(15),
			HandshakesWaiting:     5000,
			WriteTimeout:          seconds(60),
			ConnectionsPerAddress: 1024,
		},
		Auth: Auth{
			Mechanisms: []string{
				"EXTERNAL",
				"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
				"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1",
				"PLAIN", "ANONYMOUS",
			},
			SCRAMSHA1:     true,
			Downgrade:     true,
			Iterations:    65_536, // adr/0034
			MinPassword:   8,
			Attempts:      5,
			Failures:      10,
			FailureWindow: seconds(600),
			Tokens:        Tokens{Enabled: true, Lifetime: seconds(21 * 24 * 3600), Rotate: seconds(24 * 3600)},
			Devices:       Devices{Names: true, Keep: seconds(90 * 24 * 3600), Max: 50, PasswordChange: "others"},
		},
		S2S: defaultS2S(),
		Web: Web{Client: true, HostMeta: HostMeta{TTL: seconds(3600)}},
		Log: Log{Level: "info", Format: "text", Trace: 8 << 20},
	}
}

// TrustedProxies returns the networks of ProxyFrom.
func (l *Listen) TrustedProxies() ([]netip.Prefix, error) { return networks("proxy_from", l.ProxyFrom) }

// networks reads a list of addresses and networks.
func networks(key string, list []string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			nets = append(nets, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is neither an address nor a network such as 10.0.0.0/8", key, s)
		}
		nets = append(nets, p.Masked())
	}
	return nets, nil
}
