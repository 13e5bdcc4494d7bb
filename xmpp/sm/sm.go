// Package sm owns what both ends of a stream share of stream management (XEP-0198): the elements, and the account of what
// was sent and not yet acknowledged. It does no I/O and knows nothing of clients or servers.
//
// An end has two counters. That of the stanzas it has handled is a uint32 that its owner increments: it wraps at 2^32 as
// the specification wants (XEP-0198#acking). That of the stanzas it has sent belongs to Unacked, with the stanzas.
package sm

import (
	"errors"
	"strconv"
	"strings"

	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// NS qualifies the elements of stream management.
const NS = "urn:xmpp:sm:3"

// Request is <r/> as it stands on a stream: a request for an acknowledgement (XEP-0198#acking).
const Request = "<r xmlns='" + NS + "'/>"

// AppendAck appends <a/>: h stanzas were handled.
func AppendAck(dst []byte, h uint32) []byte {
	dst = append(dst, "<a xmlns='"+NS+"' h='"...)
	return append(strconv.AppendUint(dst, uint64(h), 10), "'/>"...)
}

// ParseAck reads the attribute h of <a/>. The error is that of a stream on which it is no number.
func ParseAck(attr string) (h uint32, err error) {
	h, ok := ParseH(attr)
	if !ok {
		return 0, stream.Err(stream.InvalidXML, "an acknowledgement has h, a number")
	}
	return h, nil
}

// Feature returns the stream feature (XEP-0198#feature).
func Feature() *xmlstream.Element { return xmlstream.El(NS, "sm") }

// Enable asks for stream management, and with resume for a session that can be resumed for max seconds; 0 leaves that to
// the server (XEP-0198#enable).
func Enable(resume bool, max uint32) *xmlstream.Element {
	x := xmlstream.El(NS, "enable")
	if resume {
		x.Add(xmlstream.A("resume", "true"))
	}
	if max > 0 {
		x.Add(xmlstream.A("max", number(max)))
	}
	return x
}

// ParseEnable reads <enable/>. max is 0 where it says none.
func ParseEnable(x *xmlstream.Element) (resume bool, max uint32, err *stanza.Error) {
	resume, ok := boolean(x.Attr("resume"))
	if !ok {
		return false, 0, stanza.Err(stanza.BadRequest, "resume is a boolean")
	}
	if s := x.Attr("max"); s != "" {
		n, ok := ParseH(s)
		if !ok || n == 0 {
			return false, 0, stanza.Err(stanza.BadRequest, "max is a positive number of seconds")
		}
		max = n
	}
	return resume, max, nil
}

// Enabled answers <enable/>. id and max are for sessions that can be resumed: without an id there is no resumption.
func Enabled(id string, max uint32) *xmlstream.Element {
	x := xmlstream.El(NS, "enabled")
	if id != "" {
		x.Add(xmlstream.A("id", id), xmlstream.A("resume", "true"), xmlstream.A("max", number(max)))
	}
	return x
}

// ParseEnabled reads <enabled/>. id is "" where the session cannot be resumed.
func ParseEnabled(x *xmlstream.Element) (id string, max uint32) {
	if resume, ok := boolean(x.Attr("resume")); ok && resume {
		id = x.Attr("id")
	}
	max, _ = ParseH(x.Attr("max"))
	return id, max
}

// Resume asks for a former session, h of whose stanzas were handled (XEP-0198#resumption).
func Resume(previd string, h uint32) *xmlstream.Element { return resumption("resume", previd, h) }

// Resumed answers <resume/>.
func Resumed(previd string, h uint32) *xmlstream.Element { return resumption("resumed", previd, h) }

func resumption(name, previd string, h uint32) *xmlstream.Element {
	return xmlstream.El(NS, name, xmlstream.A("previd", previd), xmlstream.A("h", number(h)))
}

// ParseResumption reads <resume/> or <resumed/>, both of whose attributes are required.
func ParseResumption(x *xmlstream.Element) (previd string, h uint32, err *stanza.Error) {
	h, ok := ParseH(x.Attr("h"))
	previd = x.Attr("previd")
	if !ok || previd == "" {
		return "", 0, stanza.Err(stanza.BadRequest, "a resumption has previd and h")
	}
	return previd, h, nil
}

// Failed refuses <enable/> or <resume/> (XEP-0198#errors).
func Failed(c stanza.Condition) *xmlstream.Element {
	return xmlstream.El(NS, "failed", xmlstream.El(stanza.NSStanzas, string(c)))
}

// FailedAt refuses <resume/> for a session that is known to be over, h of whose stanzas were handled.
func FailedAt(c stanza.Condition, h uint32) *xmlstream.Element {
	return Failed(c).Add(xmlstream.A("h", number(h)))
}

// ParseFailed reads <failed/>. known tells whether it has h.
func ParseFailed(x *xmlstream.Element) (c stanza.Condition, h uint32, known bool) {
	c = stanza.UndefinedCondition
	for k := range x.Elements() {
		if k.Name.Space == stanza.NSStanzas && k.Name.Local != "text" {
			c = stanza.Condition(k.Name.Local)
		}
	}
	h, known = ParseH(x.Attr("h"))
	return c, h, known
}

// ParseH reads an xs:unsignedInt, which may have leading zeros, a plus sign and white space around it.
func ParseH(s string) (uint32, bool) {
	s = strings.TrimPrefix(strings.Trim(s, " \t\r\n"), "+")
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && s[0] != '+'
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// boolean reads an xs:boolean; "" is false.
func boolean(s string) (value, ok bool) {
	switch strings.Trim(s, " \t\r\n") {
	case "true", "1":
		return true, true
	case "false", "0", "":
		return false, true
	}
	return false, false
}

// TooHigh says that the peer acknowledged more stanzas than it was sent.
type TooHigh struct{ H, Sent uint32 }

// Error tells both numbers.
func (e *TooHigh) Error() string {
	return "acknowledged " + number(e.H) + " stanzas of " + number(e.Sent)
}

// AsStream makes a stream error of an acknowledgement of too much, and returns any other error as it is.
func AsStream(err error) error {
	if high := (*TooHigh)(nil); errors.As(err, &high) {
		return high.Stream()
	}
	return err
}

// Stream returns the stream error that ends such a stream (XEP-0198#errors).
func (e *TooHigh) Stream() *stream.Error {
	bad := stream.Err(stream.UndefinedCondition, "You acknowledged "+number(e.H)+" stanzas, but I only sent you "+number(e.Sent)+" so far.")
	bad.App = xmlstream.El(NS, "handled-count-too-high", xmlstream.A("h", number(e.H)), xmlstream.A("send-count", number(e.Sent)))
	return bad
}
