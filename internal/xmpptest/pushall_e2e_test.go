package xmpptest_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/internal/pushtest"
	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// pushWorld is a server whose users have browsers, and a push service on loopback which decrypts what comes (RFC 8291) and checks who
// sends it (RFC 8292).
type pushWorld struct {
	t       *testing.T
	o       xmpptest.Options
	s       *xmpptest.Server
	browser *pushtest.Browser
	romeo   transcript.Account
	juliet  transcript.Account
	sender  *client.Client
	said    int
}

func newPushWorld(t *testing.T, url string) *pushWorld {
	b := pushtest.New(t, nil)
	ca := filepath.Join(t.TempDir(), "push.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate()}), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &pushWorld{t: t, browser: b, o: xmpptest.Options{Database: url, Config: []string{fmt.Sprintf("outbound.ca = %q", ca), `mod.push.every = "1ms"`}}}
	w.s = xmpptest.NewServer(t, w.o)
	w.romeo, w.juliet = w.s.MustAccount(t, "romeo"), w.s.MustAccount(t, "juliet")
	w.sender = managed(t, w.s, w.romeo, "orchard")
	return w
}

// kill stops the server without a word and starts another on the same database, at which time the push service is there again.
func (w *pushWorld) kill() {
	w.t.Helper()
	abort(w.t, w.sender)
	<-w.sender.Done()
	w.s.Kill()
	w.browser.Answer(http.StatusCreated)
	w.s = xmpptest.NewServer(w.t, w.o)
	w.sender = managed(w.t, w.s, w.romeo, "again")
}

func (w *pushWorld) request(c *client.Client, to jid.JID, xml string) {
	w.t.Helper()
	e, err := xmlstream.Parse(xml, xmlstream.DefaultLimits)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := c.Request(w.t.Context(), stanza.TypeSet, to, e); err != nil {
		w.t.Fatalf("%s: %v", xml, err)
	}
}

// own makes a request to Juliet's account, with a client that goes at once.
func (w *pushWorld) own(resource, xml string) {
	w.t.Helper()
	c := w.s.Dial(w.t, w.juliet, resource)
	w.request(c, w.juliet.JID, xml)
	if err := c.Close(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// say has Romeo say something, and returns when the server has accepted it.
func (w *pushWorld) say(typ string, to jid.JID, text string, more ...*xmlstream.Element) {
	w.t.Helper()
	w.said++
	m := stanza.New(stanza.Message, typ, xmlstream.El(stanza.NSClient, "body", text)).Add(more...)
	m.To, m.ID = to, fmt.Sprint("m", w.said)
	if err := w.sender.Send(m); err != nil {
		w.t.Fatal(err)
	}
	flush(w.t, w.sender)
}

// room makes a room of which Juliet is a member.
func (w *pushWorld) room(name, membersOnly string) jid.JID {
	w.t.Helper()
	room := jid.MustParse(name + "@conference." + xmpptest.Domain)
	enterRoom(w.t, w.sender, room, "romeo")
	w.request(w.sender, room, "<query xmlns='"+nsMUC+"#owner'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_persistentroom'><value>1</value></field><field var='muc#roomconfig_membersonly'><value>"+membersOnly+"</value></field></x></query>")
	w.request(w.sender, room, "<query xmlns='"+nsMUC+"#admin'><item affiliation='member' jid='"+w.juliet.JID.String()+"'/></query>")
	return room
}

// told waits for a notification that so many messages wait.
func (w *pushWorld) told(what string, count int) {
	w.t.Helper()
	select {
	case n := <-w.browser.Came():
		var got struct {
			Account string
			Count   int
		}
		if err := json.Unmarshal([]byte(n.Text), &got); err != nil {
			w.t.Fatal(err)
		}
		if got.Account != w.juliet.JID.String() || got.Count != count {
			w.t.Errorf("%s: the browser is told %s, want %d", what, n.Text, count)
		}
	case <-time.After(30 * time.Second):
		w.t.Fatalf("%s: the browser is not told", what)
	}
}

func (w *pushWorld) subscribe() {
	b := w.browser
	w.own("browser", "<subscribe xmlns='sabir:webpush:0' endpoint='"+b.Endpoint+"'><p256dh>"+b.P256DH+"</p256dh><auth>"+b.Auth+"</auth></subscribe>")
}

// TestPushEndToEnd has a browser told of all that there is for its user, who is not there: a message, one in a members-only room, a mention
// in another; of nothing in a chat that is silenced, nor after the subscription has ended; and, after the server was killed, of what was
// accepted before and not told.
func TestPushEndToEnd(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		w := newPushWorld(t, url)
		team, open := w.room("team", "1"), w.room("open", "0")
		w.subscribe()
		w.say(stanza.TypeChat, w.juliet.JID, "Wherefore?")
		w.told("a message", 1)
		w.say(stanza.TypeGroupchat, team, "to the team")
		w.told("a message in a members-only room", 2)
		w.say(stanza.TypeGroupchat, open, "to nobody in particular")
		w.say(stanza.TypeGroupchat, open, "to her", xmlstream.El("urn:xmpp:mentions:0", "mention", xmlstream.A("jid", w.juliet.JID.String())))
		w.told("a mention in an open room", 3)

		w.own("desk", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:bookmarks:1'><item id='"+team.String()+"'><conference xmlns='urn:xmpp:bookmarks:1'><extensions>"+
			"<notify xmlns='urn:xmpp:notification-settings:1'><never/></notify></extensions></conference></item></publish></pubsub>")
		w.say(stanza.TypeGroupchat, team, "of which she does not want to hear")
		w.say(stanza.TypeChat, w.juliet.JID, "Art thou there?")
		w.told("a message after one in a room that is silenced", 4)

		w.browser.Answer(http.StatusServiceUnavailable)
		_, before := w.browser.Notes()
		w.say(stanza.TypeChat, w.juliet.JID, "before the end")
		for n := before; n == before; time.Sleep(5 * time.Millisecond) { // it was tried, and is to be tried again in half a minute
			_, n = w.browser.Notes()
		}
		w.say(stanza.TypeGroupchat, open, "and in a room", xmlstream.El("urn:xmpp:mentions:0", "mention", xmlstream.A("jid", w.juliet.JID.String())))
		w.kill()
		w.told("after the end of a server that could not tell", 6)

		w.own("desk", "<unsubscribe xmlns='sabir:webpush:0' endpoint='"+w.browser.Endpoint+"'/>")
		w.say(stanza.TypeChat, w.juliet.JID, "to a browser that does not want to hear of it")
		w.subscribe()
		w.say(stanza.TypeChat, w.juliet.JID, "to one that does again")
		w.told("a new subscription", 1)
	})
}
