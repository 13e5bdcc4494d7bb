package xmlstream

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// badInput is a case of testdata/bad-input.jsonl: the part of the catalogue that is a matter of XML.
type badInput struct {
	ID     string
	State  string
	Send   []string
	Expect outcome
	Accept []outcome
	WF     any
}

type outcome struct {
	Type      string
	Condition any // a string or a list of them
}

func (o outcome) allows(condition string) bool {
	if o.Type != "stream-error" {
		return false
	}
	if list, ok := o.Condition.([]any); ok {
		return slices.Contains(list, any(condition))
	}
	return o.Condition == condition
}

// verdicts is what this package makes of each case: a condition, or how many frames there are, or that it waits.
var verdicts = map[string]string{
	"hdr-unknown-host":      "open",
	"hdr-to-localpart":      "open",
	"hdr-wrong-stream-ns":   "open",
	"hdr-server-ns-on-c2s":  "open",
	"hdr-version-11":        "open",
	"hdr-version-1.10":      "open",
	"hdr-version-garbage":   "open",
	"hdr-version-missing":   "open",
	"hdr-root-not-stream":   "open",
	"hdr-upper-domain":      "open",
	"hdr-second-header":     UnsupportedStanzaType,
	"hdr-space-before-decl": RestrictedXML,
	"hdr-two-decls":         RestrictedXML,
	"hdr-huge-to":           PolicyViolation,
	"hdr-lang-huge":         PolicyViolation,
	"hdr-close-at-once":     "end",

	"xml-comment":            RestrictedXML,
	"xml-pi":                 RestrictedXML,
	"xml-doctype":            RestrictedXML,
	"xml-param-entity":       RestrictedXML,
	"xml-mismatch-tag":       NotWellFormed,
	"xml-mismatch-prefix":    NotWellFormed,
	"xml-unquoted-attr":      NotWellFormed,
	"xml-lt-in-attr":         NotWellFormed,
	"xml-no-attr-space":      NotWellFormed,
	"xml-cdata-end-in-text":  NotWellFormed,
	"xml-charref-nul":        NotWellFormed,
	"xml-charref-huge":       NotWellFormed,
	"xml-cdata-ok":           "frame",
	"xml-cdata-smuggle":      "frame",
	"xml-cdata-unterminated": PolicyViolation,
	"xml-text-between":       BadFormat,
	"xml-attr-newline-echo":  "frame",
	"xml-split-everywhere":   "frame",

	"ns-rebind-xml":          NotWellFormed,
	"ns-rebind-xmlns":        NotWellFormed,
	"ns-bind-xmlns-uri":      NotWellFormed,
	"ns-two-colons":          NotWellFormed,
	"ns-prefixed-stanza":     "frame",
	"ns-server-stanza":       "frame",
	"ns-unknown-toplevel":    "frame",
	"ns-case-variant":        "frame",
	"ns-client-features":     "frame",
	"ns-client-success":      "frame",
	"ns-client-stream-error": "frame",
	"ns-nested-stanza":       "frame",

	"enc-overlong-slash":  UnsupportedEncoding,
	"enc-overlong-nul":    UnsupportedEncoding,
	"enc-surrogate-pair":  UnsupportedEncoding,
	"enc-trunc-before-lt": UnsupportedEncoding,
	"enc-lead-then-tag":   UnsupportedEncoding,
	"enc-in-attr":         UnsupportedEncoding,
	"enc-in-name":         UnsupportedEncoding,
	"enc-in-ns":           UnsupportedEncoding,
	"enc-ffff-char":       NotWellFormed,
	"enc-bom-start":       "open",
	"enc-bom-split":       "open",
	"enc-utf16le":         UnsupportedEncoding,
	"enc-decl-utf16":      UnsupportedEncoding,
	"enc-decl-latin1":     UnsupportedEncoding,

	"size-preauth-64k":   PolicyViolation,
	"size-body-9k":       "frame",
	"size-endless-name":  PolicyViolation,
	"size-depth-open-1m": PolicyViolation,
	"size-100k-children": PolicyViolation,
	"size-100k-attrs":    PolicyViolation,
	"size-bytewise-200k": "frame",
	"size-jid-1024":      "frame",
	"size-resource-2k":   "frame",
}

// preAuth are the limits before authentication.
var preAuth = Limits{Bytes: 16 << 10, Depth: 16, Children: 64}

func TestCatalogue(t *testing.T) {
	cases := loadCatalogue(t)
	if len(cases) != len(verdicts) {
		t.Errorf("%d cases, %d verdicts", len(cases), len(verdicts))
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			want, ok := verdicts[c.ID]
			if !ok {
				t.Fatal("no verdict")
			}
			for _, pieces := range c.inputs() {
				got, last := c.run(t, pieces)
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				c.judge(t, got, last)
			}
		})
	}
}

// run feeds the input in the state of the case and tells how that ended, and the last event.
func (c *badInput) run(t *testing.T, pieces []string) (got, last string) {
	limits := preAuth
	if c.State == "bound" {
		limits = DefaultLimits
	}
	d := NewDecoder(limits)
	if c.State != "tcp" {
		d = openStream(t, limits)
	}
	events, err := read(t, d, pieces...)
	if err != nil {
		return err.Condition, ""
	}
	if len(events) == 0 {
		return "waiting", ""
	}
	last = events[len(events)-1]
	kind, _, _ := strings.Cut(last, " ")
	if kind == "start" {
		kind = "open"
	}
	return kind, last
}

// judge holds the verdict against what the catalogue allows.
func (c *badInput) judge(t *testing.T, got, last string) {
	isError := strings.Contains(got, "-")
	all := append([]outcome{c.Expect}, c.Accept...)
	switch {
	case isError:
		if !slices.ContainsFunc(all, func(o outcome) bool { return o.allows(got) }) {
			t.Errorf("the catalogue does not allow %s", got)
		}
	case c.WF == false || c.WF == "restricted":
		if !slices.ContainsFunc(all, func(o outcome) bool { return o.Type == "ok" }) {
			t.Errorf("accepted though it is not well formed")
		}
	}
	switch c.ID {
	case "xml-cdata-ok":
		if !strings.Contains(last, "&lt;b&gt;&amp;amp;&lt;/b&gt;") {
			t.Errorf("the text is not escaped anew: %s", last)
		}
	case "xml-cdata-smuggle":
		if strings.Contains(last, "<message from=") {
			t.Errorf("CDATA became markup: %s", last)
		}
	case "xml-attr-newline-echo":
		if !strings.Contains(last, `"a\nb\tc\rd"`) || !strings.Contains(last, "id='a&#xA;b&#x9;c&#xD;d'") {
			t.Errorf("the id changed: %s", last)
		}
	case "ns-prefixed-stanza":
		if !strings.Contains(last, "prefixed true") {
			t.Errorf("the prefix is not told: %s", last)
		}
	}
}

func loadCatalogue(t testing.TB) (cases []badInput) {
	t.Helper()
	f, err := os.Open("testdata/bad-input.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c badInput
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

// inputs expands what is sent. A case with {split:…} has one input for every place to cut; one with {drip:…} comes byte by
// byte. {fin} is the end of the connection, which is none of this package's business.
func (c *badInput) inputs() (all [][]string) {
	var pieces []string
	for _, s := range c.Send {
		switch {
		case strings.HasPrefix(s, "{split:"):
			x := expand(s[len("{split:") : len(s)-1])
			for i := range len(x) {
				all = append(all, []string{x[:i], x[i:]})
			}
			return all
		case strings.HasPrefix(s, "{drip:0:"):
			return [][]string{bytewise(expand(s[len("{drip:0:") : len(s)-1]))}
		}
		pieces = append(pieces, expand(s))
	}
	whole := strings.Join(pieces, "")
	all = append(all, pieces, []string{whole})
	if len(whole) < 1000 {
		all = append(all, bytewise(whole))
	}
	return all
}

// expand replaces the macros of the catalogue.
func expand(s string) string {
	var b strings.Builder
	for {
		start := strings.IndexByte(s, '{')
		if start < 0 {
			return b.String() + s
		}
		b.WriteString(s[:start])
		depth, end := 1, start+1
		for ; depth > 0; end++ {
			switch s[end] {
			case '{':
				depth++
			case '}':
				depth--
			}
		}
		b.WriteString(macro(s[start+1 : end-1]))
		s = s[end:]
	}
}

func macro(m string) string {
	name, arg, _ := strings.Cut(m, ":")
	count, unit, _ := strings.Cut(arg, ":")
	switch name {
	case "rep":
		n := atoi(count)
		return strings.Repeat(unit, n)
	case "seq":
		n := atoi(count)
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(unit, "{i}", strconv.Itoa(i)))
		}
		return b.String()
	case "hex":
		raw, err := hex.DecodeString(arg)
		if err != nil {
			panic(err)
		}
		return string(raw)
	case "utf16le":
		var b []byte
		for _, u := range utf16.Encode([]rune(expand(arg))) {
			b = append(b, byte(u), byte(u>>8))
		}
		return string(b)
	case "H":
		return streamHead
	case "domain", "DOMAIN":
		return "a.example"
	}
	return name + "@a.example"
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}
