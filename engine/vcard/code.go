package vcard

import "strings"

// plain is the code of a text, of this type in vCard4.
func plain(typ string) code {
	return code{func(f []string) (string, string) { return typ, f[0] }, text}
}

// text takes a value of vCard4 whatever its type.
func text(_, value string) []string { return []string{value} }

// birthday tells a date from a text that is none (RFC 6351).
func birthday(f []string) (typ, value string) {
	switch {
	case strings.Trim(f[0], "0123456789-") == "":
		return "date", f[0]
	case strings.Trim(f[0], "0123456789-:TZ+.") == "":
		return "date-time", f[0]
	}
	return "text", f[0]
}

// phone returns a tel: URI of what one may hold as it stands, and number what it holds.
func phone(f []string) (typ, value string) {
	if f[0] != "" && strings.Trim(f[0], "+0123456789-.()") == "" {
		return "uri", "tel:" + f[0]
	}
	return "text", f[0]
}

// number is documented beside phone.
func number(_, value string) []string { return []string{strings.TrimPrefix(value, "tel:")} }

// uri returns the xmpp: URI of an address, and jabber the address. Addresses of other networks say nothing.
func uri(f []string) (typ, value string) {
	if f[0] == "" {
		return "uri", ""
	}
	return "uri", "xmpp:" + f[0]
}

// jabber is documented beside uri.
func jabber(_, value string) []string {
	v, ok := strings.CutPrefix(value, "xmpp:")
	if !ok {
		return nil
	}
	return []string{v}
}

// geo returns the geo: URI of latitude and longitude, and position those, without the height.
func geo(f []string) (typ, value string) {
	if f[0] == "" || f[1] == "" {
		return "uri", ""
	}
	return "uri", "geo:" + f[0] + "," + f[1]
}

// position is documented beside geo.
func position(_, value string) []string {
	v, ok := strings.CutPrefix(value, "geo:")
	v, _, _ = strings.Cut(v, ";")
	lat, lon, two := strings.Cut(v, ",")
	lon, _, _ = strings.Cut(lon, ",")
	if !ok || !two {
		return nil
	}
	return []string{lat, lon}
}

// data returns the URI of a picture or a sound, a data: one where it stands in the vCard, and content what such a URI holds.
func data(f []string) (typ, value string) {
	if b, err := Base64(f[1]); err == nil && len(b) > 0 {
		return "uri", "data:" + f[0] + ";base64," + strings.Join(strings.Fields(f[1]), "")
	}
	return "uri", f[2]
}

// content is documented beside data.
func content(_, value string) []string {
	head, data, inline := strings.Cut(value, ",")
	typ, is := strings.CutPrefix(head, "data:")
	typ, base64 := strings.CutSuffix(typ, ";base64")
	if !inline || !is || !base64 {
		return []string{"", "", value}
	}
	return []string{typ, data, ""}
}

// key takes a key that stands in the vCard. A place to fetch it from says nothing: vcard-temp has none.
func key(typ, value string) []string {
	if typ != "text" {
		return nil
	}
	return []string{value}
}
