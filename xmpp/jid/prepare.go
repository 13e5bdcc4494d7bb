package jid

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

// maxRaw is the greatest length of a part before preparation, in bytes. Preparation shrinks a string by at most a factor of
// three (a fullwidth letter of three bytes becomes one; three jamo of three bytes become one syllable of three), so nothing
// longer can fit MaxPart. It is refused before any work is done.
const maxRaw = 3 * MaxPart

// The classes of ASCII in prepared parts.
const (
	localByte    = 1 << iota // allowed as it is in a localpart
	domainByte               // allowed as it is in a label: LDH
	resourceByte             // allowed as it is in a resourcepart
)

// ascii holds the classes of each byte; those from 0x80 have none.
var ascii = func() (t [256]uint8) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] |= resourceByte // RFC 8265 §4.2: printable ASCII and the space
		switch c {
		case ' ', '"', '&', '\'', '/', ':', '<', '>', '@': // RFC 7622 §3.3.1
		default:
			if c < 'A' || c > 'Z' {
				t[c] |= localByte
			}
		}
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' {
			t[c] |= domainByte
		}
	}
	return t
}()

// isPreparedLocal reports that s is ASCII and its own preparation, or empty.
func isPreparedLocal(s string) bool { return len(s) <= MaxPart && all(s, localByte) }

// isPreparedResource reports that s is ASCII and its own preparation, or empty.
func isPreparedResource(s string) bool { return len(s) <= MaxPart && all(s, resourceByte) }

func all(s string, class uint8) bool {
	for i := range len(s) {
		if ascii[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// lowerASCII maps the capitals of a string that is all ASCII, and leaves any other as it is.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return s
		}
	}
	return strings.ToLower(s)
}

// isPreparedDomain reports that s is a domain name of NR-LDH labels (RFC 5890 §2.3.1) in lower case, without a dot at its end.
// An IPv4 address is one, too. It says no to all that needs a closer look: U-labels, A-labels, IPv6, wrong names.
func isPreparedDomain(s string) bool {
	if s == "" || len(s) > MaxPart {
		return false
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if ascii[s[i]]&domainByte == 0 {
				return false
			}
			continue
		}
		l := s[start:i]
		if l == "" || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' || len(l) > 4 && l[2] == '-' && l[3] == '-' {
			return false
		}
		start = i + 1
	}
	return true
}

// PrepareLocal prepares a localpart (RFC 7622 §3.3): the profile UsernameCaseMapped, then the characters that it allows and
// XMPP does not. s must not be empty. A string that is prepared already is returned as it is. The error is an *Error.
func PrepareLocal(s string) (string, error) {
	if s != "" && len(s) <= maxRaw {
		if l := lowerASCII(s); isPreparedLocal(l) {
			return l, nil
		}
	}
	p, err := enforce(LocalPart, precis.UsernameCaseMapped, s)
	if err != nil {
		return "", err
	}
	// RFC 7622 §3.3.1. After the mapping, because a fullwidth '＠' becomes '@' by it.
	if strings.ContainsAny(p, "\"&'/:<>@") {
		return "", &Error{LocalPart, "contains one of the forbidden characters \" & ' / : < > @"}
	}
	return p, nil
}

// PrepareResource prepares a resourcepart (RFC 7622 §3.4): the profile OpaqueString. s must not be empty. A string that is
// prepared already is returned as it is. The error is an *Error.
func PrepareResource(s string) (string, error) {
	if s != "" && isPreparedResource(s) {
		return s, nil
	}
	return enforce(ResourcePart, precis.OpaqueString, s)
}

// enforce applies a PRECIS profile and the limits of length.
func enforce(part Part, p *precis.Profile, s string) (string, error) {
	if err := checkRaw(part, s); err != nil {
		return "", err
	}
	t, err := p.String(s)
	if err != nil {
		return "", &Error{part, "contains a character that is not allowed there"}
	}
	if t == "" {
		return "", &Error{part, "is empty"}
	}
	if len(t) > MaxPart {
		return "", &Error{part, "is longer than 1023 bytes"}
	}
	// RFC 8264 §7: a profile need not be idempotent for every string. An address whose preparation is not its own
	// preparation would be two addresses, so it is none.
	if u, err := p.String(t); err != nil || u != t {
		return "", &Error{part, "has no stable form"}
	}
	return t, nil
}

// checkRaw refuses what no preparation can make right.
func checkRaw(part Part, s string) error {
	switch {
	case s == "":
		return &Error{part, "is empty"}
	case len(s) > maxRaw:
		return &Error{part, "is longer than 1023 bytes"}
	case !utf8.ValidString(s):
		return &Error{part, "is not UTF-8"}
	}
	return nil
}

// maxLabel is the greatest length of a label in bytes, of a U-label that of its A-label (RFC 5890 §2.3.2.1).
const maxLabel = 63

// registered checks names by IDNA2008 without mapping anything: NFC, hyphens, leading marks, joiners, the Bidi rule (RFC 5891
// §4.2). Lengths are checked label by label in prepareLabel, since the limit of the whole is that of RFC 7622.
var registered = idna.New(idna.ValidateForRegistration(), idna.VerifyDNSLength(false))

// identifier adds what registered leaves out: symbols, which UTS #46 takes but IDNA2008 does not, and the contextual rules of
// RFC 5892 Appendix A for middle dots, geresh, digits and the like. PRECIS has both in common with IDNA2008.
var identifier = precis.NewIdentifier(precis.Norm(norm.NFC))

// PrepareDomain prepares a domainpart (RFC 7622 §3.2): a domain name, whose A-labels become U-labels and whose final dot goes, an
// IPv4 address, or an IPv6 address in brackets, which becomes the form of RFC 5952. A string that is prepared already is
// returned as it is. The error is an *Error.
func PrepareDomain(s string) (string, error) {
	if err := checkRaw(DomainPart, s); err != nil {
		return "", err
	}
	if l := strings.TrimSuffix(lowerASCII(s), "."); isPreparedDomain(l) {
		return l, nil
	}
	if s[0] == '[' {
		return prepareIPv6(s)
	}
	s = strings.TrimSuffix(mapDomain(s), ".") // RFC 7622 §3.2: after the mapping, for a fullwidth dot may be the last
	if isPreparedDomain(s) {
		return s, nil
	}
	if s == "" {
		return "", &Error{DomainPart, "is empty"}
	}
	labels := strings.Split(s, ".")
	for i, l := range labels {
		u, err := prepareLabel(l)
		if err != nil {
			return "", err
		}
		labels[i] = u
	}
	s = strings.Join(labels, ".")
	if len(s) > MaxPart {
		return "", &Error{DomainPart, "is longer than 1023 bytes"}
	}
	// RFC 5893 §2: one label written from right to left puts all labels under the Bidi rule, so the whole is checked.
	if t, err := registered.ToUnicode(s); err != nil || t != s {
		return "", &Error{DomainPart, "is not a valid internationalized domain name"}
	}
	return s, nil
}

// mapDomain applies the mappings of RFC 7622 §3.2.2 in the order of RFC 5895 §2: lower case, width, NFC, full stops.
func mapDomain(s string) string {
	s = cases.Lower(language.Und, cases.HandleFinalSigma(false)).String(s)
	s = norm.NFC.String(width.Fold.String(s))
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\u3002': // the halfwidth and the fullwidth full stop became this one and '.' by their width
			return '.'
		case 0xAB70 <= r && r <= 0xABBF:
			// Cherokee is the script whose case folding leads to the capitals; IDNA2008 knows only these.
			return r - 0xAB70 + 0x13A0
		case 0x13F8 <= r && r <= 0x13FD:
			return r - 8
		}
		return r
	}, s)
}

// prepareLabel checks one mapped label, and decodes it if it is an A-label.
func prepareLabel(l string) (string, error) {
	if l == "" {
		return "", &Error{DomainPart, "has an empty label"}
	}
	u := l
	if strings.HasPrefix(l, "xn--") {
		var err error
		if u, err = registered.ToUnicode(l); err != nil {
			return "", &Error{DomainPart, "has a label that is no A-label though it looks so"}
		}
	}
	a, err := registered.ToASCII(u)
	if err != nil {
		return "", &Error{DomainPart, "has a label with characters or hyphens that are not allowed there"}
	}
	if u != l && a != l { // RFC 5891 §5.4: what decodes must encode to the same again
		return "", &Error{DomainPart, "has a label that is no A-label though it looks so"}
	}
	if len(a) > maxLabel {
		return "", &Error{DomainPart, "has a label of more than 63 bytes"}
	}
	if t, err := identifier.String(u); err != nil || t != u {
		return "", &Error{DomainPart, "has a label with characters that are not allowed there"}
	}
	return u, nil
}

// prepareIPv6 prepares "[address]". Scopes are refused, since they mean nothing to another host; so is the form IPvFuture,
// which nobody has defined.
func prepareIPv6(s string) (string, error) {
	const longest = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]")
	if len(s) <= longest && s[len(s)-1] == ']' {
		a, err := netip.ParseAddr(s[1 : len(s)-1])
		if err == nil && a.Is6() && a.Zone() == "" {
			return "[" + a.String() + "]", nil
		}
	}
	return "", &Error{DomainPart, "is not an IPv6 address though it has brackets"}
}
