package xmlstream

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// peer is a process that reads XML with libexpat.
type peer struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

type expatAnswer struct {
	Error *string
	Code  int
	Tree  json.RawMessage
}

// startExpat skips without python3, but not in CI.
func startExpat(tb testing.TB) *peer {
	tb.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatal("python3, whose expat the tokenizer is compared with, is not installed")
		}
		tb.Skip("python3, whose expat the tokenizer is compared with, is not installed")
	}
	cmd := exec.Command(python, "testdata/expat.py")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := in.Close(); err != nil {
			tb.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			tb.Error(err)
		}
	})
	return &peer{in: in, out: bufio.NewReader(out)}
}

func (p *peer) ask(t *testing.T, xml string, final bool) (a expatAnswer) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	req, err := json.Marshal(map[string]any{"xml": hex.EncodeToString([]byte(xml)), "final": final})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(req, '\n')); err != nil {
		t.Fatal(err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// tree converts what expat.py calls an element.
func (a *expatAnswer) tree(t *testing.T) *Element {
	t.Helper()
	var v any
	if err := json.Unmarshal(a.Tree, &v); err != nil {
		t.Fatal(err)
	}
	return fromExpat(v.([]any))
}

func fromExpat(v []any) *Element {
	e := &Element{Name: Name{v[0].(string), v[1].(string)}}
	for _, a := range v[2].([]any) {
		a := a.([]any)
		e.Attrs = append(e.Attrs, Attr{Name{a[0].(string), a[1].(string)}, a[2].(string)})
	}
	for _, c := range v[3].([]any) {
		if s, ok := c.(string); ok {
			e.Nodes = append(e.Nodes, Node{Text: s})
		} else {
			e.Nodes = append(e.Nodes, Node{El: fromExpat(c.([]any))})
		}
	}
	return e
}

// checkDocument holds Parse against expat: what it accepts, and what it calls not well formed. What XML allows and XMPP
// does not is its own affair, and so are the versions and encodings of an XML declaration, of which expat thinks otherwise.
func (p *peer) checkDocument(t *testing.T, s string) {
	e, err := Parse(s, DefaultLimits)
	if err != nil {
		c := err.(*Error).Condition
		if c != NotWellFormed && c != UnsupportedEncoding || strings.Contains(s, "<?xml") {
			return
		}
		if a := p.ask(t, s, true); a.Error == nil {
			t.Fatalf("%q is refused, expat accepts it: %v", s, err)
		}
		return
	}
	a := p.ask(t, s, true)
	if a.Error != nil {
		if !newerName(s, a.Code) {
			t.Fatalf("%q is accepted, expat says %s", s, *a.Error)
		}
		return
	}
	if x := a.tree(t); !equal(e, x) {
		t.Fatalf("%q is read as %q, by expat as %q", s, e, x)
	}
}

// checkStream holds the part of a stream that became events against expat.
func (p *peer) checkStream(t *testing.T, s string) {
	d := NewDecoder(DefaultLimits)
	d.Feed([]byte(s))
	var root *Element
	done := 0
	for {
		ev, err := d.Next()
		var bad *Error
		if errors.As(err, &bad) || err == ErrMore {
			break
		}
		done = len(s) - d.Buffered()
		switch ev.Kind {
		case StreamStart:
			root = &Element{Name: ev.Header.Name, Attrs: ev.Header.Attrs}
		case FrameEvent:
			root.Nodes = append(root.Nodes, Node{El: ev.Frame.Element()})
		}
	}
	if root == nil {
		return
	}
	a := p.ask(t, s[:done], false)
	if a.Error != nil {
		if !newerName(s[:done], a.Code) {
			t.Fatalf("%q is accepted, expat says %s", s[:done], *a.Error)
		}
		return
	}
	x := a.tree(t)
	elements := &Element{Name: x.Name, Attrs: x.Attrs}
	for _, n := range x.Nodes {
		if n.El != nil {
			elements.Nodes = append(elements.Nodes, n)
		} else if spaces(n.Text) != len(n.Text) {
			t.Fatalf("%q: expat found %q between elements", s[:done], n.Text)
		}
	}
	if !equal(root, elements) {
		t.Fatalf("%q is read as %q, by expat as %q", s[:done], root, elements)
	}
}

// newerName tells whether expat's refusal may come from its table of names, which is that of the 4th edition of XML 1.0:
// an invalid token, where a tag holds characters beyond ASCII.
func newerName(s string, code int) bool {
	const invalidToken = 4
	if code != invalidToken {
		return false
	}
	b, quote := []byte(s), byte(0)
	for inTag, i := false, 0; i < len(b); i++ {
		switch {
		case !inTag:
			inTag = b[i] == '<'
		case quote != 0:
			if b[i] == quote {
				quote = 0
			}
		case b[i] == '>':
			inTag = false
		case b[i] == '\'' || b[i] == '"':
			quote = b[i]
		case b[i] >= utf8.RuneSelf:
			return true
		}
	}
	return false
}

// TestDifferential is FuzzDifferential on the known inputs.
func TestDifferential(t *testing.T) {
	p := startExpat(t)
	for _, s := range tricky {
		p.checkDocument(t, s)
	}
	for _, s := range prologs {
		p.checkDocument(t, s+"<a/>")
	}
	p.checkDocument(t, benchMessage)
	for _, s := range seedsOf(t) {
		p.checkDocument(t, s)
		p.checkStream(t, s)
	}
}

// What we accept, libexpat accepts, and it finds the same in it, and what we call malformed it does not accept: two readers
// that differ are how stanzas are smuggled.
func FuzzDifferential(f *testing.F) {
	p := startExpat(f)
	for _, s := range tricky {
		f.Add(s)
	}
	for _, s := range seedsOf(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p.checkDocument(t, s)
		p.checkStream(t, s)
	})
}
