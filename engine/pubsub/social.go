package pubsub

import (
	"context"
	"strings"

	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// Names of nodes and types that social clients use.
const (
	NSAtom      = "http://www.w3.org/2005/Atom"           // RFC 4287
	NSMicroblog = "urn:xmpp:microblog:0"                  // XEP-0277, node and type
	NSSocial    = "urn:xmpp:pubsub-social-feed:1"         // XEP-0472#profile_base
	NSStories   = "urn:xmpp:pubsub-social-feed:stories:0" // XEP-0501, node and type
	NSSpaces    = "urn:xmpp:spaces:0"                     // XEP-0503#node-config

	// comments begins the names of nodes with comments on a post (XEP-0277#post_comments).
	comments = NSMicroblog + ":comments/"
	// socialTypes begins the types of the profiles of social feeds (XEP-0472#profiles, XEP-0508#profiles).
	socialTypes = "urn:xmpp:pubsub-social-feed:"
)

// Social tells whether a node is one of posts: a microblog, comments on a post, or one of a type that XEP-0472 or a
// specification upon it defines.
func Social(name, typ string) bool {
	return name == NSMicroblog || name == NSStories || strings.HasPrefix(name, comments) ||
		typ == NSMicroblog || typ == NSAtom || strings.HasPrefix(typ, socialTypes)
}

// URI returns the xmpp: URI of a node, or of one of its items where item is not "" (XEP-0060#registrar-querytypes, RFC 5122).
func URI(at jid.JID, node, item string) string {
	var b strings.Builder
	b.WriteString("xmpp:")
	if at.Local() != "" {
		escape(&b, at.Local(), "!$()*+,;=")
		b.WriteByte('@')
	}
	escape(&b, at.Domain(), "[]:")
	b.WriteString("?;node=")
	escape(&b, node, "")
	if item != "" {
		b.WriteString(";item=")
		escape(&b, item, "")
	}
	return b.String()
}

// escape writes s percent-encoded, but for unreserved characters (RFC 3986 §2.3) and those of but.
func escape(b *strings.Builder, s, but string) {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, strings.IndexByte(but, c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

// storyLife is for how many seconds stories are kept where nobody says otherwise (XEP-0501#profile_base_node_config).
const storyLife = 24 * 60 * 60

// profile changes the configuration of a new node into what its name or type asks for, before its creator has a say. One of
// posts keeps all of them and tells of those that are gone, and its last one is no news to who comes online
// (XEP-0472#profile_base_node_config, XEP-0277#node_config). pubsub#deliver_payloads stays as it is: clients of XEP-0277 wait
// for posts in notifications.
func (c *Config) profile(name, typ string) {
	if typ == "" && (name == NSMicroblog || name == NSStories) {
		typ = name
	}
	if typ == NSSpaces { // XEP-0503#node-config
		c.Type, c.NotifyRetract, c.Persist, c.PurgeOffline = typ, true, true, false
		c.NotifySub, c.NotifyConfig, c.NotifyDelete = true, true, true
		return
	}
	if !Social(name, typ) {
		return
	}
	c.NotifyRetract, c.Persist, c.MaxItems, c.SendLast = true, true, 0, SendNever
	if typ != "" {
		c.Type = typ
	}
	switch {
	case typ == NSStories:
		c.Access, c.ItemExpire = AccessPresence, storyLife
	case strings.HasPrefix(name, comments): // XEP-0277#comments_node_config; whoever reads a post may comment on it
		c.Access, c.Publish = AccessOpen, PublishOpen
	}
}

// linked returns the payload of an item as it is stored, with the links that tell where a post is, which its author's client
// cannot know: its page on the web and itself (XEP-0277#receive, XEP-0472#receive). They stand behind all that the client has
// sent, which stays byte for byte. Of each kind there is one at most (RFC 4287 §4.1.2), so that those of the client's own have
// their way.
func (s *Service) linked(n *node, i *item, payload *xmlstream.Element) string {
	if !payload.Is(NSAtom, "entry") || !Social(n.name, n.config.Type) || !s.Has(NSSocial) {
		return i.payload
	}
	page, self := false, false
	for k := range payload.Elements() {
		if k.Is(NSAtom, "link") && (k.Attr("rel") == "alternate" || k.Attr("rel") == "") {
			switch {
			case k.Attr("type") == "text/html":
				page = true
			case k.Attr("type") == "", strings.HasPrefix(k.Attr("href"), "xmpp:"):
				self = true
			}
		}
	}
	links := ""
	if url := s.h.Pages().URL(n.at, n.name, i.id); url != "" && !page && n.config.Access == AccessOpen {
		links += xmlstream.El(NSAtom, "link", xmlstream.A("rel", "alternate"), xmlstream.A("type", "text/html"), xmlstream.A("href", url)).String()
	}
	if !self {
		links += xmlstream.El(NSAtom, "link", xmlstream.A("rel", "alternate"), xmlstream.A("href", URI(n.at, n.name, i.id))).String()
	}
	end := strings.LastIndex(i.payload, "</")
	if end < 0 || strings.HasSuffix(i.payload, "/>") { // an entry without anything is no entry
		return i.payload
	}
	return i.payload[:end] + links + i.payload[end:]
}

// lapsed tells that a node holds less than before although nobody deleted it. See Options.Lapsed.
func (s *Service) lapsed(ctx context.Context, n *node) {
	s.changed(n)
	if s.o.Lapsed != nil {
		s.o.Lapsed(ctx, n.at, n.name)
	}
}

// changed tells other extensions of a change that was committed.
func (s *Service) changed(n *node) { s.h.NodeChanged(n.at, n.name) }
