// Package stanza owns the three stanzas, message, presence and iq, and their errors (RFC 6120 §8).
//
// A Stanza that came from a stream keeps its wire bytes: its payload is forwarded as it came and parsed only where
// somebody asks for a child. Stanzas are shared between recipients, so they are immutable once handed on: to change one,
// Clone it and change the clone.
package stanza

import (
	"crypto/rand"
	"encoding/base64"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// The content namespaces (RFC 6120 §4.8.2). In memory every stanza is of jabber:client.
const (
	NSClient = "jabber:client"
	NSServer = "jabber:server"
)

// Kind is one of the three kinds of stanzas.
type Kind uint8

// The kinds of stanzas.
const (
	Message Kind = iota
	Presence
	IQ
)

// String returns the element's name.
func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Presence:
		return "presence"
	}
	return "iq"
}

// Values of the type attribute. TypeNormal is what a message without one has; available presence has "".
const (
	TypeError = "error"

	TypeNormal    = "normal"
	TypeChat      = "chat"
	TypeGroupchat = "groupchat"
	TypeHeadline  = "headline"

	TypeAvailable    = ""
	TypeUnavailable  = "unavailable"
	TypeSubscribe    = "subscribe"
	TypeSubscribed   = "subscribed"
	TypeUnsubscribe  = "unsubscribe"
	TypeUnsubscribed = "unsubscribed"
	TypeProbe        = "probe"

	TypeGet    = "get"
	TypeSet    = "set"
	TypeResult = "result"
)

// Stanza is a message, presence or iq.
type Stanza struct {
	Kind     Kind
	Type     string // normalised: a message without type or of an unknown one is TypeNormal (RFC 6121 §5.2.2)
	ID       string
	To, From jid.JID // zero where the attribute is absent
	Lang     string  // xml:lang of the stanza itself
	// Mark is a number of the program that holds the stanza, or 0. It is not on the wire; copies keep it, and so does the error
	// that answers.
	Mark uint64

	extra []xmlstream.Attr // other attributes, forwarded as they are
	frame *xmlstream.Frame // the received form, or nil
	kids  []kid            // nil: the children of frame
	wire  atomic.Pointer[Wire]
}

// kid is a child: one of the frame, or a tree.
type kid struct {
	idx int
	el  *xmlstream.Element
}

// New returns a stanza with the given children.
func New(k Kind, typ string, children ...*xmlstream.Element) *Stanza {
	s := &Stanza{Kind: k, Type: typ, kids: make([]kid, 0, len(children))}
	if k == Message && typ == "" {
		s.Type = TypeNormal
	}
	s.Add(children...)
	return s
}

// NewIQ returns a request from one to another with a fresh id.
func NewIQ(typ string, from, to jid.JID, payload *xmlstream.Element) *Stanza {
	s := New(IQ, typ)
	s.Add(payload)
	s.ID, s.From, s.To = NewID(), from, to
	return s
}

// NewID returns an id of 96 random bits, which nobody can guess (see CVE-2024-46957).
func NewID() string {
	var b [12]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// FromFrame reads a top-level element of a client's stream. It returns nil and nil where that is no stanza. Where the
// stanza breaks a rule it returns the error owed to its sender beside the stanza as far as it could be read.
func FromFrame(f *xmlstream.Frame) (*Stanza, *Error) {
	n := f.Name()
	if n.Space != NSClient {
		return nil, nil
	}
	s := &Stanza{frame: f}
	switch n.Local {
	case "message":
		s.Kind = Message
	case "presence":
		s.Kind = Presence
	case "iq":
		s.Kind = IQ
	default:
		return nil, nil
	}
	return s, s.read(f)
}

func (s *Stanza) read(f *xmlstream.Frame) (bad *Error) {
	for _, a := range f.Attrs() {
		switch a.Name {
		case xmlstream.Name{Local: "type"}:
			s.Type = a.Value
		case xmlstream.Name{Local: "id"}:
			s.ID = a.Value
		case xmlstream.Name{Local: "to"}:
			j, err := jid.Parse(a.Value)
			if err != nil && bad == nil {
				bad = Errf(JIDMalformed, "to: %v", err)
			}
			s.To = j
		case xmlstream.Name{Local: "from"}:
			j, err := jid.Parse(a.Value)
			if err != nil && bad == nil {
				bad = Errf(JIDMalformed, "from: %v", err)
			}
			s.From = j
		case xmlstream.Name{Space: xmlstream.NSXML, Local: "lang"}:
			s.Lang = a.Value
		default:
			s.extra = append(s.extra, a)
		}
	}
	if e := s.checkType(f); e != nil && bad == nil {
		bad = e
	}
	return bad
}

// checkType checks the type attribute and what it asks of the children.
func (s *Stanza) checkType(f *xmlstream.Frame) *Error {
	switch s.Kind {
	case Message:
		switch s.Type {
		case TypeChat, TypeGroupchat, TypeHeadline, TypeError:
		default:
			s.Type = TypeNormal // RFC 6121 §5.2.2
		}
	case Presence:
		switch s.Type {
		case TypeAvailable, TypeUnavailable, TypeSubscribe, TypeSubscribed, TypeUnsubscribe, TypeUnsubscribed, TypeProbe, TypeError:
		default:
			return Errf(BadRequest, "a presence has no type %.40q", s.Type)
		}
	case IQ:
		switch s.Type { // RFC 6120 §8.2.3
		case TypeGet, TypeSet:
			if f.NumChildren() != 1 {
				return Err(BadRequest, "an iq of type get or set has exactly one child")
			}
		case TypeResult:
			if f.NumChildren() > 1 {
				return Err(BadRequest, "an iq of type result has at most one child")
			}
		case TypeError:
		default:
			return Err(BadRequest, "an iq has a type of get, set, result or error")
		}
		if s.ID == "" {
			return Err(BadRequest, "an iq has an id")
		}
	}
	return nil
}

// Clone returns a copy that may be changed until it is handed on.
func (s *Stanza) Clone() *Stanza {
	return &Stanza{Kind: s.Kind, Type: s.Type, ID: s.ID, To: s.To, From: s.From, Lang: s.Lang, Mark: s.Mark, extra: s.extra, frame: s.frame, kids: slices.Clip(s.kids)}
}

// WithTo returns a copy for another recipient.
func (s *Stanza) WithTo(to jid.JID) *Stanza {
	c := s.Clone()
	c.To = to
	c.wire.Store(s.wire.Load()) // the shared form leaves `to` out
	return c
}

// Add appends children. It belongs to building: see the package comment.
func (s *Stanza) Add(children ...*xmlstream.Element) *Stanza {
	s.own()
	for _, c := range children {
		if c != nil {
			s.kids = append(s.kids, kid{-1, c})
		}
	}
	return s
}

// Remove drops the children for which drop returns true and tells how many they were. It belongs to building.
func (s *Stanza) Remove(drop func(xmlstream.Name) bool) int {
	return s.remove(func(k kid) bool { return drop(s.kidName(k)) })
}

// RemoveFunc is Remove by the whole element, for rules that ask for an attribute.
func (s *Stanza) RemoveFunc(drop func(*xmlstream.Element) bool) int {
	return s.remove(func(k kid) bool { return drop(s.kidEl(k)) })
}

// RemoveNamed is RemoveFunc for the children of one name. It parses no others.
func (s *Stanza) RemoveNamed(space, local string, drop func(*xmlstream.Element) bool) int {
	want := xmlstream.Name{Space: space, Local: local}
	return s.remove(func(k kid) bool { return s.kidName(k) == want && drop(s.kidEl(k)) })
}

func (s *Stanza) remove(drop func(kid) bool) int {
	before := s.NumChildren()
	kept := make([]kid, 0, before)
	for i := range before {
		if k := s.kid(i); !drop(k) {
			kept = append(kept, k)
		}
	}
	if len(kept) < before {
		s.kids = kept
		s.wire.Store(nil)
	}
	return before - len(kept)
}

// own makes the list of children s's own.
func (s *Stanza) own() {
	s.wire.Store(nil)
	if s.kids != nil || s.frame == nil {
		return
	}
	s.kids = make([]kid, s.frame.NumChildren())
	for i := range s.kids {
		s.kids[i] = kid{idx: i}
	}
}

// NumChildren returns the number of child elements.
func (s *Stanza) NumChildren() int {
	if s.kids == nil && s.frame != nil {
		return s.frame.NumChildren()
	}
	return len(s.kids)
}

func (s *Stanza) kid(i int) kid {
	if s.kids == nil {
		return kid{idx: i}
	}
	return s.kids[i]
}

func (s *Stanza) kidName(k kid) xmlstream.Name {
	if k.el != nil {
		return k.el.Name
	}
	return s.frame.ChildName(k.idx)
}

func (s *Stanza) kidEl(k kid) *xmlstream.Element {
	if k.el != nil {
		return k.el
	}
	return s.frame.ChildAt(k.idx)
}

// ChildNames iterates over the expanded names of the children without parsing them.
func (s *Stanza) ChildNames() iter.Seq[xmlstream.Name] {
	return func(yield func(xmlstream.Name) bool) {
		for i := range s.NumChildren() {
			if !yield(s.kidName(s.kid(i))) {
				return
			}
		}
	}
}

// Children iterates over the children as trees, which are parsed at each call.
func (s *Stanza) Children() iter.Seq[*xmlstream.Element] {
	return func(yield func(*xmlstream.Element) bool) {
		for i := range s.NumChildren() {
			if !yield(s.kidEl(s.kid(i))) {
				return
			}
		}
	}
}

// ChildrenNamed iterates over the children of one name as trees. It parses no others.
func (s *Stanza) ChildrenNamed(space, local string) iter.Seq[*xmlstream.Element] {
	want := xmlstream.Name{Space: space, Local: local}
	return func(yield func(*xmlstream.Element) bool) {
		for i := range s.NumChildren() {
			if k := s.kid(i); s.kidName(k) == want && !yield(s.kidEl(k)) {
				return
			}
		}
	}
}

// Has tells whether there is a child of this name, without parsing any.
func (s *Stanza) Has(space, local string) bool {
	for n := range s.ChildNames() {
		if n.Local == local && n.Space == space {
			return true
		}
	}
	return false
}

// Child returns the first child of this name as a tree, which is parsed at each call, or nil.
func (s *Stanza) Child(space, local string) *xmlstream.Element {
	for i := range s.NumChildren() {
		k := s.kid(i)
		if n := s.kidName(k); n.Local == local && n.Space == space {
			return s.kidEl(k)
		}
	}
	return nil
}

// ChildRaw returns the first child of this name in wire form, as far as it means the same wherever it stands: "" where there is
// none, where it was not received, or where prefixes are declared around it.
func (s *Stanza) ChildRaw(space, local string) string {
	if s.frame == nil || s.frame.DeclaresPrefixes() {
		return ""
	}
	for i := range s.NumChildren() {
		k := s.kid(i)
		if n := s.kidName(k); n.Local == local && n.Space == space {
			if k.el != nil {
				return ""
			}
			return s.frame.ChildRaw(k.idx)
		}
	}
	return ""
}

// Inside returns in wire form the element at the end of a path of children, each the first of its name, as it came from the
// stream: it leans on what is declared around it. It returns "" where there is none, or the stanza is none that came so.
func (s *Stanza) Inside(path ...xmlstream.Name) string {
	if s.frame == nil || s.kids != nil {
		return ""
	}
	return s.frame.Inside(path...)
}

// PayloadName returns the name of the first child that is not <error/>, or a zero name.
func (s *Stanza) PayloadName() xmlstream.Name {
	for n := range s.ChildNames() {
		if n.Local != "error" || n.Space != NSClient {
			return n
		}
	}
	return xmlstream.Name{}
}

// Payload returns the first child that is not <error/> as a tree, or nil: the payload of an iq.
func (s *Stanza) Payload() *xmlstream.Element {
	n := s.PayloadName()
	if n.Local == "" {
		return nil
	}
	return s.Child(n.Space, n.Local)
}

// Body returns the text of the first <body/> of a message.
func (s *Stanza) Body() string { return s.Child(NSClient, "body").Text() }

// Err returns the stanza error of a stanza of type error, or nil.
func (s *Stanza) Err() *Error {
	if s.Type != TypeError {
		return nil
	}
	x := s.Child(NSClient, "error")
	if x == nil {
		return Err(UndefinedCondition, "")
	}
	return ParseError(x)
}

// Priority returns the priority of a presence, 0 where it has none. It is false where it is not an integer from -128 to
// 127 (RFC 6121 §4.7.2.3).
func (s *Stanza) Priority() (int8, bool) {
	x := s.Child(NSClient, "priority")
	if x == nil {
		return 0, true
	}
	n, err := strconv.ParseInt(strings.TrimSpace(x.Text()), 10, 8)
	return int8(n), err == nil
}

// Request tells whether it is an iq that is owed exactly one answer.
func (s *Stanza) Request() bool { return s.Kind == IQ && (s.Type == TypeGet || s.Type == TypeSet) }

// Result returns the answer to an iq: type result, addresses swapped. Payload may be nil.
func (s *Stanza) Result(payload *xmlstream.Element) *Stanza {
	r := New(IQ, TypeResult, payload)
	r.ID, r.To, r.From = s.ID, s.From, s.To
	return r
}

// ErrorReply returns the error that answers s, or nil where none may be sent: to an error, or to an iq result
// (RFC 6120 §8.3.1, §8.2.3).
func (s *Stanza) ErrorReply(e *Error) *Stanza {
	if s.Type == TypeError || s.Kind == IQ && s.Type == TypeResult {
		return nil
	}
	r := New(s.Kind, TypeError, e.Element())
	r.ID, r.To, r.From, r.Mark = s.ID, s.From, s.To, s.Mark
	return r
}
