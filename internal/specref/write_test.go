package specref

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// xeps is a clone, bare or not, of the repository of XEPs: with it, testdata/xep.txt is written anew with the sections of all XEPs that
// the tree refers to. It is needed after the first reference to a further one.
var xeps = flag.String("xeps", "", "write testdata/xep.txt from the clone of the XEPs at this path")

func TestMain(m *testing.M) {
	flag.Parse()
	if *xeps != "" {
		if err := write(*xeps); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func write(repo string) error {
	refs, err := Tree("../..")
	if err != nil {
		return err
	}
	var used []string
	for _, r := range refs {
		if strings.HasPrefix(r.Spec, "XEP-") && !slices.Contains(used, r.Spec) {
			used = append(used, r.Spec)
		}
	}
	slices.Sort(used)
	out := bytes.NewBufferString("# Written by go test ./internal/specref -xeps PATH. XEP, section, anchor where it has one.\n")
	for _, x := range used {
		text, err := exec.Command("git", "-C", repo, "show", "HEAD:"+strings.ToLower(x)+".xml").Output()
		if err != nil {
			return fmt.Errorf("%s: %w", x, err)
		}
		sections(out, x, string(text))
	}
	return os.WriteFile("testdata/xep.txt", out.Bytes(), 0o644)
}

var (
	commentRE = regexp.MustCompile(`(?s)<!--.*?-->`)
	sectionRE = regexp.MustCompile(`(?s)<section([1-4])\b([^>]*)>`)
	anchorRE  = regexp.MustCompile(`\banchor\s*=\s*["']([^"']+)["']`)
)

// sections writes a line for each section of a XEP, numbered as its pages number them.
func sections(out *bytes.Buffer, xep, text string) {
	var count [4]int
	for _, m := range sectionRE.FindAllStringSubmatch(commentRE.ReplaceAllString(text, ""), -1) {
		depth := int(m[1][0] - '0')
		count[depth-1]++
		clear(count[depth:])
		number := make([]string, depth)
		for i := range number {
			number[i] = strconv.Itoa(count[i])
		}
		line := xep + " " + strings.Join(number, ".")
		if a := anchorRE.FindStringSubmatch(m[2]); a != nil {
			line += " " + a[1]
		}
		out.WriteString(line + "\n")
	}
}
