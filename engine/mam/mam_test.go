package mam

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sabir/engine/archive"
)

// A page that is too large, sizes in envelopes, loses what is farthest from where it begins, and is not complete.
func TestCut(t *testing.T) {
	for _, c := range []struct {
		backward bool
		index    int64
		sizes    []int
		want     []string
		at       int64
	}{
		{false, 0, []int{3, 3, 3}, []string{"0", "1", "2"}, 0},
		{false, 0, []int{5, 5, 5}, []string{"0", "1"}, 0},
		{false, -1, []int{50, 5}, []string{"0"}, -1},
		{true, 7, []int{5, 5, 5}, []string{"1", "2"}, 8},
		{true, -1, []int{5, 5, 50}, []string{"2"}, -1},
		{true, 0, []int{1, 1}, []string{"0", "1"}, 0},
	} {
		p := archive.Page{Index: c.index, Complete: true}
		for i, n := range c.sizes {
			p.Items = append(p.Items, archive.Item{Place: archive.Place{ID: fmt.Sprint(i)}, Wire: strings.Repeat("x", n*envelope)})
		}
		cut(&p, c.backward, 10*envelope+len(c.sizes)*envelope)
		var got []string
		for _, i := range p.Items {
			got = append(got, i.ID)
		}
		if !slices.Equal(got, c.want) || p.Index != c.at || p.Complete != (len(c.want) == len(c.sizes)) {
			t.Errorf("%+v: %q, index %d, complete %v", c, got, p.Index, p.Complete)
		}
	}
}
