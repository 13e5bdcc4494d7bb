// Package dnstest owns the DNS server of tests: a zone on loopback, over UDP and TCP, whose answers can be wrong in the ways in
// which those of the world are.
package dnstest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Zone is a server that knows everything: what it does not have does not exist. Its methods may be called from any
// goroutine.
type Zone struct {
	// Addr is host:port, the same for UDP and TCP.
	Addr string

	mu      sync.Mutex
	records map[string][]dns.RR // by owner name, lower-case, with the final dot
	rcode   map[string]int
	asked   map[string]int
	secure  bool
	answer  func(w dns.ResponseWriter, q *dns.Msg) bool
}

// New opens a zone at an address, or at any free port of loopback where that is "". It closes with the test.
func New(t testing.TB, at string) *Zone {
	t.Helper()
	z := &Zone{records: make(map[string][]dns.RR), rcode: make(map[string]int), asked: make(map[string]int)}
	pc, ln, err := bothPorts(at)
	if err != nil {
		t.Fatal(err)
	}
	z.Addr = ln.Addr().String()
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: z}, {Listener: ln, Handler: z}} {
		ready, done := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(ready) }
		go func() { done <- s.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() {
			if err := errors.Join(s.Shutdown(), <-done); err != nil {
				t.Error(err)
			}
		})
	}
	return z
}

// bothPorts opens the same port for UDP and TCP.
func bothPorts(at string) (net.PacketConn, net.Listener, error) {
	if at == "" {
		at = "127.0.0.1:0"
	}
	for range 50 {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			return nil, nil, err
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return pc, ln, nil
		}
		ln.Close() // another program has that port
	}
	return nil, nil, errors.New("no port is free for both UDP and TCP")
}

// ServeDNS implements dns.Handler.
func (z *Zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	answer := z.answer
	z.mu.Unlock()
	if answer != nil && answer(w, q) {
		return
	}
	w.WriteMsg(z.Reply(q)) // who asked may be gone
}

// Reply makes the answer of the zone. CNAME records are followed within it.
func (z *Zone) Reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	z.mu.Lock()
	defer z.mu.Unlock()
	m.AuthenticatedData = z.secure
	name, kind := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	z.asked[name]++
	for range 16 {
		if r, ok := z.rcode[name]; ok {
			m.Rcode = r
			return m
		}
		rrs, ok := z.records[name]
		if !ok {
			m.Rcode = dns.RcodeNameError
			return m
		}
		next := ""
		for _, rr := range rrs {
			if c, ok := rr.(*dns.CNAME); ok && kind != dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
				next = strings.ToLower(c.Target)
			} else if rr.Header().Rrtype == kind {
				m.Answer = append(m.Answer, rr)
			}
		}
		if next == "" {
			return m
		}
		name = next
	}
	return m
}

// Add adds records in the notation of zone files.
func (z *Zone) Add(t testing.TB, records ...string) {
	t.Helper()
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ToLower(rr.Header().Name)
		z.mu.Lock()
		z.records[name] = append(z.records[name], rr)
		z.mu.Unlock()
	}
}

// Remove removes all records of a name.
func (z *Zone) Remove(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.records, name)
}

// Fail answers a code, such as dns.RcodeServerFailure, for a name; dns.RcodeSuccess ends that.
func (z *Zone) Fail(name string, rcode int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if rcode == dns.RcodeSuccess {
		delete(z.rcode, name)
		return
	}
	z.rcode[name] = rcode
}

// Secure sets whether answers say that DNSSEC has validated them (RFC 4035 §3.2.3).
func (z *Zone) Secure(on bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.secure = on
}

// Answer makes f answer whatever it returns true for: it has written then what it liked, or nothing.
func (z *Zone) Answer(f func(w dns.ResponseWriter, q *dns.Msg) bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.answer = f
}

// Asked returns how often a name was asked for.
func (z *Zone) Asked(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[name]
}

// Point makes the records of a domain lead to ports of this machine, of which an empty one is left out.
func (z *Zone) Point(t testing.TB, domain, starttls, direct string) {
	t.Helper()
	for _, n := range []string{"_xmpp-server._tcp.", "_xmpps-server._tcp.", "host."} {
		z.Remove(n + domain + ".")
	}
	z.mu.Lock()
	z.records[domain+"."] = nil
	z.mu.Unlock()
	host := "127.0.0.1"
	for service, addr := range map[string]string{"_xmpp-server": starttls, "_xmpps-server": direct} {
		if addr == "" {
			continue
		}
		at, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		host = at
		z.Add(t, fmt.Sprintf("%s._tcp.%s. 60 IN SRV 5 5 %s host.%s.", service, domain, port, domain))
	}
	z.Add(t, "host."+domain+". 60 IN A "+host)
}
