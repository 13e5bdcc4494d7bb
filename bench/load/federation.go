package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/miekg/dns"
)

// resolver is where the names of two servers are looked up. bench/run.sh makes a network namespace in which nobody else has
// that address and port, and has /etc/resolv.conf say so.
const resolver = "127.0.53.53:53"

// names answers who is where, for as many domains as there are ports.
type names map[string]int

// ServeDNS implements dns.Handler.
func (n names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.Rcode = dns.RcodeNameError
	name := strings.ToLower(q.Question[0].Name)
	for domain, port := range n {
		records := map[string]string{
			domain + ".":                        "",
			"_xmpp-server._tcp." + domain + ".": fmt.Sprintf("SRV 5 5 %d host.%s.", port, domain),
			"host." + domain + ".":              "A 127.0.0.1",
		}
		r, ok := records[name]
		if !ok {
			continue
		}
		m.Rcode = dns.RcodeSuccess
		if rr, err := dns.NewRR(name + " 60 IN " + r); r != "" && err == nil && rr.Header().Rrtype == q.Question[0].Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	if err := w.WriteMsg(m); err != nil {
		return // who has asked asks again
	}
}

// serve answers until stop is called.
func (n names) serve() (stop func() error, err error) {
	ln, err := net.Listen("tcp", resolver)
	if err != nil {
		return nil, fmt.Errorf("two servers need root and a DNS server of the run: %w", err)
	}
	pc, err := net.ListenPacket("udp", resolver)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	tcp, udp := &dns.Server{Listener: ln, Handler: n}, &dns.Server{PacketConn: pc, Handler: n}
	for _, s := range []*dns.Server{tcp, udp} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go s.ActivateAndServe()
		<-ready
	}
	return func() error { return errors.Join(tcp.Shutdown(), udp.Shutdown()) }, nil
}

// StartTwo starts two servers that find and believe one another: by DNS and by dialback over TLS.
func (s Server) StartTwo(ctx context.Context, setup Setup) (*Running, error) {
	first, second := setup, setup
	first.Domain, second.Domain = "a.bench.test", "b.bench.test"
	second.Port += 1000
	for _, x := range []*Setup{&first, &second} {
		x.Dir = filepath.Join(setup.Dir, x.Domain)
		if err := os.Mkdir(x.Dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(setup.Dir, 0o755); err != nil {
		return nil, err
	}
	stop, err := names{first.Domain: first.S2SPort(), second.Domain: second.S2SPort()}.serve()
	if err != nil {
		return nil, err
	}
	a, err := s.Start(ctx, first)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	b, err := s.Start(ctx, second)
	if err != nil {
		return nil, errors.Join(err, a.Stop(), stop())
	}
	both := *a
	both.Other, both.PIDs = b, append(append([]int{}, a.PIDs...), b.PIDs...)
	both.stop = func() error { return errors.Join(a.Stop(), b.Stop(), stop()) }
	return &both, nil
}

// federate has a Sabir that was started once believe in dialback, ask the DNS server of the run and read as fast as it can.
func federate(config string) error {
	f, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n[s2s]\nresolver = \"" + resolver + "\"\nauth = \"dialback\"\nbyte_rate = 0\nstanza_rate = 0\n")
	return errors.Join(err, f.Close())
}
