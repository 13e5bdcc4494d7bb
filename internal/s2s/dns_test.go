package s2s_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sabir/internal/config"
	"sabir/xmpp/stanza"
)

// badAnswers has the zone answer, for what is below some names, as DNS servers of the world do.
func badAnswers(w dns.ResponseWriter, q *dns.Msg) bool {
	question := q.Question[0]
	labels := dns.SplitDomainName(question.Name)
	if len(labels) < 2 {
		return false
	}
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	header := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 60}
	}
	switch labels[len(labels)-2] {
	case "silent":
		return true
	case "servfail":
		m.Rcode = dns.RcodeServerFailure
	case "refused":
		m.Rcode = dns.RcodeRefused
	case "lame": // a referral to nobody
		m.RecursionAvailable = false
	case "cutoff":
		m.Truncated = true
	case "garbage":
		w.Write([]byte("nonsense")) // who asked may be gone
		return true
	case "loop":
		name := question.Name
		for _, alias := range []string{"x." + name, name} {
			m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: alias})
			name = alias
		}
	case "huge": // more than anybody can try, all of them dead, and more than fits a packet
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncated = true
			break
		}
		for i := range 1500 {
			switch question.Qtype {
			case dns.TypeSRV:
				m.Answer = append(m.Answer, &dns.SRV{Hdr: header(question.Name, dns.TypeSRV), Priority: uint16(i), Port: 1, Target: fmt.Sprintf("h%d.%s.example.", i, "huge")})
			case dns.TypeA:
				m.Answer = append(m.Answer, &dns.A{Hdr: header(question.Name, dns.TypeA), A: net.IPv4(127, 0, byte(i>>8), byte(i))})
			}
		}
	case "lying": // records of others, and the answer to another question
		m.Answer = append(m.Answer, &dns.A{Hdr: header("b.example.", dns.TypeA), A: net.IPv4(127, 0, 0, 66)})
		if question.Qtype == dns.TypeA {
			m.Question[0].Name = "b.example."
		}
	default:
		return false
	}
	w.WriteMsg(m) // who asked may be gone
	return true
}

// TestBadDNS writes to domains whose DNS fails (reliability, row 14): each message comes back with the right error in less than 30 seconds, and what goes
// to another domain meanwhile is not held up by any of them.
func TestBadDNS(t *testing.T) {
	t.Parallel()
	if d := config.Default().S2S.QueueTime; time.Duration(d) > 25*time.Second {
		t.Errorf("messages wait for %v where nothing else is said", time.Duration(d))
	}
	w := newWorld(t)
	a, _ := w.start(`queue_time = "8s"`, "a.example"), w.start("", "b.example")
	w.Answer(badAnswers)
	w.Add(t, "_xmpp-server._tcp.none.example. 60 IN SRV 0 0 0 .", "private.example. 60 IN A 10.1.2.3", "_xmpp-server._tcp.nameless.example. 60 IN SRV 1 1 5269 gone.example.")
	want := make(map[string]stanza.Condition)
	for _, name := range []string{"nowhere", "none", "private", "nameless"} {
		want[name+".example"] = stanza.RemoteServerNotFound
	}
	for _, name := range []string{"silent", "servfail", "refused", "lame", "cutoff", "garbage", "loop", "huge", "lying"} {
		want[name+".example"] = stanza.RemoteServerTimeout
	}
	romeo := a.login("romeo@a.example/x")
	slowest := bystander(t, a.login("benvolio@a.example/x"), "b.example")
	start := time.Now()
	const each = 10
	for domain := range want {
		for i := range each {
			romeo.say("x@"+domain, fmt.Sprint(domain, "/", i))
		}
	}
	var took time.Duration
	for domain, condition := range want {
		for i := range each {
			e := romeo.message(fmt.Sprint(domain, "/", i)).Err()
			if e == nil || e.Condition != condition {
				t.Errorf("%s: the sender is told %v, want %s", domain, e, condition)
			}
		}
		took = max(took, time.Since(start))
	}
	if took > 30*time.Second {
		t.Errorf("the last error came after %v", took)
	}
	ping := slowest()
	if silence := 4 * time.Second; ping >= silence { // which is how long a name server that says nothing is waited for
		t.Errorf("a ping of another server took %v", ping)
	}
	t.Logf("%d errors, the last after %v; the slowest ping of another server took %v", each*len(want), took.Round(time.Millisecond), ping)
}

// movedClock is the time of the machine, and some more.
type movedClock struct {
	mu   sync.Mutex
	more time.Duration
}

func (c *movedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.more)
}

func (c *movedClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more += d
}

// TestNoLongMemory: that a domain does not exist is known for a while, so that nobody is asked for each message, and for no longer than a minute.
func TestNoLongMemory(t *testing.T) {
	w := newWorld(t)
	clock := new(movedClock)
	w.clock = clock
	a := w.start("", "a.example")
	w.clock = nil
	romeo := a.login("romeo@a.example/x")
	refused := func(id string) {
		t.Helper()
		romeo.say("juliet@b.example", id)
		if e := romeo.message(id).Err(); e == nil || e.Condition != stanza.RemoteServerNotFound {
			t.Errorf("%s: the sender is told %v", id, e)
		}
	}
	refused("first")
	asked := w.Asked("_xmpp-server._tcp.b.example.")
	if asked == 0 {
		t.Fatal("nobody asked for the domain")
	}
	b := w.start("", "b.example")
	juliet := b.login("juliet@b.example/y")
	refused("second")
	if n := w.Asked("_xmpp-server._tcp.b.example."); n != asked {
		t.Errorf("DNS was asked again, %d times", n-asked)
	}
	clock.move(time.Minute)
	romeo.say("juliet@b.example", "third")
	juliet.message("third")
	if slices.ContainsFunc(romeo.all(), func(s *stanza.Stanza) bool { return strings.HasPrefix(s.ID, "third") }) {
		t.Error("the third came back")
	}
}
