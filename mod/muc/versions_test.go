package muc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const (
	nsVersions = "urn:xmpp:muc:affiliations:1"
	nsMUCUser  = "http://jabber.org/protocol/muc#user"
)

// follows enters with a version, or to get all with "", and returns what the room tells: the version it begins with, the items in
// order, and the version of the presence of who enters.
func (w *world) follows(who, since string) (from string, items []string, until string) {
	w.t.Helper()
	ask := "<mav xmlns='" + nsVersions + "'/>"
	if since != "" {
		ask = "<mav xmlns='" + nsVersions + "' since='" + since + "'/>"
	}
	w.take(who)
	w.must(who, "<presence to='"+garden+"/"+strings.SplitN(who, "@", 2)[0]+"'><x xmlns='http://jabber.org/protocol/muc'>"+ask+"</x></presence>")
	next := ""
	for i, s := range w.take(who) {
		x := s.Child(nsMUCUser, "x")
		v := x.Child(nsVersions, "mav")
		if s.Kind == stanza.Presence && strings.Contains(x.String(), "code='110'") {
			return from, items, v.Attr("until")
		}
		if s.Kind != stanza.Message || v == nil {
			continue
		}
		if i == 0 {
			from = v.Attr("since")
		} else if v.Attr("since") != next {
			w.t.Errorf("part %d begins with %q, not %q", i, v.Attr("since"), next)
		}
		next = v.Attr("until")
		for k := range x.Elements() {
			if k.Name.Local == "item" {
				items = append(items, k.Attr("jid")+" "+k.Attr("affiliation"))
			}
		}
	}
	w.t.Fatalf("%s is not told of itself", who)
	return
}

// leave takes somebody out again.
func (w *world) leave(who string) {
	w.t.Helper()
	w.must(who, "<presence type='unavailable' to='"+garden+"/x'/>")
}

func (w *world) affiliate(pairs ...string) {
	w.t.Helper()
	q := ""
	for i := 0; i < len(pairs); i += 2 {
		q += "<item jid='" + pairs[i] + "' affiliation='" + pairs[i+1] + "'/>"
	}
	if a := w.Set(romeo, garden, "<query xmlns='"+nsAdmin+"'>"+q+"</query>"); a.Type != stanza.TypeResult {
		w.t.Fatal(a)
	}
}

// TestVersions: a version holds over restarts, and a client that has it is told what has changed, no more (XEP-0463#self).
func TestVersions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.enter(romeo, "romeo")
		w.configure(romeo, "muc#roomconfig_whois", "anyone", "muc#roomconfig_persistentroom", "1")
		w.affiliate("juliet@localhost", "member", "nurse@localhost", "member", "tybalt@localhost", "outcast")
		is := func(what string, got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		_, all, v1 := w.follows(juliet, "")
		is("a member is told all but outcasts", all, "juliet@localhost member", "nurse@localhost member", "romeo@localhost owner")
		_, all, _ = w.follows(romeo, "")
		is("the owner is told all", all, "juliet@localhost member", "nurse@localhost member", "romeo@localhost owner", "tybalt@localhost outcast")
		w.leave(juliet)
		w.Stop()

		w = start(t, d)
		if from, all, v := w.follows(juliet, v1); from != "" || all != nil || v != v1 {
			t.Errorf("after a restart nothing has changed but the version %q to %q, %v", v1, v, all)
		}
		w.leave(juliet)
		w.affiliate("paris@localhost", "member", "nurse@localhost", "none", "paris@localhost", "none", "peter@localhost", "admin")
		w.Stop()

		w = start(t, d)
		from, all, v2 := w.follows(juliet, v1)
		is("the difference", all, "nurse@localhost none", "peter@localhost admin")
		if from != v1 || v2 == v1 {
			t.Errorf("from %q to %q", from, v2)
		}
		w.leave(juliet)
		w.affiliate("nurse@localhost", "member", "benvolio@localhost", "outcast")
		_, all, v3 := w.follows(juliet, v2)
		is("somebody is back", all, "nurse@localhost member")
		for _, unknown := range []string{v3 + "x", "zz" + v3, strings.SplitN(v3, ".", 2)[0], v3 + ".1", "-1." + v3} {
			if from, all, _ := w.follows(juliet, unknown); from != "" || len(all) != 4 {
				t.Errorf("%q is taken for a version: %v", unknown, all)
			}
		}
		w.leave(juliet)

		// An account is gone with all that was known of it.
		w.Remove("peter")
		from, all, v4 := w.follows(juliet, v3)
		is("without the account", all, "juliet@localhost member", "nurse@localhost member", "romeo@localhost owner")
		if from != "" {
			t.Error("what is told of one who is not to be known is a difference")
		}
		w.Stop()
		w = start(t, d)
		if from, _, v := w.follows(juliet, v3); from != "" || v == v3 {
			t.Errorf("after a restart the version of before is known: %q, %q", from, v)
		}
		if from, all, v := w.follows(juliet, v4); v != v4 || all != nil {
			t.Errorf("the version after the account was removed is %q, not %q: %q %v", v, v4, from, all)
		}

		// Another room of the name knows nothing of the versions of this one.
		w.Set(romeo, garden, "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>")
		w.Advance(1e9)
		w.enter(romeo, "romeo")
		w.configure(romeo)
		if from, all, _ := w.follows(romeo, v1); from != "" || len(all) != 1 {
			t.Errorf("a version of the former room holds: %v", all)
		}
		w.Stop()
	})
}

// TestFormerMemberRemoved: of one who is a member no more, and whose account is gone, a client that knew of the membership is told by a list
// without it, also where the room stays in memory.
func TestFormerMemberRemoved(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.enter(romeo, "romeo")
	w.configure(romeo, "muc#roomconfig_whois", "anyone")
	w.affiliate("juliet@localhost", "member", "nurse@localhost", "member")
	_, _, v := w.follows(juliet, "")
	w.leave(juliet)
	w.affiliate("nurse@localhost", "none")
	w.Remove("nurse")
	w.affiliate("paris@localhost", "member")
	if from, all, _ := w.follows(juliet, v); from != "" || len(all) != 3 {
		t.Errorf("juliet, who takes the nurse for a member, is told %v since %q", all, from)
	}
	w.Stop()
}

// TestFormerMembersForgotten: who has been nothing for long is deleted, however many change at once.
func TestFormerMembersForgotten(t *testing.T) {
	d := dbtest.SQLite(t)
	w := start(t, d)
	w.enter(romeo, "romeo")
	w.configure(romeo)
	one := func(i int, affiliation string) []string {
		return []string{fmt.Sprintf("u%d@localhost", i), affiliation}
	}
	w.affiliate("once@localhost", "member", "once@localhost", "none")
	for i := range 350 {
		w.affiliate(slices.Concat(one(i, "member"), one(i, "none"), one(-i-1, "member"), one(-i-1, "none"))...)
	}
	var n int
	if err := d.QueryRow(t.Context(), `SELECT COUNT(*) FROM muc_affiliation WHERE jid = 'once@localhost'`).Scan(&n); err != nil || n != 0 {
		t.Errorf("after 1400 changes one of the first is remembered: %d, %v", n, err)
	}
	w.Stop()
}

// TestManyVersions: long lists come in parts, and after too many changes all comes anew.
func TestManyVersions(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.enter(romeo, "romeo")
	w.configure(romeo, "muc#roomconfig_whois", "anyone", "muc#roomconfig_persistentroom", "1")
	_, _, first := w.follows(romeo, "")
	change := func(n int, affiliation string) {
		var pairs []string
		for i := range n {
			pairs = append(pairs, fmt.Sprintf("u%d@localhost", i), affiliation)
		}
		w.affiliate(pairs...)
	}
	change(450, "member")
	if from, all, _ := w.follows(romeo, first); from != first || len(all) != 450 || all[0] != "u0@localhost member" || all[449] != "u449@localhost member" {
		t.Errorf("%d changes from %q", len(all), from)
	}
	if _, all, _ := w.follows(romeo, ""); len(all) != 451 {
		t.Errorf("all are %d", len(all))
	}
	change(450, "none")
	change(150, "member")
	if from, all, _ := w.follows(romeo, first); from != "" || len(all) != 151 {
		t.Errorf("after 1050 changes there is a difference: %d from %q", len(all), from)
	}
	w.Stop()
}

// TestUnseenChanges: where no presence tells of a change, a message does; one that concerns a domain has the domain.
func TestUnseenChanges(t *testing.T) {
	w := start(t, dbtest.SQLite(t), modtest.WithAccounts("romeo"))
	w.enter(romeo, "romeo")
	w.configure(romeo, "muc#roomconfig_presencebroadcast", "moderator")
	w.enter(juliet, "juliet")
	_, _, v := w.follows(romeo, "")
	for _, c := range []struct{ who, affiliation string }{{"juliet@localhost", "member"}, {"juliet@localhost", "admin"}, {"juliet@localhost", "none"}, {"localhost.example", "outcast"}} {
		w.take(romeo)
		w.affiliate(c.who, c.affiliation)
		n := 0
		for _, s := range w.take(romeo) {
			x := s.Child(nsMUCUser, "x")
			if m := x.Child(nsVersions, "mav"); m != nil {
				n++
				if m.Attr("since") != v {
					t.Errorf("%s becomes %s from %q, not %q", c.who, c.affiliation, m.Attr("since"), v)
				}
				v = m.Attr("until")
				if got := x.Child(nsMUCUser, "item").Attr("jid"); !strings.HasPrefix(got, c.who) {
					t.Errorf("%s becomes %s: the item is of %s", c.who, c.affiliation, got)
				}
			}
		}
		if n != 1 {
			t.Errorf("romeo hears %d times that %s becomes %s", n, c.who, c.affiliation)
		}
	}
	w.Stop()
}
