package badinput

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// outcome is what the server made of an input, as far as the actor self can see.
type outcome struct {
	header   *xmlstream.Header // or nil
	features bool
	frames   []*xmlstream.Frame // all but the answer to the probe

	streamErrors    []string
	failures        []string // of SASL
	tlsFailure      bool
	compressFailure bool
	smFailures      []string // of stream management
	errors          []string // of stanzas
	in2             bool     // a login by SASL2 has succeeded
	bound2          bool     // and a resource was bound in it
	names           []string // of elements; for presence the type as well
	ended           bool     // </stream:stream>, or <close/>
	silent          bool     // the last element of the input was not answered

	closed bool   // the connection
	alert  string // of TLS
	status int    // of HTTP
	wsCode int    // of the close frame
}

// observe reads the outcome from the events of an actor.
func (o *outcome) observe(events []event, skip string) {
	for _, e := range events {
		switch {
		case e.header != nil:
			o.header = e.header
		case e.end:
			o.ended = true
		case skip == "" || e.frame.Attr("id") != skip:
			o.frame(e.frame)
		}
	}
}

func (o *outcome) frame(f *xmlstream.Frame) {
	n := f.Name()
	o.frames = append(o.frames, f)
	o.names = append(o.names, n.Local)
	first := func(space string) []string {
		for i := range f.NumChildren() {
			if c := f.ChildName(i); c.Space == space && c.Local != "text" {
				return []string{c.Local}
			}
		}
		return []string{"(none)"}
	}
	switch {
	case n == xmlstream.Name{Space: stream.NS, Local: "error"}:
		o.streamErrors = append(o.streamErrors, first(stream.NSStreams)...)
	case n == xmlstream.Name{Space: stream.NS, Local: "features"}:
		o.features = true
	case n == xmlstream.Name{Space: stream.NSSASL, Local: "failure"}, n == xmlstream.Name{Space: stream.NSSASL2, Local: "failure"}:
		o.failures = append(o.failures, first(stream.NSSASL)...)
	case n == xmlstream.Name{Space: stream.NSSASL2, Local: "success"}:
		o.in2, o.bound2 = true, f.Child(stream.NSBind2, "bound") != nil
	case n == xmlstream.Name{Space: stream.NSTLS, Local: "failure"}:
		o.tlsFailure = true
	case n == xmlstream.Name{Space: sm.NS, Local: "failed"}:
		o.smFailures = append(o.smFailures, first(stanza.NSStanzas)...)
	case n == xmlstream.Name{Space: "http://jabber.org/protocol/compress", Local: "failure"}:
		o.compressFailure = true
	case n == xmlstream.Name{Space: stream.NSFraming, Local: "close"}:
		o.ended = true
	case n.Space == stanza.NSClient && f.Attr("type") == stanza.TypeError:
		e := stanza.ParseError(f.Child(stanza.NSClient, "error"))
		o.errors = append(o.errors, string(e.Condition))
	case n.Space == stanza.NSClient && n.Local == "presence":
		o.names = append(o.names, f.Attr("type"))
	}
}

// http reads an answer of HTTP.
func (o *outcome) http(b []byte) {
	if resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil); err == nil {
		resp.Body.Close()
		o.status = resp.StatusCode
	}
}

func (o *outcome) String() string {
	var s []string
	add := func(name string, v any) {
		if t := fmt.Sprint(v); t != "[]" && t != "false" && t != "0" && t != "" {
			s = append(s, name+"="+t)
		}
	}
	add("header", o.header != nil)
	add("features", o.features)
	add("stream-error", o.streamErrors)
	add("sasl-failure", o.failures)
	add("tls-failure", o.tlsFailure)
	add("sm-failed", o.smFailures)
	if len(o.errors) > 5 {
		add("stanza-errors", fmt.Sprint(len(o.errors))+" "+fmt.Sprint(slices.Compact(slices.Sorted(slices.Values(o.errors)))))
	} else {
		add("stanza-errors", o.errors)
	}
	if len(o.names) <= 8 {
		add("elements", o.names)
	} else {
		add("elements", len(o.names))
	}
	add("ended", o.ended)
	add("closed", o.closed)
	add("alert", o.alert)
	add("status", o.status)
	add("ws", o.wsCode)
	return strings.Join(s, " ")
}

// mismatch says why an outcome is not the expected one, or returns "". Whether the connection lives is not looked at
// but where that is the outcome itself.
func (o *outcome) mismatch(e expectation, open bool) string {
	among := func(got ...string) bool {
		return len(got) > 0 && (len(e.Condition) == 0 || slices.ContainsFunc(got, func(g string) bool { return slices.Contains(e.Condition, g) }))
	}
	clean := len(o.streamErrors) == 0 && !o.closed && o.alert == ""
	ok := false
	switch e.Type {
	case "stream-error":
		ok = among(o.streamErrors...)
	case "stanza-error":
		ok = clean && among(o.errors...)
	case "sasl-failure":
		ok = len(o.failures) > 0 && among(o.failures[len(o.failures)-1])
	case "tls-failure":
		ok = o.tlsFailure
	case "compress-failure":
		ok = clean && o.compressFailure
	case "sm-failed":
		ok = clean && among(o.smFailures...)
	case "tls-alert":
		ok = o.alert != "" && among(o.alert)
	case "http":
		ok = o.status != 0 && among(strconv.Itoa(o.status))
	case "close":
		ok = o.closed && len(o.streamErrors) == 0
		if ok && len(e.Condition) > 0 {
			ok = among("ws-" + strconv.Itoa(o.wsCode))
		}
	case "ignored":
		ok = clean && o.silent
	case "ok":
		ok = clean && len(o.failures) == 0 && len(o.smFailures) == 0 && len(o.errors) == 0 && !o.tlsFailure && (len(e.Condition) == 0 || among(o.names...))
		ok = ok && (!open || o.header != nil && o.features)
	}
	if ok {
		return ""
	}
	return "it is not " + e.String()
}
