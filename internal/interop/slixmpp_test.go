package interop

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// slix is a slixmpp client.
type slix struct {
	*agent
	jid string
}

var _ peer = (*slix)(nil)

// newSlix starts a slixmpp client and logs it in by STARTTLS, or by direct TLS.
func newSlix(t *testing.T, w *world, a Account, direct bool, more args) *slix {
	t.Helper()
	s := &slix{startAgent(t, nil, needs(t, "SABIR_INTEROP_PYTHON"), "testdata/agents/slix.py"), a.JID}
	s.login(t, w, a, direct, more)
	return s
}

func (s *slix) login(t *testing.T, w *world, a Account, direct bool, more args) {
	t.Helper()
	purpose, transport := "c2s", "tcp"
	if direct {
		purpose, transport = "c2s_tls", "tls"
	}
	host, text, err := net.SplitHostPort(w.Addresses[purpose])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	full := a.JID + "/slixmpp"
	if r, ok := more["resource"].(string); ok {
		full = a.JID + "/" + r
	}
	line := args{"jid": full, "password": a.Password, "host": host, "port": port, "ca": w.CAFile, "direct": direct}
	for k, v := range more {
		line[k] = v
	}
	r := s.do(t, "login", line)
	if !field[bool](t, r, "verified") || field[string](t, r, "tls") != "TLSv1.3" {
		t.Errorf("the certificate was not verified, or the TLS is old: %v", r)
	}
	if got := field[string](t, r, "jid"); got != full {
		t.Errorf("bound as %s", got)
	}
	w.loggedIn(t, a.JID, "SCRAM-", transport)
}

func (s *slix) String() string { return "slixmpp" }
func (s *slix) JID() string    { return s.jid }

func (s *slix) Subscribe(t *testing.T, to string) {
	t.Helper()
	s.do(t, "subscribe", args{"to": to})
}

func (s *slix) Approve(t *testing.T, from string) bool {
	t.Helper()
	s.do(t, "approve", args{"from": from})
	return false
}

func (s *slix) Send(t *testing.T, to, text string) {
	t.Helper()
	s.do(t, "send", args{"to": to, "text": text})
}

func (s *slix) Receive(t *testing.T, from, text string) {
	t.Helper()
	if n := field[float64](t, s.do(t, "receive", args{"from": from, "text": text}), "count"); n != 1 {
		t.Errorf("%q from %s came %v times", text, from, n)
	}
}

func (s *slix) Show(t *testing.T, show, status string) {
	t.Helper()
	s.do(t, "presence", args{"show": show, "status": status})
}

func (s *slix) Sees(t *testing.T, contact, show, status string) {
	t.Helper()
	s.do(t, "sees", args{"jid": contact, "show": show, "status": status})
}

func (s *slix) Remove(t *testing.T, contact string) {
	t.Helper()
	s.do(t, "remove", args{"jid": contact})
}

// fails asserts that a command is refused with a condition.
func (s *slix) fails(t *testing.T, do string, with args, condition string) {
	t.Helper()
	if v, err := s.try(do, with); err == nil || !strings.Contains(err.Error(), condition) {
		t.Errorf("%s %v: got %v, %v; want %s", do, with, v, err, condition)
	}
}

// TestSlixmpp goes through what the library can do with a server of today's size.
func TestSlixmpp(t *testing.T) {
	w := enter(t)
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")

	for _, m := range []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(m, func(t *testing.T) {
			s := newSlix(t, w, amina, false, args{"mechanism": m})
			w.loggedIn(t, amina.JID, m, "tcp")
			s.do(t, "logout", nil)
		})
	}
	a := newSlix(t, w, amina, false, nil)
	b := newSlix(t, w, jonas, true, nil)

	t.Run("wrong password", func(t *testing.T) {
		s := &slix{startAgent(t, nil, needs(t, "SABIR_INTEROP_PYTHON"), "testdata/agents/slix.py"), amina.JID}
		host, port, err := net.SplitHostPort(w.Addresses["c2s"])
		if err != nil {
			t.Fatal(err)
		}
		s.fails(t, "login", args{"jid": amina.JID, "password": "wrong", "host": host, "port": port, "ca": w.CAFile}, "not-authorized")
	})
	t.Run("stranger's authority", func(t *testing.T) {
		other, err := Start(t.Context(), Options{Dir: t.TempDir(), Args: []string{"--domain", w.Domain, "--accounts", "0"}})
		if err != nil {
			t.Fatal(err)
		}
		ca := other.CAFile
		if err := other.Stop(); err != nil {
			t.Fatal(err)
		}
		s := &slix{startAgent(t, nil, needs(t, "SABIR_INTEROP_PYTHON"), "testdata/agents/slix.py"), amina.JID}
		host, port, err := net.SplitHostPort(w.Addresses["c2s"])
		if err != nil {
			t.Fatal(err)
		}
		s.fails(t, "login", args{"jid": amina.JID, "password": amina.Password, "host": host, "port": port, "ca": ca, "within": 4}, "certificate: ")
	})
	t.Run("befriend", func(t *testing.T) { befriend(t, a, b) })
	t.Run("chat", func(t *testing.T) { chat(t, a, b) })
	t.Run("server", func(t *testing.T) { a.server(t, w) })
	t.Run("roster", func(t *testing.T) { a.rosterOf(t) })
	t.Run("vcard", func(t *testing.T) {
		a.do(t, "set_vcard", args{"name": "Amina Haddad", "nick": "amina"})
		for _, s := range []*slix{a, b} {
			if name := field[string](t, s.do(t, "vcard", args{"jid": amina.JID}), "name"); name != "Amina Haddad" {
				t.Errorf("the vCard says %q", name)
			}
		}
	})
	t.Run("blocking", func(t *testing.T) { blocking(t, a, b) })
	t.Run("offline", func(t *testing.T) { offline(t, w, a, b, jonas) })
	t.Run("archive", func(t *testing.T) { archive(t, a, b) })
	t.Run("part", func(t *testing.T) { part(t, a, b) })
}

// archive sends some messages and pages through the archives of both sides (XEP-0313), where each is once and in order.
func archive(t *testing.T, a, b *slix) {
	want := []string{"archived 1", "archived 2", "archived 3", "archived 4", "archived 5"}
	for _, text := range want {
		a.Send(t, b.jid, text)
		b.Receive(t, a.jid, text)
	}
	for s, with := range map[*slix]string{a: b.jid, b: a.jid} {
		list, ok := s.do(t, "archive", args{"with": with}).([]any)
		if !ok {
			t.Fatalf("%s has no archive", s.jid)
		}
		var got []string
		for _, m := range list {
			if body := field[string](t, m, "body"); strings.HasPrefix(body, "archived ") {
				if from := field[string](t, m, "from"); from != a.jid {
					t.Errorf("%q is from %s", body, from)
				}
				got = append(got, body)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("the archive of %s has %q, want %q", s.jid, got, want)
		}
	}
}

// server asks the server and the account what they are.
func (s *slix) server(t *testing.T, w *world) {
	s.do(t, "ping", nil)
	s.do(t, "ping", args{"to": w.Domain})
	if name := field[string](t, s.do(t, "version", args{"to": w.Domain}), "name"); name != "Sabir" {
		t.Errorf("the server says that it is %q", name)
	}
	if at, ok := s.do(t, "time", args{"to": w.Domain}).(string); !ok || !strings.HasSuffix(at, "Z") {
		t.Errorf("the server's time is %v", at)
	}
	if up := field[float64](t, s.do(t, "last", args{"to": w.Domain}), "seconds"); up < 0 || up > 600 {
		t.Errorf("the server is up for %v s", up)
	}
	for to, want := range map[string][]string{
		w.Domain: {"urn:xmpp:ping", "jabber:iq:version", "urn:xmpp:time", "msgoffline", "urn:xmpp:blocking"},
		s.jid:    {"vcard-temp", "urn:xmpp:ping"},
	} {
		list, ok := s.do(t, "features", args{"to": to}).([]any)
		for _, f := range want {
			if !ok || !slices.Contains(list, any(f)) {
				t.Errorf("%s does not offer %s: %v", to, f, list)
			}
		}
	}
	s.fails(t, "version", args{"to": "nobody@" + w.Domain}, "service-unavailable")
}

func (s *slix) rosterOf(t *testing.T) {
	s.do(t, "add", args{"jid": "leila@harbour.test", "name": "Leïla Ben Ali", "groups": []string{"Harbour", "Friends"}})
	item := field[map[string]any](t, s.do(t, "roster", nil), "leila@harbour.test")
	if item["name"] != "Leïla Ben Ali" || item["subscription"] != "none" || !slices.Equal(item["groups"].([]any), []any{"Friends", "Harbour"}) {
		t.Errorf("the roster has %v", item)
	}
	s.do(t, "add", args{"jid": "leila@harbour.test", "name": "Leïla"})
	item = field[map[string]any](t, s.do(t, "roster", nil), "leila@harbour.test")
	if item["name"] != "Leïla" || len(item["groups"].([]any)) != 0 {
		t.Errorf("after a change the roster has %v", item)
	}
	s.do(t, "remove", args{"jid": "leila@harbour.test"})
	if r, ok := s.do(t, "roster", nil).(map[string]any); !ok || r["leila@harbour.test"] != nil {
		t.Errorf("after the removal the roster has %v", r)
	}
	s.fails(t, "remove", args{"jid": "leila@harbour.test"}, "item-not-found") // RFC 6121 §2.5.3
}

// blocking is XEP-0191: who is blocked sees nobody and is told of an error, and is back in view afterwards.
func blocking(t *testing.T, a, b *slix) {
	a.do(t, "block", args{"jid": b.jid})
	if list, ok := a.do(t, "blocked", nil).([]any); !ok || len(list) != 1 || list[0] != b.jid {
		t.Errorf("the block list is %v", list)
	}
	b.Sees(t, a.jid, "offline", "")
	b.Send(t, a.jid, "are you there?")
	if c := b.do(t, "receive_error", args{"from": a.jid}); c != "service-unavailable" {
		t.Errorf("a message to one who blocks was answered with %v", c)
	}
	a.do(t, "unblock", args{"jid": b.jid})
	b.Sees(t, a.jid, "online", "")
	b.Send(t, a.jid, "there you are")
	a.Receive(t, b.jid, "there you are")
	if list, ok := a.do(t, "messages", nil).([]any); !ok || slices.ContainsFunc(list, func(m any) bool { return m.([]any)[1] == "are you there?" }) {
		t.Errorf("a blocked message has come: %v", list)
	}
}

// offline is XEP-0160: what is sent to one who is not there comes with a stamp (XEP-0203), in order, once.
func offline(t *testing.T, w *world, a, b *slix, of Account) {
	b.do(t, "logout", nil)
	a.Sees(t, b.jid, "offline", "")
	a.Send(t, b.jid, "read this later")
	a.Send(t, b.jid, "and this")
	a.do(t, "ping", nil)
	b.login(t, w, of, true, nil)
	for _, text := range []string{"read this later", "and this"} {
		r := b.do(t, "receive", args{"from": a.jid, "text": text})
		if field[float64](t, r, "count") != 1 || !strings.HasPrefix(field[string](t, r, "stamp"), "20") {
			t.Errorf("%q came as %v", text, r)
		}
	}
	list, ok := b.do(t, "messages", nil).([]any)
	if !ok || len(list) != 2 || list[0].([]any)[1] != "read this later" {
		t.Errorf("what was kept came as %v", list)
	}
	a.Sees(t, b.jid, "online", "")
}
