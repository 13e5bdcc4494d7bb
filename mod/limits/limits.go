package limits

import (
	"strconv"
	"time"

	"sabir/mod"
	"sabir/xmpp/xmlstream"
)

const ns = "urn:xmpp:stream-limits:0"

// Info describes the extension.
var Info = mod.Info{
	Name:  "limits",
	Specs: []string{"XEP-0478 0.2.0"},
	Doc:   "Tells clients the limits on their streams, so that they stay within them.",
	New:   newLimits,
}

func newLimits(h mod.Host, _ any) (*mod.Hooks, error) {
	// The limits change with authentication, and so do the features (XEP-0478#rules).
	return &mod.Hooks{StreamFeatures: []mod.StreamFeature{
		{Auth: false, Func: func() *xmlstream.Element { l := h.Limits(); return feature(l.BeforeAuth, l.Idle) }},
		{Auth: true, Func: func() *xmlstream.Element { l := h.Limits(); return feature(l.AfterAuth, l.Idle) }},
	}}, nil
}

// feature returns <limits/> without what is not known (XEP-0478#advertise), or nil where nothing is.
func feature(bytes int, idle time.Duration) *xmlstream.Element {
	x := xmlstream.El(ns, "limits")
	if bytes > 0 {
		x.Add(xmlstream.El(ns, "max-bytes", strconv.Itoa(bytes)))
	}
	if s := int(idle / time.Second); s > 0 {
		x.Add(xmlstream.El(ns, "idle-seconds", strconv.Itoa(s)))
	}
	if x.First() == nil {
		return nil
	}
	return x
}
