package stream

import (
	"sabir/xmpp/xmlstream"
)

// Condition is a defined condition of a stream error (RFC 6120 §4.9.3).
type Condition string

// The defined conditions of RFC 6120 §4.9.3.
const (
	BadFormat              Condition = "bad-format"
	BadNamespacePrefix     Condition = "bad-namespace-prefix"
	Conflict               Condition = "conflict"
	ConnectionTimeout      Condition = "connection-timeout"
	HostGone               Condition = "host-gone"
	HostUnknown            Condition = "host-unknown"
	ImproperAddressing     Condition = "improper-addressing"
	InternalServerError    Condition = "internal-server-error"
	InvalidFrom            Condition = "invalid-from"
	InvalidNamespace       Condition = "invalid-namespace"
	InvalidXML             Condition = "invalid-xml"
	NotAuthorized          Condition = "not-authorized"
	NotWellFormed          Condition = "not-well-formed"
	PolicyViolation        Condition = "policy-violation"
	RemoteConnectionFailed Condition = "remote-connection-failed"
	Reset                  Condition = "reset"
	ResourceConstraint     Condition = "resource-constraint"
	RestrictedXML          Condition = "restricted-xml"
	SeeOtherHost           Condition = "see-other-host"
	SystemShutdown         Condition = "system-shutdown"
	UndefinedCondition     Condition = "undefined-condition"
	UnsupportedEncoding    Condition = "unsupported-encoding"
	UnsupportedFeature     Condition = "unsupported-feature"
	UnsupportedStanzaType  Condition = "unsupported-stanza-type"
	UnsupportedVersion     Condition = "unsupported-version"
)

// Error is a stream error (RFC 6120 §4.9). After it the stream is closed.
type Error struct {
	Condition Condition
	Text      string             // for people, in English; may be empty
	App       *xmlstream.Element // an application-specific condition (RFC 6120 §4.9.4), or nil
	Host      string             // the new address, with SeeOtherHost only (RFC 6120 §4.9.3.19)
}

// Err returns a stream error. Text may be empty.
func Err(c Condition, text string) *Error { return &Error{Condition: c, Text: text} }

// Error gives condition and text, for logs.
func (e *Error) Error() string {
	s := "stream error " + string(e.Condition)
	if e.Host != "" {
		s += " " + e.Host
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Element returns <error/> of the stream namespace (RFC 6120 §4.9.2).
func (e *Error) Element() *xmlstream.Element {
	x := xmlstream.El(NS, "error", xmlstream.El(NSStreams, string(e.Condition), e.Host))
	if e.Text != "" {
		lang := xmlstream.Attr{Name: xmlstream.Name{Space: xmlstream.NSXML, Local: "lang"}, Value: "en"}
		x.Add(xmlstream.El(NSStreams, "text", lang, e.Text))
	}
	return x.Add(e.App)
}

// AppendTCP appends the error as it stands within a stream over TCP, without the end of the stream.
func (e *Error) AppendTCP(dst []byte) []byte { return AppendTCP(dst, e.Element(), nsClient) }

// AppendWS appends the error as a WebSocket frame.
func (e *Error) AppendWS(dst []byte) []byte { return AppendWS(dst, e.Element()) }

// ParseError reads an <error/> element. Where it has no condition it is undefined-condition.
func ParseError(x *xmlstream.Element) *Error {
	e := &Error{Condition: UndefinedCondition}
	for k := range x.Elements() {
		switch {
		case k.Name.Space != NSStreams:
			e.App = k
		case k.Name.Local == "text":
			e.Text = k.Text()
		default:
			e.Condition = Condition(k.Name.Local)
			if e.Condition == SeeOtherHost {
				e.Host = k.Text()
			}
		}
	}
	return e
}

// FromXML returns the stream error that an error of the tokenizer is answered with.
func FromXML(err *xmlstream.Error) *Error {
	return Err(Condition(err.Condition), err.Text)
}
