package stanza

import (
	"strings"

	"sabir/xmpp/xmlstream"
)

// FromServerFrame is FromFrame for a stream between servers, whose content namespace is jabber:server (RFC 6120 §4.8.3).
func FromServerFrame(f *xmlstream.Frame) (*Stanza, *Error) {
	if f.Name().Space != NSServer {
		return nil, nil
	}
	c, err := f.Rescope(NSServer, NSClient)
	if err != nil {
		return nil, nil // with its namespaces written out it is beyond what can be read
	}
	return FromFrame(c)
}

// AppendServer appends the stanza as it stands on a stream between servers.
func (s *Stanza) AppendServer(dst []byte) []byte {
	w := s.Wire()
	if !strings.Contains(w.tail, NSClient) {
		return w.Append(dst, s.To.String(), "")
	}
	// A child may say that it is of jabber:client, which is another namespace there.
	x, err := xmlstream.Parse(string(s.Append(nil, NSClient)), xmlstream.Limits{Bytes: 1 << 30, Depth: 1 << 20, Attrs: 1 << 20, Children: 1 << 30, Name: 1 << 20})
	if err != nil {
		return w.Append(dst, s.To.String(), "") // it was read once, so this cannot be
	}
	return x.Rescope(NSClient, NSServer).Append(dst, NSServer)
}
