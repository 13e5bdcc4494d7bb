package stanza

import (
	"fmt"

	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// NSStanzas qualifies the defined conditions of stanza errors (RFC 6120 §8.3).
const NSStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"

// ErrorType tells what the sender may do about an error (RFC 6120 §8.3.2).
type ErrorType string

// The error types of RFC 6120 §8.3.2.
const (
	Auth     ErrorType = "auth"
	Cancel   ErrorType = "cancel"
	Continue ErrorType = "continue"
	Modify   ErrorType = "modify"
	Wait     ErrorType = "wait"
)

// Condition is a defined condition of a stanza error (RFC 6120 §8.3.3).
type Condition string

// The defined conditions of RFC 6120 §8.3.3.
const (
	BadRequest            Condition = "bad-request"
	Conflict              Condition = "conflict"
	FeatureNotImplemented Condition = "feature-not-implemented"
	Forbidden             Condition = "forbidden"
	Gone                  Condition = "gone"
	InternalServerError   Condition = "internal-server-error"
	ItemNotFound          Condition = "item-not-found"
	JIDMalformed          Condition = "jid-malformed"
	NotAcceptable         Condition = "not-acceptable"
	NotAllowed            Condition = "not-allowed"
	NotAuthorized         Condition = "not-authorized"
	PolicyViolation       Condition = "policy-violation"
	RecipientUnavailable  Condition = "recipient-unavailable"
	Redirect              Condition = "redirect"
	RegistrationRequired  Condition = "registration-required"
	RemoteServerNotFound  Condition = "remote-server-not-found"
	RemoteServerTimeout   Condition = "remote-server-timeout"
	ResourceConstraint    Condition = "resource-constraint"
	ServiceUnavailable    Condition = "service-unavailable"
	SubscriptionRequired  Condition = "subscription-required"
	UndefinedCondition    Condition = "undefined-condition"
	UnexpectedRequest     Condition = "unexpected-request"
)

// defaultType gives the type that RFC 6120 §8.3.3 associates with a condition.
func (c Condition) defaultType() ErrorType {
	switch c {
	case BadRequest, JIDMalformed, NotAcceptable, PolicyViolation, Redirect:
		return Modify
	case Forbidden, NotAuthorized, RegistrationRequired, SubscriptionRequired:
		return Auth
	case RecipientUnavailable, RemoteServerTimeout, ResourceConstraint, UnexpectedRequest:
		return Wait
	}
	return Cancel
}

// Error is a stanza error (RFC 6120 §8.3). It is what a handler returns and what the wire shows.
type Error struct {
	Type      ErrorType
	Condition Condition
	Text      string             // for people, in English; may be empty
	URI       string             // the new address, with Gone and Redirect only
	By        jid.JID            // who found the error, where that is not the sender of the stanza
	App       *xmlstream.Element // an application-specific condition, or nil
}

// Err returns an error with the type that goes with its condition by RFC 6120 §8.3.3. Text may be empty.
func Err(c Condition, text string) *Error {
	return &Error{Type: c.defaultType(), Condition: c, Text: text}
}

// Errf is Err with a formatted text.
func Errf(c Condition, format string, args ...any) *Error {
	return Err(c, fmt.Sprintf(format, args...))
}

// OfType returns a copy of e with another type.
func (e *Error) OfType(t ErrorType) *Error {
	c := *e
	c.Type = t
	return &c
}

// With returns a copy of e with an application-specific condition.
func (e *Error) With(app *xmlstream.Element) *Error {
	c := *e
	c.App = app
	return &c
}

// Error gives condition and text, for logs.
func (e *Error) Error() string {
	if e.Text == "" {
		return string(e.Condition)
	}
	return string(e.Condition) + ": " + e.Text
}

// Element returns the <error/> child (RFC 6120 §8.3.1).
func (e *Error) Element() *xmlstream.Element {
	x := xmlstream.El(NSClient, "error", xmlstream.A("type", string(e.Type)))
	if !e.By.IsZero() {
		x.Add(xmlstream.A("by", e.By.String()))
	}
	x.Add(xmlstream.El(NSStanzas, string(e.Condition), e.URI))
	if e.Text != "" {
		x.Add(xmlstream.El(NSStanzas, "text", xmlstream.Attr{Name: xmlstream.Name{Space: xmlstream.NSXML, Local: "lang"}, Value: "en"}, e.Text))
	}
	return x.Add(e.App)
}

// ParseError reads an <error/> element. What it lacks becomes undefined-condition and cancel.
func ParseError(x *xmlstream.Element) *Error {
	e := &Error{Type: ErrorType(x.Attr("type")), Condition: UndefinedCondition}
	switch e.Type {
	case Auth, Cancel, Continue, Modify, Wait:
	default:
		e.Type = Cancel
	}
	if by, err := jid.Parse(x.Attr("by")); err == nil {
		e.By = by
	}
	for k := range x.Elements() {
		switch {
		case k.Name.Space != NSStanzas:
			e.App = k
		case k.Name.Local == "text":
			e.Text = k.Text()
		default:
			e.Condition = Condition(k.Name.Local)
			if e.Condition == Gone || e.Condition == Redirect {
				e.URI = k.Text()
			}
		}
	}
	return e
}
