package offline

import (
	"context"
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

const delayed = "<delay xmlns='urn:xmpp:delay' from='localhost' stamp='2026-03-01T12:00:00Z'>Offline Storage</delay>"

func newHost(t *testing.T, d db.DB, opts ...modtest.Option) *modtest.Host {
	return modtest.New(t, Info, append([]modtest.Option{modtest.WithDB(d, db.Migrate)}, opts...)...)
}

func msg(body string) string {
	return "<message type='chat' from='romeo@localhost/garden' to='juliet@localhost' id='m'><body>" + body + "</body></message>"
}

// send takes a message through the phases and tells whether it was stored.
func send(t *testing.T, h *modtest.Host, xml string, targets ...mod.Session) bool {
	t.Helper()
	p, err := h.Run(mod.In, modtest.Stanza(t, xml), targets...)
	if err != nil {
		t.Fatalf("%s: %v", xml, err)
	}
	if p.Stored {
		h.Observe(p, mod.Stored)
	}
	return p.Stored
}

func stored(body string) string {
	return "<message type='chat' from='romeo@localhost/garden' to='juliet@localhost' id='m'><body>" + body + "</body>" + delayed + "</message>"
}

func TestDelivery(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		for _, body := range []string{"1", "2", "3"} {
			if !send(t, h, msg(body)) {
				t.Fatalf("message %s is not stored", body)
			}
		}
		h.Advance(time.Hour) // the stamp is the time of sending, not of delivery
		h.Online("nurse@localhost/hall", 0)
		s := h.Online("juliet@localhost/silent", -1)
		if got := s.Take(); len(got) != 0 {
			t.Errorf("a session of negative priority got %d messages", len(got))
		}
		h.Available(s, 1) // not initial, but the first that takes messages
		modtest.ExpectAll(t, s.Take(), stored("1"), stored("2"), stored("3"))
		h.Available(s, 2)
		h.Logout(s)
		if got := append(s.Take(), h.Online("juliet@localhost/balcony", 0).Take()...); len(got) != 0 {
			t.Errorf("delivered twice: %v", got)
		}
	})
}

func TestBoundOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		send(t, h, msg("1"))
		if got := h.Login("juliet@localhost/balcony").Take(); len(got) != 0 {
			t.Errorf("a session without presence got %v", got)
		}
	})
}

func TestUnavailableAndBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		s := h.Online("juliet@localhost/balcony", 0)
		h.Unavailable(s)
		send(t, h, msg("1"))
		h.Available(s, 0)
		modtest.ExpectAll(t, s.Take(), stored("1"))
		h.Available(s, -5)
		send(t, h, msg("2"))
		h.Available(s, 5)
		modtest.ExpectAll(t, s.Take(), stored("2"))
	})
}

// What is stored while its recipient comes online reaches it without another login.
func TestRace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		s := h.Online("juliet@localhost/balcony", 0)
		h.Login("juliet@localhost/other")
		send(t, h, msg("1")) // routed before she came, stored after
		modtest.ExpectAll(t, s.Take(), stored("1"))
	})
}

func TestWhatIsStored(t *testing.T) {
	const active = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
	const noStore = "<no-store xmlns='urn:xmpp:hints'/>"
	h := newHost(t, dbtest.SQLite(t))
	s := h.Login("juliet@localhost/balcony")
	for _, c := range []struct {
		typ, to, children string
		want              bool
	}{
		{"chat", "juliet@localhost", "<body>b</body>", true},
		{"chat", "juliet@localhost/gone", "<body>b</body>", true},
		{"normal", "juliet@localhost", "<body>b</body>", true},
		{"normal", "juliet@localhost", "<event xmlns='urn:x'/>", true},
		{"normal", "juliet@localhost/gone", "<body>b</body>", false}, // RFC 6121 §8.5.3.2.1
		{"headline", "juliet@localhost", "<body>b</body>", false},
		{"groupchat", "juliet@localhost", "<body>b</body>", false},
		{"error", "juliet@localhost", "<body>b</body><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", false},
		{"chat", "juliet@localhost", active, false},
		{"chat", "juliet@localhost", active + "<thread>t</thread><no-permanent-store xmlns='urn:xmpp:hints'/>", false},
		{"chat", "juliet@localhost", active + "<body>b</body>", true},
		{"chat", "juliet@localhost", active + "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", true},
		{"chat", "juliet@localhost", active + "<store xmlns='urn:xmpp:hints'/>", true},
		{"chat", "juliet@localhost", "<body>b</body>" + noStore, false},
		{"chat", "juliet@localhost", "<body>b</body><no-permanent-store xmlns='urn:xmpp:hints'/>", true},
		{"chat", "juliet@localhost", "<body>b</body>" + strings.ReplaceAll(noStore, "hints", "other"), true},
	} {
		m := fmt.Sprintf("<message type='%s' from='romeo@localhost/garden' to='%s'>%s</message>", c.typ, c.to, c.children)
		if got := send(t, h, m); got != c.want {
			t.Errorf("%s: stored %v, want %v", m, got, c.want)
		}
		if send(t, h, m, s) {
			t.Errorf("%s was stored although a session got it", m)
		}
	}
}

func TestLimits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d, modtest.WithConfig(func(c *Config) { c.Messages, c.Bytes = 3, 2000 }))
		refused := func(xml string) {
			t.Helper()
			p, err := h.Run(mod.In, modtest.Stanza(t, xml))
			if c := modtest.Condition(t, err); c != stanza.ServiceUnavailable || p.Stored {
				t.Errorf("refused with %q, stored %v", c, p.Stored)
			}
		}
		refused(msg(strings.Repeat("x", 2000)))
		send(t, h, msg("1"))
		refused(msg(strings.Repeat("x", 1700)))
		send(t, h, msg("2"))
		send(t, h, msg("3"))
		refused(msg("4"))
		other := strings.ReplaceAll(msg("1"), "juliet@", "nurse@")
		if !send(t, h, other) {
			t.Error("the limit of one account holds for another")
		}
		modtest.ExpectAll(t, h.Online("juliet@localhost/balcony", 0).Take(), stored("1"), stored("2"), stored("3"))
		if !send(t, h, msg("5")) {
			t.Error("there is no room after the delivery")
		}
	})
}

// The messages of a batch, of which none is written yet, count as well.
func TestLimitsWithinBatch(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Messages = 3 }))
	accept := func() int {
		n := 0
		for range 5 {
			p := h.Pass(mod.In, modtest.Stanza(t, msg("1")))
			if w, err := h.Hooks.Record[0].Func(h.Context(), p); err == nil && w != nil && p.Stored {
				n++
			}
		}
		return n
	}
	if n := accept(); n != 3 {
		t.Errorf("%d are accepted of a batch, want 3", n)
	}
	if n := accept(); n != 0 {
		t.Errorf("%d more are accepted", n)
	}
	h.Advance(forget) // the writes have failed
	if n := accept(); n != 3 {
		t.Errorf("%d are accepted after failed writes, want 3", n)
	}
}

func TestPromised(t *testing.T) {
	var p promised
	a, now := modtest.Stanza(t, msg("")).To, modtest.Epoch
	if !p.add(a, 60, now, 2, 100) || p.add(a, 60, now, 2, 100) || !p.add(a, 40, now, 2, 100) || p.add(a, 0, now, 2, 100) {
		t.Error("messages or bytes are not counted")
	}
	p.kept(a, now)
	if !p.add(a, 60, now, 2, 100) {
		t.Error("there is no room for what was kept")
	}
	p.kept(a, now)
	p.kept(a, now)
	p.kept(a, now)
	if len(p.m) != 0 {
		t.Errorf("something is left: %v", p.m)
	}
	p.add(a, 1, now, 1, 1)
	p.sweep(now.Add(forget))
	if len(p.m) != 0 {
		t.Errorf("something old is left: %v", p.m)
	}
}

func TestDelayKept(t *testing.T) {
	const earlier = "<delay xmlns='urn:xmpp:delay' from='montague.example' stamp='2002-09-10T23:08:25Z'/>"
	h := newHost(t, dbtest.SQLite(t))
	send(t, h, strings.Replace(msg("1"), "</body>", "</body>"+earlier, 1))
	modtest.ExpectAll(t, h.Online("juliet@localhost/balcony", 0).Take(), strings.Replace(stored("1"), delayed, earlier, 1))
}

func TestForgedDelay(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	for from, stays := range map[string]bool{"localhost": false, "juliet@localhost": false, "LOCALHOST": false, "romeo@localhost": true, "": true} {
		forged := "<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z' from='" + from + "'/>"
		if from == "" {
			forged = "<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/>"
		}
		for _, kind := range []string{"message", "presence"} {
			in := modtest.Stanza(t, "<"+kind+" from='romeo@localhost/garden' to='juliet@localhost'><a xmlns='urn:a'/>"+forged+"</"+kind+">")
			p := h.Pass(mod.In, in)
			if err := h.Rewrite(p); err != nil {
				t.Fatal(err)
			}
			if got := p.Stanza.Has("urn:xmpp:delay", "delay"); got != stays || !p.Stanza.Has("urn:a", "a") {
				t.Errorf("%s with a delay from %q: stays %v, want %v", kind, from, got, stays)
			}
		}
	}
	own := modtest.Stanza(t, "<message from='localhost' to='juliet@localhost'>"+delayed+"</message>")
	p := h.Pass(mod.In, own)
	if err := h.Rewrite(p); err != nil || p.Stanza != own {
		t.Errorf("the host's own delay was touched: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d, modtest.WithConfig(func(c *Config) { c.Keep = mod.Duration(24 * time.Hour) }))
		send(t, h, msg("1"))
		h.Advance(12 * time.Hour)
		send(t, h, msg("2"))
		h.Advance(13 * time.Hour)
		o := &offline{h: h, c: &Config{}, store: store{d}}
		if n, _, err := o.store.usage(h.Context(), modtest.Stanza(t, msg("")).To); err != nil || n != 2 {
			t.Fatalf("%d stored, %v", n, err)
		}
		if err := o.expire(h.Context()); err != nil {
			t.Fatal(err)
		}
		if n, _, err := o.store.usage(h.Context(), modtest.Stanza(t, msg("")).To); err != nil || n != 1 {
			t.Errorf("%d stored after expiry, %v", n, err)
		}
		h.Advance(24 * time.Hour) // not deleted yet, and not delivered any more
		if got := h.Online("juliet@localhost/balcony", 0).Take(); len(got) != 0 {
			t.Errorf("an expired message was delivered: %v", got)
		}
	})
}

func TestKeepForEver(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d, modtest.WithConfig(func(c *Config) { c.Keep = 0 }))
		send(t, h, msg("1"))
		h.Advance(100 * 365 * 24 * time.Hour)
		modtest.ExpectAll(t, h.Online("juliet@localhost/balcony", 0).Take(), stored("1"))
	})
}

// A session that takes no more keeps its place: the rest waits for the next.
func TestFullSession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		for _, body := range []string{"1", "2", "3"} {
			send(t, h, msg(body))
		}
		s := h.Login("juliet@localhost/narrow")
		s.Fill(2)
		h.Available(s, 0)
		modtest.ExpectAll(t, s.Take(), stored("1"), stored("2"))
		h.Logout(s)
		modtest.ExpectAll(t, h.Online("juliet@localhost/wide", 0).Take(), stored("3"))
	})
}

// Large amounts come in pages, each after a sign of life.
func TestPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		for range 5 {
			send(t, h, msg(strings.Repeat("x", 100_000)))
		}
		s := h.Online("juliet@localhost/balcony", 0)
		for _, want := range []int{2, 2, 1} {
			if got := len(s.Take()); got != want {
				t.Errorf("a page has %d messages, want %d", got, want)
			}
			for _, q := range h.Asked() {
				q.Answer(q.Result(nil))
			}
		}
		if rest := h.Asked(); len(rest) != 0 {
			t.Errorf("asked for a sign of life after the last page: %v", rest)
		}
		for range 3 {
			send(t, h, strings.ReplaceAll(msg(strings.Repeat("x", 100_000)), "juliet@", "nurse@"))
		}
		dead := h.Online("nurse@localhost/hall", 0)
		q := h.Asked()[0]
		h.Logout(dead)
		q.Answer(nil)
		if got := len(dead.Take()); got != 2 {
			t.Errorf("a client that is gone got %d messages", got)
		}
		modtest.Expect(t, h.Online("nurse@localhost/hall", 0).Take()[0], "<message id='m'><body>{any}</body><delay xmlns='urn:xmpp:delay' from='localhost' stamp='{any}'>{any}</delay></message>")
	})
}

func TestAccountRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		send(t, h, msg("1"))
		send(t, h, strings.ReplaceAll(msg("2"), "juliet@", "nurse@"))
		h.Remove("juliet")
		if got := h.Online("juliet@localhost/balcony", 0).Take(); len(got) != 0 {
			t.Errorf("the next owner of the address got %v", got)
		}
		if got := h.Online("nurse@localhost/hall", 0).Take(); len(got) != 1 {
			t.Errorf("somebody else's messages are gone: %v", got)
		}
	})
}

// What was stored before its sender was blocked is not delivered after.
func TestRefusedByNow(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	send(t, h, msg("1"))
	send(t, h, strings.Replace(msg("2"), "romeo@", "nurse@", 1))
	send(t, h, msg("3"))
	h.OnRefuses(func(p *mod.Pass) error {
		if p.Side != mod.In || p.Account.String() != "juliet@localhost" {
			t.Errorf("asked about side %v of %s", p.Side, p.Account)
		}
		if p.Stanza.From.Local() == "nurse" {
			return mod.Drop{Why: "blocked"}
		}
		return nil
	})
	modtest.ExpectAll(t, h.Online("juliet@localhost/balcony", 0).Take(), stored("1"), stored("3"))
	h.OnRefuses(nil)
	if got := h.Online("juliet@localhost/again", 0).Take(); len(got) != 0 {
		t.Errorf("it comes later: %v", got)
	}
}

// A client that reads the archive is not given what the archive has, up to where it has read; the rest it is.
func TestSkip(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		archived := func(body, id string) {
			p := h.Pass(mod.In, modtest.Stanza(t, msg(body)))
			p.Archived, p.Stored = &mod.Archived{By: p.Account, ID: id}, true
			if err := h.Record(p); err != nil {
				t.Fatal(err)
			}
		}
		archived("1", "a1")
		send(t, h, msg("2")) // in no archive
		s := h.Login("juliet@localhost/balcony")
		mark, err := h.Offline().Mark(h.Context(), s.JID().Bare())
		if err != nil {
			t.Fatal(err)
		}
		archived("3", "a3")
		h.Offline().Skip(s, mark)
		h.Available(s, 0)
		modtest.ExpectAll(t, s.Take(), stored("2"), strings.Replace(stored("3"), "</message>", "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@localhost' id='a3'/></message>", 1))
		if got := h.Online("juliet@localhost/other", 0).Take(); len(got) != 0 {
			t.Errorf("what was left out comes later: %v", got)
		}
	})
}

// Where there is no room, a message that the archive has kept since long, and that comes anew because a session ended, goes
// without an error: its sender was told that it is kept.
func TestFullButArchived(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Messages = 1 }))
	send(t, h, msg("1"))
	for _, c := range []struct {
		id   string
		want stanza.Condition
	}{{"a2", ""}, {"", stanza.ServiceUnavailable}} {
		p := h.Pass(mod.In, modtest.Stanza(t, msg("2")))
		p.Archived, p.Stored = &mod.Archived{By: p.Account, ID: c.id}, true
		if err := h.Record(p); c.want == "" && err != nil || c.want != "" && modtest.Condition(t, err) != c.want {
			t.Errorf("archived as %q: %v, want %q", c.id, err, c.want)
		}
	}
	modtest.ExpectAll(t, h.Online("juliet@localhost/balcony", 0).Take(), stored("1"))
}

// Without room a new message is refused; one that has been archived before, and whose session has ended since, is not.
func TestNoRoomButArchived(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Messages = 1 }))
	send(t, h, msg("1"))
	for id, want := range map[string]stanza.Condition{"": stanza.ServiceUnavailable, "a": ""} {
		p := h.Pass(mod.In, modtest.Stanza(t, msg("2")))
		p.Archived, p.Stored = &mod.Archived{By: p.Account, ID: id}, true
		if got := modtest.Condition(t, h.Record(p)); got != want {
			t.Errorf("with the id %q: %q, want %q", id, got, want)
		}
	}
	modtest.ExpectAll(t, h.Online("juliet@localhost/balcony", 0).Take(), stored("1"))
}

func TestBrokenRow(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	send(t, h, msg("1"))
	err := h.DB().Write(h.Context(), func(tx mod.Tx) error {
		return (store{}).add(context.Background(), tx, modtest.Stanza(t, msg("")).To, modtest.Epoch, never, false, "<message")
	})
	if err != nil {
		t.Fatal(err)
	}
	send(t, h, msg("2"))
	modtest.ExpectAll(t, h.Online("juliet@localhost/balcony", 0).Take(), stored("1"), stored("2"))
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{Messages: 0, Bytes: 1}, {Messages: 1, Bytes: 0}, {Messages: 1, Bytes: 1, Keep: -1}} {
		if c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
