// Package jid owns XMPP addresses: reading, preparing and comparing them as RFC 7622 says, and the escaping of localparts
// of XEP-0106.
//
// A JID is always prepared: localparts by the PRECIS profile UsernameCaseMapped (RFC 8265 §3.3), domainparts by IDNA2008 with
// U-labels, resourceparts by OpaqueString (RFC 8265 §4.2). Two addresses are therefore the same exactly if == says so, and a
// JID may be the key of a map. The zero value is "no address".
package jid

import (
	"cmp"
	"strings"
)

// MaxPart is the greatest length of a prepared part in bytes (RFC 7622 §3.2, §3.3, §3.4). The least is one byte.
const MaxPart = 1023

// MaxLen is the greatest length of a whole address in bytes: three parts and two separators.
const MaxLen = 3*MaxPart + 2

// Part names a part of an address in an Error.
type Part string

// The three parts of an address (RFC 7622 §3.1).
const (
	LocalPart    Part = "localpart"
	DomainPart   Part = "domainpart"
	ResourcePart Part = "resourcepart"
)

// Error says why a string is not an address. It is to be answered by the stanza error jid-malformed (RFC 6120 §8.3.3.8), or by
// improper-addressing where a stream or its header is concerned (RFC 6120 §4.9.3.7). Its text never repeats the input, so that
// it may be logged and sent as it is.
type Error struct {
	Part   Part
	Reason string
}

func (e *Error) Error() string { return "jid: " + string(e.Part) + " " + e.Reason }

// JID is a prepared XMPP address: "domain", "local@domain", "domain/resource" or "local@domain/resource". It is small and is
// compared by ==. The methods that return parts or shorter addresses do not allocate.
type JID struct {
	s      string // whole address in its canonical form
	local  uint16 // length of the localpart, 0 if there is none
	domain uint16 // length of the domainpart, 0 only in the zero JID
}

// Parse reads an address and prepares its parts. A string that is already prepared and ASCII is not copied: the JID keeps s
// itself, so a caller that cuts s out of a large buffer for a long-lived JID keeps its Clone. The error is an *Error.
func Parse(s string) (JID, error) {
	// RFC 7622 §3.2: first everything from the first '/' is the resourcepart, then everything before the first '@' of
	// the rest is the localpart. Splitting comes before preparation, so a fullwidth '／' or '＠' never separates.
	rest, res := s, ""
	slash := strings.IndexByte(s, '/')
	if slash >= 0 {
		rest, res = s[:slash], s[slash+1:]
		if res == "" {
			return JID{}, &Error{ResourcePart, "is empty after its slash"}
		}
	}
	local, dom := "", rest
	at := strings.IndexByte(rest, '@')
	if at >= 0 {
		local, dom = rest[:at], rest[at+1:]
		if local == "" {
			return JID{}, &Error{LocalPart, "is empty before its at sign"}
		}
	}
	if isPreparedDomain(dom) && isPreparedLocal(local) && isPreparedResource(res) {
		return JID{s: s, local: uint16(len(local)), domain: uint16(len(dom))}, nil
	}
	return New(local, dom, res)
}

// MustParse is Parse for addresses that are known to be right, such as constants in tests. It panics on an error.
func MustParse(s string) JID {
	j, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return j
}

// New makes an address of its parts, which it prepares. An empty local or resource means that the address has none; domain is
// required. The error is an *Error.
func New(local, domain, resource string) (JID, error) {
	var err error
	if domain, err = PrepareDomain(domain); err != nil {
		return JID{}, err
	}
	if local != "" {
		if local, err = PrepareLocal(local); err != nil {
			return JID{}, err
		}
	}
	if resource != "" {
		if resource, err = PrepareResource(resource); err != nil {
			return JID{}, err
		}
	}
	return join(local, domain, resource), nil
}

// join puts prepared parts together.
func join(local, domain, resource string) JID {
	j := JID{local: uint16(len(local)), domain: uint16(len(domain))}
	switch {
	case local == "" && resource == "":
		j.s = domain
	case local == "":
		j.s = domain + "/" + resource
	case resource == "":
		j.s = local + "@" + domain
	default:
		j.s = local + "@" + domain + "/" + resource
	}
	return j
}

// domainAt is the offset of the domainpart.
func (j JID) domainAt() int {
	if j.local == 0 {
		return 0
	}
	return int(j.local) + 1
}

// bareLen is the length of the address without its resourcepart.
func (j JID) bareLen() int { return j.domainAt() + int(j.domain) }

// Local returns the localpart, or "" if there is none.
func (j JID) Local() string { return j.s[:j.local] }

// Domain returns the domainpart, with U-labels. It is "" only for the zero JID.
func (j JID) Domain() string { return j.s[j.domainAt():j.bareLen()] }

// Resource returns the resourcepart, or "" if there is none.
func (j JID) Resource() string {
	if j.IsFull() {
		return j.s[j.bareLen()+1:]
	}
	return ""
}

// String returns the canonical form of the address, or "" for the zero JID. Parse(j.String()) is j.
func (j JID) String() string { return j.s }

// Bare returns the address without its resourcepart.
func (j JID) Bare() JID {
	j.s = j.s[:j.bareLen()]
	return j
}

// Clone returns the same address in memory of its own: what is kept for long does not hold on to the stanza that it was cut from.
func (j JID) Clone() JID {
	j.s = strings.Clone(j.s)
	return j
}

// DomainJID returns the address of the domain alone.
func (j JID) DomainJID() JID { return JID{s: j.Domain(), domain: j.domain} }

// WithResource returns the bare address with the given resourcepart, which is prepared and must not be empty.
func (j JID) WithResource(resource string) (JID, error) {
	if j.IsZero() {
		return JID{}, &Error{DomainPart, "is empty"}
	}
	resource, err := PrepareResource(resource)
	if err != nil {
		return JID{}, err
	}
	j.s = j.s[:j.bareLen()] + "/" + resource
	return j, nil
}

// IsZero reports whether j is no address.
func (j JID) IsZero() bool { return j.domain == 0 }

// IsBare reports whether j has no resourcepart: "local@domain" or "domain".
func (j JID) IsBare() bool { return j.domain != 0 && len(j.s) == j.bareLen() }

// IsFull reports whether j has a resourcepart: "local@domain/resource" or "domain/resource".
func (j JID) IsFull() bool { return len(j.s) > j.bareLen() }

// IsDomain reports whether j is a domain alone, without local- and resourcepart.
func (j JID) IsDomain() bool { return j.local == 0 && j.IsBare() }

// Compare orders addresses by domain, then local, then resource, bytewise, so that the addresses of one domain and the
// resources of one account stand together. It returns 0 exactly if j == k.
func (j JID) Compare(k JID) int {
	return cmp.Or(
		strings.Compare(j.Domain(), k.Domain()),
		strings.Compare(j.Local(), k.Local()),
		strings.Compare(j.Resource(), k.Resource()),
	)
}

// MarshalText returns the canonical form; the zero JID gives an empty text. It never fails.
func (j JID) MarshalText() ([]byte, error) { return []byte(j.s), nil }

// AppendText appends the canonical form to b. It never fails.
func (j JID) AppendText(b []byte) ([]byte, error) { return append(b, j.s...), nil }

// UnmarshalText is the inverse of MarshalText: an empty text gives the zero JID, any other is read by Parse. On an error j
// is not changed.
func (j *JID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*j = JID{}
		return nil
	}
	k, err := Parse(string(text))
	if err != nil {
		return err
	}
	*j = k
	return nil
}
