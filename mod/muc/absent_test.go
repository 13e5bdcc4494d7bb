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
)

// members makes Romeo's room with members who are not in: two of this host, one of another, and an outcast.
func (w *world) members(pairs ...string) {
	w.t.Helper()
	w.enter(romeo, "romeo")
	w.configure(romeo, pairs...)
	for who, a := range map[string]string{"nurse@localhost": "member", "juliet@localhost": "admin", "paris@else.example": "member", "tybalt@localhost": "outcast"} {
		a := w.Set(romeo, garden, "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='"+a+"' jid='"+who+"'/></query>")
		modtest.Expect(w.t, a, "<iq type='result'/>")
	}
	w.settle(garden)
	w.Notified()
}

const (
	membersOnly = "muc#roomconfig_membersonly"
	notify      = "{sabir:muc:0}notify"
	mention     = "<mention xmlns='urn:xmpp:mentions:0' jid='nurse@localhost'/>"
)

// Members of this host who are not in the room are told, as the room is configured: "!" is somebody who is mentioned, "?" who is told of
// mentions unless he or she wants more.
func TestWhoIsNotified(t *testing.T) {
	for what, c := range map[string]struct {
		config string
		inner  string
		want   string
	}{
		"members-only room":         {membersOnly + " 1", "<body>a</body>", "juliet nurse"},
		"open room":                 {membersOnly + " 0", "<body>a</body>", "juliet? nurse?"},
		"mention":                   {membersOnly + " 0", "<body>a</body>" + mention, "juliet? nurse!?"},
		"all":                       {notify + " all", "<body>a</body>", "juliet nurse"},
		"mentions":                  {membersOnly + " 1 " + notify + " mentions", "<body>a</body>", "juliet? nurse?"},
		"none":                      {membersOnly + " 1 " + notify + " none", "<body>a</body>" + mention, ""},
		"no archive":                {membersOnly + " 1 muc#roomconfig_enablearchiving 0", "<body>a</body>", ""},
		"not for the archive":       {membersOnly + " 1", "<body>a</body><no-store xmlns='urn:xmpp:hints'/>", ""},
		"typing":                    {membersOnly + " 1", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", ""},
		"marker":                    {membersOnly + " 1", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", ""},
		"forwarded to who is meant": {membersOnly + " 1 muc#roomconfig_forwardmentions 1", "<body>a</body>" + mention, "juliet"},
	} {
		t.Run(what, func(t *testing.T) {
			w := start(t, dbtest.SQLite(t))
			w.members(strings.Fields(c.config)...)
			w.must(romeo, "<message type='groupchat' id='m' to='"+garden+"'>"+c.inner+"</message>")
			w.settle(garden)
			if got, want := strings.Join(w.Notified(), ","), strings.TrimSuffix("m: "+c.want, "m: "); got != want {
				t.Errorf("told %q, want %q", got, want)
			}
		})
	}
}

// Who is in the room is sent the message, and not told beside; who has left is told again.
func TestPresentIsNotNotified(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.members(membersOnly, "1")
	w.enter(juliet, "juliet")
	w.must(romeo, "<message type='groupchat' id='1' to='"+garden+"'><body>a</body></message>")
	w.must(juliet, "<presence type='unavailable' to='"+garden+"/juliet'/>")
	w.must(romeo, "<message type='groupchat' id='2' to='"+garden+"'><body>a</body></message>")
	w.settle(garden)
	if got := strings.Join(w.Notified(), ", "); got != "1: nurse, 2: juliet nurse" {
		t.Errorf("told %s", got)
	}
}

// In a team of twenty those are told who are away.
func TestNotifyTeam(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.enter(romeo, "romeo")
	w.configure(romeo, membersOnly, "1")
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("m%02d", i)
		modtest.Expect(t, w.Set(romeo, garden, "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member' jid='"+name+"@localhost'/></query>"), "<iq type='result'/>")
		if i%2 == 0 {
			w.enter(name+"@localhost/x", name)
		} else {
			want = append(want, name)
		}
	}
	w.must(romeo, "<message type='groupchat' id='1' to='"+garden+"'><body>a</body></message>")
	w.settle(garden)
	if got := strings.Join(w.Notified(), ", "); got != "1: "+strings.Join(want, " ") {
		t.Errorf("told %s", got)
	}
}

// What a new room does is the service's to say.
func TestNotifyTemplate(t *testing.T) {
	w := start(t, dbtest.SQLite(t), modtest.WithConfig(func(c *muc.Config) { c.Template.Notify, c.Template.MembersOnly = "none", true }))
	w.members()
	w.must(romeo, "<message type='groupchat' id='1' to='"+garden+"'><body>a</body></message>")
	w.configure(romeo, notify, "usual")
	w.must(romeo, "<message type='groupchat' id='2' to='"+garden+"'><body>a</body></message>")
	w.settle(garden)
	if got := strings.Join(w.Notified(), ", "); got != "2: juliet nurse" {
		t.Errorf("told %s", got)
	}
	for _, f := range []func(c *muc.Config){func(c *muc.Config) { c.Template.Notify = "some" }, func(c *muc.Config) { c.NotifyMembers = -1 }} {
		bad := muc.Info.Config().(*muc.Config)
		if f(bad); bad.Validate() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// In a room with many members those who are mentioned are told.
func TestNotifyManyMembers(t *testing.T) {
	w := start(t, dbtest.SQLite(t), modtest.WithConfig(func(c *muc.Config) { c.NotifyMembers = 2 }))
	w.members(membersOnly, "1")
	w.must(romeo, "<message type='groupchat' id='1' to='"+garden+"'><body>a</body></message>")
	w.must(romeo, "<message type='groupchat' id='2' to='"+garden+"'><body>a</body>"+mention+"</message>")
	w.settle(garden)
	if got := strings.Join(w.Notified(), ", "); got != "2: nurse!" {
		t.Errorf("told %s", got)
	}
}

// The client of a member is gone and the room has not heard of it: the messages come back, and the member is told of all of them. Nobody else
// can have somebody told by a forged error, nor about what was never said.
func TestMissed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.members(membersOnly, "1")
		w.enter(juliet, "juliet")
		for i := range 2 {
			w.must(romeo, fmt.Sprintf("<message type='groupchat' id='%d' to='%s'><body>a</body></message>", i, garden))
		}
		w.settle(garden)
		w.Notified()
		back := func(from, id string) {
			// An error to a room has no answer.
			_ = w.as(from, "<message type='error' id='"+id+"' to='"+garden+"'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
		}
		back(juliet, "0")
		back(juliet, "1")
		back(juliet, "never said")
		back("paris@else.example/x", "0")
		back("tybalt@localhost/x", "0")
		back(romeo[:len("romeo@localhost")]+"/else", "0") // Romeo is in by another client
		w.settle(garden)
		if got := strings.Join(w.Notified(), ", "); got != "0: juliet, 1: juliet" {
			t.Errorf("told %s", got)
		}
	})
}

// A mention goes to a member on another server who has registered a nick, which says that it is wanted, and to no other there.
func TestForwardToOtherServers(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.members("muc#roomconfig_forwardmentions", "1")
	w.take("paris@else.example") // that of the membership
	say := func(id string) int {
		w.must(romeo, "<message type='groupchat' id='"+id+"' to='"+garden+"'><body>a</body><mention xmlns='urn:xmpp:mentions:0' jid='paris@else.example'/></message>")
		return len(w.take("paris@else.example"))
	}
	if n := say("1"); n != 0 {
		t.Errorf("%d messages to a member on another server who has not asked for any", n)
	}
	modtest.Expect(t, w.Set("paris@else.example/x", garden, "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>"+
		"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field><field var='muc#register_roomnick'><value>Paris</value></field></x></query>"), "<iq type='result'/>")
	if n := say("2"); n != 1 {
		t.Errorf("%d messages to a member who has registered a nick, want one", n)
	}
}

// What was said while a member was away is told to a client that asks, also after the end of the server (XEP-0437).
func TestIndicationsSurvive(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := start(t, d)
		w.members("muc#roomconfig_persistentroom", "1")
		w.enter(juliet, "juliet")
		w.must(juliet, "<presence type='unavailable' to='"+garden+"/juliet'/>")
		w.settle(garden)
		w.Advance(time.Second)
		w.must(romeo, "<message type='groupchat' id='1' to='"+garden+"'><body>a</body></message>")
		w.settle(garden)
		w.Stop()
		w = start(t, d)
		w.Advance(time.Hour)
		w.must(juliet, "<presence to='conference.localhost'><rai xmlns='urn:xmpp:rai:0'/></presence>")
		for late := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			for _, s := range w.Routed() {
				if s.To.String() == juliet && s.Child("urn:xmpp:rai:0", "rai").ChildText("urn:xmpp:rai:0", "activity") == garden {
					return
				}
			}
			if time.Now().After(late) {
				t.Fatal("the client does not hear of the room")
			}
		}
	})
}
