package roster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/mod/roster"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// RFC 6121 §3.1: from the request to mutual subscription, as both clients see it.
func TestSubscribe(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		r, j := h.Online(romeo+"/a", 0), h.Online(juliet+"/x", 0)
		quiet := h.Online(juliet+"/quiet", 0) // did not ask for the roster
		h.Get(romeo+"/a", "", get)
		h.Get(juliet+"/x", "", get)

		mustSend(t, h, romeo+"/a", "<presence type='subscribe' to='juliet@localhost/any' id='s1'><status>it is I</status></presence>")
		modtest.ExpectAll(t, r.Take(), pushed("<item jid='juliet@localhost' subscription='none' ask='subscribe'/>"))
		request := "<presence type='subscribe' id='s1' from='romeo@localhost' to='juliet@localhost'><status>it is I</status></presence>"
		modtest.ExpectAll(t, j.Take(), request) // no push: RFC 6121 §3.1.3
		modtest.ExpectAll(t, quiet.Take(), request)
		result(t, h, juliet+"/x", "")

		mustSend(t, h, romeo+"/a", "<presence type='subscribe' to='juliet@localhost' id='s2'/>") // again
		modtest.ExpectAll(t, r.Take())
		modtest.ExpectAll(t, j.Take())
		quiet.Take()

		routed := mustSend(t, h, juliet+"/x", "<presence type='subscribed' to='romeo@localhost' id='s3'/>")
		modtest.ExpectAll(t, routed,
			"<presence type='subscribed' id='s3' from='juliet@localhost' to='romeo@localhost'/>",
			"<presence from='juliet@localhost/quiet' to='romeo@localhost'/>",
			"<presence from='juliet@localhost/x' to='romeo@localhost'/>")
		modtest.ExpectAll(t, r.Take(), // RFC 6121 §3.1.6: the stanza before the push
			"<presence type='subscribed' id='s3' from='juliet@localhost' to='romeo@localhost'/>",
			pushed("<item jid='juliet@localhost' subscription='to'/>"))
		modtest.ExpectAll(t, j.Take(), pushed("<item jid='romeo@localhost' subscription='from'/>"))
		modtest.ExpectAll(t, quiet.Take())

		// Once more: nothing is owed (A.2.3).
		modtest.ExpectAll(t, mustSend(t, h, juliet+"/x", "<presence type='subscribed' to='romeo@localhost'/>"))

		mustSend(t, h, juliet+"/x", "<presence type='subscribe' to='romeo@localhost'/>")
		modtest.ExpectAll(t, j.Take(), pushed("<item jid='romeo@localhost' subscription='from' ask='subscribe'/>"))
		r.Take()
		mustSend(t, h, romeo+"/a", "<presence type='subscribed' to='juliet@localhost'/>")
		modtest.ExpectAll(t, r.Take(), pushed("<item jid='juliet@localhost' subscription='both'/>"))
		modtest.ExpectAll(t, j.Take(), "<presence type='subscribed' from='romeo@localhost'/>",
			pushed("<item jid='romeo@localhost' subscription='both'/>"))
	})
}

// RFC 6121 §3.2, §3.3, §2.5.2: each way in which a subscription ends.
func TestUnsubscribe(t *testing.T) {
	unavailable := "<presence type='unavailable' from='%s' to='%s'/>"
	for _, c := range []struct {
		name, stanza    string // what romeo sends
		romeo, juliet   string // the pushes
		toJuliet        string // what juliet's client gets
		routed          []string
		romeoS, julietS mod.Subscription
	}{
		{
			"unsubscribe", "<presence type='unsubscribe' to='juliet@localhost'/>",
			"<item jid='juliet@localhost' subscription='from'/>", "<item jid='romeo@localhost' subscription='to'/>",
			"<presence type='unsubscribe' from='romeo@localhost' to='juliet@localhost'/>",
			[]string{
				"<presence type='unsubscribe' from='romeo@localhost' to='juliet@localhost'/>",
				fmt.Sprintf(unavailable, juliet+"/x", romeo),
			},
			mod.SubFrom, mod.SubTo,
		},
		{
			"unsubscribed", "<presence type='unsubscribed' to='juliet@localhost/x'/>",
			"<item jid='juliet@localhost' subscription='to'/>", "<item jid='romeo@localhost' subscription='from'/>",
			"<presence type='unsubscribed' from='romeo@localhost' to='juliet@localhost'/>",
			[]string{
				fmt.Sprintf(unavailable, romeo+"/a", juliet),
				"<presence type='unsubscribed' from='romeo@localhost' to='juliet@localhost'/>",
			},
			mod.SubTo, mod.SubFrom,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, h *modtest.Host) {
				r, j := h.Online(romeo+"/a", 0), h.Online(juliet+"/x", 0)
				h.Get(romeo+"/a", "", get)
				h.Get(juliet+"/x", "", get)
				befriend(t, h, romeo+"/a", juliet+"/x")
				r.Take()
				j.Take()
				modtest.ExpectAll(t, mustSend(t, h, romeo+"/a", c.stanza), c.routed...)
				modtest.ExpectAll(t, r.Take(), pushed(c.romeo))
				modtest.ExpectAll(t, j.Take(), c.toJuliet, pushed(c.juliet))
				contact(t, h, romeo, juliet, c.romeoS)
				contact(t, h, juliet, romeo, c.julietS)
			})
		})
	}
}

func contact(t *testing.T, h *modtest.Host, owner, of string, want mod.Subscription) {
	t.Helper()
	c, _, err := h.Roster().Contact(t.Context(), jid.MustParse(owner), jid.MustParse(of))
	if err != nil || c.Subscription != want {
		t.Errorf("%s has %s as %q, want %q (%v)", owner, of, c.Subscription, want, err)
	}
}

// RFC 6121 §2.5.2: what ends with an item, by what there was.
func TestRemoveEndsSubscriptions(t *testing.T) {
	ask := "<presence type='subscribe' to='juliet@localhost'/>"
	grant := "<presence type='subscribed' to='romeo@localhost'/>"
	for _, c := range []struct {
		name   string
		before func(t *testing.T, h *modtest.Host)
		routed []string
	}{
		{"none", func(t *testing.T, h *modtest.Host) {}, nil},
		{"ask", func(t *testing.T, h *modtest.Host) { mustSend(t, h, romeo+"/a", ask) }, []string{"unsubscribe"}},
		{"to", func(t *testing.T, h *modtest.Host) {
			mustSend(t, h, romeo+"/a", ask)
			mustSend(t, h, juliet+"/x", grant)
		}, []string{"unsubscribe", "unavailable"}},
		{"both", func(t *testing.T, h *modtest.Host) { befriend(t, h, romeo+"/a", juliet+"/x") },
			[]string{"unsubscribe", "unavailable", "unsubscribed", "unavailable"}},
		{"from", func(t *testing.T, h *modtest.Host) {
			befriend(t, h, romeo+"/a", juliet+"/x")
			mustSend(t, h, romeo+"/a", "<presence type='unsubscribe' to='juliet@localhost'/>")
		}, []string{"unavailable", "unsubscribed"}},
		{"asked by the contact", func(t *testing.T, h *modtest.Host) {
			mustSend(t, h, juliet+"/x", "<presence type='subscribe' to='romeo@localhost'/>")
		}, []string{"unsubscribed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, h *modtest.Host) {
				r := h.Online(romeo+"/a", 0)
				h.Online(juliet+"/x", 0)
				h.Set(romeo+"/a", "", query("<item jid='juliet@localhost'/>"))
				c.before(t, h)
				h.Get(romeo+"/a", "", get)
				r.Take()
				modtest.Expect(t, h.Set(romeo+"/a", "", query("<item jid='juliet@localhost' subscription='remove'/>")), "<iq type='result'/>")
				modtest.ExpectAll(t, r.Take(), pushed("<item jid='juliet@localhost' subscription='remove'/>"))
				var got []string
				for _, s := range settle(t, h) {
					got = append(got, s.Type)
				}
				if want := map[string]int{}; true {
					for _, w := range c.routed {
						want[w]++
					}
					for _, g := range got {
						want[g]--
					}
					for typ, n := range want {
						if n != 0 {
							t.Errorf("routed %v, want %v (%s)", got, c.routed, typ)
						}
					}
				}
				result(t, h, romeo+"/a", "")
				contact(t, h, juliet, romeo, mod.SubNone)
				// No request is left on either side.
				for _, full := range []string{romeo + "/new", juliet + "/new"} {
					s := h.Online(full, 0)
					for _, got := range s.Take() {
						t.Errorf("%s got %s", full, got)
					}
					modtest.ExpectAll(t, h.Routed())
				}
			})
		})
	}
}

// RFC 6121 §3.1.3: a request is kept whole, and delivered to each resource that comes online, until it is answered.
func TestRequestIsKept(t *testing.T) {
	request := "<presence type='subscribe' id='s1' xml:lang='it' from='romeo@elsewhere.example' to='juliet@localhost'>" +
		"<status>son io</status><nick xmlns='http://jabber.org/protocol/nick'>R &amp; J</nick></presence>"
	for _, answer := range []string{"subscribed", "unsubscribed", "withdrawn", "removed"} {
		t.Run(answer, func(t *testing.T) {
			each(t, func(t *testing.T, h *modtest.Host) {
				h.Login(juliet + "/bound") // connected, not available
				if err := arrive(t, h, strings.Replace(request, "elsewhere.example", "elsewhere.example/r", 1)); err != nil {
					t.Fatal(err)
				}
				if err := arrive(t, h, "<presence type='subscribe' id='s2' from='romeo@elsewhere.example' to='juliet@localhost'/>"); modtest.Condition(t, err) != "drop" {
					t.Errorf("the second request gives %v", err)
				}
				for _, res := range []string{"/a", "/b"} {
					s := h.Online(juliet+res, -1)
					modtest.ExpectAll(t, s.Take(), request)
					h.Available(s, 5) // not initial presence
					modtest.ExpectAll(t, s.Take())
				}
				// A new process has it, too.
				h = modtest.New(t, roster.Info, modtest.WithDB(h.DB().(db.DB), db.Migrate))
				s := h.Online(juliet+"/c", 0)
				modtest.ExpectAll(t, s.Take(), request)
				result(t, h, juliet+"/c", "")
				switch answer {
				case "withdrawn":
					if err := arrive(t, h, "<presence type='unsubscribe' from='romeo@elsewhere.example' to='juliet@localhost'/>"); err != nil {
						t.Error(err)
					}
					modtest.ExpectAll(t, s.Take(), "<presence type='unsubscribe' from='romeo@elsewhere.example'/>") // and no push
					modtest.ExpectAll(t, h.Routed())
				case "removed":
					h.Remove("juliet")
					modtest.ExpectAll(t, h.Routed(), "<presence type='unsubscribed' from='juliet@localhost' to='romeo@elsewhere.example'/>")
				default:
					routed := mustSend(t, h, juliet+"/c", "<presence type='"+answer+"' to='romeo@elsewhere.example'/>")
					modtest.Expect(t, routed[0], "<presence type='"+answer+"' from='juliet@localhost' to='romeo@elsewhere.example'/>")
				}
				s = h.Online(juliet+"/d", 0)
				modtest.ExpectAll(t, s.Take())
			})
		})
	}
}

// What is kept of a request is bounded.
func TestLargeRequest(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		s := h.Online(juliet+"/a", 0)
		big := "<presence type='subscribe' from='romeo@elsewhere.example' to='juliet@localhost'><status>hi</status><x xmlns='urn:big'>" +
			strings.Repeat("z", 50000) + "</x></presence>"
		if err := arrive(t, h, big); err != nil {
			t.Fatal(err)
		}
		modtest.ExpectAll(t, s.Take(), big)
		s = h.Online(juliet+"/b", 0)
		modtest.ExpectAll(t, s.Take(), "<presence type='subscribe' from='romeo@elsewhere.example' to='juliet@localhost'><status>hi</status></presence>")
	})
}

// RFC 6121 §3.1.3: who is subscribed already is told so by the server.
func TestRequestOfSubscriber(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		h.Online(romeo+"/a", 0)
		j := h.Online(juliet+"/x", 0)
		h.Get(juliet+"/x", "", get)
		befriend(t, h, romeo+"/a", juliet+"/x")
		j.Take()
		modtest.ExpectAll(t, mustSend(t, h, romeo+"/a", "<presence type='subscribe' to='juliet@localhost' id='again'/>"),
			"<presence type='subscribe' id='again' from='romeo@localhost' to='juliet@localhost'/>",
			"<presence type='subscribed' id='again' from='juliet@localhost' to='romeo@localhost'/>",
			"<presence from='juliet@localhost/x' to='romeo@localhost'/>")
		modtest.ExpectAll(t, j.Take())
	})
}

// RFC 6121 §3.4.
func TestPreApproval(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		r, j := h.Online(romeo+"/a", 0), h.Online(juliet+"/x", 0)
		h.Get(romeo+"/a", "", get)
		h.Get(juliet+"/x", "", get)
		modtest.ExpectAll(t, mustSend(t, h, juliet+"/x", "<presence type='subscribed' to='romeo@localhost'/>")) // not routed
		modtest.ExpectAll(t, j.Take(), pushed("<item jid='romeo@localhost' subscription='none' approved='true'/>"))
		// Cancelled (RFC 6121 §3.2.2) and given again.
		modtest.ExpectAll(t, mustSend(t, h, juliet+"/x", "<presence type='unsubscribed' to='romeo@localhost'/>"))
		modtest.ExpectAll(t, j.Take(), pushed("<item jid='romeo@localhost' subscription='none'/>"))
		mustSend(t, h, juliet+"/x", "<presence type='subscribed' to='romeo@localhost'/>")
		j.Take()

		mustSend(t, h, romeo+"/a", "<presence type='subscribe' to='juliet@localhost'/>")
		modtest.ExpectAll(t, j.Take(), pushed("<item jid='romeo@localhost' subscription='from'/>")) // no request
		modtest.ExpectAll(t, r.Take(), pushed("<item jid='juliet@localhost' subscription='none' ask='subscribe'/>"),
			"<presence type='subscribed' from='juliet@localhost' to='romeo@localhost'/>",
			pushed("<item jid='juliet@localhost' subscription='to'/>"))

		// It was for one request only.
		mustSend(t, h, romeo+"/a", "<presence type='unsubscribe' to='juliet@localhost'/>")
		j.Take()
		mustSend(t, h, romeo+"/a", "<presence type='subscribe' to='juliet@localhost'/>")
		modtest.ExpectAll(t, j.Take(), "<presence type='subscribe' from='romeo@localhost'/>")
	})
}

// RFC 6121 §8.5.1, appendix A.3: what is not owed is ended without an answer.
func TestNotOwed(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		j := h.Online(juliet+"/x", 0)
		h.Get(juliet+"/x", "", get)
		for _, s := range []string{
			"<presence type='subscribed' from='romeo@b.c' to='juliet@localhost'/>",
			"<presence type='unsubscribed' from='romeo@b.c' to='juliet@localhost'/>",
			"<presence type='unsubscribe' from='romeo@b.c' to='juliet@localhost'/>",
			"<presence type='subscribe' from='romeo@b.c' to='nobody@localhost'/>",
			"<presence type='subscribed' from='romeo@b.c' to='nobody@localhost'/>",
			"<presence type='subscribe' from='romeo@b.c' to='localhost'/>",
			"<presence type='subscribe' from='juliet@localhost' to='juliet@localhost'/>",
		} {
			if err := arrive(t, h, s); modtest.Condition(t, err) != "drop" {
				t.Errorf("%s gives %v", s, err)
			}
		}
		modtest.ExpectAll(t, j.Take())
		modtest.ExpectAll(t, h.Routed())
		result(t, h, juliet+"/x", "")
		for text, want := range map[string]stanza.Condition{
			"<presence type='subscribe' to='juliet@localhost'/>": stanza.NotAllowed,
			"<presence type='subscribe'/>":                       stanza.BadRequest,
			"<presence type='unsubscribed'/>":                    stanza.BadRequest,
		} {
			if _, err := send(t, h, juliet+"/x", text); modtest.Condition(t, err) != want {
				t.Errorf("%s gives %v, want %s", text, err, want)
			}
		}
		// A stanza that the server itself made has been seen to.
		s := modtest.Stanza(t, "<presence type='unsubscribe' from='juliet@localhost' to='a@b.c'/>")
		if _, err := h.Presence(h.Pass(mod.Out, s)); err != nil {
			t.Error(err)
		}
	})
}

// A request that may have been lost is repeated at the next login (RFC 6121 §3.1.2).
func TestRequestIsRepeated(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		h.Online(romeo+"/a", 0)
		mustSend(t, h, romeo+"/a", "<presence type='subscribe' to='juliet@elsewhere.example'/>")
		h.Online(romeo+"/b", 0)
		modtest.ExpectAll(t, h.Routed(), "<presence type='subscribe' id='{any}' from='romeo@localhost' to='juliet@elsewhere.example'/>")
		if err := arrive(t, h, "<presence type='unsubscribed' from='juliet@elsewhere.example' to='romeo@localhost'/>"); err != nil {
			t.Error(err)
		}
		h.Online(romeo+"/c", 0)
		modtest.ExpectAll(t, h.Routed())
	})
}

// The subscriptions of an account end with it, and a new one of its name starts with nothing.
func TestAccountRemoved(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		h.Online(romeo+"/a", 0)
		j := h.Online(juliet+"/x", 0)
		h.Get(juliet+"/x", "", get)
		befriend(t, h, romeo+"/a", juliet+"/x")
		mustSend(t, h, romeo+"/a", "<presence type='subscribe' to='asked@elsewhere.example'/>")
		old, _ := ver(t, h, h.Login(romeo+"/v"), "")
		j.Take()
		h.Remove("romeo")
		modtest.ExpectAll(t, settle(t, h),
			"<presence type='unsubscribe' from='romeo@localhost' to='asked@elsewhere.example'/>",
			"<presence type='unsubscribe' from='romeo@localhost' to='juliet@localhost'/>",
			"<presence type='unavailable' from='romeo@localhost/a' to='juliet@localhost'/>",
			"<presence type='unsubscribed' from='romeo@localhost' to='juliet@localhost'/>",
			"<presence type='unavailable' from='juliet@localhost/x' to='romeo@localhost'/>")
		result(t, h, juliet+"/x", "<item jid='romeo@localhost' subscription='none'/>")
		v, p := ver(t, h, h.Login(romeo+"/new"), old) // the account is made again
		if v == "" || len(p) != 0 {
			t.Error("a version of the removed account counts for the new one")
		}
		result(t, h, romeo+"/new", "")
		h.Set(romeo+"/new", "", query("<item jid='nurse@localhost'/>"))
		if v, _ := ver(t, h, h.Login(romeo+"/new2"), old); v == "" {
			t.Error("a version of the removed account counts for the changed roster of the new one")
		}
		result(t, h, romeo+"/new", "<item jid='nurse@localhost' subscription='none'/>")
	})
}

// Other extensions hear of what changes for them: subscriptions and groups, and not names or requests.
func TestContactChanged(t *testing.T) {
	each(t, func(t *testing.T, h *modtest.Host) {
		h.Login(romeo + "/orchard")
		h.Login(juliet + "/balcony")
		var got []string
		h.Hooks.ContactChanged = func(account jid.JID, was, is mod.Contact) {
			got = append(got, fmt.Sprintf("%s %s: %s %v, %s %v", account.Local(), is.JID.Local(), was.Subscription, was.Groups, is.Subscription, is.Groups))
		}
		expect := func(what string, want ...string) {
			t.Helper()
			settle(t, h)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("after %s: %q, want %q", what, got, want)
			}
			got = nil
		}
		h.Set(romeo+"/orchard", "", query("<item jid='"+juliet+"' name='J'/>"))
		expect("an item")
		h.Set(romeo+"/orchard", "", query("<item jid='"+juliet+"'><group>Friends</group></item>"))
		expect("a group", "romeo juliet: none [], none [Friends]")
		mustSend(t, h, romeo+"/orchard", "<presence to='"+juliet+"' type='subscribe'/>")
		expect("a request")
		mustSend(t, h, juliet+"/balcony", "<presence to='"+romeo+"' type='subscribed'/>")
		expect("a grant", "juliet romeo: none [], from []", "romeo juliet: none [Friends], to [Friends]")
		h.Set(romeo+"/orchard", "", query("<item jid='"+juliet+"' subscription='remove'/>"))
		expect("the end", "juliet romeo: from [], none []", "romeo juliet: to [Friends], none []")
	})
}
