package push

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const (
	juliet = "juliet@localhost"
	phone  = juliet + "/phone"
	form   = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='secret'><value>s3</value></field></x>"
	ok     = "<iq type='result'/>"
)

// world is a host with the extension whose rounds the test makes itself.
type world struct {
	*modtest.Host
	t testing.TB
	p *push
}

func newWorld(t testing.TB, d db.DB, opts ...modtest.Option) *world {
	t.Helper()
	w := &world{t: t}
	info := Info
	info.New = func(h mod.Host, cfg any) (*mod.Hooks, error) {
		w.p = newPush(h, cfg.(*Config))
		hooks := w.p.hooks()
		hooks.Start = nil
		return hooks, nil
	}
	w.Host = modtest.New(t, info, append([]modtest.Option{modtest.WithDB(d, db.Migrate)}, opts...)...)
	return w
}

func (w *world) round() time.Time {
	w.t.Helper()
	return w.p.round(w.Context())
}

// message takes a message to Juliet through the phases.
func (w *world) message(xml string, targets ...mod.Session) {
	w.t.Helper()
	p, err := w.Run(mod.In, modtest.Stanza(w.t, xml), targets...)
	if err != nil {
		w.t.Fatal(err)
	}
	o := mod.Stored
	if len(targets) > 0 {
		o = mod.Delivered
	}
	w.Observe(p, o)
}

func (w *world) chat(body string, targets ...mod.Session) {
	w.t.Helper()
	w.message("<message type='chat' from='romeo@localhost/x' to='juliet@localhost' id='1'><body>"+body+"</body></message>", targets...)
}

// published returns what was published since the last call, after a round.
func (w *world) published() []*modtest.Question {
	w.t.Helper()
	w.round()
	return w.Asked()
}

func (w *world) enable(attrs, inner string) {
	w.t.Helper()
	modtest.Expect(w.t, w.Set(phone, "", "<enable xmlns='urn:xmpp:push:0' "+attrs+">"+inner+"</enable>"), ok)
}

func publish(node string, fields ...string) string {
	x := ""
	for i := 0; i < len(fields); i += 2 {
		x += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	return "<iq type='set' from='localhost' to='push.example'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='" + node + "'><item><notification xmlns='urn:xmpp:push:0'>" +
		"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:push:summary</value></field>" + x + "</x></notification></item></publish></pubsub></iq>"
}

func (w *world) expect(got []*modtest.Question, want ...string) {
	w.t.Helper()
	var all []*stanza.Stanza
	for _, q := range got {
		all = append(all, q.Stanza)
	}
	modtest.ExpectAll(w.t, all, want...)
}

func answer(q *modtest.Question, e *stanza.Error) {
	if e == nil {
		q.Answer(q.Result(nil))
		return
	}
	q.Answer(q.ErrorReply(e))
}

func TestNotify(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.chat("nobody has enabled anything")
		w.expect(w.published())
		w.enable("jid='push.example' node='n'", "")
		w.chat("1")
		got := w.published()
		w.expect(got, publish("n", "message-count", "1"))
		w.chat("2")
		w.chat("3")
		w.expect(w.published()) // one is under way
		answer(got[0], nil)
		w.expect(w.published()) // too soon
		w.Advance(11 * time.Second)
		got = w.published()
		w.expect(got, publish("n", "message-count", "3"))
		answer(got[0], nil)
		w.Advance(time.Hour)
		w.expect(w.published())

		s := w.Online(phone, 0) // the client has come: nothing waits any more
		w.chat("4")
		w.expect(w.published())
		w.Logout(s)
		w.chat("5")
		w.expect(w.published(), publish("n", "message-count", "1"))
	})
}

// A client that is connected and shows no presence gets no messages, so it is told.
func TestBoundIsNotThere(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.Login(phone)
	w.enable("jid='push.example' node='n'", "")
	w.chat("1")
	w.expect(w.published(), publish("n", "message-count", "1"))
}

// Another device that is online does not keep the phone from being told.
func TestOtherDevice(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.enable("jid='push.example' node='n'", "")
	desk := w.Online(juliet+"/desk", 0)
	w.message("<message type='chat' from='romeo@localhost/x' to='juliet@localhost' id='1'><body>b</body></message>", desk)
	w.expect(w.published(), publish("n", "message-count", "1"))
}

func TestWhatNotifies(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.enable("jid='push.example' node='n'", "")
	for _, xml := range []string{
		"<message type='chat' from='romeo@localhost/x' to='juliet@localhost'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
		"<message type='headline' from='romeo@localhost/x' to='juliet@localhost'><body>b</body></message>",
		"<message type='chat' from='juliet@localhost/desk' to='juliet@localhost'><body>to myself</body></message>",
		"<message type='error' from='romeo@localhost/x' to='juliet@localhost'><body>b</body></message>",
	} {
		w.message(xml)
		if got := w.published(); len(got) > 0 {
			t.Errorf("%s: %s", xml, got[0])
		}
	}
}

func TestOptions(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Sender, c.Body = true, true }))
	w.enable("jid='push.example' node='n'", "")
	w.enable("jid='push.example' node='n'", form) // the last request counts
	w.chat(strings.Repeat("ä", 600))
	got := w.published()
	if len(got) != 1 {
		t.Fatalf("%d notifications", len(got))
	}
	x := got[0].Payload()
	if o := x.Child(nsPubSub, "publish-options"); o == nil || o.String() != "<publish-options xmlns='http://jabber.org/protocol/pubsub'>"+form+"</publish-options>" {
		t.Errorf("publish options: %s", o)
	}
	text := x.String()
	if !strings.Contains(text, "romeo@localhost/x") || !strings.Contains(text, strings.Repeat("ä", 500)+"…") {
		t.Errorf("sender and body are not in %s", text)
	}
}

func TestPlaceholder(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Placeholder = "New message" }))
	w.enable("jid='push.example' node='n'", "")
	w.chat("secret")
	w.expect(w.published(), publish("n", "message-count", "1", "last-message-body", "New message"))
}

func TestDisable(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		nodes := func() string {
			w.Advance(time.Hour)
			w.chat("x")
			var all []string
			for _, q := range w.published() {
				all = append(all, q.Payload().First().Attr("node"))
				answer(q, nil)
			}
			w.round()
			return strings.Join(all, " ")
		}
		for _, n := range []string{"a", "b", "c"} {
			w.enable("jid='push.example' node='"+n+"'", "")
			w.Advance(time.Second)
		}
		if got := nodes(); len(got) != 5 {
			t.Fatalf("published to %q", got)
		}
		modtest.Expect(t, w.Set(phone, "", "<disable xmlns='urn:xmpp:push:0' jid='push.example' node='b'/>"), ok)
		if got := nodes(); strings.Contains(got, "b") || len(got) != 3 {
			t.Errorf("published to %q", got)
		}
		modtest.Expect(t, w.Set("romeo@localhost/x", "", "<disable xmlns='urn:xmpp:push:0' jid='push.example'/>"), ok)
		if got := nodes(); len(got) != 3 {
			t.Errorf("published to %q after somebody else disabled them", got)
		}
		modtest.Expect(t, w.Set(phone, "", "<disable xmlns='urn:xmpp:push:0' jid='push.example'/>"), ok)
		if got := nodes(); got != "" {
			t.Errorf("published to %q", got)
		}
	})
}

// What was due and not told before a crash is told after it; what was told is not.
func TestRestart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.enable("jid='push.example' node='n'", "")
		w.chat("1")
		again := newWorld(t, d)
		again.p.sweep(again.Context())
		got := again.published()
		again.expect(got, publish("n", "message-count", "1"))
		answer(got[0], nil)
		again.round()
		third := newWorld(t, d)
		third.p.sweep(third.Context())
		third.expect(third.published())
		third.chat("2")
		third.expect(third.published(), publish("n", "message-count", "2"))
		if other := newWorld(t, d, modtest.WithDomain("other.example")); true {
			other.p.sweep(other.Context())
			other.expect(other.published()) // that is another host's
		}
	})
}

func TestErrors(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d, modtest.WithConfig(func(c *Config) { c.Tries = 3 }))
		w.enable("jid='push.example' node='n'", "")
		w.chat("1")
		for i, e := range []*stanza.Error{stanza.Err(stanza.ResourceConstraint, ""), stanza.Err(stanza.RemoteServerTimeout, "")} {
			got := w.published()
			if len(got) != 1 {
				t.Fatalf("%d notifications at attempt %d", len(got), i)
			}
			answer(got[0], e)
			w.expect(w.published())
			w.Advance(firstRetry<<i - time.Second)
			w.expect(w.published())
			w.Advance(time.Second)
		}
		got := w.published()
		w.expect(got, publish("n", "message-count", "1"))
		got[0].Answer(nil) // no answer, the third failure
		w.Advance(24 * time.Hour)
		w.chat("2")
		w.expect(w.published())
		again := newWorld(t, d) // nor after a restart
		again.p.sweep(again.Context())
		again.chat("3")
		again.expect(again.published())

		w.enable("jid='push.example' node='n'", "")
		w.chat("4")
		got = w.published()
		w.expect(got, publish("n", "message-count", "1"))
		answer(got[0], stanza.Err(stanza.ItemNotFound, "no such node")) // will not pass
		w.Advance(24 * time.Hour)
		w.chat("5")
		w.expect(w.published())
	})
}

func TestFarewell(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.enable("jid='push.example' node='n'", "")
		bye := func(from, node, who, affiliation string) {
			w.message(fmt.Sprintf("<message from='%s' to='juliet@localhost'><pubsub xmlns='http://jabber.org/protocol/pubsub' node='%s'><affiliation jid='%s' affiliation='%s'/></pubsub></message>", from, node, who, affiliation))
		}
		bye("evil.example", "n", juliet, "none")
		bye("push.example", "m", juliet, "none")
		bye("push.example", "n", "romeo@localhost", "none")
		bye("push.example", "n", juliet, "publish-only")
		w.chat("1")
		got := w.published()
		w.expect(got, publish("n", "message-count", "1"))
		answer(got[0], nil)
		w.Advance(time.Hour)
		bye("push.example", "n", juliet, "none")
		w.chat("2")
		w.expect(w.published())
	})
}

func TestRequests(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.enable("jid='push.example' node='n'", "")
	ask := func() {
		p := w.Pass(mod.In, modtest.Stanza(t, "<presence type='subscribe' from='paris@localhost' to='juliet@localhost'/>"))
		w.Observe(p, mod.Delivered)
	}
	ask() // answered by itself: none waits
	w.expect(w.published())
	w.Advance(time.Hour)
	w.SetRequests(2)
	ask()
	w.expect(w.published(), publish("n", "pending-subscription-count", "2"))
}

func TestEnableErrors(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Services = 2 }))
	w.SetContact("nurse@localhost", juliet, mod.SubFrom)
	for _, c := range []struct {
		attrs, inner string
		typ          stanza.ErrorType
		want         stanza.Condition
	}{
		{"node='n'", "", stanza.Modify, stanza.BadRequest},
		{"jid='' node='n'", "", stanza.Modify, stanza.JIDMalformed},
		{"jid='a@b@c' node='n'", "", stanza.Modify, stanza.JIDMalformed},
		{"jid='p.example' node='" + strings.Repeat("n", 1024) + "'", "", stanza.Modify, stanza.NotAcceptable},
		{"jid='p.example'", "<x xmlns='urn:x'/>", stanza.Modify, stanza.BadRequest},
		{"jid='p.example'", form + form, stanza.Modify, stanza.BadRequest},
		{"jid='p.example'", strings.Replace(form, "submit", "form", 1), stanza.Modify, stanza.BadRequest},
		{"jid='p.example'", strings.Replace(form, "publish-options", "other", 1), stanza.Modify, stanza.BadRequest},
		{"jid='p.example'", strings.Replace(form, "s3", strings.Repeat("s", 9000), 1), stanza.Modify, stanza.NotAcceptable},
		{"jid='127.0.0.1'", "", stanza.Cancel, stanza.NotAllowed},
		{"jid='[::1]'", "", stanza.Cancel, stanza.NotAllowed},
		{"jid='169.254.169.254' node='x'", "", stanza.Cancel, stanza.NotAllowed},
		{"jid='localhost'", "", stanza.Cancel, stanza.NotAllowed},
		{"jid='romeo@localhost/x'", "", stanza.Auth, stanza.Forbidden},
		{"jid='noone@localhost/x'", "", stanza.Auth, stanza.Forbidden},
	} {
		a := w.Set(phone, "", "<enable xmlns='urn:xmpp:push:0' "+c.attrs+">"+c.inner+"</enable>")
		if e := a.Err(); e == nil || e.Condition != c.want || e.Type != c.typ {
			t.Errorf("%s %s: got %v, want %s %s", c.attrs, c.inner, e, c.typ, c.want)
		}
	}
	w.enable("jid='nurse@localhost/app'", "") // who may see her presence may have her run the app server
	w.enable("jid='192.0.43.8' node='n'", "")
	modtest.ExpectError(t, w.Set(phone, "", "<enable xmlns='urn:xmpp:push:0' jid='q.example'/>"), stanza.Cancel, stanza.ResourceConstraint)
	w.enable("jid='192.0.43.8' node='n'", form) // renewing one is not one more
	for _, other := range []string{"romeo@localhost", "noone@localhost", "localhost"} {
		modtest.ExpectError(t, w.Set(phone, other, "<enable xmlns='urn:xmpp:push:0' jid='q.example'/>"), stanza.Cancel, stanza.ServiceUnavailable)
	}
	modtest.ExpectError(t, w.Set(phone, "", "<disable xmlns='urn:xmpp:push:0'/>"), stanza.Modify, stanza.BadRequest)
}

func TestAccountRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.enable("jid='push.example' node='n'", "")
		w.chat("1")
		w.Remove("juliet")
		w.chat("2")
		w.expect(w.published())
	})
}

// An app server that does not answer has its share of what is under way, and no more; the others go on.
func TestSilentTarget(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Services = 1000 }))
	for i := range maxPerTarget + 10 {
		w.enable(fmt.Sprintf("jid='user%d@hole.example/x' node='n'", i), "")
	}
	w.enable("jid='push.example' node='n'", "")
	w.chat("1")
	got := w.published()
	hole, good := 0, 0
	for _, q := range got {
		if q.To.Domain() == "hole.example" {
			hole++
		} else {
			good++
		}
	}
	if hole != maxPerTarget || good != 1 {
		t.Fatalf("%d and %d notifications, want %d and 1", hole, good, maxPerTarget)
	}
	for _, q := range got {
		q.Answer(nil)
	}
	if n := len(w.published()); n != 10 {
		t.Errorf("%d follow, want 10", n)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{Services: 0, Tries: 1}, {Services: 1, Tries: 0}, {Services: 1, Tries: 1, Every: -1}, {Services: 1, Tries: 1, Contact: "http://x"}} {
		if c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	if err := Info.Config().(*Config).Validate(); err != nil {
		t.Error(err)
	}
}

// A client that has lost its connection and may come back is told of what it may not have got, and of what comes then.
func TestParked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.enable("jid='push.example' node='n'", "")
		s := w.Online(phone, 0)
		w.chat("1", s)
		w.chat("2", s)
		w.expect(w.published())
		var held []*stanza.Stanza
		for _, xml := range []string{
			"<message type='chat' from='romeo@localhost/x' to='juliet@localhost' id='1'><body>1</body></message>",
			"<message type='chat' from='romeo@localhost/x' to='juliet@localhost'><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
			"<presence from='romeo@localhost/x' to='juliet@localhost'/>",
			"<message type='chat' from='romeo@localhost/x' to='juliet@localhost' id='2'><body>2</body></message>",
		} {
			held = append(held, modtest.Stanza(t, xml))
		}
		w.Park(s, held...)
		got := w.published()
		w.expect(got, publish("n", "message-count", "2"))
		answer(got[0], nil)
		w.round()
		w.Advance(time.Hour)
		w.expect(w.published())
		w.chat("3", s)
		w.expect(w.published(), publish("n", "message-count", "3"))
	})
}

// A client that does not acknowledge what it was sent sleeps, although its connection stands.
func TestUnanswered(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.enable("jid='push.example' node='n'", "")
		s := w.Online(phone, 0)
		w.chat("1", s)
		s.SetUnanswered(w.Clock().Now())
		w.expect(w.published())
		w.Advance(patience / 2)
		w.expect(w.published())
		s.SetUnanswered(time.Time{}) // it has answered
		w.Advance(time.Hour)
		w.expect(w.published())

		w.chat("2", s)
		s.SetUnanswered(w.Clock().Now())
		w.chat("3", s)
		w.Advance(patience + 2*time.Second)
		got := w.published()
		w.expect(got, publish("n", "message-count", "2"))
		answer(got[0], nil)
		w.round()
		w.Advance(time.Hour)
		w.chat("4", s) // it sleeps still: told at once
		got = w.published()
		w.expect(got, publish("n", "message-count", "3"))
		answer(got[0], nil)
		w.round()
		s.SetUnanswered(time.Time{}) // it wakes, and has got all
		w.Advance(time.Hour)
		w.chat("5", s)
		w.expect(w.published())
		w.Advance(time.Hour)
		w.expect(w.published())
		w.Logout(s)
		w.chat("6")
		w.expect(w.published(), publish("n", "message-count", "1"))
	})
}

// BenchmarkNoService is what the extension costs a message to somebody who has enabled nothing.
func BenchmarkNoService(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	p := w.Pass(mod.In, modtest.Stanza(b, "<message type='chat' from='romeo@localhost/x' to='juliet@localhost' id='1'><body>b</body></message>"))
	b.ReportAllocs()
	for b.Loop() {
		if f, err := w.p.record(w.Context(), p); f != nil || err != nil {
			b.Fatal(err)
		}
		w.p.observe(w.Context(), p, mod.Delivered)
	}
}
