// Package delay owns the notation of delayed delivery (XEP-0203).
package delay

import (
	"fmt"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// NS is the namespace of <delay/>.
const NS = "urn:xmpp:delay"

// Delay says that a stanza was held back.
type Delay struct {
	From   jid.JID   // who delayed it; may be zero
	Stamp  time.Time // when the stanza was sent first
	Reason string    // for people; may be empty
}

// Element returns the <delay/> element (XEP-0203#protocol).
func (d Delay) Element() *xmlstream.Element {
	x := xmlstream.El(NS, "delay", xmlstream.A("stamp", datetime.Format(d.Stamp)))
	if !d.From.IsZero() {
		x.Add(xmlstream.A("from", d.From.String()))
	}
	return x.Add(d.Reason)
}

// Parse reads a <delay/> element. A stamp that is missing or malformed is an error, as is a malformed from.
func Parse(x *xmlstream.Element) (Delay, error) {
	var d Delay
	var err error
	if !x.Is(NS, "delay") {
		return d, fmt.Errorf("delay: not a <delay/> of %s", NS)
	}
	if d.Stamp, err = datetime.Parse(x.Attr("stamp")); err != nil {
		return d, fmt.Errorf("delay: stamp: %w", err)
	}
	if from := x.Attr("from"); from != "" {
		if d.From, err = jid.Parse(from); err != nil {
			return d, fmt.Errorf("delay: from: %w", err)
		}
	}
	d.Reason = x.Text()
	return d, nil
}

// Of returns the first well-formed notation of a stanza that came from this address, or from anybody where by is zero.
func Of(s *stanza.Stanza, by jid.JID) (Delay, bool) {
	if !s.Has(NS, "delay") {
		return Delay{}, false
	}
	for x := range s.Children() {
		if d, err := Parse(x); err == nil && (by.IsZero() || d.From == by) {
			return d, true
		}
	}
	return Delay{}, false
}

// Claims tells whether x is a notation that claims to come from this address. What a server gets under its own name is
// forged (XEP-0203#security).
func Claims(x *xmlstream.Element, by jid.JID) bool {
	if !x.Is(NS, "delay") {
		return false
	}
	from, err := jid.Parse(x.Attr("from"))
	return err == nil && from == by
}
