package disco

import (
	"os"
	"path/filepath"
	"testing"

	"sabir/xmpp/xmlstream"
)

// An answer that is written and read again has the same hashes, and no answer makes them panic.
func FuzzInfo(f *testing.F) {
	files, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b), "en")
	}
	f.Fuzz(func(t *testing.T, s, lang string) {
		i := read(s, lang)
		if i == nil {
			return
		}
		again := read(i.Element().String(), i.Lang)
		if again == nil {
			t.Fatalf("%s cannot be read again", i.Element())
		}
		again.foreign = i.foreign // what is foreign is not written
		v, err := i.Ver("sha-1")
		w, err2 := again.Ver("sha-1")
		if v != w || (err == nil) != (err2 == nil) {
			t.Errorf("ver %s (%v) became %s (%v)", v, err, w, err2)
		}
		v, err = i.Hash("sha-256")
		w, err2 = again.Hash("sha-256")
		if v != w || (err == nil) != (err2 == nil) {
			t.Errorf("hash %s (%v) became %s (%v)", v, err, w, err2)
		}
		if again.Ambiguous() != i.Ambiguous() {
			t.Error("its ambiguity changed")
		}
	})
}

func read(s, lang string) *Info {
	x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
	if err != nil {
		return nil
	}
	i, err := ParseInfo(x, lang)
	if err != nil {
		return nil
	}
	return i
}
