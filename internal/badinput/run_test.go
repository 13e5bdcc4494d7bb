package badinput

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/xmpp/xmlstream"
)

// later are the groups of cases for what the server does not have yet.
var later = []struct{ groups, why string }{
	{"search", "searching for users is another issue"},
	{"s2s", "internal/s2s runs it, with servers for the domains that the cases name"},
	{"bosh up path http http2 xrd adm inv", "BOSH, uploads, invitations and what else goes over HTTP are other issues"},
}

// laterCases are single cases of groups that run.
var laterCases = map[string]string{}

func skipped(c *testCase) string {
	for _, l := range later {
		if slices.Contains(strings.Fields(l.groups), c.group()) {
			return l.why
		}
	}
	return laterCases[c.ID]
}

// The time-outs of the server that is given cases about silence, and those of the others. TestTimeouts ties them to the
// times that the catalogue asks for.
const (
	shortAuth      = 2 * time.Second
	shortHandshake = time.Second
)

// TestCatalogue runs the cases one after the other, so that what a case leaves behind is told from what the next does.
func TestCatalogue(t *testing.T) {
	h := newHarness(t)
	h.settle(t)
	eachCase(t, func(c *testCase) bool { return !c.silent() }, h.run)
}

// TestSilence runs the cases that wait for the server to lose patience. They do so side by side: what they leave behind
// is looked at when all are over.
func TestSilence(t *testing.T) {
	h := newHarness(t, fmt.Sprintf("limits.auth_timeout = %q", shortAuth), fmt.Sprintf("limits.handshake_timeout = %q", shortHandshake))
	h.settle(t)
	h.shared = true
	t.Run("cases", func(t *testing.T) {
		eachCase(t, (*testCase).silent, func(t *testing.T, c *testCase) {
			t.Parallel()
			h.run(t, c)
		})
	})
	h.after(t)
}

// silent tells whether a case is about a client of which nothing more comes.
func (c *testCase) silent() bool { return c.WithinMS >= 10_000 && !c.mayLive() }

func eachCase(t *testing.T, which func(*testCase) bool, run func(*testing.T, *testCase)) {
	for _, file := range []string{"catalogue", "more"} {
		for _, c := range readCases(t, "testdata/"+file+".jsonl") {
			if !which(c) {
				continue
			}
			t.Run(file+"/"+c.ID, func(t *testing.T) {
				if why := skipped(c); why != "" {
					t.Skip(why)
				}
				run(t, c)
			})
		}
	}
}

// TestTimeouts checks that the server is by default no more patient than the catalogue allows: the cases themselves run
// with shorter times.
func TestTimeouts(t *testing.T) {
	l := config.Default().Limits
	for _, c := range readCases(t, "testdata/catalogue.jsonl") {
		within := time.Duration(c.WithinMS) * time.Millisecond
		switch c.ID {
		case "hdr-silent":
			if d := time.Duration(l.AuthTimeout); d > within {
				t.Errorf("a silent client is left alone for %v, not %v", d, within)
			}
		case "tls-handshake-stall":
			if d := time.Duration(l.HandshakeTimeout); d > within {
				t.Errorf("a handshake may take %v, not %v", d, within)
			}
		}
	}
}

// TestIdle checks that the time for the login is over with the login, on each transport.
func TestIdle(t *testing.T) {
	h := newHarness(t, `limits.auth_timeout = "1s"`)
	acc := h.account(t, "idle")
	tcp, err := h.connect("tcp", acc, "bound")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.close()
	ws, err := h.connect("ws", acc, "ws")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.close()
	for _, step := range []func() error{func() error { return ws.open(domain) }, func() error { return ws.login(domain) }, func() error { return ws.bind("ws") }} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1500 * time.Millisecond)
	for _, a := range []*actor{tcp, ws} {
		for _, id := range []string{"one", "two"} {
			if err := a.ping(domain, id, time.Second); err != nil {
				t.Error(err)
			}
		}
	}
}

// exec is one case under way.
type exec struct {
	h      *harness
	c      *testCase
	t      *testing.T
	e      expander
	accs   map[string]account
	actors map[string]*actor // those that are connected, by name
	self   *actor
	marks  map[*actor][2]int
	last   int     // the events before the last element of the input
	probe  string  // the id of the ping that tells whether self lives
	extra  outcome // what actions saw
	// parallels is what the connections of {parallel:…} saw.
	parallels outcome
	log       []string
	took      time.Duration
}

func (h *harness) run(t *testing.T, c *testCase) {
	x := &exec{h: h, c: c, t: t, accs: map[string]account{}, actors: map[string]*actor{}, marks: map[*actor][2]int{}, probe: "probe-" + c.ID}
	x.e.value, x.e.fast = x.value, x.fast
	defer x.finish()
	if err := x.prepare(); err != nil {
		t.Fatalf("before the case: %v", err)
	}
	if !h.shared {
		h.log.news()
	}
	mem := watchMemory(c.MaxRSSDeltaMB)
	start := time.Now()
	if err := x.sendAll(); err != nil {
		t.Fatalf("the case cannot be sent: %v", err)
	}
	o, alt := x.settle(start)
	if grown := mem.stop(); c.MaxRSSDeltaMB > 0 && grown > c.MaxRSSDeltaMB<<20 {
		t.Errorf("%d bytes more were in use on the way, allowed are %d MB", grown, c.MaxRSSDeltaMB)
	}
	t.Logf("outcome after %v: %v", x.took.Round(time.Millisecond), o)
	if alt == nil {
		t.Errorf("the outcome is none of %v: %v", c.alternatives(), o)
		return
	}
	if err := headerFirst(x, o); c.State == "tcp" && len(o.streamErrors) > 0 && x.self.conn == x.self.tcp && err != nil {
		t.Errorf("a stream error needs a header before it and an end after it (RFC 6120 §4.9.1.2): %v", err)
	}
	x.observe(o)
}

// finish closes all connections and looks whether the server is as it was.
func (x *exec) finish() {
	for _, a := range x.actors {
		a.close()
		if err := a.wellFormed(); err != nil {
			x.t.Errorf("%s: %v", a.name, err)
		}
	}
	if err := x.h.well(nil); err != nil {
		x.t.Error(err)
	}
	if !x.h.shared {
		x.h.after(x.t, x.log...)
	}
}

// after looks for goroutines that are left and for lines of the log that should not be there; more are such lines that
// were found before.
func (h *harness) after(t *testing.T, more ...string) {
	if err := h.quiet(); err != nil {
		t.Error(err)
	}
	bad, _ := h.log.news()
	for _, line := range append(bad, more...) {
		t.Errorf("in the log: %s", line)
	}
}

// prepare makes accounts and connects the actors that the case is about.
func (x *exec) prepare() error {
	for _, name := range []string{"self", "victim", "stranger"} {
		if name == "self" || x.c.mentions(name) { // deriving keys takes a while
			x.accs[name] = x.h.account(x.t, name)
		}
	}
	x.accs["admin"] = x.h.admin
	var err error
	state := x.c.State
	connect := state
	if inRoom(state) {
		connect = "bound"
	}
	if x.self, err = x.h.connect("self", x.accs["self"], connect); err != nil {
		return err
	}
	x.actors["self"] = x.self
	for _, name := range []string{"victim", "stranger", "admin"} {
		if !x.c.mentions(name) {
			continue
		}
		a, err := x.h.connect(name, x.accs[name], "bound")
		if err != nil {
			return err
		}
		x.actors[name] = a
		if name == "victim" && state == "bound" {
			if err := befriend(x.self, a); err != nil {
				return err
			}
		}
	}
	if err := x.prepareSM(); err != nil {
		return err
	}
	for _, a := range x.actors {
		if a.full == "" {
			continue
		}
		if err := a.send("<presence/>"); err != nil {
			return err
		}
	}
	if err := x.rooms(); err != nil {
		return err
	}
	// Twice: what the first pings wait for may be sent on to others.
	for range 2 {
		for _, a := range x.actors {
			if a.full == "" {
				continue
			}
			if err := a.ping(domain, "harness-ping", 5*time.Second); err != nil {
				return err
			}
		}
	}
	for _, a := range x.actors {
		x.mark(a)
	}
	return nil
}

func (x *exec) mark(a *actor) {
	e, b := a.mark()
	x.marks[a] = [2]int{e, b}
}

func (x *exec) since(a *actor) ([]event, []byte) {
	m := x.marks[a]
	return a.since(m[0], m[1])
}

// befriend makes two bound actors subscribe to each other (RFC 6121 §3).
func befriend(a, b *actor) error {
	for _, p := range [][2]*actor{{a, b}, {b, a}} {
		asks, grants := p[0], p[1]
		if err := asks.send("<iq xmlns='jabber:client' type='get' id='harness-roster'><query xmlns='jabber:iq:roster'/></iq>"); err != nil {
			return err
		}
		if err := asks.send("<presence xmlns='jabber:client' type='subscribe' to='" + grants.acc.bare() + "'/>"); err != nil {
			return err
		}
		if err := asks.ping(domain, "harness-asked", 5*time.Second); err != nil {
			return err
		}
		from, _ := asks.mark()
		if err := grants.send("<presence xmlns='jabber:client' type='subscribed' to='" + asks.acc.bare() + "'/>"); err != nil {
			return err
		}
		push := asks.waitFrame(5*time.Second, from, func(f *xmlstream.Frame) bool {
			return strings.Contains(f.Raw(), "jabber:iq:roster") && (strings.Contains(f.Raw(), "'to'") || strings.Contains(f.Raw(), "'both'"))
		})
		if push == nil {
			return asks.fail("the subscription was not granted")
		}
	}
	return nil
}

// value returns what a plain name stands for.
func (x *exec) value(name string) (string, bool) {
	self := x.accs["self"]
	switch name {
	case "domain", "httphost":
		return domain, true
	case "DOMAIN":
		return strings.ToUpper(domain), true
	case "H":
		return header(domain), true
	case "HS":
		return strings.Replace(header(domain), "jabber:client", "jabber:server", 1), true
	case "pubsub":
		return "pubsub." + domain, true
	case "node": // comes into being by the first publication
		return "mine-" + self.local, true
	case "node_other":
		return foreignNode, true
	case "user":
		return self.local, true
	case "pass":
		return self.password, true
	case "bare":
		return self.bare(), true
	case "plain":
		return self.plain(), true
	case "room":
		return x.room(), true
	case "room_moderated":
		return x.moderated(), true
	case "nick":
		return nickSelf, true
	case "nick_taken":
		return nickOwner, true
	case "victim_offline":
		if x.h == nil { // the fuzzer has no further accounts
			return "", false
		}
		if _, ok := x.accs["offline"]; !ok {
			x.accs["offline"] = x.h.account(x.t, "offline")
		}
		return x.accs["offline"].bare(), true
	case "VICTIM":
		return strings.ToUpper(x.accs["victim"].bare()), true
	case "uaid":
		return clientID, true
	case "plain_victim":
		return x.accs["victim"].plain(), true
	case "jid", "full":
		if x.self != nil && x.self.full != "" {
			return x.self.full, true
		}
		return self.bare(), true
	}
	if v, ok := x.smValue(name); ok {
		return v, true
	}
	who, what, _ := strings.Cut(name, "_")
	a, ok := x.accs[who]
	if !ok || who == "self" {
		return "", false
	}
	switch what {
	case "":
		return a.bare(), true
	case "user":
		return a.local, true
	case "pass":
		return a.password, true
	case "full":
		if on := x.actors[who]; on != nil {
			return on.full, true
		}
		return a.bare() + "/phone", true
	}
	return "", false
}

// sendAll sends the input. A connection that the server closes on the way is no error.
func (x *exec) sendAll() error {
	x.last = x.marks[x.self][0]
	for i, s := range x.c.Send {
		switch {
		case i == 0:
		case x.c.PauseMS > 0:
			time.Sleep(time.Duration(x.c.PauseMS) * time.Millisecond)
		default: // a client waits for an answer before it goes on
			from := x.marks[x.self]
			x.self.wait(reaction, func() bool { return len(x.self.in) > from[1] || x.self.ended != nil })
			x.self.quiet()
		}
		x.last, _ = x.self.mark()
		if err := x.send(x.self, s); err != nil && !errors.Is(err, errOver) {
			return err
		}
	}
	return nil
}

// settle waits for the outcome and finds the alternative that it is. Where self may live, it is asked for a sign of life.
func (x *exec) settle(start time.Time) (*outcome, *expectation) {
	o, lives := x.await(start)
	for _, e := range x.c.alternatives() {
		if o.mismatch(e, x.c.Open) != "" {
			continue
		}
		if e.Alive && lives != nil {
			x.t.Logf("%v, but it does not live: %v", e, lives)
			continue
		}
		if !e.Alive && !x.self.waitEnd(5*time.Second) && !o.closed {
			x.t.Logf("%v, but the connection was not closed", e)
			continue
		}
		if x.c.WithinMS > 0 && x.took > x.c.timeout() {
			x.t.Errorf("the outcome took %v", x.took)
		}
		return o, &e
	}
	return o, nil
}

// await collects the outcome; lives tells why self is not alive.
func (x *exec) await(start time.Time) (o *outcome, lives error) {
	a := x.self
	switch {
	case x.extra.closed || x.extra.alert != "":
	case a.raw:
		a.wait(2*time.Second, func() bool { return bytes.Contains(a.in, []byte("\r\n\r\n")) || a.ended != nil })
	case !x.c.mayLive():
		a.read()
		a.waitEnd(x.c.timeout())
	case a.full != "":
		// The answer to a ping comes after all that the input led to (RFC 6120 §10.1).
		lives = a.ping(domain, x.probe, max(x.c.timeout(), patience*5*time.Second))
		if lives == nil && x.c.Expect.Type == "stanza-error" {
			x.bounced(a)
		}
	default:
		lives = x.goOn()
	}
	x.took = time.Since(start)
	if end := a.end(); end != nil && lives == nil {
		lives = end
	}
	events, in := x.since(a)
	c := x.extra
	o = &c
	if a.raw {
		o.http(in)
		lives = nil // a fresh client is what tells
	}
	o.observe(events[:x.until(events)], x.probe)
	var last outcome
	last.observe(events[min(x.last-x.marks[a][0], len(events)):x.until(events)], x.probe)
	o.silent = len(last.frames) == 0 && last.header == nil
	if end := a.end(); end != nil {
		o.closed = true
		if o.alert == "" {
			o.alert = alertOf(end)
		}
	}
	a.mu.Lock()
	o.wsCode = a.wsCode
	a.mu.Unlock()
	if o.wsCode != 0 {
		o.closed = true
	}
	return o, lives
}

// bounced waits for an error that may come after the answer to a ping, since another server was looked for meanwhile.
func (x *exec) bounced(a *actor) {
	from := x.marks[a][0]
	a.wait(patience*10*time.Second, func() bool {
		return a.ended != nil || slices.ContainsFunc(a.events[from:], func(e event) bool { return e.frame != nil && e.frame.Attr("type") == "error" })
	})
}

// until returns how many of the events belong to the case: what goOn led to does not.
func (x *exec) until(events []event) int {
	if m, ok := x.marks[nil]; ok {
		return min(len(events), m[0]-x.marks[x.self][0])
	}
	return len(events)
}

// reaction is how long a server may think about an input before a resource is bound.
const reaction = 300 * time.Millisecond

// goOn waits for the server's reaction, and then does on the connection what a client does next, up to a ping.
func (x *exec) goOn() error {
	a := x.self
	a.read()
	a.wait(patience*reaction, func() bool { return len(a.events) > x.last || a.ended != nil })
	a.quiet()
	var o outcome
	events, _ := x.since(a)
	o.observe(events, "")
	if len(o.streamErrors) > 0 || o.ended {
		a.waitEnd(5 * time.Second)
		return errors.New("the stream has ended")
	}
	e, b := a.mark()
	x.marks[nil] = [2]int{e, b}
	if slices.Contains(o.names, "resumed") {
		a.full = x.actors["earlier"].full
		return a.ping(domain, x.probe, 5*time.Second)
	}
	return x.h.proceed(a, x.c.State, &o, x.probe)
}

var probes atomic.Int64

// proceed takes a connection from wherever it stands to a ping.
func (h *harness) proceed(a *actor, state string, o *outcome, probe string) error {
	switch state {
	case "tcp":
		if a.conn == a.tcp {
			if !o.features {
				if err := a.open(domain); err != nil {
					return err
				}
			}
			if err := a.startTLS(h.tls); err != nil {
				return err
			}
		}
		if err := a.open(domain); err != nil {
			return err
		}
	case "direct-tls", "tls":
		if err := a.open(domain); err != nil {
			return err
		}
	case "ws":
		if o.header == nil && !slices.Contains(o.names, "open") {
			if err := a.open(domain); err != nil {
				return err
			}
		}
	}
	if state != "auth" {
		if o.in2 { // the stream does not restart
		} else if slices.Contains(o.names, "success") {
			if err := a.open(domain); err != nil {
				return err
			}
		} else if err := a.login(domain); err != nil {
			return err
		}
	}
	if o.bound2 {
		return a.ping(domain, probe, 5*time.Second)
	}
	if !slices.Contains(o.names, "iq") || len(o.errors) > 0 || a.full == "" && state != "auth" {
		if err := a.bind(fmt.Sprintf("probe%d", probes.Add(1))); err != nil {
			return err
		}
	}
	return a.ping(domain, probe, 5*time.Second)
}

// observe checks what the actors saw.
func (x *exec) observe(o *outcome) {
	for _, s := range x.c.Observe {
		if s.MustReceive == "" {
			continue
		}
		a, want := x.observed(s.Actor, s.MustReceive)
		from := x.marks[a][1]
		if !a.wait(2*time.Second, func() bool { return contains(a.in[from:], want) }) {
			_, in := x.since(a)
			x.t.Errorf("%s did not receive %s but %.500q", s.Actor, want, in)
		}
	}
	var watch []*actor
	for _, a := range x.actors {
		if a != x.self && a.full != "" && a.end() == nil {
			watch = append(watch, a)
		}
	}
	if err := x.h.well(watch); err != nil {
		x.t.Error(err)
	}
	for _, s := range x.c.Observe {
		if s.MustNotReceive == "" {
			continue
		}
		a, want := x.observed(s.Actor, s.MustNotReceive)
		if _, in := x.since(a); contains(in, want) {
			x.t.Errorf("%s received %s: %.500q", s.Actor, want, in)
		}
	}
	for _, s := range x.c.Observe {
		if s.Check == "" {
			continue
		}
		check, ok := checks[s.Check]
		if !ok {
			x.t.Errorf("there is no code for the check %q", s.Check)
			continue
		}
		if err := check(x, o); err != nil {
			x.t.Errorf("%s: %v", s.Check, err)
		}
	}
}

// observed returns an actor and a text with its macros expanded.
func (x *exec) observed(name, s string) (*actor, string) {
	a := x.actors[name]
	if a == nil {
		x.t.Fatalf("the actor %q is not there", name)
	}
	text, err := x.e.text(s)
	if err != nil {
		x.t.Fatal(err)
	}
	return a, text
}

// contains tells whether bytes have a text in them, with either kind of quotes.
func contains(in []byte, text string) bool {
	return bytes.Contains(bytes.ReplaceAll(in, []byte{'\''}, []byte{'"'}), []byte(strings.ReplaceAll(text, "'", `"`)))
}

// memory watches how many bytes are in use, apart from garbage.
type memory struct {
	quit chan struct{}
	done chan int
	base uint64
}

// watchMemory starts to watch where limit is not 0. The process is that of the server and the test, and the test holds
// little.
func watchMemory(limit int) *memory {
	if limit == 0 {
		return nil
	}
	m := &memory{quit: make(chan struct{}), done: make(chan int)}
	m.base = inUse()
	go func() {
		most := uint64(0)
		for {
			most = max(most, inUse())
			select {
			case <-m.quit:
				m.done <- int(max(most, m.base) - m.base)
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return m
}

func (m *memory) stop() int {
	if m == nil {
		return 0
	}
	close(m.quit)
	return <-m.done
}

// inUse returns what the last collection found alive, and the stacks: what was thrown away since, by the test too, does not
// count.
func inUse() uint64 {
	return heap() + read("/memory/classes/heap/stacks:bytes")
}

// heap is inUse without stacks: those of goroutines that wait for logins stay for a while.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	return read("/gc/heap/live:bytes")
}

func read(metric string) uint64 {
	s := []metrics.Sample{{Name: metric}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
