package xmpptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
)

// TestBadDNS writes to domains whose DNS fails in the ways of the world (reliability, row 14): each message comes back with
// the right error within its time, and what goes to another domain meanwhile arrives.
func TestBadDNS(t *testing.T) {
	want := map[string]string{"nowhere.lit": "cancel remote-server-not-found", "closed.lit": "cancel remote-server-not-found"}
	for _, d := range []string{"silent", "servfail", "refused", "garbage", "lame", "loop", "cutoff"} {
		want[d+".lit"] = "wait remote-server-timeout"
	}
	srv := xmpptest.NewServer(t, xmpptest.Options{Config: []string{`s2s.queue_time = "5s"`}})
	srv.Zone.Add(t, "_xmpp-server._tcp.closed.lit. 60 IN SRV 0 0 0 .")
	srv.Zone.Answer(func(w dns.ResponseWriter, q *dns.Msg) bool {
		labels := dns.SplitDomainName(q.Question[0].Name)
		if len(labels) < 2 {
			return false
		}
		m := new(dns.Msg).SetReply(q)
		switch labels[len(labels)-2] {
		case "silent":
			return true
		case "garbage":
			w.Write([]byte("nonsense")) // who asked may be gone
			return true
		case "servfail":
			m.Rcode = dns.RcodeServerFailure
		case "refused":
			m.Rcode = dns.RcodeRefused
		case "lame":
		case "cutoff":
			m.Truncated = true
		case "loop":
			name := q.Question[0].Name
			for _, alias := range []string{"x." + name, name} {
				m.Answer = append(m.Answer, &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: alias})
				name = alias
			}
		default:
			return false
		}
		w.WriteMsg(m)
		return true
	})
	var sends, errs strings.Builder
	for d, e := range want {
		kind, condition, _ := strings.Cut(e, " ")
		fmt.Fprintf(&sends, "\t<message to='m@%s' id='to-%s' type='chat'><body>Hi</body></message>\n", d, d)
		fmt.Fprintf(&errs, "\tRomeo receives:\n\t\t<message from='m@%s' id='to-%s' type='error'><error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>\n", d, d, kind, condition)
	}
	s, err := transcript.Parse("dns.xt", `# DNS fails
# spec: RFC 6120 §8.3.3.16

[Client] Romeo
	jid: romeo@localhost/orchard
	password: password

[Server] Capulet
	domain: capulet.lit

-----

Romeo connects

Romeo sends:
`+sends.String()+`	<message to='juliet@capulet.lit' id='m1' type='chat'><body>But soft!</body></message>

Capulet accepts

Capulet sends:
	<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>

Capulet receives:
	<db:result from='{domain}' to='capulet.lit'>{any}</db:result>

Capulet sends:
	<db:result from='capulet.lit' to='{domain}' type='valid'/>

Capulet receives:
	<message to='juliet@capulet.lit' id='m1'/>

together:
`+errs.String())
	if err != nil {
		t.Fatal(err)
	}
	target := srv.Target("tcp")
	target.Timeout = 30 * time.Second
	if err := transcript.Run(t.Context(), s, target); err != nil {
		t.Error(err)
	}
}
