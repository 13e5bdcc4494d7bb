package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// root is the top of the tree, seen from this package.
const root = "../.."

// file is a Go file of the tree.
type file struct {
	path string // from the root
	pkg  string // folder from the root
	test bool
	fset *token.FileSet
	ast  *ast.File
}

func (f *file) imports() []string {
	var out []string
	for _, i := range f.ast.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (f *file) line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

var readTree = sync.OnceValues(func() ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".") && name != ".." && p != root {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f := &file{path: filepath.ToSlash(rel), pkg: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(name, "_test.go"), fset: token.NewFileSet()}
		f.ast, err = parser.ParseFile(f.fset, p, nil, parser.ParseComments)
		files = append(files, f)
		return err
	})
	return files, err
})

func tree(t *testing.T) []*file {
	t.Helper()
	files, err := readTree()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files were found below %s", len(files), root)
	}
	return files
}

func exists(t *testing.T, p string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(root, p))
	return err == nil
}
