package vcard

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"sabir/xmpp/xmlstream"
)

// The nodes of an avatar (XEP-0084), which are also the namespaces of what they hold.
const (
	AvatarData     = "urn:xmpp:avatar:data"
	AvatarMetadata = "urn:xmpp:avatar:metadata"
)

// NSUpdate qualifies the hash of the avatar in presence (XEP-0153).
const NSUpdate = "vcard-temp:x:update"

// Avatar is a picture of an account.
type Avatar struct {
	Type string // of the content, such as image/png
	Data []byte
}

// ID returns the SHA-1 hash by which all protocols name the picture, in hexadecimal digits (XEP-0084#process-pubdata).
func (a *Avatar) ID() string {
	h := sha1.Sum(a.Data)
	return hex.EncodeToString(h[:])
}

// DataElement and MetadataElement return what the two nodes hold.
func (a *Avatar) DataElement() *xmlstream.Element {
	return xmlstream.El(AvatarData, "data", base64.StdEncoding.EncodeToString(a.Data))
}

// MetadataElement is documented beside DataElement.
func (a *Avatar) MetadataElement() *xmlstream.Element {
	return xmlstream.El(AvatarMetadata, "metadata", xmlstream.El(AvatarMetadata, "info",
		xmlstream.A("bytes", strconv.Itoa(len(a.Data))), xmlstream.A("id", a.ID()), xmlstream.A("type", a.Type)))
}

// Photo returns the picture as a vCard has it.
func (a *Avatar) Photo() *xmlstream.Element {
	return xmlstream.El(NS, "PHOTO", xmlstream.El(NS, "TYPE", a.Type), xmlstream.El(NS, "BINVAL", base64.StdEncoding.EncodeToString(a.Data)))
}

// Base64 decodes text that may be broken into lines.
func Base64(text string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, text))
}

// PhotoOf returns the picture that a vCard holds, or nil. A picture elsewhere (EXTVAL) is none.
func PhotoOf(card *xmlstream.Element) *Avatar {
	p := card.Child(NS, "PHOTO")
	data, err := Base64(p.ChildText(NS, "BINVAL"))
	if err != nil || len(data) == 0 {
		return nil
	}
	a := &Avatar{Type: strings.TrimSpace(p.ChildText(NS, "TYPE")), Data: data}
	if a.Type == "" {
		a.Type = http.DetectContentType(data)
	}
	return a
}

// Current returns id and type of the picture that metadata tells of: of several the one that is held here and not elsewhere
// (XEP-0398#pep2vcard). They are "" where there is none.
func Current(metadata *xmlstream.Element) (id, typ string) {
	for i := range metadata.Elements() {
		if i.Is(AvatarMetadata, "info") && i.Attr("url") == "" && i.Attr("id") != "" {
			return i.Attr("id"), i.Attr("type")
		}
	}
	return "", ""
}

// Held returns the picture of an item of the node AvatarData, or nil where it is not the one that id names.
func Held(id, typ string, data *xmlstream.Element) *Avatar {
	if !data.Is(AvatarData, "data") {
		return nil
	}
	b, err := Base64(data.Text())
	if a := (&Avatar{Type: typ, Data: b}); err == nil && len(b) > 0 && strings.EqualFold(a.ID(), id) {
		return a
	}
	return nil
}

// WithPhoto returns a vCard in which the picture is the avatar: nil for none. card may be nil, and so may the result be.
func WithPhoto(card *xmlstream.Element, a *Avatar) *xmlstream.Element {
	out := xmlstream.El(NS, "vCard")
	if card != nil {
		out.Attrs = card.Attrs
	}
	done := a == nil
	for k := range card.Elements() {
		switch {
		case !k.Is(NS, "PHOTO"):
			out.Add(k)
		case !done:
			out.Add(a.Photo())
			done = true
		}
	}
	if !done {
		out.Add(a.Photo())
	}
	if out.First() == nil {
		return nil
	}
	return out
}

// Placeholder returns a vCard with an empty <PHOTO/> in place of the picture, which is kept elsewhere.
func Placeholder(card *xmlstream.Element) *xmlstream.Element {
	out := card.Clone()
	for i, n := range out.Nodes {
		if n.El.Is(NS, "PHOTO") {
			out.Nodes[i] = xmlstream.Node{El: xmlstream.El(NS, "PHOTO")}
		}
	}
	return out
}
