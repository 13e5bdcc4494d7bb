package fault

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/interop/ledger"
	"sabir/internal/wiretest"
	"sabir/xmpp/client"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

var flood = flag.Int("flood", 20_000, "how many messages are sent to the client that does not read")

// metric reads a metric of the server, summed over its labels; 0 where it has none yet.
func metric(t *testing.T, s *ledger.Sabir, name string) float64 {
	t.Helper()
	r, err := http.Get("http://" + s.Addresses["admin"] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 2 && (f[0] == name || strings.HasPrefix(f[0], name+"{")) {
			v, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}

// login opens a session that its caller reads, or does not.
func login(ctx context.Context, s ledger.Server, account int) (*client.Stream, error) {
	return loginFrom(ctx, s, account, nil)
}

// loginFrom is login by a dialer; nil for any.
func loginFrom(ctx context.Context, s ledger.Server, account int, from *dial.Dialer) (*client.Stream, error) {
	_, cfg, err := s.Account(account)
	if err != nil {
		return nil, err
	}
	cfg.Dialer = from
	st, err := client.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err = st.Authenticate(ctx); err == nil {
		_, err = st.Bind(ctx, "")
	}
	if err == nil {
		err = st.Send(stanza.New(stanza.Presence, ""))
	}
	if err != nil {
		return nil, errors.Join(err, st.Conn.Close())
	}
	return st, nil
}

// latencies are how long pings took.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *latencies) p99() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return 0
	}
	slices.Sort(l.all)
	return l.all[len(l.all)*99/100]
}

// pinging has a device ping the server until stop is called, which returns the p99.
func pinging(t *testing.T, d *ledger.Device) (stop func() time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var l latencies
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			start := time.Now()
			if err := d.Ping(ctx); err != nil {
				if ctx.Err() == nil {
					t.Errorf("a bystander: %v", err)
				}
				return
			}
			l.add(time.Since(start))
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() time.Duration {
		cancel()
		<-ended
		return l.p99()
	}
}

// TestSlowConsumer sends to a client that stops reading (row 10): what waits is bounded, others notice nothing, and all
// messages can be read later, each once: in the archive, and where the client has stream management, so that nothing counts as
// taken that it has not acknowledged, by whoever logs in next.
func TestSlowConsumer(t *testing.T) {
	s := server(t, t.TempDir(), 8, "")
	restart(t, s, func(text string) string { // or a part of the flood would come back; what is being committed may count twice
		return fmt.Sprintf("%s\n[mod.offline]\nmessages = %d\nbytes = %d\n", text, 2**flood, *flood<<11)
	})
	for _, sm := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream management %v", sm), func(t *testing.T) { slowConsumer(t, s, sm) })
	}
}

func slowConsumer(t *testing.T, s *ledger.Sabir, sm bool) {
	p := players(t, s, ledger.Options{Chatters: 5, Sleepers: 1, Ping: true, SettleWithin: 5 * time.Minute})
	slow := p.Sleepers()[0]
	st, err := login(t.Context(), s, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Conn.Close()
	if sm {
		if _, err := st.EnableSM(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	before := memory(t, s.PID, "VmRSS")
	stop := pinging(t, p.Devices()[0])
	waited := watch(t, s, "sabir_queue_bytes")
	took := floodBy(t, p.Devices()[2:], slow)
	most := waited()
	p99 := stop()
	after := memory(t, s.PID, "VmRSS")
	running(t, s)
	if p99 > 2*time.Second { // 100 ms on a machine that does nothing else
		t.Errorf("a bystander's ping took %v (p99)", p99)
	}
	if most > 1<<20+64<<10 { // what the others have on their way is in the figure
		t.Errorf("%.0f bytes waited for one client", most)
	}
	if after > before+192<<10 { // what the flood of 20,000 leaves to the garbage collector included
		t.Errorf("memory grew from %d to %d KiB", before, after)
	}
	came := 0
	if sm {
		came = readOnce(t, s, 5, p.Book.Sent())
	}
	r := compare(t, p)
	if r.Accepted != r.Sent || r.Sent < *flood*9/10 {
		t.Errorf("of %d messages %d were accepted; came back: %v", r.Sent, r.Accepted, p.Book.Refused())
	}
	t.Logf("%d messages in %v; at most %.0f bytes waited; a bystander's ping took %v (p99); memory %d, then %d KiB; %d came at the next login; %v",
		r.Sent, took.Round(time.Millisecond), most, p99, before, after, came, &r)
}

// watch looks at a metric until most is called, which returns the most that it was.
func watch(t *testing.T, s *ledger.Sabir, name string) (most func() float64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan float64, 1)
	go func() {
		most := 0.0
		for ctx.Err() == nil {
			most = max(most, metric(t, s, name))
			time.Sleep(20 * time.Millisecond)
		}
		ended <- most
	}()
	return func() float64 {
		cancel()
		return <-ended
	}
}

// floodBy has devices write all that the flag asks for to one account, each in bursts. It returns how long that took.
func floodBy(t *testing.T, writers []*ledger.Device, to *ledger.Account) time.Duration {
	t.Helper()
	burst := slices.Repeat([]*ledger.Account{to}, 50)
	start := time.Now()
	var wg sync.WaitGroup
	for _, d := range writers {
		wg.Go(func() {
			for range *flood / len(writers) / len(burst) {
				if err := d.Write(t.Context(), burst, false); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// readOnce logs an account in and reads the messages that were kept for it: so many, each once.
func readOnce(t *testing.T, s *ledger.Sabir, account, want int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	st, err := login(ctx, s, account)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Conn.Close()
	defer context.AfterFunc(ctx, func() { st.Conn.Close() })()
	came := make(map[string]int)
	ping := stanza.NewIQ(stanza.TypeGet, jid.JID{}, jid.JID{}, xmlstream.El("urn:xmpp:ping", "ping"))
	for {
		f, err := st.Next()
		if err != nil {
			t.Fatalf("%d of %d messages came: %v", len(came), want, err)
		}
		m, bad := stanza.FromFrame(f)
		switch {
		case m == nil || bad != nil:
			t.Fatalf("%s came: %v", f.Raw(), bad)
		case m.ID == ping.ID && m.Kind == stanza.IQ: // nothing more is there
			return len(came)
		case m.Request(): // the next page comes when the client has shown that it has got this one
			if err := st.Send(m.Result(nil)); err != nil {
				t.Fatal(err)
			}
			continue
		case m.Kind != stanza.Message || m.Body() == "":
			continue
		}
		if came[m.Body()]++; came[m.Body()] > 1 {
			t.Errorf("%q came again", m.Body())
		}
		if len(came) == want {
			if err := st.Send(ping); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// through has the first account connect through a relay.
type through struct {
	*ledger.Sabir
	relay *wiretest.Relay
}

func (s through) Account(n int) (jid.JID, *client.Config, error) {
	j, cfg, err := s.Sabir.Account(n)
	if err == nil && n == 0 {
		cfg.Address = s.relay.Addr
	}
	return j, cfg, err
}

// TestHalfOpen loses a client without a word (row 11): the server finds out by itself, and what was sent to it meanwhile is
// there when it comes back, by resumption or from the archive.
func TestHalfOpen(t *testing.T) {
	s := server(t, t.TempDir(), 6, "")
	restart(t, s, func(text string) string {
		return strings.Replace(text, "[limits]\n", "[limits]\nping_after = \"10s\"\nping_timeout = \"2s\"\nwrite_timeout = \"5s\"\n", 1)
	})
	h := wiretest.New(t, s.Addresses["c2s"])
	for _, sm := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream management %v", sm), func(t *testing.T) {
			h.Silence(false)
			p := players(t, through{s, h}, ledger.Options{Chatters: 4, Ping: !sm, SM: sm})
			lost := p.Chatters()[0]
			others := p.Devices()[2:]
			sessions := metric(t, s, "sabir_sessions")
			h.Silence(true)
			start := time.Now()
			found := time.Duration(0)
			for n := 0; ; n++ {
				if err := others[n%len(others)].Write(t.Context(), []*ledger.Account{lost}, n%2 == 0); err != nil {
					t.Fatal(err)
				}
				if sm && n > 100 || !sm && metric(t, s, "sabir_sessions") <= sessions-2 {
					found = time.Since(start)
					break
				}
				if time.Since(start) > 90*time.Second {
					t.Fatal("the server does not find out")
				}
				time.Sleep(100 * time.Millisecond)
			}
			h.Cut()
			h.Silence(false)
			r := ledger.Report{}
			if p.Archive || sm {
				r = settle(t, p)
			}
			t.Logf("found after %v; %v", found.Round(time.Millisecond), &r)
		})
	}
}

// TestDescriptors leaves the server without descriptors (row 17): those who are there notice nothing, nothing spins, and
// new ones get in when there is room.
func TestDescriptors(t *testing.T) {
	s := server(t, t.TempDir(), 24, "", func(s *ledger.Sabir) { s.Wrap("sh", "-c", `ulimit -n 256 && exec "$@"`, "sh") })
	p := players(t, s, ledger.Options{Chatters: 20, Sleepers: 4, Pause: 60 * time.Millisecond, Most: 20_000, Ping: true})
	stop := load(t, p)
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	for range 400 {
		c, err := net.DialTimeout("tcp", s.Addresses["c2s"], 5*time.Second)
		if err != nil {
			break // the kernel's queue is full, too
		}
		idle = append(idle, c)
	}
	await(t, 30*time.Second, "the server runs out of descriptors", func() bool { return strings.Contains(s.Log(), "cannot accept connections") })
	from := p.Book.Accepted()
	await(t, 30*time.Second, "those who are there go on", func() bool { return p.Book.Accepted() > from+50 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	cpu, begin := processor(t, s.PID), time.Now()
	time.Sleep(3 * time.Second)
	busy := float64(processor(t, s.PID)-cpu) / float64(time.Since(begin))
	if busy > 0.5 {
		t.Errorf("the server does nothing and takes %.0f %% of a processor", busy*100)
	}
	for _, c := range idle {
		c.Close()
	}
	n := len(idle)
	idle = nil
	back := await(t, 30*time.Second, "a new client logs in", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		st, err := login(ctx, s, 0)
		if err != nil {
			return false
		}
		return st.Close(ctx) == nil
	})
	running(t, s)
	r := compare(t, p)
	t.Logf("%d connections beyond; %.1f %% of a processor while idle without descriptors; a new client after %v; %v", n, busy*100, back.Round(time.Millisecond), &r)
}
