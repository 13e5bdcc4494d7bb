package push

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"sabir/engine/lru"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/bookmark"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// nsNotify qualifies the setting of a chat that says when it is to be told of (XEP-0492#notify). It is kept with the bookmarks
// of the account, whose items are named by the chat (XEP-0402#usage).
const (
	nsNotify    = "urn:xmpp:notification-settings:1"
	bookmarks   = bookmark.NSItems
	nsReference = "urn:xmpp:reference:0"
	nsReply     = "urn:xmpp:reply:0"
	nsMention   = "urn:xmpp:mentions:0"
)

// The values of XEP-0492#notify.
const (
	always    = "always"
	onMention = "on-mention"
	never     = "never"
)

// setting is what an account has chosen for a chat. The zero value is that of a chat for which it has chosen nothing.
type setting struct {
	phone, web string // when app servers and browsers are told, or ""
	nick       string // in a room
}

const (
	// settledAccounts and settledChats bound the accounts, and the chats of each, whose settings are remembered.
	settledAccounts, settledChats = 5000, 1000
)

// settings are those that were read, by account, until a bookmark of the account changes.
type settings struct{ accounts *lru.Cache[jid.JID, *chats] }

// chats are those of one account.
type chats struct {
	mu sync.Mutex
	m  map[jid.JID]setting
}

func newSettings() settings { return settings{lru.New[jid.JID, *chats](settledAccounts)} }

// forget drops what is remembered of an account.
func (s settings) forget(account jid.JID) { s.accounts.Delete(account) }

// of returns the chats of an account. They are remembered before the first is read: who changes a bookmark meanwhile takes
// them out again, and what was read too early with them.
func (s settings) of(account jid.JID) *chats {
	c, ok := s.accounts.Get(account)
	if !ok {
		c = &chats{m: make(map[jid.JID]setting)}
		s.accounts.Put(account.Clone(), c)
	}
	return c
}

func (c *chats) get(chat jid.JID) (setting, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.m[chat]
	return s, ok
}

func (c *chats) put(chat jid.JID, s setting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= settledChats {
		clear(c.m)
	}
	c.m[chat.Clone()] = s
}

// setting returns that of the chat of a message. What cannot be read is told of: a notification too many is the lesser evil.
func (p *push) setting(ctx context.Context, account jid.JID, st *stanza.Stanza) setting {
	nodes := p.h.AccountNodes()
	if nodes == nil {
		return setting{}
	}
	chat := st.From.Bare()
	all := p.settings.of(account)
	if s, ok := all.get(chat); ok {
		return s
	}
	_, x, err := nodes.Item(ctx, account, bookmarks, chat.String())
	if err != nil {
		p.h.Log().Error("the settings of a chat cannot be read", "error", err)
		return setting{}
	}
	s := setting{nick: strings.Clone(x.ChildText(bookmarks, "nick"))}
	if notify := x.Child(bookmarks, "extensions").Child(nsNotify, "notify"); notify != nil {
		s.phone, s.web = strings.Clone(choice(notify, "phone")), strings.Clone(choice(notify, "web"))
	}
	all.put(chat, s)
	return s
}

// nodeChanged forgets settings when they may have changed.
func (p *push) nodeChanged(at jid.JID, node string) {
	if node == bookmarks {
		p.settings.forget(at)
	}
}

// choice returns the name of the element that is most specific to a client of this type (XEP-0492#rules), or "".
func choice(notify *xmlstream.Element, typ string) (name string) {
	best := 0
	for k := range notify.Elements() {
		category, kind, rank := k.Attr("identity-category"), k.Attr("identity-type"), 0
		switch {
		case k.Name.Space != nsNotify:
		case category == "" && kind == "":
			rank = 1
		case category == "client" && kind == "":
			rank = 2
		case category == "client" && kind == typ:
			rank = 3
		}
		if rank > best {
			name, best = k.Name.Local, rank
		}
	}
	return name
}

// when returns when a service is told. What clients call themselves is not known here: a browser counts as one, and an
// app server as that of phones.
func (s setting) when(kind string) string {
	if kind == kindWeb {
		return s.web
	}
	return s.phone
}

// of fills in what a room says of an account that has not chosen.
func (s setting) of(a mod.Absent) setting {
	if s.nick == "" {
		s.nick = a.Nick
	}
	if a.OnMention {
		s.phone, s.web = cmp.Or(s.phone, onMention), cmp.Or(s.web, onMention)
	}
	return s
}

// wanted tells whether a service is to be told of a message to an account.
func (s setting) wanted(to *service, st *stanza.Stanza) bool {
	switch s.when(to.kind) {
	case never:
		return false
	case onMention:
		return s.mentions(st, to.account)
	}
	return true
}

// mentions tells whether a message speaks to the user: by name, explicitly (XEP-0372, XEP-0513) or as an answer (XEP-0461). Of an
// encrypted message that cannot be said, so it may be; and what comes in a chat of two always does.
func (s setting) mentions(st *stanza.Stanza, who jid.JID) bool {
	body := strings.ToLower(st.Body())
	if st.Type != stanza.TypeGroupchat || body == "" {
		return true
	}
	for r := range st.ChildrenNamed(nsReference, "reference") {
		if uri, _, _ := strings.Cut(strings.TrimPrefix(r.Attr("uri"), "xmpp:"), "?"); r.Attr("type") == "mention" && s.is(uri, st, who) {
			return true
		}
	}
	for m := range st.ChildrenNamed(nsMention, "mention") {
		if m.Child(nsMention, "noping") == nil && m.Attr("mentions") == "" && s.is(m.Attr("jid"), st, who) {
			return true
		}
	}
	if r := st.Child(nsReply, "reply"); r != nil && s.is(r.Attr("to"), st, who) {
		return true
	}
	nick := s.nick
	if nick == "" {
		nick = who.Local()
	}
	return contains(body, strings.ToLower(nick))
}

// is tells whether an address is the user's own, or that of the user in the room of the message.
func (s setting) is(address string, st *stanza.Stanza, who jid.JID) bool {
	j, err := jid.Parse(address)
	return err == nil && (j.Bare() == who || s.nick != "" && j.Bare() == st.From.Bare() && j.Resource() == s.nick)
}

// contains tells whether a name stands in a text as a word.
func contains(text, name string) bool {
	for from := 0; name != ""; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(name)
		before, _ := utf8.DecodeLastRuneInString(text[:start])
		after, _ := utf8.DecodeRuneInString(text[end:])
		if !unicode.IsLetter(before) && !unicode.IsLetter(after) {
			return true
		}
		from = end
	}
	return false
}
