package xmpptest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const nsCommands = "http://jabber.org/protocol/commands"

// TestTraceRoom follows a message in a room to the archive of the room, to the occupants, and to a device of a member who is away; it is found by
// the id that the room gave as well.
func TestTraceRoom(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	a, b := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
	romeo, app := s.Dial(t, a, "orchard"), s.Dial(t, b, "app")
	room := jid.MustParse("garden@conference." + xmpptest.Domain)
	enterRoom(t, romeo, room, "romeo")
	for _, q := range []string{
		"<query xmlns='" + nsMUC + "#owner'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_membersonly'><value>1</value></field></x></query>",
		"<query xmlns='" + nsMUC + "#admin'><item affiliation='member' jid='" + b.JID.String() + "'/></query>",
	} {
		if _, err := romeo.Request(t.Context(), stanza.TypeSet, room, element(t, q)); err != nil {
			t.Fatal(err)
		}
	}
	enable(t, s.Dial(t, b, "phone"), xmppService(app))
	go func() {
		for q := range app.Stanzas() {
			if q.Kind == stanza.IQ {
				if err := app.Send(q.Result(nil)); err != nil {
					return // the test is over
				}
			}
		}
	}()
	m := stanza.New(stanza.Message, stanza.TypeGroupchat, xmlstream.El(stanza.NSClient, "body", "the secret of the quay"))
	m.To, m.ID = room, "to-the-room"
	if err := romeo.Send(m); err != nil {
		t.Fatal(err)
	}
	tr := traced(t, s, "to-the-room", "received "+romeo.JID().String()+" "+room.String(), "archived "+room.String(), "received "+room.String()+"/romeo "+romeo.JID().String(),
		"queued "+romeo.JID().String(), "written "+romeo.JID().String())
	traced(t, s, "to-the-room", "archived "+room.String(), "notified "+xmpptest.Domain)
	if len(tr.Also) != 1 || len(tr.Stored) != 1 || tr.Stored[0].Who != room.String() {
		t.Fatalf("known as %v, stored %v; want the id of the room, and its archive", tr.Also, tr.Stored)
	}
	traced(t, s, tr.Also[0], "known as "+romeo.JID().String()+" to-the-room")
}

// TestTraceEvent follows a notification of publish-subscribe by the id that the service gave it.
func TestTraceEvent(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	a := s.MustAccount(t, "romeo")
	romeo := s.Dial(t, a, "orchard")
	service := jid.MustParse("pubsub." + xmpptest.Domain)
	if err := romeo.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"<create node='n'/>", "<subscribe node='n' jid='" + romeo.JID().String() + "'/>", "<publish node='n'><item id='i'><entry xmlns='urn:x'>quay</entry></item></publish>"} {
		if _, err := romeo.Request(t.Context(), stanza.TypeSet, service, element(t, "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"+q+"</pubsub>")); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	for late := time.After(30 * time.Second); ; {
		select {
		case m := <-romeo.Stanzas():
			if m.Kind == stanza.Message && m.Has("http://jabber.org/protocol/pubsub#event", "event") {
				traced(t, s, m.ID, "received "+service.String()+" "+romeo.JID().String(), "written "+romeo.JID().String())
				return
			}
		case <-late:
			t.Fatal("no notification comes")
		}
	}
}

// TestTraceServer plays a conversation with another server and follows a message that went there, until that server has acknowledged it.
func TestTraceServer(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	script, err := transcript.ReadFile("../s2s/testdata/external-out.xt")
	if err != nil {
		t.Fatal(err)
	}
	if err := transcript.Run(t.Context(), script, s.Target("tcp")); err != nil {
		t.Fatal(err)
	}
	traced(t, s, "m1", "received", "committed", "forwarded")
	traced(t, s, "m1", "forwarded", "written")
	traced(t, s, "m1", "forwarded", "acknowledged") // which may be noted first: it comes by the reader, while the writer returns
}

func element(t *testing.T, xml string) *xmlstream.Element {
	t.Helper()
	e, err := xmlstream.Parse(xml, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// asked gives the ad-hoc command trace and returns the events as it shows them, or the error.
func asked(t *testing.T, by *client.Client, host, id string) (events []string, err error) {
	t.Helper()
	form := "<x xmlns='jabber:x:data' type='submit'><field var='id'><value>" + id + "</value></field></x>"
	r, err := by.Request(t.Context(), stanza.TypeSet, jid.MustParse(host), element(t, "<command xmlns='"+nsCommands+"' node='sabir/trace'>"+form+"</command>"))
	if err != nil {
		return nil, err
	}
	for item := range r.Child("jabber:x:data", "x").Elements() {
		if item.Name.Local != "item" {
			continue
		}
		row := map[string]string{}
		for f := range item.Elements() {
			row[f.Attr("var")] = f.ChildText("jabber:x:data", "value")
		}
		events = append(events, strings.TrimSpace(row["what"]+" "+row["who"]+" "+row["detail"]))
	}
	return events, nil
}

// TestTraceTenants has administrators of two hosts of a server ask about a message from the one to the other: each sees what became of it on the own
// side, and a user nothing. The operator sees it all.
func TestTraceTenants(t *testing.T) {
	other := "tenant." + xmpptest.Domain
	s := xmpptest.NewServer(t, xmpptest.Options{Host: []string{`admins = ["` + "boss@" + xmpptest.Domain + `"]`}, Hosts: map[string][]string{other: {`admins = ["boss"]`}}})
	make := func(local, domain string) transcript.Account {
		t.Helper()
		a := transcript.Account{JID: jid.MustParse(local + "@" + domain), Password: "pencil"}
		if err := s.Accounts(a.JID.DomainJID()).Create(t.Context(), local, a.Password); err != nil {
			t.Fatal(err)
		}
		return a
	}
	dial := func(a transcript.Account) *client.Client {
		t.Helper()
		c := s.Dial(t, a, "x")
		return c
	}
	boss, boss2 := dial(make("boss", xmpptest.Domain)), dial(make("boss", other))
	romeo, juliet := dial(make("romeo", xmpptest.Domain)), dial(make("juliet", other))
	if err := juliet.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
		t.Fatal(err)
	}
	say(t, romeo, juliet.JID(), "between")
	say(t, romeo, boss.JID(), "within")
	traced(t, s, "between", "archived "+juliet.JID().Bare().String(), "written "+juliet.JID().String())
	traced(t, s, "between", "archived "+romeo.JID().Bare().String())
	traced(t, s, "within", "written "+boss.JID().String())

	ours, err := asked(t, boss, xmpptest.Domain, "between")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := asked(t, boss2, other, "between")
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		list      []string
		with, not string
	}{
		"sender":    {ours, "archived " + romeo.JID().Bare().String(), "archived " + juliet.JID().Bare().String()},
		"sender 2":  {ours, "received " + romeo.JID().String(), "written " + juliet.JID().String()},
		"recipient": {theirs, "archived " + juliet.JID().Bare().String(), "archived " + romeo.JID().Bare().String()},
		"session":   {theirs, "written " + juliet.JID().String(), "copied"},
	} {
		text := strings.Join(c.list, "\n")
		if !strings.Contains(text, c.with) || strings.Contains(text, c.not) || strings.Contains(text, "quay") {
			t.Errorf("%s: want %q and not %q in\n%s", what, c.with, c.not, text)
		}
	}
	if got, err := asked(t, boss2, other, "within"); err == nil && len(got) > 0 {
		t.Errorf("of a message within another host it is told %v", got)
	}
	for _, who := range []*client.Client{romeo, boss2} {
		if got, err := asked(t, who, xmpptest.Domain, "within"); err == nil {
			t.Errorf("%s is told %v", who.JID(), got)
		}
	}
	tr := traced(t, s, "between", "received")
	if len(tr.Stored) != 2 {
		t.Errorf("two archives have it, the operator is told of %s", storedIn(tr.Stored))
	}
}

func storedIn(events []mod.TraceEvent) string {
	text, err := json.Marshal(events)
	return fmt.Sprint(string(text), err)
}
