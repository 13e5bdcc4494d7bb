package xmlstream

import (
	"errors"
	"strconv"
)

// Limits bound what one top-level element may cost. They are checked while reading, before memory is spent. A field that
// is not positive stands for that of DefaultLimits.
type Limits struct {
	Bytes    int // of one top-level element, and of the stream header
	Depth    int // nesting, the top-level element counts 1
	Attrs    int // per element, namespace declarations included
	Children int // elements within one top-level element, in total
	Name     int // bytes of a qualified name

	// Skip is how many bytes of an element over Bytes a Decoder reads and throws away, so that the answer can be a stanza
	// error instead of the end of the stream (RFC 6120 §13.12 rule 4). The element comes as an Oversize event. Not positive:
	// none, such an element is an error.
	Skip int
}

// DefaultLimits is for authenticated peers.
var DefaultLimits = Limits{Bytes: 256 << 10, Depth: 100, Attrs: 50, Children: 10000, Name: 256}

// maxBytes keeps every offset within 32 bits.
const maxBytes = 1 << 30

func (l Limits) orDefault() Limits {
	def := func(n *int, to int) {
		if *n <= 0 {
			*n = to
		}
	}
	def(&l.Bytes, DefaultLimits.Bytes)
	def(&l.Depth, DefaultLimits.Depth)
	def(&l.Attrs, DefaultLimits.Attrs)
	def(&l.Children, DefaultLimits.Children)
	def(&l.Name, DefaultLimits.Name)
	l.Bytes = min(l.Bytes, maxBytes)
	return l
}

// ErrMore is what Next returns where the input ends before the next event. It is no failure.
var ErrMore = errors.New("xmlstream: more input is needed")

// Stream error conditions (RFC 6120 §4.9.3) that the tokenizer gives.
const (
	BadFormat             = "bad-format"              // §4.9.3.1: character data between top-level elements
	NotWellFormed         = "not-well-formed"         // §4.9.3.13: against XML or Namespaces in XML
	PolicyViolation       = "policy-violation"        // §4.9.3.14: over a limit
	RestrictedXML         = "restricted-xml"          // §4.9.3.18: comment, processing instruction, DTD, entity (§11.1)
	UnsupportedEncoding   = "unsupported-encoding"    // §4.9.3.22: not UTF-8 (§11.6)
	UnsupportedStanzaType = "unsupported-stanza-type" // §4.9.3.24: a second stream header inside a stream
)

// Error says why the input cannot be read. It is final: nothing after it is to be trusted.
type Error struct {
	Condition string // a stream error condition of RFC 6120 §4.9.3
	Text      string // for people, in English, without any of the input
	Offset    int64  // bytes from the start of the input to the token at fault
}

func (e *Error) Error() string {
	return "xmlstream: " + e.Condition + " at byte " + strconv.FormatInt(e.Offset, 10) + ": " + e.Text
}

// fault is why scanning stops. Zero is no fault.
type fault uint8

const (
	okay  fault = iota
	short       // the input ends within a token

	faultSyntax
	faultChar
	faultText
	faultRef
	faultDup
	faultPrefix
	faultReserved
	faultEndTag
	faultDecl
	faultTrailing
	faultProlog
	faultEnd
	faultRestricted
	faultEntity
	faultUTF8
	faultEncoding
	faultBytes
	faultDepth
	faultAttrs
	faultElements
	faultName
	faultEscaped
	faultBetween
	faultSecond
)

// faults gives each fault its condition and text.
var faults = [...]struct{ condition, text string }{
	faultSyntax:     {NotWellFormed, "a tag breaks the grammar"},
	faultChar:       {NotWellFormed, "a character that XML forbids"},
	faultText:       {NotWellFormed, "]]> in character data"},
	faultRef:        {NotWellFormed, "a malformed reference"},
	faultDup:        {NotWellFormed, "an attribute stands twice"},
	faultPrefix:     {NotWellFormed, "a prefix is not declared"},
	faultReserved:   {NotWellFormed, "a namespace declaration that Namespaces in XML forbids"},
	faultEndTag:     {NotWellFormed, "an end tag does not match its start tag"},
	faultDecl:       {NotWellFormed, "a malformed XML declaration"},
	faultTrailing:   {NotWellFormed, "something follows the root element"},
	faultProlog:     {NotWellFormed, "character data before the root element"},
	faultEnd:        {NotWellFormed, "the element does not end"},
	faultRestricted: {RestrictedXML, "comments, processing instructions and DTDs are not allowed"},
	faultEntity:     {RestrictedXML, "only the five predefined entities are allowed"},
	faultUTF8:       {UnsupportedEncoding, "not UTF-8"},
	faultEncoding:   {UnsupportedEncoding, "the encoding must be UTF-8"},
	faultBytes:      {PolicyViolation, "the element is too large"},
	faultDepth:      {PolicyViolation, "elements are nested too deeply"},
	faultAttrs:      {PolicyViolation, "an element has too many attributes"},
	faultElements:   {PolicyViolation, "too many elements within one"},
	faultName:       {PolicyViolation, "a name is too long"},
	faultEscaped:    {PolicyViolation, "too many namespace declarations with references"},
	faultBetween:    {BadFormat, "character data between elements"},
	faultSecond:     {UnsupportedStanzaType, "a stream header within the stream"},
}

func (f fault) at(offset int64) *Error {
	return &Error{Condition: faults[f].condition, Text: faults[f].text, Offset: offset}
}
