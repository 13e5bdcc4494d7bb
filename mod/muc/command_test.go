package muc_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

// command gives one and returns the result as JSON, or the condition of the error.
func (w *world) command(name, args string) string {
	w.t.Helper()
	v, err := w.Command(name, "", args)
	if err != nil {
		return string(modtest.Condition(w.t, err))
	}
	b, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// TestCommands: administrators see and change rooms, whoever is in them.
func TestCommands(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.enter(romeo, "romeo")
		w.configure(romeo, "muc#roomconfig_roomname", "Garden", "muc#roomconfig_publicroom", "0")
		has := func(got string, want ...string) {
			t.Helper()
			for _, x := range want {
				if !strings.Contains(got, x) {
					t.Errorf("no %s in %s", x, got)
				}
			}
		}
		is := func(got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		tower := `{"room":"tower@conference.localhost","owner":"juliet@localhost","name":"Tower","set":["membersonly=1","muc#roomconfig_lang=it"]}`
		is(w.command("room create", tower), "null")
		is(w.command("room create", tower), string(stanza.Conflict))
		is(w.command("room create", `{"room":"x@conference.localhost","owner":"juliet@localhost","set":["membersonly"]}`), string(stanza.BadRequest))
		is(w.command("room create", `{"room":"x@conference.localhost","owner":"juliet@localhost","set":["whois=nobody"]}`), string(stanza.NotAcceptable))
		is(w.command("room create", `{"room":"x@conference.localhost","owner":"localhost"}`), string(stanza.BadRequest))
		for _, room := range []string{"tower@elsewhere.example", "conference.localhost", "tower@conference.localhost/nick", "nowhere@conference.localhost"} {
			is(w.command("room inspect", `{"room":"`+room+`"}`), string(stanza.ItemNotFound))
		}
		has(w.command("room list", `{}`), `"room":"garden@conference.localhost","name":"Garden","occupants":1`, `"public":false`, `"room":"tower@conference.localhost","name":"Tower","occupants":0,"public":true,"persistent":true,"members_only":true,"creator":"juliet@localhost"`)
		has(w.command("room list", `{"limit":1,"after":"garden@conference.localhost"}`), `[{"room":"tower@`)
		has(w.command("room inspect", `{"room":"garden@conference.localhost"}`), `"owners":["romeo@localhost"]`, `{"nick":"romeo","affiliation":"owner","role":"moderator","clients":["romeo@localhost/orchard"]}`)
		has(w.command("room config", `{"room":"tower@conference.localhost"}`), `{"field":"membersonly","value":["1"]`, `{"field":"lang","value":["it"]`, `{"field":"roomowners","value":["juliet@localhost"]`)

		set := func(user, affiliation, more string) string {
			return w.command("room affiliation", fmt.Sprintf(`{"room":"garden@conference.localhost","user":%q,"affiliation":%q%s}`, user, affiliation, more))
		}
		is(set("romeo@localhost", "none", ""), string(stanza.Conflict)) // the last owner
		is(set("elsewhere.example", "member", ""), string(stanza.BadRequest))
		is(set("elsewhere.example", "outcast", ""), "null")
		is(set("nurse@localhost", "queen", ""), string(stanza.BadRequest))
		is(set("nurse@localhost", "member", `,"nick":"Nurse","reason":"Old friend"`), "null")
		is(set("juliet@localhost", "member", `,"nick":"nurse"`), string(stanza.Conflict))
		is(set("juliet@localhost", "owner", ""), "null")
		is(set("romeo@localhost", "outcast", ""), "null")
		gone := w.take(romeo)
		has(fmt.Sprint(gone[len(gone)-1]), "code='301'")
		is(w.command("room affiliations", `{"room":"garden@conference.localhost"}`), string(stanza.ItemNotFound)) // the room was temporary, and he the last in it
		has(w.command("room affiliations", `{"room":"tower@conference.localhost"}`), `[{"jid":"juliet@localhost","affiliation":"owner"}]`)

		has(w.command("room config", `{"room":"tower@conference.localhost","set":["membersonly=0","roomname=High"]}`), `{"field":"roomname","value":["High"]`)
		is(w.command("room config", `{"room":"tower@conference.localhost","set":["roomowners="]}`), string(stanza.Conflict))
		w.must(romeo, "<presence to='tower@conference.localhost/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
		is(w.command("room announce", `{"text":"All"}`), "null")
		is(w.command("room announce", `{"text":"One","room":"tower@conference.localhost"}`), "null")
		w.settle("tower@conference.localhost")
		has(bodies(w.sent[romeo]), "All One")
		is(w.command("room destroy", `{"room":"tower@conference.localhost","reason":"Done"}`), "null")
		is(w.command("room destroy", `{"room":"tower@conference.localhost"}`), string(stanza.ItemNotFound))
		is(w.command("room list", `{}`), "[]")
		w.Stop()
	})
}

// TestHatsLast: hats and who wears them are there after a restart, and gone with the room.
func TestHatsLast(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.enter(romeo, "romeo")
		w.configure(romeo, "muc#roomconfig_persistentroom", "1")
		give := func(node string, pairs ...string) *stanza.Stanza {
			f := ""
			for i := 0; i < len(pairs); i += 2 {
				f += "<field var='hats#" + pairs[i] + "'><value>" + pairs[i+1] + "</value></field>"
			}
			return w.Set(romeo, garden, "<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:hats:commands:"+node+"'><x xmlns='jabber:x:data' type='submit'>"+f+"</x></command>")
		}
		for why, pairs := range map[string][]string{
			"URI":       {"title", "T", "uri", "no-scheme"},
			"hue":       {"title", "T", "uri", "x:y", "hue", "361"},
			"hue is an": {"title", "T", "uri", "x:y", "hue", "NaN"},
			"title":     {"title", strings.Repeat("T", 300), "uri", "x:y"},
		} {
			modtest.ExpectFailed(t, give("create", pairs...), why)
		}
		for _, uri := range []string{"x:b", "x:a"} {
			if a := give("create", "title", "T", "uri", uri); a.Type != stanza.TypeResult || strings.Contains(a.String(), "<note") {
				t.Fatal(a)
			}
			if a := give("assign", "jid", "romeo@localhost", "uri", uri); a.Type != stanza.TypeResult || strings.Contains(a.String(), "<note") {
				t.Fatal(a)
			}
		}
		modtest.ExpectFailed(t, give("unassign", "jid", "juliet@localhost", "uri", "x:a"), "no such hat")
		modtest.ExpectFailed(t, give("assign", "jid", "localhost", "uri", "x:a"), "users wear hats")
		w.Stop()

		w = start(t, d)
		w.enter(juliet, "juliet")
		const worn = "<hats xmlns='urn:xmpp:hats:0'><hat title='T' uri='x:a'/><hat title='T' uri='x:b'/></hats>"
		if got := fmt.Sprint(w.take(juliet)[0]); !strings.Contains(got, worn) {
			t.Errorf("after a restart romeo wears %s", got)
		}
		w.Set(romeo, garden, "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>")
		w.enter(romeo, "romeo")
		w.configure(romeo)
		w.take(romeo)
		w.enter(romeo, "romeo")
		if got := fmt.Sprint(w.take(romeo)); strings.Contains(got, "hats") {
			t.Errorf("a new room has the hats of the old one: %s", got)
		}
		w.Stop()
	})
}
