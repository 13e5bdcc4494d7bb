package rsm

import (
	"math"
	"testing"

	"sabir/xmpp/xmlstream"
)

func parse(t testing.TB, inner string) (Request, error) {
	t.Helper()
	x, err := xmlstream.Parse("<set xmlns='"+NS+"'>"+inner+"</set>", xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(x)
}

func TestParse(t *testing.T) {
	for in, want := range map[string]Request{
		"":                                       {Max: -1, Index: -1},
		"<max>10</max>":                          {Max: 10, Index: -1},
		"<max> 0 </max>":                         {Max: 0, Index: -1},
		"<max>99999999999999999999</max>":        {Max: math.MaxInt32, Index: -1},
		"<max>1</max><after>a</after>":           {Max: 1, After: "a", Index: -1},
		"<after/>":                               {Max: -1, Index: -1},
		"<before/>":                              {Max: -1, Last: true, Index: -1},
		"<before>b</before>":                     {Max: -1, Before: "b", Index: -1},
		"<index>371</index>":                     {Max: -1, Index: 371},
		"<max>1</max><max xmlns='urn:x'>x</max>": {Max: 1, Index: -1},
		"<count>3</count>":                       {Max: -1, Index: -1},
	} {
		got, err := parse(t, in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"<max/>", "<max>-1</max>", "<max>ten</max>", "<max>1.5</max>", "<max>+1</max>", "<max>1</max><max>1</max>", "<index>-1</index>",
		"<after>a</after><before>b</before>", "<after>a</after><before/>", "<index>1</index><before/>", "<index>1</index><after>a</after>",
		"<before/><before/>", "<after>a</after><after>a</after>",
	} {
		if got, err := parse(t, in); err == nil {
			t.Errorf("%s is taken as %+v", in, got)
		}
	}
	if _, err := Parse(xmlstream.El("urn:x", "set")); err == nil {
		t.Error("a <set/> of another namespace is taken")
	}
}

func TestAnswer(t *testing.T) {
	for want, a := range map[string]Answer{
		"<set xmlns='" + NS + "'><first index='0'>a</first><last>b</last><count>2</count></set>": {First: "a", Last: "b", Index: 0, Count: 2},
		"<set xmlns='" + NS + "'><first>a</first><last>a</last></set>":                           {First: "a", Last: "a", Index: -1, Count: -1},
		"<set xmlns='" + NS + "'><count>0</count></set>":                                         {Index: -1},
	} {
		if got := a.Element().String(); got != want {
			t.Errorf("%+v is %s, want %s", a, got, want)
		}
	}
}

// What is read, written and read again is the same.
func FuzzRSM(f *testing.F) {
	for _, s := range []string{"", "<max>10</max><after>x</after>", "<before/>", "<index>3</index><max>0</max>", "<max>-1</max>", "<before>&lt;</before>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		x, err := xmlstream.Parse("<set xmlns='"+NS+"'>"+in+"</set>", xmlstream.DefaultLimits)
		if err != nil {
			return
		}
		r, err := Parse(x)
		if err != nil {
			return
		}
		again, err := Parse(r.Element())
		if err != nil || again != r {
			t.Errorf("%s is %+v, and then %+v, %v", in, r, again, err)
		}
	})
}
