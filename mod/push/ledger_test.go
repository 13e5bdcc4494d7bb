package push

import (
	"testing"
	"unsafe"

	"sabir/engine/lru"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// What is remembered of messages does not hold on to them.
func TestNothingHeld(t *testing.T) {
	s := modtest.Stanza(t, "<message id='m' to='juliet@localhost/x' from='room@conference.localhost/Romeo' type='groupchat'><body>x</body></message>")
	held := func(what, kept, part string) {
		t.Helper()
		if kept != part {
			t.Errorf("%s is %q, not %q", what, kept, part)
		}
		if unsafe.StringData(kept) == unsafe.StringData(part) {
			t.Errorf("%s holds on to the message", what)
		}
	}
	l := new(ledger)
	l.enter(identify(s), s.To, true)
	held("the room of an entry", l.list[0].what.room.String(), s.From.Bare().String())
	held("the id of an entry", l.list[0].what.id, s.ID)
	held("the address of an entry", l.list[0].to.String(), s.To.String())

	p := &push{talks: lru.New[talker, *talk](1)}
	account := jid.MustParse("juliet@localhost")
	p.said(account, &stanza.Stanza{Kind: stanza.Message, Type: stanza.TypeGroupchat, ID: s.ID, To: s.From.Bare()})
	if !p.echo(account, s) {
		t.Fatal("the user's own words are not known")
	}
	k, _ := p.talks.Get(talker{account, s.From.Bare()})
	held("the id of what was said", k.said[0].id, s.ID)
	held("the room of what was said", k.said[0].as.room.String(), s.From.Bare().String())

	c := &chats{m: make(map[jid.JID]setting)}
	c.put(s.From.Bare(), setting{})
	for chat := range c.m {
		held("a chat", chat.String(), s.From.Bare().String())
	}
}
