package muc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/mod/muc"
	"sabir/xmpp/stanza"
)

const service = "conference.localhost"

// find searches with fields given in pairs, and returns the addresses and the id of the last result; or the error.
func (w *world) find(set string, pairs ...string) (rooms, last string, err *stanza.Error) {
	w.t.Helper()
	f := "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:channel-search:0:search-params</value></field>"
	for i := 0; i < len(pairs); i += 2 {
		f += "<field var='" + pairs[i] + "'><value>" + pairs[i+1] + "</value></field>"
	}
	a := w.Get("nurse@localhost/x", service, "<search xmlns='urn:xmpp:channel-search:0:search'>"+set+"<x xmlns='jabber:x:data' type='submit'>"+f+"</x></search>")
	if a.Type == stanza.TypeError {
		return "", "", a.Err()
	}
	var all []string
	for x := range a.Payload().Elements() {
		if x.Name.Local == "item" {
			local, _, _ := strings.Cut(x.Attr("address"), "@")
			all = append(all, local)
		}
	}
	const rsm = "http://jabber.org/protocol/rsm"
	return strings.Join(all, " "), a.Payload().Child(rsm, "set").ChildText(rsm, "last"), nil
}

func TestSearch(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d, modtest.WithConfig(func(c *muc.Config) { c.PerUser, c.Searches = 0, 0 }))
		for _, r := range [][]string{
			{"alpha", "Rose Garden", "Where roses grow", "0"}, {"beta", "ＲＯＳＥ House", "", "0"}, {"gamma", "Tower", "roses & thorns", "0"}, {"roses", "", "", "0"}, {"hidden", "Rose", "", "1"},
		} {
			args := fmt.Sprintf(`{"room":"%s@conference.localhost","owner":"romeo@localhost","name":%q,"set":["roomdesc=%s","publicroom=%d"]}`, r[0], r[1], r[2], 1-int(r[3][0]-'0'))
			if got := w.command("room create", args); got != "null" {
				t.Fatal(got)
			}
		}
		for _, nick := range []string{"a", "b"} {
			w.must(nick+"@localhost/x", "<presence to='gamma@conference.localhost/"+nick+"'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
		}
		w.must("a@localhost/x", "<presence to='roses@conference.localhost/a'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
		w.settle("gamma@conference.localhost")
		w.command("room list", "{}") // what is to be stored a little later is stored
		byName, byUsers := "{urn:xmpp:channel-search:0:order}address", "{urn:xmpp:channel-search:0:order}nusers"
		for _, c := range []struct {
			want  string
			pairs []string
		}{
			{"gamma roses alpha beta", []string{"all", "true"}},
			{"alpha beta gamma roses", []string{"all", "1", "key", byName}},
			{"gamma roses alpha beta", []string{"q", "rose"}},
			{"alpha beta", []string{"q", "Rose", "key", byName, "sinaddr", "0", "sindescription", "0"}},
			{"alpha beta", []string{"q", "ROSE", "key", byName, "sinaddress", "0", "sindescription", "0"}},
			{"alpha gamma", []string{"q", "roses", "key", byName, "sinaddr", "false"}},
			{"alpha", []string{"q", "rose  garden grow"}},
			{"", []string{"q", "100%"}},
			{"", []string{"q", "ro_e"}},
			{"gamma", []string{"all", "1", "min_users", "2"}},
			{"", []string{"all", "1", "types", "xep-0369"}},
			{"gamma roses alpha beta", []string{"all", "1", "unknown", "x", "key", byUsers}},
		} {
			if got, _, err := w.find("", c.pairs...); got != c.want || err != nil {
				t.Errorf("%v: got %q, want %q, %v", c.pairs, got, c.want, err)
			}
		}
		for _, key := range []string{byName, byUsers} {
			all, _, _ := w.find("", "all", "1", "key", key)
			var pages []string
			after := ""
			for range 10 {
				set := "<set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set>"
				if after != "" {
					set = "<set xmlns='http://jabber.org/protocol/rsm'><max>1</max><after>" + after + "</after></set>"
				}
				got, last, err := w.find(set, "all", "1", "key", key)
				if err != nil {
					t.Fatal(err)
				}
				if got == "" {
					break
				}
				pages, after = append(pages, got), last
			}
			if got := strings.Join(pages, " "); got != all {
				t.Errorf("in pages: %s, at once: %s", got, all)
			}
		}
		for _, c := range []struct {
			set, condition, app string
			pairs               []string
		}{
			{"", "bad-request", "conflicting-fields", []string{"all", "1", "q", "rose"}},
			{"", "bad-request", "no-search-conditions", nil},
			{"", "bad-request", "no-search-conditions", []string{"q", "rose", "sinname", "0", "sinaddr", "0", "sindescription", "0"}},
			{"", "bad-request", "invalid-search-terms", []string{"q", "a b"}},
			{"", "feature-not-implemented", "invalid-sort-key", []string{"all", "1", "key", "{x}y"}},
			{"", "bad-request", "", []string{"all", "1", "min_users", "many"}},
			{"<set xmlns='http://jabber.org/protocol/rsm'><max>-1</max></set>", "bad-request", "", []string{"all", "1"}},
			{"<set xmlns='http://jabber.org/protocol/rsm'><after>@</after></set>", "item-not-found", "", []string{"all", "1"}},
			{"<set xmlns='http://jabber.org/protocol/rsm'><before/></set>", "feature-not-implemented", "", []string{"all", "1"}},
		} {
			_, _, err := w.find(c.set, c.pairs...)
			if err == nil || string(err.Condition) != c.condition || (c.app != "") != (err.App != nil) || c.app != "" && err.App.Name.Local != c.app {
				t.Errorf("%v %s: %v", c.pairs, c.set, err)
			}
		}
		w.Stop()
	})
}

// TestActivity: the messages of a day are counted, hour by hour, also over a restart (XEP-0502).
func TestActivity(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		rate := func() string {
			info := w.Get("nurse@localhost/x", garden, "<query xmlns='http://jabber.org/protocol/disco#info'/>").String()
			_, v, ok := strings.Cut(info, "message-activity' type='text-single' label='Messages per hour'><value>")
			if !ok {
				return ""
			}
			v, _, _ = strings.Cut(v, "<")
			return v
		}
		is := func(when, want string) {
			t.Helper()
			if got := rate(); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		w.enter(romeo, "romeo")
		w.configure(romeo)
		is("in a temporary room", "")
		w.configure(romeo, "muc#roomconfig_persistentroom", "1")
		is("at first", "0.00")
		for i := range 12 {
			if err := w.say(romeo, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		w.must(romeo, "<message type='groupchat' to='"+garden+"'><body>x</body><replace xmlns='urn:xmpp:message-correct:0' id='1'/></message>")
		w.must(romeo, "<message type='groupchat' to='"+garden+"'><active xmlns='http://jabber.org/protocol/chatstates'/></message>")
		is("within the hour", "0.00")
		w.Advance(time.Hour)
		is("an hour later", "0.50")
		if err := w.say(romeo, "more"); err != nil { // a minute is over: it is stored
			t.Fatal(err)
		}
		w.configure(romeo, "muc#roomconfig_publicroom", "0")
		is("hidden", "")
		w.configure(romeo, "muc#roomconfig_publicroom", "1", "muc#roomconfig_membersonly", "1")
		is("for members", "")
		w.configure(romeo, "muc#roomconfig_membersonly", "0")
		w.Stop()
		w = start(t, d)
		w.Advance(time.Hour)
		is("after a restart", "0.50")
		w.Advance(23 * time.Hour)
		is("a day later", "0.54")
		w.Advance(time.Hour)
		is("later still", "0.04")
		w.Advance(time.Hour)
		is("when all is past", "0.00")
		w.Stop()
	})
}

// TestSearchPace: who has searched too often waits; other domains are one each, whatever names their users have.
func TestSearchPace(t *testing.T) {
	w := start(t, dbtest.SQLite(t), modtest.WithConfig(func(c *muc.Config) { c.Searches = 2; c.Admins = []string{"boss@localhost"} }))
	search := func(who string) string {
		a := w.Get(who, service, "<search xmlns='urn:xmpp:channel-search:0:search'><x xmlns='jabber:x:data' type='submit'>"+
			"<field var='FORM_TYPE'><value>urn:xmpp:channel-search:0:search-params</value></field><field var='q'><value>rose</value></field></x></search>")
		if e := a.Err(); e != nil {
			limit := e.App.Attr("retry-after")
			if e.Type != stanza.Wait || e.App.Name.Local != "rate-limit" {
				t.Errorf("%s is refused with %s", who, a)
			}
			return string(e.Condition) + " " + limit
		}
		return ""
	}
	for _, c := range []struct {
		who, want string
		pause     time.Duration
	}{
		{"a@far.example/x", "", 0},
		{"b@far.example/x", "", 0},
		{"c@far.example/x", "resource-constraint 31", 0},
		{"c@near.example/x", "", 0},
		{"nurse@localhost/x", "", 0},
		{"nurse@localhost/y", "", 0},
		{"nurse@localhost/x", "resource-constraint 31", 0},
		{"romeo@localhost/x", "", 0},
		{"nurse@localhost/x", "resource-constraint 11", 20 * time.Second},
		{"nurse@localhost/x", "", 11 * time.Second},
		{"boss@localhost/x", "", 0},
		{"boss@localhost/x", "", 0},
		{"boss@localhost/x", "", 0},
	} {
		w.Advance(c.pause)
		if got := search(c.who); got != c.want {
			t.Errorf("%s: %q, want %q", c.who, got, c.want)
		}
	}
	w.Stop()
}
