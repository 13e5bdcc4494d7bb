package jid

import "strings"

// escaped returns the escape sequence of a character that is not allowed in a localpart, or "" for any other
// (XEP-0106#escaping). The case of the digits is significant.
func escaped(c byte) string {
	switch c {
	case ' ':
		return `\20`
	case '"':
		return `\22`
	case '&':
		return `\26`
	case '\'':
		return `\27`
	case '/':
		return `\2f`
	case ':':
		return `\3a`
	case '<':
		return `\3c`
	case '>':
		return `\3e`
	case '@':
		return `\40`
	}
	return ""
}

// unescaped returns the character that the escape sequence at the start of s stands for, or 0 if there is none there.
func unescaped(s string) byte {
	if len(s) < 3 || s[0] != '\\' {
		return 0
	}
	switch s[1:3] {
	case "20":
		return ' '
	case "22":
		return '"'
	case "26":
		return '&'
	case "27":
		return '\''
	case "2f":
		return '/'
	case "3a":
		return ':'
	case "3c":
		return '<'
	case "3e":
		return '>'
	case "40":
		return '@'
	case "5c":
		return '\\'
	}
	return 0
}

// Escape turns a name of another system, such as the local part of a mail address, into a localpart (XEP-0106). A backslash
// is escaped only where it starts what would be read as an escape sequence. A space at the start or the end of s has no
// escaped form and is left as it is, so that PrepareLocal and New refuse the result. The result is not prepared.
// Unescape(Escape(s)) is s.
func Escape(s string) string {
	if !strings.ContainsAny(s, ` "&'/:<>@\`) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	for i := range len(s) {
		c := s[i]
		switch e := escaped(c); {
		case c == ' ' && (i == 0 || i == len(s)-1): // XEP-0106#bizrules: \20 is never first or last
			b.WriteByte(c)
		case e != "":
			b.WriteString(e)
		case unescaped(s[i:]) != 0:
			b.WriteString(`\5c`)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Unescape turns a localpart into the name to show to people or to give to another system (XEP-0106). What is no escape
// sequence is left as it is, and so is \20 at the start or the end, which no escaping makes. The result must not be compared
// or sent as an address.
func Unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := unescaped(s[i:])
		if c == 0 || c == ' ' && (i == 0 || i == len(s)-3) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String()
}
