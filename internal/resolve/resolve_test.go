package resolve

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sabir/internal/dnstest"
	"sabir/xmpp/dial"
)

func asking(z *dnstest.Zone, trust bool) *Resolver {
	return New(Options{Servers: []string{z.Addr}, Trust: trust, Timeout: time.Second})
}

func notFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

func TestRecords(t *testing.T) {
	z := dnstest.New(t, "")
	z.Add(t, "_xmpp-server._tcp.capulet.lit. 60 IN SRV 5 7 5269 alias.capulet.lit.",
		"alias.capulet.lit. 60 IN CNAME host.capulet.lit.", "host.capulet.lit. 60 IN A 192.0.2.1", "host.capulet.lit. 60 IN A 192.0.2.2",
		"host.capulet.lit. 60 IN AAAA 2001:db8::1", "v4.capulet.lit. 60 IN A 192.0.2.3")
	r := asking(z, true)
	_, srv, err := r.LookupSRV(t.Context(), "xmpp-server", "tcp", "capulet.lit")
	if err != nil || len(srv) != 1 || *srv[0] != (net.SRV{Target: "alias.capulet.lit.", Port: 5269, Priority: 5, Weight: 7}) {
		t.Errorf("SRV: %v %v", srv, err)
	}
	for _, c := range []struct {
		network, host, want string
		missing             bool
	}{
		{"ip4", "alias.capulet.lit", "[192.0.2.1 192.0.2.2]", false},
		{"ip6", "alias.capulet.lit", "[2001:db8::1]", false},
		{"ip6", "v4.capulet.lit", "[]", true},
		{"ip4", "nobody.capulet.lit", "[]", true},
		{"ip4", "a..b", "[]", true},
	} {
		got, err := r.LookupNetIP(t.Context(), c.network, c.host)
		if fmt.Sprint(got) != c.want || notFound(err) != c.missing || (err != nil) != c.missing {
			t.Errorf("%s %s: %v %v", c.network, c.host, got, err)
		}
	}
	if _, _, err := r.LookupSRV(t.Context(), "xmpps-server", "tcp", "capulet.lit"); !notFound(err) {
		t.Errorf("no SRV: %v", err)
	}
}

// TestBadAnswers shows what DNS servers do (reliability, row 14), and that all of it ends in time.
func TestBadAnswers(t *testing.T) {
	reply := func(q *dns.Msg, records ...string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true
		for _, s := range records {
			rr, err := dns.NewRR(s)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		return m
	}
	for _, c := range []struct {
		name    string
		answer  func(w dns.ResponseWriter, q *dns.Msg)
		want    string // the addresses, or the error
		missing bool
	}{
		{"SERVFAIL", func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)) }, "SERVFAIL", false},
		{"REFUSED", func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeRefused)) }, "REFUSED", false},
		{"silence", func(dns.ResponseWriter, *dns.Msg) {}, "timeout", false},
		{"garbage", func(w dns.ResponseWriter, _ *dns.Msg) { w.Write([]byte("nonsense")) }, "", false},
		{"lame: a referral", func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Ns = append(m.Ns, reply(q, "lit. 60 IN NS ns.elsewhere.example.").Answer...)
			w.WriteMsg(m)
		}, "not responsible", false},
		{"another question", func(w dns.ResponseWriter, q *dns.Msg) {
			m := reply(q, "host.lit. 60 IN A 192.0.2.66")
			m.Question[0].Name = "other.lit."
			w.WriteMsg(m)
		}, "another question", false},
		{"records of others", func(w dns.ResponseWriter, q *dns.Msg) {
			w.WriteMsg(reply(q, "evil.lit. 60 IN A 192.0.2.66", "evil.lit. 60 IN CNAME host.lit."))
		}, "no such record", true},
		{"alias to itself", func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(reply(q, "host.lit. 60 IN CNAME host.lit.")) }, "no end", false},
		{"aliases in a circle", func(w dns.ResponseWriter, q *dns.Msg) {
			w.WriteMsg(reply(q, "host.lit. 60 IN CNAME a.lit.", "a.lit. 60 IN CNAME b.lit.", "b.lit. 60 IN CNAME host.lit."))
		}, "no end", false},
		{"aliases without end", func(w dns.ResponseWriter, q *dns.Msg) {
			m := reply(q, q.Question[0].Name+" 60 IN CNAME x"+q.Question[0].Name)
			m.RecursionAvailable, m.Authoritative = false, true
			w.WriteMsg(m)
		}, "no end", false},
		{"an alias to nothing", func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(reply(q, "host.lit. 60 IN CNAME a.lit.")) }, "no such record", true},
		{"3000 addresses, over TCP", func(w dns.ResponseWriter, q *dns.Msg) {
			if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
				m := reply(q)
				m.Truncated = true
				w.WriteMsg(m)
				return
			}
			m := reply(q)
			m.Compress = true
			for i := range 3000 {
				m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "host.lit.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(10, 0, byte(i>>8), byte(i))})
			}
			w.WriteMsg(m)
		}, "32 addresses", false},
		{"always cut off", func(w dns.ResponseWriter, q *dns.Msg) {
			m := reply(q)
			m.Truncated = true
			w.WriteMsg(m)
		}, "cut off", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			z := dnstest.New(t, "")
			z.Answer(func(w dns.ResponseWriter, q *dns.Msg) bool { c.answer(w, q); return true })
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			got, err := asking(z, true).LookupNetIP(ctx, "ip4", "host.lit")
			if ctx.Err() != nil {
				t.Fatal("it takes for ever")
			}
			text := fmt.Sprintf("%d addresses, %v", len(got), err)
			if !strings.Contains(text, c.want) || notFound(err) != c.missing || (err == nil) != (len(got) > 0) {
				t.Error(text)
			}
		})
	}
}

func TestSecondServer(t *testing.T) {
	bad, good := dnstest.New(t, ""), dnstest.New(t, "")
	bad.Fail("host.lit.", dns.RcodeServerFailure)
	good.Add(t, "host.lit. 60 IN A 192.0.2.1")
	got, err := New(Options{Servers: []string{bad.Addr, good.Addr}}).LookupNetIP(t.Context(), "ip4", "host.lit")
	if err != nil || len(got) != 1 {
		t.Error(got, err)
	}
}

func TestSecure(t *testing.T) {
	z := dnstest.New(t, "")
	z.Add(t, "_xmpp-server._tcp.lit. 60 IN SRV 1 1 5269 alias.lit.", "alias.lit. 60 IN CNAME host.lit.", "host.lit. 60 IN A 192.0.2.1",
		"_5269._tcp.host.lit. 60 IN TLSA 3 1 1 00ff", "_5270._tcp.alias.lit. 60 IN TLSA 2 0 2 aa", "broken.lit. 60 IN A 192.0.2.1")
	z.Fail("_5269._tcp.broken.lit.", dns.RcodeServerFailure)
	for _, c := range []struct {
		said, trusted bool
	}{{true, true}, {true, false}, {false, true}} {
		z.Secure(c.said)
		r := asking(z, c.trusted)
		_, secure, err := r.SecureSRV(t.Context(), "xmpp-server", "tcp", "lit")
		if err != nil || secure != (c.said && c.trusted) {
			t.Errorf("%+v: secure %v, %v", c, secure, err)
		}
		at := func(host string, port uint16) string {
			var all []string
			list, err := r.LookupTLSA(t.Context(), host, port)
			for _, x := range list {
				all = append(all, fmt.Sprintf("%d %d %d %s", x.Usage, x.Selector, x.Matching, hex.EncodeToString(x.Data)))
			}
			return fmt.Sprint(all, err != nil)
		}
		want := map[string]string{"alias.lit 5269": "[3 1 1 00ff] false", "alias.lit 5270": "[2 0 2 aa] false", "host.lit 1": "[] false", "broken.lit 5269": "[] true", "nobody.lit 5269": "[] false"}
		for at2, w := range want {
			if !secure {
				w = "[] false" // nothing is asked that would not be believed
			}
			var host string
			var port uint16
			fmt.Sscan(at2, &host, &port)
			if got := at(host, port); got != w {
				t.Errorf("%+v: TLSA of %s: %s, not %s", c, at2, got, w)
			}
		}
	}
}

func TestSystem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.53\nnameserver ::1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := System(file, Loopback)
	if err != nil || !r.o.Trust || !slices.Equal(r.o.Servers, []string{"127.0.0.53:53", "[::1]:53"}) {
		t.Errorf("%+v %v", r, err)
	}
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := System(file, Loopback); err != nil || r.o.Trust {
		t.Errorf("one server of two is elsewhere: %+v %v", r, err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := System(file, Loopback); err == nil && slices.Contains(r.o.Servers, "") {
		t.Errorf("%+v", r)
	}
}

var _ dial.Resolver = (*Resolver)(nil)
