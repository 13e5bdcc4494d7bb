// Package stream owns what surrounds the stanzas of an XML stream, for both sides: its opening and closing tags, its
// features, its errors and its framing over TCP (RFC 6120 §4) and over WebSocket (RFC 7395), and the connections that a
// client opens. It reads no stanzas.
package stream

import (
	"crypto/rand"
	"encoding/base64"
	"strings"

	"sabir/xmpp/xmlstream"
)

// Namespaces of stream negotiation.
const (
	NS        = "http://etherx.jabber.org/streams"         // RFC 6120 §4.8.1
	NSStreams = "urn:ietf:params:xml:ns:xmpp-streams"      // stream error conditions, RFC 6120 §4.9
	NSTLS     = "urn:ietf:params:xml:ns:xmpp-tls"          // RFC 6120 §5
	NSSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"         // RFC 6120 §6
	NSBind    = "urn:ietf:params:xml:ns:xmpp-bind"         // RFC 6120 §7
	NSSession = "urn:ietf:params:xml:ns:xmpp-session"      // RFC 3921 §3, a courtesy to old clients
	NSFraming = "urn:ietf:params:xml:ns:xmpp-framing"      // RFC 7395
	NSCB      = "urn:xmpp:sasl-cb:0"                       // XEP-0440
	NSSASL2   = "urn:xmpp:sasl:2"                          // XEP-0388
	NSBind2   = "urn:xmpp:bind:0"                          // XEP-0386
	NSFAST    = "urn:xmpp:fast:0"                          // XEP-0484
	NSUpgrade = "urn:xmpp:sasl:upgrade:0"                  // XEP-0480
	NSSCRAMUp = "urn:xmpp:scram-upgrade:0"                 // XEP-0480#scram
	NSIAP     = "urn:xmpp:iap:0"                           // XEP-0509
	nsClient  = "jabber:client"                            // RFC 6120 §4.8.2
	nsServer  = "jabber:server"                            // RFC 6120 §4.8.2
	nsAccept  = "jabber:component:accept"                  // XEP-0114
	maxLang   = 35                                         // RFC 5646 §4.4.1: the length a language tag needs
	version   = "1.0"                                      // RFC 6120 §4.7.5
	declTCP   = "<?xml version='1.0'?>"                    // RFC 6120 §11.5
	openTCP   = "<stream:stream xmlns:stream='" + NS + "'" // the prefix is the customary one: RFC 6120 §4.8.5
	// declDialback says that dialback is known, to servers that look for nothing else (XEP-0220#advertisement-traditional).
	declDialback = " xmlns:db='jabber:server:dialback'"
	openWS       = "<open xmlns='" + NSFraming + "'" // RFC 7395 §3.3.2
	closeWSTo    = "<close xmlns='" + NSFraming + "' see-other-uri='"
)

// What closes a stream: its end tag over TCP (RFC 6120 §4.4), a frame over WebSocket (RFC 7395 §3.6).
const (
	CloseTCP = "</stream:stream>"
	CloseWS  = "<close xmlns='" + NSFraming + "'/>"
)

// Header is the opening of a stream in one direction. Addresses are as the peer sent them: neither parsed nor prepared.
type Header struct {
	To, From string
	ID       string // only from the receiving entity (RFC 6120 §4.7.3)
	// Version is the peer's; "" where it gave none, which means 0.9 (RFC 6120 §4.7.5). In a header that is written, ""
	// stands for 1.0, but for none where ContentNS is that of components (XEP-0114#proto).
	Version string
	// Lang is the default language of the stream (RFC 6120 §4.7.4). A tag too long or of the wrong shape reads as "".
	Lang string
	// ContentNS is the content namespace (RFC 6120 §4.8.2). "" in a header that was read says that the peer declares it
	// in every stanza; in one that is written it stands for jabber:client.
	ContentNS string
}

// AppendTCP appends the XML declaration and the opening tag.
func (h Header) AppendTCP(dst []byte) []byte {
	ns := h.ContentNS
	if ns == "" {
		ns = nsClient
	}
	dst = append(dst, declTCP+openTCP...)
	dst = appendAttr(dst, "xmlns", ns)
	if ns == nsServer {
		dst = append(dst, declDialback...)
	}
	dst = h.appendAttrs(dst)
	return append(dst, '>')
}

// AppendWS appends the <open/> element of RFC 7395 §3.3.2.
func (h Header) AppendWS(dst []byte) []byte {
	dst = append(dst, openWS...)
	dst = h.appendAttrs(dst)
	return append(dst, "/>"...)
}

func (h Header) appendAttrs(dst []byte) []byte {
	dst = appendAttr(dst, "from", h.From)
	dst = appendAttr(dst, "to", h.To)
	dst = appendAttr(dst, "id", h.ID)
	v := h.Version
	if v == "" && h.ContentNS != nsAccept {
		v = version
	}
	dst = appendAttr(dst, "version", v)
	return appendAttr(dst, "xml:lang", h.Lang)
}

func appendAttr(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, "='"...)
	return append(xmlstream.AppendAttr(dst, value), '\'')
}

// ParseTCP reads the opening tag of a stream. contentNS is the one content namespace that is served here. Beside an
// error it returns what it could read, since the answer to a bad header is a header, an error and the end
// (RFC 6120 §4.9.1.2).
func ParseTCP(h *xmlstream.Header, contentNS string) (Header, *Error) {
	out := readAttrs(h.Attrs)
	out.ContentNS = h.DefaultNS
	switch {
	case h.Name.Space != NS: // RFC 6120 §4.8.1
		return out, Err(InvalidNamespace, "a stream starts with <stream/> of the namespace "+NS)
	case h.Name.Local != "stream":
		return out, Err(BadFormat, "a stream starts with <stream/>")
	case h.Prefix == "stream":
	case h.Prefix == "": // RFC 6120 §4.8.2: the stream namespace is the default one, stanzas declare theirs
		out.ContentNS = ""
	default:
		return out, Err(BadNamespacePrefix, "the prefix of the stream namespace is stream") // RFC 6120 §4.9.3.2
	}
	if out.ContentNS != "" && out.ContentNS != contentNS { // RFC 6120 §4.8.3
		return out, Err(InvalidNamespace, "the content namespace here is "+contentNS)
	}
	if contentNS == nsAccept {
		return out, nil // XEP-0114 streams have no version
	}
	return out, checkVersion(out.Version)
}

// ParseWS reads the first frame of a stream over WebSocket. Beside an error it returns what it could read.
func ParseWS(f *xmlstream.Frame) (Header, *Error) {
	out := readAttrs(f.Attrs())
	out.ContentNS = nsClient // RFC 7395 §3.3.3
	n := f.Name()
	switch {
	case n.Space != NSFraming: // RFC 7395 §3.3.2
		return out, Err(InvalidNamespace, "a stream over WebSocket starts with <open/> of the namespace "+NSFraming)
	case n.Local != "open":
		return out, Err(BadFormat, "a stream over WebSocket starts with <open/>")
	}
	return out, checkVersion(out.Version)
}

func readAttrs(attrs []xmlstream.Attr) Header {
	var h Header
	for _, a := range attrs {
		switch a.Name {
		case xmlstream.Name{Local: "to"}:
			h.To = a.Value
		case xmlstream.Name{Local: "from"}:
			h.From = a.Value
		case xmlstream.Name{Local: "id"}:
			h.ID = a.Value
		case xmlstream.Name{Local: "version"}:
			h.Version = a.Value
		case xmlstream.Name{Space: xmlstream.NSXML, Local: "lang"}:
			h.Lang = cleanLang(a.Value)
		}
	}
	return h
}

// cleanLang keeps a language tag only where it may be copied to the stanzas of the stream (RFC 6120 §8.1.5).
func cleanLang(s string) string {
	if len(s) > maxLang {
		return ""
	}
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' {
			return ""
		}
	}
	return s
}

// checkVersion applies RFC 6120 §4.7.5: the parts are compared as numbers, leading zeros count for nothing, and any
// version from 1.0 on is answered with 1.0.
func checkVersion(v string) *Error {
	if v == "" {
		return Err(UnsupportedVersion, "a stream header has a version of 1.0 or above")
	}
	major, minor, ok := strings.Cut(v, ".")
	if !ok || !digits(major) || !digits(minor) {
		return Err(UnsupportedVersion, "a version is two numbers with a dot between")
	}
	if strings.Trim(major, "0") == "" {
		return Err(UnsupportedVersion, "versions before 1.0 are not served")
	}
	return nil
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// NewStreamID returns an id of 128 random bits (RFC 6120 §4.7.3: unique and not to be guessed).
func NewStreamID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// AppendTCP appends e, an element of the stream namespace such as <features/>, as it stands within a stream over TCP,
// where the prefix stream is declared in the header and ns is the content namespace.
func AppendTCP(dst []byte, e *xmlstream.Element, ns string) []byte {
	return appendPrefixed(dst, e, ns, "")
}

// AppendWS appends e, an element of the stream namespace, as a frame that stands alone (RFC 7395 §3.3.3). The prefix is
// that of the examples there, since some clients look for it.
func AppendWS(dst []byte, e *xmlstream.Element) []byte {
	return appendPrefixed(dst, e, "", " xmlns:stream='"+NS+"'")
}

func appendPrefixed(dst []byte, e *xmlstream.Element, ns, decl string) []byte {
	dst = append(dst, "<stream:"...)
	dst = append(dst, e.Name.Local...)
	dst = append(dst, decl...)
	for _, a := range e.Attrs {
		if a.Name.Space == "" {
			dst = appendAttr(dst, a.Name.Local, a.Value)
		}
	}
	if len(e.Nodes) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	for _, n := range e.Nodes {
		if n.El != nil {
			dst = n.El.Append(dst, ns)
		} else {
			dst = xmlstream.AppendText(dst, n.Text)
		}
	}
	dst = append(dst, "</stream:"...)
	dst = append(dst, e.Name.Local...)
	return append(dst, '>')
}

// AppendCloseWS appends the <close/> that sends the peer to another endpoint (RFC 7395 §3.6.1).
func AppendCloseWS(dst []byte, seeOtherURI string) []byte {
	if seeOtherURI == "" {
		return append(dst, CloseWS...)
	}
	dst = append(dst, closeWSTo...)
	return append(xmlstream.AppendAttr(dst, seeOtherURI), "'/>"...)
}
