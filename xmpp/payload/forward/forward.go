// Package forward owns the notation of a forwarded stanza (XEP-0297): one that was sent before and is told to somebody
// else.
package forward

import (
	"fmt"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// NS is the namespace of <forwarded/>.
const NS = "urn:xmpp:forward:0"

// limits bound what is parsed here: it was accepted within the limits of a stream, a few elements less deep.
var limits = xmlstream.Limits{Bytes: 64 << 20, Depth: 1000, Attrs: 1000, Children: 1 << 20, Name: 1 << 16}

// Forwarded is a stanza and, where that is known and of interest, when it was sent first.
type Forwarded struct {
	Stanza *stanza.Stanza
	Delay  *delay.Delay // may be nil
	// XML is the stanza as it was encoded before, declaring its own namespace, in place of Stanza. Parse leaves it empty.
	XML string
}

// Append appends <forwarded/> in wire form. It declares every namespace that it uses, and keeps the bytes of what stands in
// the stanza, so that a signature over them survives (XEP-0297 §3.2).
func (f Forwarded) Append(dst []byte) []byte {
	dst = append(dst, "<forwarded xmlns='"+NS+"'>"...)
	if f.Delay != nil {
		dst = f.Delay.Element().Append(dst, NS)
	}
	if f.Stanza == nil {
		dst = append(dst, f.XML...)
	} else {
		dst = f.Stanza.Append(dst, stanza.NSClient) // the namespace of the stanza is not that of <forwarded/> (XEP-0297 §3.2)
	}
	return append(dst, "</forwarded>"...)
}

// Message returns a message without `to` and id whose only payload is an element of the encapsulating protocol, with the
// attributes attrs, in which f stands (XEP-0297 §3.2): a carbon copy, a result from an archive. The message is encoded
// once for all who get it with stanza.WithTo, or by a session that stamps the address. An error means that the stanza
// is larger than any that a stream accepts.
func (f Forwarded) Message(typ string, from jid.JID, name xmlstream.Name, attrs ...xmlstream.Attr) (*stanza.Stanza, error) {
	size := len(f.XML)
	if f.Stanza != nil {
		size = f.Stanza.Wire().Size()
	}
	b := make([]byte, 0, 512+size)
	b = append(b, "<message xmlns='"+stanza.NSClient+"'>"...)
	around := (&xmlstream.Element{Name: name, Attrs: attrs, Nodes: []xmlstream.Node{{Text: "-"}}}).Append(nil, stanza.NSClient)
	split := len(around) - len("-</"+name.Local+">")
	b = append(b, around[:split]...)
	b = f.Append(b)
	b = append(b, around[split+1:]...)
	b = append(b, "</message>"...)
	frame, err := xmlstream.ParseFrame(b, limits)
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	m, bad := stanza.FromFrame(frame)
	if bad != nil {
		return nil, fmt.Errorf("forward: %w", bad)
	}
	m.Type, m.From = typ, from
	return m, nil
}

// Parse reads <forwarded/>. One without a stanza of jabber:client, with two of them, with a malformed one or a malformed
// time is an error.
func Parse(x *xmlstream.Element) (Forwarded, error) {
	var f Forwarded
	if !x.Is(NS, "forwarded") {
		return f, fmt.Errorf("forward: not a <forwarded/> of %s", NS)
	}
	for e := range x.Elements() {
		switch {
		case e.Is(delay.NS, "delay"):
			d, err := delay.Parse(e)
			if err != nil {
				return f, fmt.Errorf("forward: %w", err)
			}
			f.Delay = &d
		case e.Name.Space == stanza.NSClient:
			if f.Stanza != nil {
				return f, fmt.Errorf("forward: two stanzas in one <forwarded/>")
			}
			s, err := read(e)
			if err != nil {
				return f, err
			}
			f.Stanza = s
		}
	}
	if f.Stanza == nil {
		return f, fmt.Errorf("forward: no stanza in <forwarded/>")
	}
	return f, nil
}

func read(e *xmlstream.Element) (*stanza.Stanza, error) {
	frame, err := xmlstream.ParseFrame(e.String(), limits)
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	s, bad := stanza.FromFrame(frame)
	switch {
	case bad != nil:
		return nil, fmt.Errorf("forward: %w", bad)
	case s == nil:
		return nil, fmt.Errorf("forward: <%.40s/> is no stanza", e.Name.Local)
	}
	return s, nil
}
