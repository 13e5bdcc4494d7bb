package stanza

import (
	"unsafe"

	"sabir/xmpp/xmlstream"
)

// Wire is the encoded form of a stanza without its `to`, shared by all who receive it. It is immutable.
type Wire struct {
	kind Kind
	tail string // from the space before the first attribute to the end of the element
}

// Wire returns the shared encoded form. It is made once; callers on several goroutines may make it twice, to the same
// bytes.
func (s *Stanza) Wire() *Wire {
	if w := s.wire.Load(); w != nil {
		return w
	}
	b := s.appendTail(make([]byte, 0, s.sizeHint()))
	w := &Wire{s.Kind, unsafe.String(unsafe.SliceData(b), len(b))} // b is not used after this line
	s.wire.Store(w)
	return w
}

// Size returns the number of bytes of the encoded form without `to`.
func (w *Wire) Size() int { return len(w.tail) + len("<presence") }

// Append appends the stanza for the recipient to, which is an address in its plain form or "" for none. ns is written
// as its xmlns where it is not "": WebSocket frames stand alone (RFC 7395 §3.3.3).
func (w *Wire) Append(dst []byte, to, ns string) []byte {
	switch w.kind {
	case Message:
		dst = append(dst, "<message"...)
	case Presence:
		dst = append(dst, "<presence"...)
	default:
		dst = append(dst, "<iq"...)
	}
	if ns != "" {
		dst = append(dst, " xmlns='"...)
		dst = append(dst, ns...)
		dst = append(dst, '\'')
	}
	if to != "" {
		dst = appendAttr(dst, " to='", to)
	}
	return append(dst, w.tail...)
}

// Append appends the whole stanza. See Wire.Append for ns.
func (s *Stanza) Append(dst []byte, ns string) []byte {
	return s.Wire().Append(dst, s.To.String(), ns)
}

// String returns the stanza as it stands on a client's TCP stream.
func (s *Stanza) String() string { return string(s.Append(nil, "")) }

func (s *Stanza) sizeHint() int {
	n := 96 + len(s.From.String()) + len(s.ID)
	if s.frame != nil {
		n += len(s.frame.Raw())
	}
	return n + 128*len(s.kids)
}

func (s *Stanza) appendTail(b []byte) []byte {
	if from := s.From.String(); from != "" {
		b = appendAttr(b, " from='", from)
	}
	if s.ID != "" {
		b = appendAttr(b, " id='", s.ID)
	}
	if s.Type != "" && (s.Kind != Message || s.Type != TypeNormal) {
		b = appendAttr(b, " type='", s.Type)
	}
	if s.Lang != "" {
		b = appendAttr(b, " xml:lang='", s.Lang)
	}
	b = s.appendExtra(b)
	if s.frame != nil {
		b = append(b, s.frame.Decls()...)
	}
	start := len(b)
	b = append(b, '>')
	if b = s.appendInner(b); len(b) == start+1 {
		return append(b[:start], "/>"...)
	}
	switch s.Kind {
	case Message:
		return append(b, "</message>"...)
	case Presence:
		return append(b, "</presence>"...)
	}
	return append(b, "</iq>"...)
}

// appendExtra writes the attributes that no field holds. Those of a namespace of their own are dropped with their
// prefix: RFC 6120 §8.1 defines none, and no extension has come to use one.
func (s *Stanza) appendExtra(b []byte) []byte {
	for _, a := range s.extra {
		if a.Name.Space != "" {
			continue
		}
		b = append(append(append(b, ' '), a.Name.Local...), "='"...)
		b = append(xmlstream.AppendAttr(b, a.Value), '\'')
	}
	return b
}

func (s *Stanza) appendInner(b []byte) []byte {
	if s.kids == nil && s.frame != nil {
		return append(b, s.frame.Inner()...)
	}
	for _, k := range s.kids {
		if k.el != nil {
			b = k.el.Append(b, NSClient)
		} else {
			b = append(b, s.frame.ChildRaw(k.idx)...)
		}
	}
	return b
}

// appendAttr writes an attribute whose opening (name, equals sign, quote) is given.
func appendAttr(b []byte, open, value string) []byte {
	b = append(b, open...)
	return append(xmlstream.AppendAttr(b, value), '\'')
}
