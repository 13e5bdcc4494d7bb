package incoming

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Unknown refuses a top-level element of a stream with content of namespace ns that is neither a stanza nor known
// (RFC 6120 §4.9.3.7, §4.9.3.24).
func Unknown(f *xmlstream.Frame, ns string) *stream.Error {
	n := f.Name()
	if n.Space == stream.NS && n.Local == "stream" {
		return stream.Err(stream.BadFormat, "a stream has one header")
	}
	if n.Space == "" || n.Space != ns && (n.Space == stanza.NSClient || n.Space == stanza.NSServer) {
		return stream.Err(stream.InvalidNamespace, "")
	}
	return stream.Err(stream.UnsupportedStanzaType, "")
}

// SASLFailure is how a failed exchange of SASL is told (RFC 6120 §6.4.5).
func SASLFailure(f *sasl.Failure) *xmlstream.Element {
	x := xmlstream.El(stream.NSSASL, "failure", xmlstream.El(stream.NSSASL, string(f.Condition)))
	if f.Text != "" {
		x.Add(xmlstream.El(stream.NSSASL, "text", xmlstream.Attr{Name: xmlstream.Name{Space: xmlstream.NSXML, Local: "lang"}, Value: "en"}, f.Text))
	}
	return x
}

// Recover contains a panic outside of the handling of a stanza to its stream. It is deferred.
func Recover(log *slog.Logger, err *error) {
	if v := recover(); v != nil {
		log.Error("panic while handling a stream", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		*err = stream.Err(stream.InternalServerError, "")
	}
}
