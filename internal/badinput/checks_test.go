package badinput

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// checks are the prose of the catalogue as code. A check runs after the outcome was found right, while the actors are
// still connected; watchers have got all that was sent to them.
var checks map[string]func(x *exec, o *outcome) error

func init() { // checks run cases themselves, which look checks up
	checks = map[string]func(x *exec, o *outcome) error{
		"response <stream:stream> sent before <stream:error>; </stream:stream> sent after": headerFirst,
		"if answered, response header has version='1.0'":                                   answeredVersion,
		"no plaintext login possible":                                                      noPlaintext,
		"if OK, value is discarded, never stamped on stanzas":                              langDropped,
		"reply id == request id after XML attribute normalisation":                         sameID,
		"no <stream:error> sent back":                                                      noStreamError,
		"exactly one message reaches victim, from={jid}":                                   oneMessage,
		"from == {jid}": oneMessage,
		"goroutines and RSS back to baseline +2% after close": memoryBack,
		"no reply to the injected element inside TLS":         nothingInside,
		"features contain starttls/required and nothing else": onlyStartTLS,
		"account mallory does not exist":                      noMallory,
		"bound JID is {bare}":                                 boundSelf,
		"log line not split":                                  logWhole,
		"same user asked twice -> same salt; salt differs by user; |median t(known)-t(unknown)| < 1 ms over 1000 runs; same <failure/>": enumeration,
		"identical bytes and timing class for existing-but-unsubscribed user":                                                           nobodyIsSomebody,
		"no TCP connect to 127.0.0.0/8, ::1, link-local or metadata addresses":                                                          noConnect,
		"pending request to victim still pending; ids are random":                                                                       randomIDs,
		"memory per connection <= write-queue cap (Openfire CVE-2008-1728 class)":                                                       boundedQueue,
		"stranger's roster unchanged":                                           strangersRoster,
		"stored size <= cap; 100 repeats keep one":                              oneRequest,
		"101 only if origin policy is explicitly '*' and no cookie auth exists": originRefused,
		"victim's resource is not told apart from none":                         noOracle,
		"count(delivered)+count(errors)==1500":                                  allAccounted,
		"victim's roster unchanged":                                             victimsRoster,
		"the answer is one <close/> of its own":                                 closeFrame,
		"each connection but the last is ended with conflict":                   lastWins,
		"exactly one occupant-id, not A or B":                                   exactlyOneOccupantID,
		"no two attributes of the same name reach victim":                       wellFormedVictim,
		"the server goes on to answer in order":                                 inOrder,
		"victim's session untouched":                                            victimsSession,
	}
}

func headerFirst(x *exec, _ *outcome) error {
	_, in := x.since(x.self)
	open, bad, end := bytes.Index(in, []byte("<stream:stream")), bytes.Index(in, []byte("<stream:error")), bytes.Index(in, []byte("</stream:stream>"))
	if open < 0 || bad < open || end < bad {
		return fmt.Errorf("the answer is %q", in)
	}
	return nil
}

func answeredVersion(_ *exec, o *outcome) error {
	if o.header != nil && o.header.Attr("version") != "1.0" {
		return fmt.Errorf("it is %q", o.header.Attr("version"))
	}
	return nil
}

func noPlaintext(_ *exec, o *outcome) error {
	for _, f := range o.frames {
		if f.HasChild(stream.NSSASL, "mechanisms") {
			return errors.New("mechanisms are offered")
		}
	}
	return nil
}

func langDropped(_ *exec, o *outcome) error {
	for _, f := range o.frames {
		if strings.Contains(f.Raw(), "eeeeeeeeee") {
			return errors.New("the value came back")
		}
	}
	return nil
}

func sameID(x *exec, o *outcome) error {
	s, err := x.e.text(x.c.Send[0])
	if err != nil {
		return err
	}
	want := attrText(s, "id")
	for _, f := range o.frames {
		if f.Attr("id") == want {
			return nil
		}
	}
	return fmt.Errorf("no reply has the id %q", want)
}

// attrText returns the value of an attribute in the first tag of s, as a parser other than the server's reads it.
func attrText(s, name string) string {
	m := regexp.MustCompile(` ` + name + `='([^']*)'`).FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	r := strings.NewReplacer("&#10;", "\n", "&#9;", "\t", "&#13;", "\r", "&apos;", "'", "&quot;", `"`, "&lt;", "<", "&gt;", ">", "&amp;", "&", "\n", " ", "\t", " ")
	return r.Replace(m[1])
}

func noStreamError(x *exec, _ *outcome) error {
	if _, in := x.since(x.self); bytes.Contains(in, []byte("stream:error")) {
		return fmt.Errorf("the answer is %q", in)
	}
	return nil
}

// messages returns the messages that an actor got, but for those of the harness.
func (x *exec) messages(name string) []*xmlstream.Frame {
	var out []*xmlstream.Frame
	events, _ := x.since(x.actors[name])
	for _, e := range events {
		if e.frame != nil && e.frame.Name().Local == "message" && !strings.HasPrefix(e.frame.Attr("id"), "barrier-") {
			out = append(out, e.frame)
		}
	}
	return out
}

func oneMessage(x *exec, o *outcome) error {
	if len(o.errors) > 0 || o.closed {
		return nil // it was refused
	}
	m := x.messages("victim")
	if len(m) != 1 || m[0].Attr("from") != x.self.full {
		return fmt.Errorf("%d messages came: %.300v", len(m), frames(m))
	}
	return nil
}

func frames(fs []*xmlstream.Frame) []string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Raw())
	}
	return out
}

func memoryBack(x *exec, _ *outcome) error {
	x.self.close()
	if err := x.h.quiet(); err != nil {
		return err
	}
	// The first flood fills what is kept on purpose, such as idle workers: what a second one leaves behind is a leak.
	var base uint64
	for range 2 {
		base = heap()
		if err := x.conns("2000"); err != nil {
			return err
		}
		if err := x.h.quiet(); err != nil {
			return err
		}
	}
	var now uint64
	if eventually(func() bool { now = heap(); return now <= base+base/50+128<<10 }) != nil {
		return fmt.Errorf("%d bytes are in use, %d were before", now, base)
	}
	return nil
}

func nothingInside(x *exec, o *outcome) error {
	if _, in := x.since(x.self); x.self.conn != x.self.tcp && bytes.Contains(in, []byte("urn:ietf:params:xml:ns:xmpp-sasl'/")) {
		return fmt.Errorf("it was answered: %q", in)
	}
	if len(o.failures) > 0 || slices.Contains(o.names, "success") {
		return fmt.Errorf("it was answered: %v", o)
	}
	return nil
}

func onlyStartTLS(_ *exec, o *outcome) error {
	for _, f := range o.frames {
		if f.Name().Local != "features" {
			continue
		}
		if f.NumChildren() != 1 || f.Child(stream.NSTLS, "starttls").Child(stream.NSTLS, "required") == nil {
			return errors.New(f.Raw())
		}
		return nil
	}
	return errors.New("there are no features")
}

func noMallory(x *exec, _ *outcome) error {
	ok, err := x.h.srv.Accounts(jid.MustParse(domain)).Exists(x.t.Context(), "mallory")
	if err == nil && ok {
		err = errors.New("it does")
	}
	return err
}

func boundSelf(x *exec, _ *outcome) error {
	if !strings.HasPrefix(x.self.full, x.accs["self"].bare()+"/") {
		return fmt.Errorf("it is %q", x.self.full)
	}
	return nil
}

func logWhole(x *exec, _ *outcome) error {
	bad, all := x.h.log.news()
	x.log = append(x.log, bad...)
	for _, line := range all {
		if !strings.HasPrefix(line, "time=") {
			return fmt.Errorf("%q", line)
		}
	}
	return nil
}

// enumeration asks for the challenges of users who exist and who do not. 1000 runs of each take about a second.
func enumeration(x *exec, _ *outcome) error {
	a := x.self
	if a.full == "" {
		return errors.New("the probe did not log in")
	}
	known, unknown := x.h.guest.local, "nosuchuser"
	ask, err := x.h.connect("asker", x.accs["self"], "stream")
	if err != nil {
		return err
	}
	defer ask.close()
	challenge := func(user string) (salt string, took time.Duration, err error) {
		from, _ := ask.mark()
		start := time.Now()
		first := base64.StdEncoding.EncodeToString([]byte("n,,n=" + user + ",r=abcdefgh"))
		if err := ask.send("<auth xmlns='" + stream.NSSASL + "' mechanism='SCRAM-SHA-256'>" + first + "</auth>"); err != nil {
			return "", 0, err
		}
		f := ask.waitFrame(5*time.Second, from, named(stream.NSSASL, "challenge"))
		took = time.Since(start)
		if f == nil {
			return "", 0, ask.fail("no challenge came")
		}
		b, err := base64.StdEncoding.DecodeString(f.Element().Text())
		return between(string(b), ",s=", ",i="), took, err
	}
	var times [2][]time.Duration
	var salts [2]string
	for i := range 1000 {
		for k, user := range []string{known, unknown} {
			salt, took, err := challenge(user)
			if err != nil {
				return err
			}
			if i > 0 && salt != salts[k] {
				return fmt.Errorf("the salt of %s changed from %s to %s", user, salts[k], salt)
			}
			salts[k] = salt
			times[k] = append(times[k], took)
		}
	}
	if salts[0] == salts[1] || len(salts[0]) != len(salts[1]) {
		return fmt.Errorf("the salts are %s and %s", salts[0], salts[1])
	}
	median := func(d []time.Duration) time.Duration { slices.Sort(d); return d[len(d)/2] }
	if d := (median(times[0]) - median(times[1])).Abs(); d >= time.Millisecond {
		return fmt.Errorf("the medians differ by %v", d)
	}
	return sameFailure(x, known, unknown)
}

// sameFailure lets both log in with a wrong password.
func sameFailure(x *exec, users ...string) error {
	var answers []string
	for _, mech := range []string{"PLAIN", "SCRAM-SHA-256"} {
		for _, user := range users {
			a, err := x.h.connect("asker", x.accs["self"], "stream")
			if err != nil {
				return err
			}
			answer, err := wrongPassword(a, mech, user)
			a.close()
			if err != nil {
				return err
			}
			answers = append(answers, answer)
		}
	}
	for _, s := range answers {
		if s != answers[0] {
			return fmt.Errorf("the failures differ: %q", answers)
		}
	}
	return nil
}

func wrongPassword(a *actor, mech, user string) (string, error) {
	from, _ := a.mark()
	acc := account{user, "wrong"}
	first := acc.plain()
	bare := "n=" + user + ",r=abcdefgh"
	if mech != "PLAIN" {
		first = base64.StdEncoding.EncodeToString([]byte("n,," + bare))
	}
	if err := a.send("<auth xmlns='" + stream.NSSASL + "' mechanism='" + mech + "'>" + first + "</auth>"); err != nil {
		return "", err
	}
	if mech != "PLAIN" {
		f := a.waitFrame(5*time.Second, from, named(stream.NSSASL, "challenge"))
		if f == nil {
			return "", a.fail("no challenge came")
		}
		challenge, err := base64.StdEncoding.DecodeString(f.Element().Text())
		if err != nil {
			return "", err
		}
		final, err := scramProof(acc, "n,,", bare, string(challenge), "")
		if err != nil {
			return "", err
		}
		if err := a.send("<response xmlns='" + stream.NSSASL + "'>" + final + "</response>"); err != nil {
			return "", err
		}
	}
	f := a.waitFrame(5*time.Second, from, named(stream.NSSASL, "failure"))
	if f == nil {
		return "", a.fail("no failure came")
	}
	return f.Raw(), nil
}

// nobodyIsSomebody sends what the case sends to nobody to somebody who is offline and does not know the sender.
func nobodyIsSomebody(x *exec, o *outcome) error {
	offline := x.h.account(x.t, "offline")
	from, _ := x.self.mark()
	s, err := x.e.text(strings.ReplaceAll(x.c.Send[0], "nosuchuser", offline.local))
	if err != nil {
		return err
	}
	if err := x.self.send(s); err != nil {
		return err
	}
	if err := x.self.ping(domain, "harness-somebody", 5*time.Second); err != nil {
		return err
	}
	events, _ := x.self.since(from, 0)
	var somebody outcome
	somebody.observe(events, "harness-somebody")
	nobody := strings.ReplaceAll(strings.Join(frames(o.frames), ""), "nosuchuser", "X")
	if other := strings.ReplaceAll(strings.Join(frames(somebody.frames), ""), offline.local, "X"); other != nobody {
		return fmt.Errorf("nobody: %q, somebody: %q", nobody, other)
	}
	return nil
}

// noConnect listens where the server would connect to if it believed the address.
func noConnect(x *exec, _ *outcome) error {
	host := between(x.c.Send[0], "a@", "'")
	if net.ParseIP(host) == nil {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "5269"))
	if err != nil {
		return fmt.Errorf("the port of servers is not free to listen on: %w", err)
	}
	defer l.Close()
	came := make(chan string, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			came <- c.RemoteAddr().String()
			c.Close()
		}
	}()
	if err := x.send(x.self, x.c.Send[0]); err != nil {
		return err
	}
	if err := x.self.ping(domain, "harness-connect", 5*time.Second); err != nil {
		return err
	}
	select {
	case from := <-came:
		return fmt.Errorf("the server connected from %s", from)
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

// randomIDs lets the server ask victim twice, as extensions do.
func randomIDs(x *exec, _ *outcome) error {
	victim := x.actors["victim"]
	var ids []string
	for range 2 {
		from, _ := victim.mark()
		x.h.srv.Route(x.t.Context(), stanza.NewIQ(stanza.TypeGet, jid.MustParse(domain), jid.MustParse(victim.full), xmlstream.El("urn:xmpp:ping", "ping")))
		f := victim.waitFrame(2*time.Second, from, named(stanza.NSClient, "iq"))
		if f == nil {
			return victim.fail("no request came")
		}
		ids = append(ids, f.Attr("id"))
	}
	if ids[0] == ids[1] || len(ids[0]) < 16 || ids[0][:8] == ids[1][:8] {
		return fmt.Errorf("ids of the server are %q", ids)
	}
	return nil
}

// boundedQueue repeats the flood on a connection from which nobody reads.
func boundedQueue(x *exec, _ *outcome) error {
	a, err := x.h.connect("deaf", x.accs["self"], "bound")
	if err != nil {
		return err
	}
	defer a.close()
	// The reader is made to stop: it takes what comes and does not give the lock back until the case is over.
	release := make(chan struct{})
	held := make(chan struct{})
	go func() {
		a.mu.Lock()
		close(held)
		<-release
		a.mu.Unlock()
	}()
	<-held
	defer close(release)
	base := inUse()
	if err := a.tcp.SetWriteDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return err
	}
	one := []byte("<iq type='get' id='deaf' to='" + domain + "'><ping xmlns='urn:xmpp:ping'/></iq>")
	flood := bytes.Repeat(one, 400)
	sent := 0
	for range 500 { // 200 000 pings, whose answers are 20 MB
		n, err := a.conn.Write(flood)
		sent += n
		if err != nil {
			break
		}
	}
	// All stands still now: what is in use is what waits.
	grown := int(inUse()) - int(base)
	limit := x.h.srv.Config().Limits.QueueBytes
	x.t.Logf("%d bytes of pings were taken, %d bytes more were in use", sent, grown)
	if grown > limit {
		return fmt.Errorf("%d bytes more were in use; the queue has room for %d", grown, limit)
	}
	return nil
}

func (x *exec) rosterHas(name, contact string) error {
	a := x.actors[name]
	from, _ := a.mark()
	if err := a.send("<iq xmlns='jabber:client' type='get' id='harness-list'><query xmlns='jabber:iq:roster'/></iq>"); err != nil {
		return err
	}
	f := a.waitFrame(2*time.Second, from, func(f *xmlstream.Frame) bool { return f.Attr("id") == "harness-list" })
	if f == nil || f.Attr("type") != "result" {
		return a.fail("the roster cannot be read")
	}
	if strings.Contains(f.Raw(), contact) {
		return fmt.Errorf("the roster has become %s", f.Raw())
	}
	return nil
}

func strangersRoster(x *exec, _ *outcome) error {
	return x.rosterHas("stranger", x.accs["self"].local)
}

func victimsRoster(x *exec, _ *outcome) error { return x.rosterHas("victim", x.accs["stranger"].local) }

// oneRequest sends a hundred requests for a subscription to somebody who is offline. One is kept, and not whole.
func oneRequest(x *exec, _ *outcome) error {
	offline := x.h.account(x.t, "offline")
	s, err := x.e.text(strings.ReplaceAll(x.c.Send[0], "{victim}", offline.bare()))
	if err != nil {
		return err
	}
	for range 100 {
		if err := x.self.send(s); err != nil {
			return err
		}
	}
	if err := x.self.ping(domain, "harness-requests", 10*time.Second); err != nil {
		return err
	}
	a, err := x.h.connect("offline", offline, "bound")
	if err != nil {
		return err
	}
	defer a.close()
	from, _ := a.mark()
	for _, s := range []string{"<iq xmlns='jabber:client' type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<presence xmlns='jabber:client'/>"} {
		if err := a.send(s); err != nil {
			return err
		}
	}
	if err := a.ping(domain, "harness-online", 5*time.Second); err != nil {
		return err
	}
	events, _ := a.since(from, 0)
	n, size := 0, 0
	for _, e := range events {
		if e.frame != nil && e.frame.Attr("type") == "subscribe" {
			n++
			size += len(e.frame.Raw())
		}
	}
	if n != 1 || size > 32<<10 {
		return fmt.Errorf("%d requests of %d bytes were kept", n, size)
	}
	return nil
}

// allAccounted lets the account come online to which so many messages were sent: each comes, or its sender has an error.
func allAccounted(x *exec, _ *outcome) error {
	const want = 1500
	if err := x.self.ping(domain, "harness-sent", time.Minute); err != nil {
		return err
	}
	refused := map[string]bool{}
	events, _ := x.since(x.self)
	for _, e := range events {
		if e.frame != nil && e.frame.Name().Local == "message" && e.frame.Attr("type") == "error" {
			refused[e.frame.Attr("id")] = true
		}
	}
	a, err := x.h.connect("offline", x.accs["offline"], "bound")
	if err != nil {
		return err
	}
	x.actors["offline"] = a
	if err := a.send("<presence xmlns='jabber:client'/>"); err != nil {
		return err
	}
	got := map[string]bool{}
	for read, more := 0, true; more; {
		if err := a.ping(domain, "harness-online", time.Minute); err != nil {
			return err
		}
		events, _ := a.since(read, 0)
		read, _ = a.mark()
		more = false
		for _, e := range events {
			switch {
			case e.frame == nil:
			case e.frame.Name().Local == "message":
				if id := e.frame.Attr("id"); got[id] || refused[id] {
					return fmt.Errorf("the message %s came twice, or though it was refused", id)
				}
				got[e.frame.Attr("id")] = true
			case e.frame.Attr("type") == "get": // between two pages the server asks whether the client follows
				more = true
				if err := a.send("<iq xmlns='jabber:client' type='result' id='" + e.frame.Attr("id") + "'/>"); err != nil {
					return err
				}
			}
		}
	}
	if len(got)+len(refused) != want {
		return fmt.Errorf("%d came and %d were refused, of %d", len(got), len(refused), want)
	}
	return nil
}

func originRefused(x *exec, o *outcome) error {
	if len(x.h.srv.Config().Web.Origins) == 0 && o.status == 101 {
		return errors.New("no origin is allowed, and yet it may connect")
	}
	return nil
}

// noOracle asks for a resource of a stranger that exists and for one that does not: the answers are the same.
func noOracle(x *exec, o *outcome) error {
	s, err := x.e.text(strings.ReplaceAll(x.c.Send[0], "/nosuch", "/phone"))
	if err != nil {
		return err
	}
	from, _ := x.self.mark()
	if err := x.self.send(s); err != nil {
		return err
	}
	if err := x.self.ping(domain, "harness-oracle", 5*time.Second); err != nil {
		return err
	}
	events, _ := x.self.since(from, 0)
	var there outcome
	there.observe(events, "harness-oracle")
	got, want := strings.Join(frames(there.frames), ""), strings.ReplaceAll(strings.Join(frames(o.frames), ""), "/nosuch", "/phone")
	if got != want {
		return fmt.Errorf("for a resource that is there the answer is %q, for none %q", got, want)
	}
	return nil
}

func closeFrame(x *exec, o *outcome) error {
	if !o.ended || o.wsCode == 0 {
		return fmt.Errorf("the outcome is %v", o)
	}
	return nil
}

func lastWins(x *exec, _ *outcome) error {
	n := 0
	for _, s := range x.h.srv.Sessions() {
		if s.JID().Bare().String() == x.accs["self"].bare() && s.JID().Resource() == "same" {
			n++
		}
	}
	conflicts := 0
	for _, e := range x.parallels.streamErrors {
		if e == string(stream.Conflict) {
			conflicts++
		}
	}
	if conflicts == 0 || n > 1 {
		return fmt.Errorf("%d conflicts, %d sessions are left", conflicts, n)
	}
	return nil
}

func wellFormedVictim(x *exec, _ *outcome) error { return x.actors["victim"].wellFormed() }

// inOrder checks that the replies have the ids 0, 1, 2 and so on.
func inOrder(_ *exec, o *outcome) error {
	for i, f := range o.frames {
		if want := fmt.Sprintf("n%d", i); f.Attr("id") != want {
			return fmt.Errorf("reply %d has the id %q", i, f.Attr("id"))
		}
	}
	if len(o.frames) == 0 {
		return errors.New("there are no replies")
	}
	return nil
}
