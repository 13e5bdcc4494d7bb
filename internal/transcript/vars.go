package transcript

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// Account is one to log in with.
type Account struct {
	JID      jid.JID // bare
	Password string
}

// scope is what the names in a script stand for while it runs.
type scope struct {
	domain   string
	accounts []Account
	people   []person
	peers    map[string]*Peer // by the domain that the script has for them
	old      []rename
	captured map[string]string
	trail    []change // so that comparison can take captures back
}

// person is what is known of a character.
type person struct {
	name    string
	account int // index in accounts
	full    string
	stream  *client.Stream // of a [Client], the latest
	wire    *wire          // of a [Server], the latest
	peer    *Peer          // likewise
}

// rename replaces an address of the script by one of the target.
type rename struct {
	from, to string
	domain   bool
}

type change struct {
	name, old string
	had       bool
}

func (v *scope) set(name, value string) {
	old, had := v.captured[name]
	v.trail = append(v.trail, change{name, old, had})
	v.captured[name] = value
}

// back undoes what was captured since mark.
func (v *scope) back(mark int) {
	for len(v.trail) > mark {
		c := v.trail[len(v.trail)-1]
		v.trail = v.trail[:len(v.trail)-1]
		if c.had {
			v.captured[c.name] = c.old
		} else {
			delete(v.captured, c.name)
		}
	}
}

// token is a part of a pattern: literal text where name is "" and any is false.
type token struct {
	text  string
	any   bool
	name  string // captures
	fresh bool   // captures though it is known already
}

var placeholder = regexp.MustCompile(`\$\{[^{}]*\}|\{[a-z]+[0-9]*(:[a-z]+(:[A-Za-z0-9_-]+)?)?\}`)

// pattern reads a value of the script. actor is the index of the character whose step it is.
func (v *scope) pattern(s string, actor int) ([]token, error) {
	var out []token
	text := func(t string) {
		if t == "" {
			return
		}
		if n := len(out); n > 0 && !out[n-1].any && out[n-1].name == "" {
			out[n-1].text += t
			return
		}
		out = append(out, token{text: t})
	}
	at := 0
	for _, m := range placeholder.FindAllStringIndex(s, -1) {
		text(v.rename(s[at:m[0]]))
		at = m[1]
		t, err := v.placeholder(s[m[0]:m[1]], strings.HasPrefix(s[m[1]:], "@"), actor)
		switch {
		case err != nil:
			return nil, err
		case t.any || t.name != "":
			out = append(out, t)
		default:
			text(t.text)
		}
	}
	text(v.rename(s[at:]))
	return out, nil
}

func (v *scope) placeholder(p string, at bool, actor int) (token, error) {
	if name := variable(p); name != "" {
		return v.variable(name)
	}
	word := strings.Trim(p, "{}")
	switch {
	case word == "any" || word == "scansion:any":
		return token{any: true}, nil
	case word == "domain":
		return token{text: v.domain}, nil
	case word == "password" && actor >= 0 && v.people[actor].account >= 0:
		return token{text: v.accounts[v.people[actor].account].Password}, nil
	}
	if what, captured, _ := strings.Cut(word, ":"); mechanism(what) != "" && actor >= 0 && v.people[actor].account >= 0 {
		return v.login(mechanism(what), cmp.Or(captured, "token"), &v.people[actor])
	}
	if name, ok := strings.CutPrefix(word, "scansion:capture:"); ok {
		return token{name: name, fresh: true}, nil
	}
	if digits, ok := strings.CutPrefix(word, "user"); ok {
		if n, err := strconv.Atoi(digits); err == nil && n >= 1 && n <= len(v.accounts) {
			if at {
				return token{text: v.accounts[n-1].JID.Local()}, nil
			}
			return token{text: v.accounts[n-1].JID.String()}, nil
		}
		if digits != "" {
			return token{}, fmt.Errorf("%s is none of the %d accounts of this script", p, len(v.accounts))
		}
	}
	return token{text: p}, nil // braces of the payload's own
}

// mechanism returns that of a placeholder for a message that a script cannot spell out, or "".
func mechanism(placeholder string) string {
	switch placeholder {
	case "plain":
		return sasl.Plain
	case "htexpr":
		return sasl.HTExporter
	case "htendp":
		return sasl.HTEndPoint
	case "htnone":
		return sasl.HTNone
	}
	return ""
}

// login makes the first message of a mechanism, with the token that was captured by a name where it takes one.
func (v *scope) login(mechanism, captured string, p *person) (token, error) {
	a := v.accounts[p.account]
	c := &sasl.ClientConfig{Username: a.JID.Local(), Password: a.Password, AllowPlain: true, Encrypted: true}
	if p.stream != nil {
		c.Bindings = p.stream.Bindings()
	}
	m, err := sasl.NewClient([]string{mechanism}, c)
	if sasl.IsHT(mechanism) {
		m, err = sasl.NewTokenClient(mechanism, v.captured[captured], c)
	}
	if err != nil {
		return token{}, fmt.Errorf("%s: %w", mechanism, err)
	}
	msg, _, err := m.Start()
	return token{text: base64.StdEncoding.EncodeToString(msg)}, err
}

func (v *scope) variable(name string) (token, error) {
	for i := range v.people {
		p := &v.people[i]
		what, ok := strings.CutPrefix(name, p.name+"'s ")
		switch {
		case ok && what == "stream" && p.wire != nil:
			return token{text: p.wire.id}, nil
		case ok && what == "address" && p.peer != nil:
			return token{text: p.peer.Listener.Addr().String()}, nil
		}
		if !ok || p.account < 0 {
			continue
		}
		switch what {
		case "JID":
			return token{text: v.accounts[p.account].JID.String()}, nil
		case "full JID":
			if p.full == "" {
				return token{}, fmt.Errorf("%s has no full JID before connecting", p.name)
			}
			return token{text: p.full}, nil
		case "resource":
			_, r, _ := strings.Cut(p.full, "/")
			return token{text: r}, nil
		case "username":
			return token{text: v.accounts[p.account].JID.Local()}, nil
		case "password":
			return token{text: v.accounts[p.account].Password}, nil
		}
	}
	if strings.Contains(name, "'s ") {
		return token{}, fmt.Errorf("${%s} names nothing that a character has", name)
	}
	if value, ok := v.captured[name]; ok {
		return token{text: value}, nil
	}
	return token{name: name}, nil
}

// expand gives the text that is sent for a value of the script.
func (v *scope) expand(s string, actor int) (string, error) {
	ts, err := v.pattern(s, actor)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, t := range ts {
		switch {
		case t.any:
			return "", fmt.Errorf("%s cannot be sent", s)
		case t.name != "":
			return "", fmt.Errorf("${%s} was not captured before", t.name)
		}
		b.WriteString(t.text)
	}
	return b.String(), nil
}

// fits compares a value that came with a pattern, capturing as it goes.
func (v *scope) fits(ts []token, got string) bool {
	if len(ts) == 0 {
		return got == ""
	}
	t := ts[0]
	if !t.any && t.name == "" {
		rest, ok := strings.CutPrefix(got, t.text)
		return ok && v.fits(ts[1:], rest)
	}
	if t.name != "" && !t.fresh {
		if known, ok := v.captured[t.name]; ok { // captured earlier in this very stanza
			rest, ok := strings.CutPrefix(got, known)
			return ok && v.fits(ts[1:], rest)
		}
	}
	from := 0
	if len(ts) == 1 {
		from = len(got) // the last takes all that is left
	}
	for n := from; n <= len(got); n++ {
		mark := len(v.trail)
		if t.name != "" {
			if n == 0 {
				continue // nothing is captured
			}
			v.set(t.name, got[:n])
		}
		if v.fits(ts[1:], got[n:]) {
			return true
		}
		v.back(mark)
	}
	return false
}

// rename replaces the addresses and the domain of the script by those of the target.
func (v *scope) rename(s string) string {
	var b strings.Builder
	at := 0
scan:
	for i := 0; i < len(s); i++ {
		for _, r := range v.old {
			if !strings.HasPrefix(s[i:], r.from) || !r.starts(s, i) || !ends(s, i+len(r.from)) {
				continue
			}
			b.WriteString(s[at:i])
			b.WriteString(r.to)
			at = i + len(r.from)
			i = at - 1
			continue scan
		}
	}
	if at == 0 {
		return s
	}
	b.WriteString(s[at:])
	return b.String()
}

func word(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c >= 0x80
}

// starts tells whether an address may start at i.
func (r rename) starts(s string, i int) bool {
	if i == 0 {
		return true
	}
	c := s[i-1]
	if r.domain { // user@localhost, conference.localhost
		return !word(c)
	}
	return !word(c) && c != '.' && c != '+' && c != '%' && c != '\\' && c != '@'
}

// ends tells whether a domain may end before i.
func ends(s string, i int) bool {
	if i == len(s) {
		return true
	}
	if s[i] == '.' { // the end of a sentence, or another domain
		return i+1 == len(s) || !word(s[i+1])
	}
	return !word(s[i]) && s[i] != '@'
}
