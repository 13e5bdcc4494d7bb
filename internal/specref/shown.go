package specref

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Duty is a specification of which everything that it asks of a server is shown: each of its sections without subsections is
// cited by a transcript or a test, or is excused.
type Duty struct {
	Spec string // "XEP-0198"
	// excused has the sections that nothing shows, with those below them, as "#anchor", or "§number" where they have none; and why.
	excused map[string]string
	// always are those that no specification need show.
	always map[string]string
}

// ReadDuties reads them from shown.txt of a folder: a line with the specification, then one for each excused section, "#anchor: why"
// or "§number: why". Those before the first specification are excused in all.
func ReadDuties(dir string) ([]Duty, error) {
	const name = "shown.txt"
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	var all []Duty
	always := make(map[string]string)
	excused := always
	for i, l := range strings.Split(string(text), "\n") {
		place, why, excuse := strings.Cut(strings.TrimSpace(l), ": ")
		switch {
		case place == "" || strings.HasPrefix(place, "# "):
		case !excuse && strings.HasPrefix(place, "XEP-"):
			excused = make(map[string]string)
			all = append(all, Duty{Spec: place, excused: excused, always: always})
		case excuse && (strings.HasPrefix(place, "#") || strings.HasPrefix(place, "§")):
			excused[place] = why
		default:
			return nil, fmt.Errorf("%s:%d: neither a specification nor an excused section: %q", name, i+1, l)
		}
	}
	return all, nil
}

// Shown returns where each place is cited by a transcript or a test.
func Shown(refs []Ref) map[string][]string {
	shown := make(map[string][]string)
	for _, r := range refs {
		if strings.HasSuffix(r.File, ".xt") || strings.HasSuffix(r.File, "_test.go") {
			shown[r.String()] = append(shown[r.String()], r.File)
		}
	}
	return shown
}

// Open returns what is wrong: the sections that nothing shows, and excuses that are none. n sections are shown.
func (d Duty) Open(x *Index, shown map[string][]string) (open []string, n int) {
	sections := x.sections(d.Spec)
	left := maps.Clone(d.excused)
	for section, place := range sections {
		if sections[section+".1"] != "" {
			continue // its parts count
		}
		excused, here := false, false
		for at := section; at != ""; at = at[:max(0, strings.LastIndexByte(at, '.'))] {
			key := strings.TrimSpace(strings.TrimPrefix(sections[at], d.Spec))
			_, always := d.always[key]
			_, ours := d.excused[key]
			excused, here = excused || always || ours, here || ours
			delete(left, key)
		}
		switch cited := shown[place]; {
		case here && len(cited) > 0:
			open = append(open, fmt.Sprintf("%s is excused, and %s shows it", place, cited[0]))
		case excused:
		case len(cited) > 0:
			n++
		default:
			open = append(open, fmt.Sprintf("nothing shows §%s, %s", section, place))
		}
	}
	for key := range left {
		open = append(open, fmt.Sprintf("%s has no section %s to excuse", d.Spec, key))
	}
	slices.Sort(open)
	return open, n
}

// sections returns all sections of a specification, as places: "3.2" as "XEP-0191#block", "4.5" as "XEP-0388 §4.5".
func (x *Index) sections(spec string) map[string]string {
	all := make(map[string]string)
	for place := range x.places {
		if section, ok := strings.CutPrefix(place, spec+" §"); ok {
			all[section] = place
		}
	}
	for section, anchor := range x.Anchors(spec) {
		all[section] = spec + "#" + anchor
	}
	return all
}
