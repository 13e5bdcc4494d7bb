package arch

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// bans are imports that are kept out of everything but tests, unless the package is named.
var bans = []struct {
	imp    string
	except []string
	why    string
}{
	{"math/rand", nil, "ids and keys come from crypto/rand; what need not be secret may come from there too"},
	{"math/rand/v2", nil, "ids and keys come from crypto/rand; what need not be secret may come from there too"},
	{"encoding/xml", []string{
		"internal/web", // writes host-meta; reads nothing
	}, "it accepts what RFC 6120 §11.3 forbids: xmpp/xmlstream reads what comes from the network"},
}

func TestBannedImports(t *testing.T) {
	for _, f := range tree(t) {
		for _, b := range bans {
			if !f.test && slices.Contains(f.imports(), b.imp) && !slices.Contains(b.except, f.pkg) {
				t.Errorf("%s imports %s: %s", f.path, b.imp, b.why)
			}
		}
	}
}

// TestNoGlobalMaps keeps state out of the packages of extensions: it belongs to an instance, so that hosts do not share it
// and a cluster can move it.
func TestNoGlobalMaps(t *testing.T) {
	for _, f := range tree(t) {
		if f.test || !strings.HasPrefix(f.pkg, "mod/") && !strings.HasPrefix(f.pkg, "engine/") {
			continue
		}
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				if v := s.(*ast.ValueSpec); holdsMap(v) {
					t.Errorf("%s:%d: a package-level map; keep it in the instance, or write a switch", f.path, f.line(v))
				}
			}
		}
	}
}

func holdsMap(v *ast.ValueSpec) bool {
	found := false
	look := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.MapType:
			found = true
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "sync" && n.Sel.Name == "Map" {
				found = true
			}
		}
		return !found
	}
	if v.Type != nil {
		ast.Inspect(v.Type, look)
	}
	for _, x := range v.Values {
		ast.Inspect(x, look)
	}
	return found
}

var spec = regexp.MustCompile(`\b(XEP-\d{4}|RFC \d{4})\b`)

// TestExtensionsAreComplete asks of each extension a package comment that names its specs, and a transcript.
func TestExtensionsAreComplete(t *testing.T) {
	doc := make(map[string]string)
	for _, f := range tree(t) {
		if f.test || filepath.ToSlash(filepath.Dir(f.pkg)) != "mod" || f.pkg == "mod/all" || f.pkg == "mod/modtest" {
			continue
		}
		doc[f.pkg] += f.ast.Doc.Text()
	}
	if len(doc) == 0 {
		t.Fatal("no extensions were found")
	}
	for pkg, text := range doc {
		if !spec.MatchString(text) {
			t.Errorf("%s: its package comment names no specification", pkg)
		}
		scripts, err := filepath.Glob(filepath.Join(root, pkg, "testdata", "*.xt"))
		if err != nil {
			t.Fatal(err)
		}
		if len(scripts) == 0 {
			t.Errorf("%s has no transcript in testdata/*.xt", pkg)
		}
	}
}

// TestEveryExtensionIsListed keeps mod/all complete.
func TestEveryExtensionIsListed(t *testing.T) {
	listed := make(map[string]bool)
	exts := make(map[string]bool)
	for _, f := range tree(t) {
		if f.pkg == "mod/all" {
			for _, imp := range f.imports() {
				listed[strings.TrimPrefix(imp, "sabir/")] = true
			}
		} else if filepath.ToSlash(filepath.Dir(f.pkg)) == "mod" && f.pkg != "mod/modtest" && !f.test {
			exts[f.pkg] = true
		}
	}
	for pkg := range exts {
		if !listed[pkg] {
			t.Errorf("%s is not in mod/all", pkg)
		}
	}
}

// sqlCall are methods whose query must be constant text.
var sqlCalls = []string{"Exec", "Query", "QueryRow"}

// TestNoBuiltSQL refuses queries that are put together at run time: parameters are passed beside the text
// (reliability.md 23). Only internal/db, which rewrites constant text for an engine, and the tests are excepted.
func TestNoBuiltSQL(t *testing.T) {
	for _, f := range tree(t) {
		if f.test || strings.HasPrefix(f.pkg, "internal/db") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := c.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(sqlCalls, sel.Sel.Name) || len(c.Args) < 2 {
				return true
			}
			if !constant(c.Args[1]) {
				t.Errorf("%s:%d: the query of %s is built at run time", f.path, f.line(c), sel.Sel.Name)
			}
			return true
		})
	}
}

// constant tells whether an expression is a string literal, a name, or a sum of those. A name may be a constant or a
// parameter that passes one on.
func constant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.Ident:
		return true
	case *ast.ParenExpr:
		return constant(e.X)
	case *ast.BinaryExpr:
		return e.Op == token.ADD && literal(e.X) && literal(e.Y)
	}
	return false
}

func literal(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.Ident: // an untyped constant of the file
		return e.Obj != nil && e.Obj.Kind == ast.Con
	case *ast.BinaryExpr:
		return e.Op == token.ADD && literal(e.X) && literal(e.Y)
	}
	return false
}

// TestOneDialler keeps outbound connections within xmpp/dial, where the deny-list is.
func TestOneDialler(t *testing.T) {
	tools := []string{"xmpp/dial", "internal/transcript", "internal/xmpptest", "internal/wiretest"} // the first, and those of tests
	dials := []string{"Dial", "DialTimeout", "DialContext", "DialTCP", "DialUDP", "DialIP", "DialUnix", "DialTLS"}
	for _, f := range tree(t) {
		if f.test || strings.HasPrefix(f.pkg, "bench") || slices.Contains(tools, f.pkg) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch {
			case (x.Name == "net" || x.Name == "tls") && slices.Contains(dials, sel.Sel.Name), x.Name == "http" && (sel.Sel.Name == "DefaultClient" || sel.Sel.Name == "Get" || sel.Sel.Name == "Post"):
				t.Errorf("%s:%d: %s.%s: outbound connections go through xmpp/dial", f.path, f.line(sel), x.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

// TestNoIgnoredErrors refuses the assignment of results to blanks alone: an error is returned or logged.
func TestNoIgnoredErrors(t *testing.T) {
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			a, ok := n.(*ast.AssignStmt)
			if !ok || a.Tok != token.ASSIGN {
				return true
			}
			for _, l := range a.Lhs {
				if id, ok := l.(*ast.Ident); !ok || id.Name != "_" {
					return true
				}
			}
			if _, call := a.Rhs[0].(*ast.CallExpr); call {
				t.Errorf("%s:%d: results are thrown away with a blank assignment", f.path, f.line(a))
			}
			return true
		})
	}
}

var machine = regexp.MustCompile(`^/(home|work|Users)/.`)

// TestMachinePaths keeps the paths of one machine out of the code.
func TestMachinePaths(t *testing.T) {
	for _, f := range tree(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING {
				if s, err := strconv.Unquote(b.Value); err == nil && (machine.MatchString(s)) {
					t.Errorf("%s:%d: a path of one machine: %s", f.path, f.line(b), s)
				}
			}
			return true
		})
	}
}
