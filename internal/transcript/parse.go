package transcript

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// nsScansion qualifies the attribute strict. Scripts use the prefix scansion without declaring it.
const nsScansion = "https://matthewwild.co.uk/projects/scansion"

// ReadFile reads a script.
func ReadFile(name string) (*Script, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, string(b))
}

// Parse reads the text of a script. The name says which rules apply, .scs or .xt, and stands in errors, which are of type
// *SyntaxError.
func Parse(name, text string) (*Script, error) {
	p := &parser{s: &Script{File: name, exact: filepath.Ext(name) != ".scs"}}
	if !utf8.ValidString(text) {
		return nil, &SyntaxError{name, 1, "the file is not UTF-8"}
	}
	p.lines = strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.s, nil
}

type parser struct {
	s     *Script
	lines []string
	next  int // index of the next line
}

func (p *parser) fail(line int, format string, args ...any) error {
	return &SyntaxError{p.s.File, line, fmt.Sprintf(format, args...)}
}

// block is an indented run of lines.
type block struct {
	line  int // of the first
	lines []string
}

func (b block) empty() bool { return len(b.lines) == 0 }

func indented(l string) bool { return strings.HasPrefix(l, "\t") || strings.HasPrefix(l, " ") }

func blank(l string) bool { return strings.TrimSpace(l) == "" }

// comment tells whether a line at the margin is one.
func comment(l string) bool {
	return strings.HasPrefix(l, "#") || strings.HasPrefix(l, "//") || strings.HasPrefix(l, "--") && !dashes(l)
}

func dashes(l string) bool {
	l = strings.TrimSpace(l)
	return len(l) >= 2 && strings.Trim(l, "-") == ""
}

// head returns the next line at the margin that says something, with its number. Comments before the first character
// are title, description and tags.
func (p *parser) head() (string, int, error) {
	for p.next < len(p.lines) {
		l := p.lines[p.next]
		p.next++
		switch {
		case blank(l):
		case comment(l):
			p.note(l)
		case indented(l):
			return "", 0, p.fail(p.next, "an indented line belongs to nothing: %s", strings.TrimSpace(l))
		default:
			return strings.TrimSpace(l), p.next, nil
		}
	}
	return "", p.next, nil
}

// note keeps what a comment says about the script.
func (p *parser) note(l string) {
	text, ok := strings.CutPrefix(l, "#")
	if !ok {
		return
	}
	if tag, ok := strings.CutPrefix(text, "#"); ok {
		if tag = strings.TrimSpace(tag); tag != "" && len(p.s.Characters) == 0 {
			p.s.Tags = append(p.s.Tags, tag)
		}
		return
	}
	text = strings.TrimSpace(text)
	if spec, ok := strings.CutPrefix(text, "spec:"); ok {
		p.s.Specs = append(p.s.Specs, strings.TrimSpace(spec))
		return
	}
	if feature, ok := strings.CutPrefix(text, "feature:"); ok {
		p.s.Features = append(p.s.Features, strings.TrimSpace(feature))
		return
	}
	switch {
	case text == "" || len(p.s.Characters) > 0:
	case p.s.Title == "":
		p.s.Title = text
	case p.s.Description == "":
		p.s.Description = text
	default:
		p.s.Description += " " + text
	}
}

// body takes the indented lines that follow. Blank lines and comments within do not end them.
func (p *parser) body() block {
	b := block{line: p.next + 1}
	pending := 0 // blank lines and comments that belong to the block only if it goes on
	for i := p.next; i < len(p.lines); i++ {
		l := p.lines[i]
		switch {
		case blank(l) || comment(l):
			pending++
			continue
		case !indented(l):
			return b
		}
		for range pending {
			if b.empty() {
				b.line++
			} else {
				b.lines = append(b.lines, "")
			}
		}
		pending = 0
		b.lines = append(b.lines, l)
		p.next = i + 1
	}
	return b
}

func (p *parser) parse() error {
	for {
		l, line, err := p.head()
		switch {
		case err != nil:
			return err
		case l == "":
			return p.check()
		case dashes(l):
		case strings.HasPrefix(l, "["):
			if err := p.character(l, line); err != nil {
				return err
			}
		default:
			st, err := p.step(l, line, p.body())
			if err != nil {
				return err
			}
			p.s.Steps = append(p.s.Steps, st)
		}
	}
}

func (p *parser) check() error {
	if len(p.s.Steps) == 0 {
		return p.fail(1, "the script has no actions")
	}
	return nil
}

func (p *parser) character(l string, line int) error {
	kind, name, ok := strings.Cut(l[1:], "]")
	name = strings.TrimSpace(name)
	c := Character{Kind: Kind(strings.TrimSpace(kind)), Name: name, Line: line}
	switch {
	case !ok || name == "":
		return p.fail(line, "a character is [Kind] Name")
	case c.Kind != ClientKind && c.Kind != ServerKind && c.Kind != ComponentKind:
		return p.fail(line, "a character is a [Client], a [Server] or a [Component]")
	case len(p.s.Steps) > 0:
		return p.fail(line, "characters stand before the actions")
	}
	for i := range p.s.Characters {
		if p.s.Characters[i].Name == name {
			return p.fail(line, "%s stands in line %d already", name, p.s.Characters[i].Line)
		}
	}
	b := p.body()
	for i, l := range b.lines {
		if blank(l) {
			continue
		}
		key, value, ok := strings.Cut(l, ":")
		if !ok {
			return p.fail(b.line+i, "a property is key: value")
		}
		c.Properties = append(c.Properties, Property{strings.TrimSpace(key), strings.TrimSpace(value), b.line + i})
	}
	if c.Kind == ClientKind && c.Get("jid") == "" {
		return p.fail(line, "%s has no jid", name)
	}
	if c.Kind == ServerKind && c.Get("domain") == "" {
		return p.fail(line, "%s has no domain", name)
	}
	p.s.Characters = append(p.s.Characters, c)
	return nil
}

// actor splits a line into the character that acts and what it does.
func (p *parser) actor(l string) (int, string) {
	found, rest := -1, ""
	for i := range p.s.Characters {
		name := p.s.Characters[i].Name
		r, ok := strings.CutPrefix(l, name+" ")
		if ok && (found < 0 || len(name) > len(p.s.Characters[found].Name)) {
			found, rest = i, strings.TrimSpace(r)
		}
	}
	return found, rest
}

func (p *parser) step(l string, line int, b block) (Step, error) {
	st := Step{Line: line, Actor: -1}
	words := strings.Fields(strings.TrimSuffix(l, ":"))
	switch {
	case len(words) == 1 && words[0] == "together":
		st.Verb = Together
		return st, p.together(&st, b)
	case len(words) == 2 && words[0] == "capture" && variable(words[1]) != "":
		st.Verb, st.Text = Capture, variable(words[1])
		return st, p.none(st, b)
	case len(words) == 3 && words[0] == "node":
		n, err := strconv.Atoi(words[1])
		if err != nil || n < 1 || words[2] != "stops" && words[2] != "starts" {
			return st, p.fail(line, "a node stops or starts: node 2 stops")
		}
		st.Verb, st.Node = NodeStops, n
		if words[2] == "starts" {
			st.Verb = NodeStarts
		}
		return st, p.none(st, b)
	}
	who, rest := p.actor(l)
	if who < 0 {
		return st, p.fail(line, "no character acts in %q", l)
	}
	st.Actor = who
	return st, p.action(&st, rest, b)
}

// variable returns the name in ${name}, or "".
func variable(s string) string {
	s, ok := strings.CutPrefix(s, "${")
	if !ok {
		return ""
	}
	s, ok = strings.CutSuffix(s, "}")
	if !ok || strings.ContainsAny(s, "{}$") {
		return ""
	}
	return s
}

// none refuses a block.
func (p *parser) none(st Step, b block) error {
	if !b.empty() {
		return p.fail(b.line, "nothing stands below the action of line %d", st.Line)
	}
	return nil
}

func (p *parser) action(st *Step, what string, b block) (err error) {
	verb, rest, _ := strings.Cut(what, ":")
	rest = strings.TrimSpace(rest)
	words := strings.Fields(verb)
	if len(words) == 0 {
		return p.fail(st.Line, "the action is missing")
	}
	verb = strings.Join(words, " ")
	domain, isOpen := strings.CutPrefix(strings.Join(strings.Fields(what), " "), "opens to ")
	switch {
	case verb == "sends raw":
		st.Verb, st.Text = SendsRaw, joinRaw(b)
		if st.Text == "" {
			return p.fail(st.Line, "what is sent stands below")
		}
		return nil
	case verb == "sends" && rest == "":
		st.Verb = Sends
		st.Elements, err = p.elements(*st, b)
		return err
	case verb == "is offered" && rest == "":
		st.Verb = IsOffered
		st.Elements, err = p.elements(*st, b)
		return err
	case verb == "receives" && rest == "":
		st.Verb = Receives
		st.Elements, err = p.elements(*st, b)
		return err
	case verb == "receives" || words[0] == "receives":
		return p.nothing(st, strings.Join(append(words[1:], strings.Fields(rest)...), " "), b)
	case isOpen && domain != "":
		st.Verb, st.Text = Opens, domain
	case verb == "opens":
		st.Verb = Opens
	case verb == "connects":
		st.Verb = Connects
	case verb == "authenticates":
		st.Verb = Authenticates
	case verb == "disconnects":
		st.Verb = Disconnects
	case verb == "drops":
		st.Verb = Drops
	case verb == "is disconnected":
		st.Verb = IsDisconnected
	case verb == "resumes":
		st.Verb = Resumes
	case p.serverVerb(st, verb):
	default:
		return p.fail(st.Line, "%s cannot do this: %q", p.s.Characters[st.Actor].Name, what)
	}
	if st.Verb == Resumes && p.s.Characters[st.Actor].Kind == ServerKind {
		return p.fail(st.Line, "a [Server] resumes by what it sends")
	}
	return p.none(*st, b)
}

// serverVerb reads the verbs that only a [Server] has.
func (p *parser) serverVerb(st *Step, verb string) bool {
	if p.s.Characters[st.Actor].Kind != ServerKind {
		return false
	}
	switch verb {
	case "dials":
		st.Verb = Dials
	case "dials with TLS":
		st.Verb = DialsTLS
	case "accepts":
		st.Verb = Accepts
	case "accepts raw":
		st.Verb = AcceptsRaw
	case "opens the stream":
		st.Verb = OpensStream
	case "starts TLS":
		st.Verb = StartsTLS
	default:
		return false
	}
	return true
}

// nothing reads "nothing" and "nothing for 2s".
func (p *parser) nothing(st *Step, what string, b block) error {
	st.Verb = ReceivesNothing
	if what != "nothing" {
		d, err := time.ParseDuration(strings.TrimPrefix(what, "nothing for "))
		if err != nil || d <= 0 || !strings.HasPrefix(what, "nothing for ") {
			return p.fail(st.Line, "receives is followed by elements, by nothing, or by nothing for 2s")
		}
		st.Duration = d
	}
	return p.none(*st, b)
}

// joinRaw removes indentation and line ends. A line that is to end in white space ends in a character reference.
func joinRaw(b block) string {
	var s strings.Builder
	for _, l := range b.lines {
		s.WriteString(strings.TrimSpace(l))
	}
	return s.String()
}

func (p *parser) together(st *Step, b block) error {
	inner := &parser{s: &Script{File: p.s.File, Characters: p.s.Characters, exact: p.s.exact}}
	margin := ""
	for i, l := range b.lines {
		if margin == "" {
			margin = l[:len(l)-len(strings.TrimLeft(l, " \t"))]
		}
		if cut, ok := strings.CutPrefix(l, margin); ok || blank(l) {
			inner.lines = append(inner.lines, cut)
		} else {
			return p.fail(b.line+i, "the indentation does not fit that of line %d", b.line)
		}
	}
	inner.lines = append(make([]string, b.line-1), inner.lines...) // so that line numbers are those of the file
	for {
		l, line, err := inner.head()
		if err != nil {
			return err
		}
		if l == "" {
			break
		}
		k, err := inner.step(l, line, inner.body())
		if err != nil {
			return err
		}
		if k.Verb != Receives {
			return p.fail(line, "within together everybody receives")
		}
		st.Steps = append(st.Steps, k)
	}
	if len(st.Steps) == 0 {
		return p.fail(st.Line, "what is received together stands below")
	}
	return nil
}

// elements parses the XML of a block.
func (p *parser) elements(st Step, b block) ([]*xmlstream.Element, error) {
	if b.empty() {
		return nil, p.fail(st.Line, "the elements stand below")
	}
	x, err := parseXML(strings.Join(b.lines, "\n"))
	if err != nil {
		return nil, p.fail(b.line, "%v", err)
	}
	var els []*xmlstream.Element
	for _, n := range x.Nodes {
		switch {
		case n.El != nil:
			els = append(els, tidy(n.El))
		case !blank(n.Text):
			return nil, p.fail(b.line, "text stands outside of the elements: %s", strings.TrimSpace(n.Text))
		}
	}
	if len(els) == 0 {
		return nil, p.fail(st.Line, "the elements stand below")
	}
	return els, nil
}

func parseXML(text string) (*xmlstream.Element, error) {
	for {
		before, rest, ok := strings.Cut(text, "<!--")
		if !ok {
			break
		}
		_, after, ok := strings.Cut(rest, "-->")
		if !ok {
			return nil, fmt.Errorf("a comment has no end")
		}
		text = before + after
	}
	limits := xmlstream.DefaultLimits
	limits.Bytes = max(limits.Bytes, len(text)+1024)
	return xmlstream.Parse("<x xmlns='jabber:client' xmlns:stream='"+stream.NS+"' xmlns:db='"+nsDialback+"' xmlns:scansion='"+nsScansion+"'>"+text+"</x>", limits)
}

// tidy drops the white space between elements, which is only there to be read.
func tidy(x *xmlstream.Element) *xmlstream.Element {
	c := &xmlstream.Element{Name: x.Name, Attrs: x.Attrs}
	hasElement := x.First() != nil
	for _, n := range x.Nodes {
		switch {
		case n.El != nil:
			c.Nodes = append(c.Nodes, xmlstream.Node{El: tidy(n.El)})
		case !hasElement || !blank(n.Text):
			c.Nodes = append(c.Nodes, n)
		}
	}
	return c
}
