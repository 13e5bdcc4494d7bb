package stream

import "sabir/xmpp/xmlstream"

// Features is what a receiving entity offers (RFC 6120 §4.3.2), as a client reads it.
type Features struct {
	StartTLS    bool // RFC 6120 §5
	TLSRequired bool // RFC 6120 §5.4.1
	// Mechanisms are those of SASL, in the order of the server (RFC 6120 §6.4.1).
	Mechanisms []string
	// ChannelBindings are the types that the server knows (XEP-0440); empty where it does not say.
	ChannelBindings []string
	Bind            bool // RFC 6120 §7
	// Session says that the server still wants the session request of RFC 3921; one marked <optional/> is not counted.
	Session bool
	// Element is the whole, for features not listed here.
	Element *xmlstream.Element
}

// ParseFeatures reads <stream:features/>.
func ParseFeatures(x *xmlstream.Element) Features {
	f := Features{Element: x}
	for k := range x.Elements() {
		switch {
		case k.Is(NSTLS, "starttls"):
			f.StartTLS = true
			f.TLSRequired = k.Child(NSTLS, "required") != nil
		case k.Is(NSSASL, "mechanisms"):
			for m := range k.Elements() {
				if m.Is(NSSASL, "mechanism") {
					f.Mechanisms = append(f.Mechanisms, m.Text())
				}
			}
		case k.Is(NSCB, "sasl-channel-binding"):
			for c := range k.Elements() {
				if c.Is(NSCB, "channel-binding") {
					f.ChannelBindings = append(f.ChannelBindings, c.Attr("type"))
				}
			}
		case k.Is(NSBind, "bind"):
			f.Bind = true
		case k.Is(NSSession, "session"):
			f.Session = k.Child(NSSession, "optional") == nil
		}
	}
	return f
}
