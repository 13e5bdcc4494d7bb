package xmpptest_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
)

const daneCast = `# What TLSA records say of a server
# spec: RFC 7673 §4

[Client] Romeo
	jid: romeo@localhost/orchard
	password: password

[Server] Capulet
	domain: capulet.lit

-----

Romeo connects

Romeo sends:
	<message to='juliet@capulet.lit' id='m1' type='chat'><body>But soft!</body></message>

`

const daneAccepts = `Capulet accepts

Capulet sends:
	<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>

`

const daneTaken = daneAccepts + `Capulet receives:
	<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{any}</auth>
`

func daneBounced(condition string) string {
	return "Romeo receives:\n\t<message type='error' id='m1'><error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>\n"
}

// daneCase is a server with a certificate and a TLSA record, which DNSSEC has validated or not, and what then happens.
type daneCase struct {
	name, config, certificate string
	secure                    bool
	record                    string // behind the port's name; KEY stands for the hash of the server's key
	rcode                     int
	then                      string
}

// run plays what happens behind a beginning.
func (c *daneCase) run(t *testing.T, cast string) {
	t.Parallel()
	var config []string
	if c.config != "" {
		config = []string{c.config}
	}
	srv := xmpptest.NewServer(t, xmpptest.Options{Config: config})
	srv.Zone.Secure(c.secure)
	target := srv.Target("tcp")
	target.Peer = danePeer(t, srv, c.certificate, c.record, c.rcode)
	s, err := transcript.Parse("dane.xt", cast+c.then)
	if err != nil {
		t.Fatal(err)
	}
	if err := transcript.Run(t.Context(), s, target); err != nil {
		t.Error(err)
	}
}

// TestDANE connects to servers whose TLSA records were validated, or were not.
func TestDANE(t *testing.T) {
	for _, c := range []daneCase{
		{"the record vouches for a certificate that signs itself", "", "self-signed", true, "3 1 1 KEY", 0, daneTaken},
		{"nothing was validated", "", "self-signed", false, "3 1 1 KEY", 0, daneAccepts + daneBounced("remote-server-not-found")},
		{"nobody's word counts", `s2s.dnssec = "never"`, "self-signed", true, "3 1 1 KEY", 0, daneAccepts + daneBounced("remote-server-not-found")},
		{"the record is of another certificate", "", "", true, "3 1 1 " + strings.Repeat("00", 32), 0, daneAccepts + daneBounced("remote-server-not-found")},
		{"and dialback does not help", `s2s.auth = "dialback"`, "", true, "3 1 1 " + strings.Repeat("00", 32), 0, daneAccepts + daneBounced("remote-server-not-found")},
		{"the record cannot be understood", "", "", true, "9 1 1 00", 0, daneTaken},
		{"there is no record", "", "", true, "", 0, daneTaken},
		{"the record is held back", `s2s.queue_time = "1s"`, "", true, "", dns.RcodeServerFailure, "Capulet accepts raw\n\nCapulet is disconnected\n\n" + daneBounced("remote-server-timeout")},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, daneCast) })
	}
}

// danePeer returns a server whose certificate a record names, or another; KEY stands for the hash of its key.
func danePeer(t *testing.T, srv *xmpptest.Server, certificate, record string, rcode int) func(context.Context, string) (*transcript.Peer, error) {
	return func(ctx context.Context, domain string) (*transcript.Peer, error) {
		p, err := srv.Peer(ctx, domain)
		if err != nil {
			return nil, err
		}
		conf, err := p.TLS(certificate)
		if err != nil {
			return nil, err
		}
		p.TLS = func(string) (*tls.Config, error) { return conf, nil }
		leaf, err := x509.ParseCertificate(conf.Certificates[0].Certificate[0])
		if err != nil {
			return nil, err
		}
		_, port, err := net.SplitHostPort(p.Listener.Addr().String())
		if err != nil {
			return nil, err
		}
		at := "_" + port + "._tcp.host." + p.Domain + "."
		key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		if record != "" {
			srv.Zone.Add(t, at+" 60 IN TLSA "+strings.ReplaceAll(record, "KEY", hex.EncodeToString(key[:])))
		}
		srv.Zone.Fail(at, rcode)
		return p, nil
	}
}

const daneComes = `# What TLSA records say of a server that connects to us
# spec: XEP-0178#s2s

[Server] Capulet
	domain: capulet.lit

-----

Capulet opens

Capulet sends:
	<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>

Capulet receives:
`

const (
	daneProved  = daneComes + "\t<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>\n\nCapulet disconnects\n"
	daneRefused = daneComes + "\t<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text xml:lang='en'>{any}</text></failure>\n\nCapulet disconnects\n"
)

// TestDANEIn has servers connect to us whose TLSA records were validated, or were not. Of one that an authority vouches for they are not asked.
func TestDANEIn(t *testing.T) {
	for _, c := range []daneCase{
		{"the record vouches for a certificate that signs itself", "", "self-signed", true, "3 1 1 KEY", 0, daneProved},
		{"nothing was validated", "", "self-signed", false, "3 1 1 KEY", 0, daneRefused},
		{"nobody's word counts", `s2s.dnssec = "never"`, "self-signed", true, "3 1 1 KEY", 0, daneRefused},
		{"the record is of another certificate", "", "self-signed", true, "3 1 1 " + strings.Repeat("00", 32), 0, daneRefused},
		{"the record cannot be understood", "", "self-signed", true, "9 1 1 00", 0, daneRefused},
		{"there is no record", "", "self-signed", true, "", 0, daneRefused},
		{"the record is held back", "", "self-signed", true, "", dns.RcodeServerFailure, daneRefused},
		{"others are pinned", `s2s.domain = [{domain = "*.capulet.lit", auth = "pin", pins = ["` + strings.Repeat("00", 32) + `"]}]`, "self-signed", true, "3 1 1 KEY", 0, daneRefused},
		{"an authority vouches, and the record is of another", "", "", true, "3 1 1 " + strings.Repeat("00", 32), 0, daneProved},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, "") })
	}
}
