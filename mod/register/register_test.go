package register

import (
	"fmt"
	"testing"
	"time"

	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const bill = "bill@localhost/globe"

func query(inner string) string { return "<query xmlns='jabber:iq:register'>" + inner + "</query>" }

func account(user, password string) string {
	return query("<username>" + user + "</username><password>" + password + "</password>")
}

func form(user, password string) string {
	return query("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>jabber:iq:register</value></field>" +
		"<field var='username'><value>" + user + "</value></field><field var='password'><value>" + password + "</value></field></x>")
}

func open(t *testing.T, set ...func(*Config)) *modtest.Host {
	return modtest.New(t, Info, modtest.WithAccounts("bill", "juliet"), modtest.WithConfig(func(c *Config) {
		c.Open = true
		for _, f := range set {
			f(c)
		}
	}))
}

const ok = "<iq type='result'/>"

func TestClosed(t *testing.T) {
	h := modtest.New(t, Info)
	if len(h.Hooks.StreamFeatures) > 0 {
		t.Error("closed registration is announced")
	}
	modtest.ExpectError(t, h.Stream(stanza.TypeGet, "192.0.2.1", true, query("")), stanza.Cancel, stanza.ServiceUnavailable)
	modtest.ExpectError(t, h.Stream(stanza.TypeSet, "192.0.2.1", true, account("hamlet", "x")), stanza.Cancel, stanza.ServiceUnavailable)
	if _, there := h.Password("hamlet"); there {
		t.Error("an account was made")
	}
}

func TestRegister(t *testing.T) {
	h := open(t)
	if f := h.Hooks.StreamFeatures; len(f) != 1 || f[0].Auth || f[0].Func().String() != "<register xmlns='http://jabber.org/features/iq-register'/>" {
		t.Errorf("features: %+v", f)
	}
	modtest.Expect(t, h.Stream(stanza.TypeGet, "192.0.2.1", true, query("")), "<iq type='result'>"+query(
		"<instructions>{any}</instructions><username/><password/><x xmlns='jabber:x:data' type='form'><instructions>{any}</instructions>"+
			"<field var='FORM_TYPE' type='hidden'><value>jabber:iq:register</value></field>"+
			"<field var='username' type='text-single' label='Name'><required/></field>"+
			"<field var='password' type='text-private' label='Password'><required/></field></x>")+"</iq>")
	modtest.Expect(t, h.Stream(stanza.TypeSet, "192.0.2.1", true, account("hamlet", "to be")), ok)
	modtest.Expect(t, h.Stream(stanza.TypeSet, "192.0.2.1", true, form("ophelia", "rosemary")), ok)
	for user, want := range map[string]string{"hamlet": "to be", "ophelia": "rosemary"} {
		if got, _ := h.Password(user); got != want {
			t.Errorf("%s has the password %q", user, got)
		}
	}
	h.Advance(2 * time.Hour)
	modtest.ExpectError(t, h.Stream(stanza.TypeSet, "192.0.2.1", true, account("hamlet", "x")), stanza.Cancel, stanza.Conflict)
	for _, bad := range []string{account("", "x"), account("x", ""), query("<username>x</username>"), query("<password>x</password>"), query(""),
		form("", "x"), form("x", ""), account("a b", "x")} {
		modtest.ExpectError(t, h.Stream(stanza.TypeSet, "192.0.2.1", true, bad), stanza.Modify, stanza.NotAcceptable)
	}
	modtest.ExpectError(t, h.Stream(stanza.TypeSet, "192.0.2.1", true, query("<x xmlns='jabber:x:data'/>")), stanza.Modify, stanza.BadRequest)
	modtest.ExpectError(t, h.Stream(stanza.TypeSet, "192.0.2.1", true, query("<remove/>")), stanza.Wait, stanza.UnexpectedRequest)
	if got, _ := h.Password("hamlet"); got != "to be" {
		t.Error("a conflict changed the password")
	}
}

func TestInsecure(t *testing.T) {
	h := open(t)
	modtest.ExpectError(t, h.Stream(stanza.TypeGet, "192.0.2.1", false, query("")), stanza.Modify, stanza.NotAuthorized)
	modtest.ExpectError(t, h.Stream(stanza.TypeSet, "192.0.2.1", false, account("hamlet", "x")), stanza.Modify, stanza.NotAuthorized)
	h = open(t, func(c *Config) { c.Insecure = true })
	modtest.Expect(t, h.Stream(stanza.TypeSet, "192.0.2.1", false, account("hamlet", "x")), ok)
}

func TestRate(t *testing.T) {
	h := open(t, func(c *Config) { c.PerHour = 2 })
	n := 0
	try := func(addr string) *stanza.Stanza {
		n++
		return h.Stream(stanza.TypeSet, addr, true, account(fmt.Sprint("user", n), "x"))
	}
	modtest.Expect(t, try("2001:db8::1"), ok)
	h.Advance(30 * time.Minute)
	modtest.Expect(t, try("2001:db8::2"), ok)
	modtest.ExpectError(t, try("2001:db8::3"), stanza.Wait, stanza.NotAcceptable)
	modtest.Expect(t, try("2001:db8:0:1::1"), ok) // another network
	modtest.Expect(t, try("192.0.2.1"), ok)
	modtest.Expect(t, try("::ffff:192.0.2.1"), ok)
	modtest.ExpectError(t, try("192.0.2.1"), stanza.Wait, stanza.NotAcceptable)
	modtest.Expect(t, try("192.0.2.2"), ok)
	h.Advance(31 * time.Minute) // the first attempt is an hour old, the second is not
	modtest.Expect(t, try("2001:db8::1"), ok)
	modtest.ExpectError(t, try("2001:db8::1"), stanza.Wait, stanza.NotAcceptable)
	for range 3 {
		h.Stream(stanza.TypeSet, "203.0.113.1", true, account("", "")) // is no attempt
	}
	modtest.Expect(t, try("203.0.113.1"), ok)
	for range 3 {
		try("pipe")
	}
	modtest.ExpectError(t, try("elsewhere"), stanza.Wait, stanza.NotAcceptable)

	free := open(t, func(c *Config) { c.PerHour = 0 })
	for i := range 20 {
		modtest.Expect(t, free.Stream(stanza.TypeSet, "192.0.2.1", true, account(fmt.Sprint("user", i), "x")), ok)
	}
}

func TestRegistered(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithAccounts("bill"))
	h.Login(bill)
	for _, to := range []string{"", "localhost"} {
		modtest.Expect(t, h.Get(bill, to, query("")), "<iq type='result'>"+query("<registered/><username>bill</username><password/><instructions>{any}</instructions>")+"</iq>")
	}
	modtest.ExpectError(t, h.Get("x@capulet.example/a", "localhost", query("")), stanza.Cancel, stanza.ServiceUnavailable)
}

func TestChangePassword(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithAccounts("bill", "juliet"))
	h.Login(bill)
	password := func(want string) {
		t.Helper()
		if got, _ := h.Password("bill"); got != want {
			t.Errorf("the password is %q, want %q", got, want)
		}
	}
	for i, c := range []struct{ to, payload string }{
		{"localhost", account("bill", "1")}, {"", account("Bill", "2")}, {"localhost", account("bill@localhost", "3")}, {"localhost", form("bill", "4")},
	} {
		modtest.Expect(t, h.Set(bill, c.to, c.payload), ok)
		password(fmt.Sprint(i + 1))
	}
	for _, bad := range []string{account("bill", ""), account("", "x"), account("juliet", "x"), account("bill@capulet.example", "x"), account("bill@localhost/a", "x"), account("@", "x"), query("")} {
		modtest.ExpectError(t, h.Set(bill, "localhost", bad), stanza.Modify, stanza.BadRequest)
	}
	modtest.ExpectError(t, h.Set("bill@capulet.example/a", "localhost", account("bill", "x")), stanza.Cancel, stanza.NotAllowed)
	modtest.ExpectError(t, h.Set(bill, "juliet@localhost", account("juliet", "x")), stanza.Cancel, stanza.ServiceUnavailable)
	password("4")
}

func TestRemove(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithAccounts("bill", "juliet"))
	one, two := h.Login(bill), h.Login("bill@localhost/other")
	modtest.ExpectError(t, h.Set(bill, "localhost", query("<remove/><username>bill</username>")), stanza.Modify, stanza.BadRequest)
	modtest.ExpectError(t, h.Set("bill@capulet.example/a", "localhost", query("<remove/>")), stanza.Auth, stanza.RegistrationRequired)
	modtest.Expect(t, h.Set("juliet@localhost/a", "bill@localhost", query("<remove/>")), "<iq type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	if _, there := h.Password("bill"); !there {
		t.Fatal("the account is gone too early")
	}
	// The answer comes although the session ends: nothing is taken by a closed session.
	modtest.Expect(t, send(t, h, one, query("<remove/>")), "<iq type='result' to='"+bill+"'/>")
	if _, there := h.Password("bill"); there {
		t.Error("the account is still there")
	}
	for _, s := range []*modtest.Session{one, two} {
		if c, closed := s.Closed(); !closed || c != "not-authorized" {
			t.Errorf("%s: closed %v with %q", s.JID(), closed, c)
		}
	}
}

// send asks on behalf of a session that may be closed by it.
func send(t *testing.T, h *modtest.Host, s *modtest.Session, payload string) *stanza.Stanza {
	t.Helper()
	if got := h.Set(s.JID().String(), "", payload); got != nil {
		return got
	}
	t.Fatal("no answer")
	return nil
}

func TestConfig(t *testing.T) {
	if (&Config{PerHour: -1}).Validate() == nil {
		t.Error("a negative limit was taken")
	}
}
