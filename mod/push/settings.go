package push

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// nsNotify qualifies the setting of a chat that says when it is to be told of (XEP-0492#notify). It is kept with the bookmarks
// of the account, whose items are named by the chat (XEP-0402#usage).
const (
	nsNotify    = "urn:xmpp:notification-settings:1"
	bookmarks   = "urn:xmpp:bookmarks:1"
	nsReference = "urn:xmpp:reference:0"
	nsReply     = "urn:xmpp:reply:0"
)

// setting is that of the chat of a message. The zero value is that of a chat without one.
type setting struct {
	notify *xmlstream.Element
	nick   string // in a room
	st     *stanza.Stanza
	who    jid.JID // the account
}

// setting reads that of the chat of a message. What cannot be read is told of: a notification too many is the lesser evil.
func (p *push) setting(ctx context.Context, account jid.JID, st *stanza.Stanza) setting {
	nodes := p.h.AccountNodes()
	if nodes == nil {
		return setting{}
	}
	_, x, err := nodes.Item(ctx, account, bookmarks, st.From.Bare().String())
	if err != nil {
		p.h.Log().Error("the settings of a chat cannot be read", "error", err)
	}
	return setting{x.Child(bookmarks, "extensions").Child(nsNotify, "notify"), x.ChildText(bookmarks, "nick"), st, account}
}

// wanted tells whether a service is to be told of the message. What clients call themselves is not known here: a browser
// counts as one, and an app server as that of phones.
func (s setting) wanted(to *service) bool {
	if s.notify == nil {
		return true
	}
	typ := "phone"
	if to.kind == kindWeb {
		typ = "web"
	}
	switch choice(s.notify, typ) {
	case "never":
		return false
	case "on-mention":
		return s.mentioned()
	}
	return true
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

// mentioned tells whether the message speaks to the user: by name, by a reference (XEP-0372) or as an answer (XEP-0461). Of an
// encrypted message that cannot be said, so it may be; and what comes in a chat of two always does.
func (s setting) mentioned() bool {
	body := strings.ToLower(s.st.Body())
	if s.st.Type != stanza.TypeGroupchat || body == "" {
		return true
	}
	for r := range s.st.ChildrenNamed(nsReference, "reference") {
		if uri, _, _ := strings.Cut(strings.TrimPrefix(r.Attr("uri"), "xmpp:"), "?"); r.Attr("type") == "mention" && s.is(uri) {
			return true
		}
	}
	if r := s.st.Child(nsReply, "reply"); r != nil && s.is(r.Attr("to")) {
		return true
	}
	nick := s.nick
	if nick == "" {
		nick = s.who.Local()
	}
	return contains(body, strings.ToLower(nick))
}

// is tells whether an address is the user's own, or that of the user in the room.
func (s setting) is(address string) bool {
	j, err := jid.Parse(address)
	return err == nil && (j.Bare() == s.who || s.nick != "" && j.Bare() == s.st.From.Bare() && j.Resource() == s.nick)
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
