package specref

import (
	"slices"
	"strings"
	"testing"
)

// TestShown: whatever the specifications of testdata/shown.txt ask of a server is shown.
func TestShown(t *testing.T) {
	x, err := ReadIndex("testdata")
	if err != nil {
		t.Fatal(err)
	}
	refs, err := Tree("../..")
	if err != nil {
		t.Fatal(err)
	}
	duties, err := ReadDuties("testdata")
	if err != nil {
		t.Fatal(err)
	}
	shown, all := Shown(refs), 0
	for _, d := range duties {
		open, n := d.Open(x, shown)
		for _, o := range open {
			t.Error(o)
		}
		if n == 0 {
			t.Errorf("nothing of %s is shown", d.Spec)
		}
		all += n
	}
	t.Logf("%d sections of %d specifications are shown", all, len(duties))
}

// TestOpen shows what counts as shown, and what does not.
func TestOpen(t *testing.T) {
	const one, two = "XEP-" + "0001", "XEP-" + "0002"
	x := &Index{places: make(map[string]bool), anchors: make(map[string]string)}
	for _, l := range []string{"1 intro", "2 use", "2.1 ask", "2.2 answer", "2.3", "3 rules", "3.1 first"} {
		if err := x.xep(append([]string{one}, strings.Fields(l)...)); err != nil {
			t.Fatal(err)
		}
	}
	refs := []Ref{
		{File: "a.xt", Spec: one, Anchor: "ask"}, {File: "a_test.go", Spec: one, Section: "2.3"},
		{File: "a.go", Spec: one, Anchor: "answer"}, // says that it does it, and shows nothing
		{File: "a.xt", Spec: one, Anchor: "use"}, {File: "b.xt", Spec: one, Anchor: "first"}, {File: "a.xt", Spec: two, Anchor: "answer"},
	}
	d := Duty{Spec: one, always: map[string]string{"#intro": "", "#iana": ""}, excused: map[string]string{"#rules": "", "#gone": ""}}
	open, n := d.Open(x, Shown(refs))
	want := []string{one + " has no section #gone to excuse", one + "#first is excused, and b.xt shows it", "nothing shows §2.2, " + one + "#answer"}
	if n != 2 || !slices.Equal(open, want) {
		t.Errorf("%d are shown, open are %q, not %q", n, open, want)
	}
}
