// Package specref owns the references to specifications: how they are written in comments, transcripts and pages, and whether
// they resolve. Its test reads the whole tree.
//
// A reference names a specification, RFC 6120 or XEP-0191, and most name a place in it: RFC 6120 §8.2.3, RFC 6121 §A.2.1,
// XEP-0191#block, XEP-0049 §2.3. Further places of the same specification follow it within one comment, or within the comments of
// one declaration: RFC 6121 §3.1.2, §3.1.5.
//
// What there is to refer to stands in testdata: xep.txt, which the test writes from a clone of the repository of XEPs
// (go test ./internal/specref -xeps PATH), and rfc.txt, written by hand.
package specref

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Ref is a reference as it stands in a file. Spec is "RFC 6120", "XEP-0191", or "" where nothing before a section says whose it
// is. At most one of Section, "8.2.3" or "A.2.1", and Anchor, "block", is set.
type Ref struct {
	File    string // from the root, with slashes
	Line    int
	Spec    string
	Section string
	Anchor  string
}

func (r Ref) String() string {
	s := r.Spec
	switch {
	case r.Anchor != "":
		s += "#" + r.Anchor
	case r.Section != "":
		s += " §" + r.Section
	}
	return s
}

// tokenRE matches one of: an RFC; a XEP, at will with an anchor; another text, whose sections are not checked; a section.
var tokenRE = regexp.MustCompile(`\bRFC (\d+)\b|\bXEP-(\d{4})(?:#([A-Za-z0-9_.:-]*[A-Za-z0-9_]))?|` +
	`\b(XML 1\.0|PROXY protocol|PostgreSQL|https?://)|(?:§ ?|[Aa]ppendix )([0-9A-Z]+(?:\.[0-9]+)*)`)

// find returns the references of a text that starts at a line of a file, and the specification that was named last. spec is
// the one that goes before the text.
func find(file string, line int, text, spec string) ([]Ref, string) {
	var refs []Ref
	for _, m := range tokenRE.FindAllStringSubmatchIndex(text, -1) {
		group := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return text[m[2*i]:m[2*i+1]]
		}
		r := Ref{File: file, Line: line + strings.Count(text[:m[0]], "\n")}
		switch {
		case group(1) != "":
			spec = "RFC " + group(1)
		case group(2) != "":
			spec = "XEP-" + group(2)
			r.Anchor = group(3)
		case group(4) != "":
			spec = group(4)
			continue
		default:
			r.Section = group(5)
			if spec != "" && !strings.HasPrefix(spec, "RFC") && !strings.HasPrefix(spec, "XEP") {
				continue
			}
		}
		r.Spec = spec
		refs = append(refs, r)
	}
	return refs, spec
}

// Go returns the references in the comments and string literals of a Go file.
func Go(file string, src []byte) ([]Ref, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, g := range f.Comments {
		_, spec := find(file, 0, declared(f, g), "")
		refs = append(refs, comment(fset, file, g, spec)...)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		found, _ := find(file, fset.Position(lit.Pos()).Line, lit.Value, "")
		for _, r := range found {
			if r.Spec != "" { // a bare § in a string is a text of its own
				refs = append(refs, r)
			}
		}
		return true
	})
	return refs, nil
}

// comment returns the references of a group, whose lines may part a specification from its section.
func comment(fset *token.FileSet, file string, g *ast.CommentGroup, spec string) []Ref {
	var lines []string
	first := fset.Position(g.Pos()).Line
	for _, c := range g.List {
		for len(lines) < fset.Position(c.Pos()).Line-first {
			lines = append(lines, "")
		}
		lines = append(lines, c.Text)
	}
	refs, _ := find(file, first, join(strings.Join(lines, "\n")), spec)
	return refs
}

// declared returns the doc comment of the top-level declaration in which a comment stands, or "".
func declared(f *ast.File, g *ast.CommentGroup) string {
	for _, d := range f.Decls {
		if g.Pos() < d.Pos() || g.End() > d.End() {
			continue
		}
		switch d := d.(type) {
		case *ast.GenDecl:
			return d.Doc.Text()
		case *ast.FuncDecl:
			return d.Doc.Text()
		}
	}
	return ""
}

var brokenRE = regexp.MustCompile(`\b(RFC|[Aa]ppendix)(\n[\s/#*-]*)(\w)`)

// join moves the end of a line behind a specification's number that it parts from "RFC", so that both are found.
func join(text string) string {
	return brokenRE.ReplaceAllString(text, "$1 $3")
}

// Text returns the references of a page in Markdown or a transcript, of which only the lines with # count. A paragraph ends what
// a section belongs to.
func Text(file, text string) []Ref {
	var refs []Ref
	spec := ""
	transcript := strings.HasSuffix(file, ".xt")
	for i, l := range strings.Split(text, "\n") {
		if strings.TrimSpace(l) == "" {
			spec = ""
		}
		if transcript && !strings.HasPrefix(l, "#") {
			continue
		}
		var found []Ref
		found, spec = find(file, i+1, l, spec)
		refs = append(refs, found...)
	}
	return refs
}

// Tree returns the references of the Go files, transcripts and pages below root.
func Tree(root string) ([]Ref, error) {
	var refs []Ref
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != root && (name == "node_modules" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(name)
		if ext != ".go" && ext != ".xt" && ext != ".md" {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if ext != ".go" {
			refs = append(refs, Text(rel, string(src))...)
			return nil
		}
		found, err := Go(rel, src)
		refs = append(refs, found...)
		return err
	})
	return refs, err
}

// Index says which places there are.
type Index struct {
	places    map[string]bool   // "XEP-0191", "XEP-0191#block", "XEP-0049 §2.3", "RFC 6120 §8.2.3"
	unchecked map[string]bool   // "RFC 8446": every section is taken for one
	anchors   map[string]string // "XEP-0191 " and its section, to "XEP-0191#block"
}

// ReadIndex reads the lists in a folder.
func ReadIndex(dir string) (*Index, error) {
	x := &Index{places: make(map[string]bool), unchecked: make(map[string]bool), anchors: make(map[string]string)}
	for name, line := range map[string]func(fields []string) error{"xep.txt": x.xep, "rfc.txt": x.rfc()} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for i, l := range strings.Split(string(text), "\n") {
			fields := strings.Fields(l)
			if len(fields) == 0 || strings.HasPrefix(l, "#") {
				continue
			}
			if err := line(fields); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
			}
		}
	}
	return x, nil
}

// Anchors returns the sections of a XEP that have an anchor: their numbers, such as "3.2", with it.
func (x *Index) Anchors(xep string) map[string]string {
	all := make(map[string]string)
	for place, anchor := range x.anchors {
		if section, ok := strings.CutPrefix(place, xep+" §"); ok {
			all[section] = strings.TrimPrefix(anchor, xep+"#")
		}
	}
	return all
}

// Smallest returns what Anchors does of the sections of some chapters that have no sections of their own: what can be shown one by one.
func (x *Index) Smallest(xep string, first, last int) map[string]string {
	all := x.Anchors(xep)
	smallest := make(map[string]string)
	for section, anchor := range all {
		chapter, _, _ := strings.Cut(section, ".")
		n, err := strconv.Atoi(chapter)
		if _, parted := all[section+".1"]; err == nil && first <= n && n <= last && !parted {
			smallest[section] = anchor
		}
	}
	return smallest
}

// xep reads "XEP-0191 3.2 block": the number, the section's number, and its anchor where it has one; then it is referred to by
// that alone, because numbers change from one version of a XEP to the next.
func (x *Index) xep(f []string) error {
	if len(f) < 2 || len(f) > 3 || !strings.HasPrefix(f[0], "XEP-") {
		return fmt.Errorf("not a section of a XEP: %q", f)
	}
	x.places[f[0]] = true
	place := f[0] + " §" + f[1]
	if len(f) == 3 {
		x.anchors[place] = f[0] + "#" + f[2]
		place = x.anchors[place]
	}
	x.places[place] = true
	return nil
}

// rfc reads "RFC 6120" and, below it, "4.9.3 25": that section has the subsections 4.9.3.1 to 4.9.3.25. "top 16" counts the sections
// themselves, "appendices E" names the last appendix. "RFC 8446 unchecked" takes any section.
func (x *Index) rfc() func([]string) error {
	current := ""
	return func(f []string) error {
		if f[0] == "RFC" && len(f) >= 2 {
			current = f[0] + " " + f[1]
			x.places[current] = true
			if len(f) == 3 && f[2] == "unchecked" {
				x.unchecked[current] = true
			}
			return nil
		}
		if len(f) != 2 || current == "" {
			return fmt.Errorf("not a section and a number: %q", f)
		}
		if f[0] == "appendices" && len(f[1]) == 1 {
			for c := 'A'; c <= rune(f[1][0]); c++ {
				x.places[current+" §"+string(c)] = true
			}
			return nil
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return err
		}
		prefix := current + " §" + f[0]
		if f[0] == "top" {
			prefix = current + " §"
		} else if !x.places[prefix] {
			return fmt.Errorf("section %s is not listed before its subsections", f[0])
		} else {
			prefix += "."
		}
		for i := 1; i <= n; i++ {
			x.places[prefix+strconv.Itoa(i)] = true
		}
		return nil
	}
}

// Check says what is wrong with a reference.
func (x *Index) Check(r Ref) error {
	switch {
	case r.Spec == "":
		return fmt.Errorf("nothing says whose section %s is", r.Section)
	case !x.places[r.Spec] && strings.HasPrefix(r.Spec, "XEP"):
		return fmt.Errorf("%s is not in testdata/xep.txt: go test ./internal/specref -xeps PATH adds it", r.Spec)
	case !x.places[r.Spec]:
		return fmt.Errorf("%s is not in testdata/rfc.txt", r.Spec)
	case x.unchecked[r.Spec] || x.places[r.String()]:
		return nil
	}
	if a := x.anchors[r.String()]; a != "" {
		return fmt.Errorf("write %s for %s: numbers change from one version of a XEP to the next", a, r)
	}
	return fmt.Errorf("there is no %s", r)
}
