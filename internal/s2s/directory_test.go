package s2s

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/listen"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
)

// noCertificates is a host that shows none.
type noCertificates struct{ listen.TLSSource }

func (noCertificates) Client(string) *tls.Certificate { return nil }

// nobody is a DNS that knows the web server of a domain and nothing else.
type nobody struct{}

func (nobody) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{IsNotFound: true}
}

func (nobody) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	if network == "ip4" && host == "b.example" {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
	return nil, &net.DNSError{IsNotFound: true}
}

// TestDirectory follows host-meta.json of a domain to its server (XEP-0487).
func TestDirectory(t *testing.T) {
	ca := newAuthority(t, "known")
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	pair := func(name string, self bool) tls.Certificate {
		key := newKey(t)
		c, by := &x509.Certificate{DNSNames: []string{name}}, ca.cert
		if self {
			by = nil
		}
		return tls.Certificate{Certificate: [][]byte{ca.issue(c, key, by).Raw}, PrivateKey: key}
	}
	self := pair("b.example", true)
	leaf, err := x509.ParseCertificate(self.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	pin := base64.StdEncoding.EncodeToString(key[:])
	for _, c := range []struct {
		name, mode, xmpp string
		server           tls.Certificate
		want             string // part of the error; "" where the domain is proved
	}{
		{"a certificate for the domain", "fallback", `{"ttl":60}`, pair("b.example", false), ""},
		{"one for the name that was asked for", "fallback", `{"ttl":60}`, pair("hosting.example", false), ""},
		{"first", "first", `{"ttl":60}`, pair("b.example", false), ""},
		{"one for another", "fallback", `{"ttl":60}`, pair("evil.example", false), "not for b.example"},
		{"a key that is pinned", "fallback", `{"ttl":60,"public-key-pins-sha-256":["` + pin + `"]}`, self, ""},
		{"a key that is not pinned", "fallback", `{"ttl":60}`, self, "self-signed"},
		{"no XEP-0487", "fallback", "", pair("b.example", false), "192.0.2.1"},
		{"it is not to be read", "never", `{"ttl":60}`, pair("b.example", false), "192.0.2.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c.server}, NextProtos: []string{"xmpp-server"}})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			names := make(chan string, 8)
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					if s := conn.(*tls.Conn); s.Handshake() == nil {
						names <- s.ConnectionState().ServerName
						fmt.Fprint(conn, "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' id='1' from='b.example' version='1.0'><stream:features/>")
					}
				}
			}()
			var asked atomic.Int32
			web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				fmt.Fprintf(w, `{%s"links":[{"rel":"urn:xmpp:alt-connections:s2s-tls","port":443,"ips":["192.0.2.9"],"priority":1,"weight":1,"sni":"hosting.example"}]}`,
					map[bool]string{true: "", false: `"xmpp":` + c.xmpp + ","}[c.xmpp == ""])
			}))
			web.TLS = &tls.Config{Certificates: []tls.Certificate{pair("b.example", false)}}
			web.StartTLS()
			defer web.Close()
			def := config.Default()
			def.S2S.HostMeta = c.mode
			d := &dial.Dialer{Resolver: nobody{}, Connect: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
				to := ""
				switch a.String() {
				case "192.0.2.1:443":
					to = web.Listener.Addr().String()
				case "192.0.2.9:443":
					to = ln.Addr().String()
				default:
					return nil, fmt.Errorf("%s is out of reach", a)
				}
				return new(net.Dialer).DialContext(ctx, "tcp", to)
			}}
			s := storeServer(nil)
			s.o.Dialer, s.o.TLS, s.o.Roots = d, noCertificates{}, roots
			s.Configure(Settings{Federation: def.S2S, Limits: def.Limits})
			p := pairOf("a.example", "b.example")
			for range 2 { // the second time from what was kept
				o, err := s.open(t.Context(), p)
				if err == nil {
					s.leave(o)
					if name := <-names; name != "hosting.example" {
						t.Errorf("TLS asked for %s", name)
					}
				}
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%v, want %q", err, c.want)
				}
			}
			if n := asked.Load(); c.want == "" && n != 1 || c.mode == "never" && n != 0 {
				t.Errorf("host-meta was read %d times", n)
			}
		})
	}
}

func pairOf(local, remote string) pair { return pair{jid.MustParse(local), jid.MustParse(remote)} }

// TestDirectoryExpires keeps what was published beyond its time where nothing newer can be had (XEP-0487#impl).
func TestDirectoryExpires(t *testing.T) {
	s := storeServer(nil)
	s.o.Dialer = &dial.Dialer{Resolver: nobody{}, Connect: func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, fmt.Errorf("nobody is there") }}
	b, old := jid.MustParse("b.example"), &dial.Directory{TTL: time.Minute}
	if _, err := s.directory(t.Context(), b); err == nil {
		t.Error("something is known of a domain that says nothing")
	}
	s.dirs[b] = cached{old, time.Now().Add(-time.Hour)}
	if dir, err := s.directory(t.Context(), b); err != nil || dir != old {
		t.Errorf("%v %v", dir, err)
	}
}
