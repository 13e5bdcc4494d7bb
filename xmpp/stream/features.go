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
	// SASL2 is what <authentication/> offers (XEP-0388), nil where there is none.
	SASL2 *SASL2
	// ConfigVersion names these features for a login that is sent before they come (XEP-0509); "" where there is none.
	ConfigVersion string
	// Element is the whole, for features not listed here.
	Element *xmlstream.Element
}

// SASL2 is what a server offers in <authentication/> (XEP-0388).
type SASL2 struct {
	Mechanisms []string
	// Tokens are the mechanisms of tokens (XEP-0484).
	Tokens []string
	// Upgrades are the upgrade tasks (XEP-0480).
	Upgrades []string
	// Bind tells of Bind 2 (XEP-0386), Inline what may be set up in it; Resume that a session may be resumed (XEP-0198).
	Bind, Resume bool
	Inline       []string
}

const nsSM = "urn:xmpp:sm:3" // XEP-0198

func parseSASL2(x *xmlstream.Element) *SASL2 {
	a := &SASL2{Mechanisms: texts(x, NSSASL2, "mechanism"), Upgrades: texts(x, NSUpgrade, "upgrade")}
	in := x.Child(NSSASL2, "inline")
	if in == nil {
		return a
	}
	a.Resume = in.Child(nsSM, "sm") != nil
	if f := in.Child(NSFAST, "fast"); f != nil {
		a.Tokens = texts(f, NSFAST, "mechanism")
	}
	if b := in.Child(NSBind2, "bind"); b != nil {
		a.Bind = true
		if list := b.Child(NSBind2, "inline"); list != nil {
			for f := range list.Elements() {
				a.Inline = append(a.Inline, f.Attr("var"))
			}
		}
	}
	return a
}

// texts returns the texts of the children of a name.
func texts(x *xmlstream.Element, space, local string) []string {
	var all []string
	for k := range x.Elements() {
		if k.Is(space, local) {
			all = append(all, k.Text())
		}
	}
	return all
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
		case k.Is(NSSASL2, "authentication"):
			f.SASL2 = parseSASL2(k)
		case k.Is(NSIAP, "config-version"):
			f.ConfigVersion = k.Attr("value")
		case k.Is(NSBind, "bind"):
			f.Bind = true
		case k.Is(NSSession, "session"):
			f.Session = k.Child(NSSession, "optional") == nil
		}
	}
	return f
}
