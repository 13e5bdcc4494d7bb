package muc_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sabir/internal/specref"
)

// read returns the files that match, by their names.
func read(t *testing.T, pattern string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %d files", pattern, err, len(files))
	}
	all := make(map[string]string)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[f] = string(text)
	}
	return all
}

// TestUseCases: each use case of XEP-0045, and each of its tables of privileges, is cited by a transcript or a test that shows it.
func TestUseCases(t *testing.T) {
	shown := make(map[string][]string)
	for file, text := range read(t, "testdata/*.xt") {
		for _, r := range specref.Text(file, text) {
			shown[r.String()] = append(shown[r.String()], file)
		}
	}
	for _, pattern := range []string{"*_test.go", "../../engine/room/*_test.go"} {
		for file, text := range read(t, pattern) {
			refs, err := specref.Go(file, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range refs {
				shown[r.String()] = append(shown[r.String()], file)
			}
		}
	}
	index, err := specref.ReadIndex("../../internal/specref/testdata")
	if err != nil {
		t.Fatal(err)
	}
	cases := index.Smallest("XEP-0045", 5, 11) // from associations to what a service does
	for section, anchor := range cases {
		if len(shown["XEP-0045#"+anchor]) == 0 {
			t.Errorf("nothing shows §%s, %s", section, anchor)
		}
	}
	if len(cases) < 70 {
		t.Errorf("XEP-0045 has %d use cases only", len(cases))
	}
	t.Logf("%d use cases are shown", len(cases))
}

// received returns what characters receive in the transcripts, and what tests in Go look for.
func received(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	block := regexp.MustCompile(`(?m)^\w+ receives:\n((?:\t.*\n)+)`)
	for _, text := range read(t, "testdata/*.xt") {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			b.WriteString(m[1])
		}
	}
	for _, text := range read(t, "*_test.go") {
		b.WriteString(text)
	}
	return b.String()
}

// TestStatusCodes: each code of the registry (XEP-0045#registrar-statuscodes-init) is shown, or doc.go says why it is never sent.
func TestStatusCodes(t *testing.T) {
	text, doc := received(t), read(t, "doc.go")["doc.go"]
	never := []int{102, 103}
	for _, code := range []int{100, 101, 102, 103, 104, 110, 170, 171, 172, 173, 201, 210, 301, 303, 307, 321, 322, 332, 333} {
		n := strings.Count(text, "code='"+strconv.Itoa(code)+"'")
		switch {
		case !slices.Contains(never, code) && n == 0:
			t.Errorf("nothing shows the status code %d", code)
		case slices.Contains(never, code) && (n > 0 || !strings.Contains(doc, strconv.Itoa(code))):
			t.Errorf("%d is shown %d times, or doc.go does not explain that it is never sent", code, n)
		}
	}
}

// TestDoor: each error at the door (XEP-0045#enter-errorcodes) is shown.
func TestDoor(t *testing.T) {
	text := received(t)
	for _, condition := range strings.Fields("not-authorized forbidden item-not-found not-allowed not-acceptable registration-required conflict service-unavailable") {
		if !regexp.MustCompile(`<presence type='error'[^>]*>\s*<error [^>]*>\s*<` + condition + ` `).MatchString(text) {
			t.Errorf("nothing shows %s", condition)
		}
	}
}
