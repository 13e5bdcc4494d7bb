package push

import (
	"cmp"
	"strings"
	"sync"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
)

const (
	// ledgers bounds the services whose ledgers are kept, entries what is in one. A ledger that is too short or lost counts a
	// message twice.
	ledgers, entries = 10000, 32
	// talkers bounds the users, and rooms in which they have spoken, of which it is kept what they have said last, and own how much.
	talkers, own = 10000, 8
)

// identity tells messages apart: those in rooms by the room and the id that it has given, or that its sender has; others by their
// mark, which copies share, and those that come anew because a session ended whose client may not have got them.
type identity struct {
	room jid.JID
	id   string
	mark uint64
}

func identify(s *stanza.Stanza) identity {
	if s.Type != stanza.TypeGroupchat {
		return identity{mark: s.Mark}
	}
	return identity{room: s.From.Bare(), id: cmp.Or(sid.Of(s, s.From.Bare()), s.ID)}
}

// keep returns the identity in memory of its own: it does not hold on to the message.
func (i identity) keep() identity { return identity{i.room.Clone(), strings.Clone(i.id), i.mark} }

func (i identity) none() bool { return i.id == "" && i.mark == 0 }

// entry is a message that came for a service.
type entry struct {
	what    identity
	to      jid.JID // the address of the copy that came first
	counted bool    // or else its client was there, and may have got it
	told    bool    // what follows from it was begun
}

// ledger has the messages that came for a service last: each is counted and told of once. A room sends a copy to each client
// that is in it, and what a client did not get comes anew when its session ends.
type ledger struct {
	mu   sync.Mutex
	list []entry
	next int
}

func (l *ledger) find(i identity) *entry {
	for k := range l.list {
		if l.list[k].what == i {
			return &l.list[k]
		}
	}
	return nil
}

// enter enters a message that is to be recorded, with the address of the copy, and tells whether it counts: its client is not there, and it was not counted
// before.
func (l *ledger) enter(i identity, to jid.JID, asleep bool) bool {
	if i.none() {
		return asleep
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.find(i)
	switch {
	case e == nil && len(l.list) < entries:
		l.list = append(l.list, entry{})
		e = &l.list[len(l.list)-1]
	case e == nil:
		e, l.next = &l.list[l.next], (l.next+1)%entries
	case e.counted || !asleep:
		return false
	}
	*e = entry{what: i.keep(), to: to.Clone(), counted: asleep}
	return asleep
}

// tell tells whether a message that was recorded is to be told of, the copy that was entered and once, and whether it was
// counted.
func (l *ledger) tell(s *stanza.Stanza) (tell, counted bool) {
	i := identify(s)
	if i.none() {
		return true, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.find(i)
	if e == nil || e.told || e.to != s.To {
		return false, false
	}
	e.told = true
	return true, e.counted
}

// ledger returns that of a service.
func (p *push) ledger(k key) *ledger {
	l, ok := p.ledgers.Get(k)
	if !ok {
		l = new(ledger)
		p.ledgers.Put(k, l)
	}
	return l
}

// talker is a user in a room.
type talker struct{ account, room jid.JID }

// talk is what a user has said in a room last: a room sends that back, and nobody is woken by his or her own words.
type talk struct {
	mu   sync.Mutex
	said [own]utterance
	next int
}

// utterance is a message by the id that its sender gave, and what the first to come back with that id is known as. Others
// with the same id are somebody else's.
type utterance struct {
	id string
	as identity
}

// said notes a message that a user sends to a room.
func (p *push) said(account jid.JID, s *stanza.Stanza) {
	if s.ID == "" {
		return
	}
	k := talker{account, s.To.Bare()}
	t, ok := p.talks.Get(k)
	if !ok {
		t = new(talk)
		p.talks.Put(talker{account.Clone(), k.room.Clone()}, t)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said[t.next], t.next = utterance{id: strings.Clone(s.ID)}, (t.next+1)%own
}

// echo tells whether a message in a room is one that the user has said.
func (p *push) echo(account jid.JID, s *stanza.Stanza) bool {
	t, ok := p.talks.Get(talker{account, s.From.Bare()})
	if !ok || s.ID == "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.said {
		u := &t.said[i]
		if u.id != s.ID {
			continue
		}
		if as := identify(s); u.as.none() {
			u.as = as.keep()
			return true
		} else if u.as == as {
			return true
		}
	}
	return false
}

// history tells whether a message in a room is one of the past, which a client gets that enters (XEP-0045#enter-history).
func history(s *stanza.Stanza) bool {
	if s.Type != stanza.TypeGroupchat || !s.Has(delay.NS, "delay") {
		return false
	}
	_, ok := delay.Of(s, s.From.Bare())
	return ok
}
