package specref

import (
	"slices"
	"testing"
)

func TestTree(t *testing.T) {
	x, err := ReadIndex("testdata")
	if err != nil {
		t.Fatal(err)
	}
	refs, err := Tree("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(refs) < 500 {
		t.Fatalf("only %d references were found", len(refs))
	}
	unchecked := 0
	used := make(map[string]bool)
	for _, r := range refs {
		if err := x.Check(r); err != nil {
			t.Errorf("%s:%d: %v", r.File, r.Line, err)
		}
		used[r.Spec] = true
		if x.unchecked[r.Spec] && r.Section != "" {
			unchecked++
		}
	}
	for spec := range x.unchecked {
		if !used[spec] {
			t.Errorf("testdata/rfc.txt: nothing refers to %s any more", spec)
		}
	}
	t.Logf("%d references to %d specifications; of %d the section could not be checked", len(refs), len(used), unchecked)
}

// TestGo shows what counts as a reference, and to what.
func TestGo(t *testing.T) {
	src := "// Package x obeys RFC\n// 6120 §8.1, §8.2 and appendix A.1 (XEP-0191#block). See XML 1.0 §2.2.\npackage x\n\n" +
		"// The conditions of RFC 6120 §4.9.3.\nconst (\n\ta = 1 // §4.9.3.1\n\tb = \"RFC 6121 §2 and § 3\"\n)\n\n// §9 of nothing.\nfunc f() {}\n"
	refs, err := Go("x.go", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range refs {
		got = append(got, r.String())
	}
	want := []string{"RFC 6120", "RFC 6120 §8.1", "RFC 6120 §8.2", "RFC 6120 §A.1", "XEP-0191#block", "RFC 6120", "RFC 6120 §4.9.3",
		"RFC 6120 §4.9.3.1", " §9", "RFC 6121", "RFC 6121 §2", "RFC 6121 §3"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, r := range refs {
		if r.Section == "4.9.3.1" && r.Line != 7 {
			t.Errorf("%s is in line %d, not 7", r, r.Line)
		}
	}
}

func TestText(t *testing.T) {
	refs := Text("x.xt", "# spec: RFC 6121 §3\n\nRomeo sends: XEP-0045\n# XEP-0199#s2c.\n")
	want := []Ref{{"x.xt", 1, "RFC 6121", "", ""}, {"x.xt", 1, "RFC 6121", "3", ""}, {"x.xt", 4, "XEP-0199", "", "s2c"}}
	if !slices.Equal(refs, want) {
		t.Errorf("got %v, want %v", refs, want)
	}
}

func TestCheck(t *testing.T) {
	x, err := ReadIndex("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Ref{
		{Spec: "RFC 6120", Section: "8.3.3.22"}, {Spec: "RFC 6121", Section: "A.3.4"}, {Spec: "RFC 9110", Section: "99"},
		{Spec: "XEP-0191", Anchor: "block"}, {Spec: "XEP-0191"}, {Spec: "XEP-0049", Section: "2.3"},
	} {
		if err := x.Check(r); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	}
	if a := x.Anchors("XEP-0191"); a["3.3"] != "block" || len(a) < 5 {
		t.Errorf("the anchors of XEP-0191 are %v", a)
	}
	if a := x.Smallest("XEP-0060", 5, 6); a["5.7"] != "entity-affiliations" || a["6.2"] != "" || a["6.2.3"] != "" || a["6.2.3.1"] != "subscriber-unsubscribe-error-nosubid" || a["7.1.1"] != "" {
		t.Errorf("the smallest sections of chapters 5 and 6 of XEP-0060 are %v", a)
	}
	for _, r := range []Ref{
		{Spec: "RFC 6120", Section: "8.3.3.23"}, {Spec: "RFC 6120", Section: "17"}, {Spec: "RFC " + "6112"}, {Section: "3"},
		{Spec: "XEP-0191", Anchor: "blocks"}, {Spec: "XEP-" + "9999"}, {Spec: "XEP-0049", Section: "9.3"},
		{Spec: "XEP-0191", Section: "3.2"},
	} {
		if err := x.Check(r); err == nil {
			t.Errorf("%s was taken for a place that there is", r)
		}
	}
}
