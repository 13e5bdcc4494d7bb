package mod_test

import (
	"strconv"
	"strings"
	"testing"

	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/xmlstream"
)

// A list that is too much for one answer comes in pages, for who asks for none as well.
func TestPageItemsLarge(t *testing.T) {
	var all []mod.DiscoItem
	for i := range 1000 {
		all = append(all, mod.DiscoItem{Node: strconv.Itoa(i), Name: strings.Repeat("x", 1000)})
	}
	const rsm = "http://jabber.org/protocol/rsm"
	page := func(set string) (list []mod.DiscoItem, answer *xmlstream.Element) {
		list, answer, err := mod.PageItems(modtest.XML(t, "<query xmlns='http://jabber.org/protocol/disco#items'>"+set+"</query>"), all)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) < 100 || len(list) > 300 || answer.ChildText(rsm, "count") != "1000" {
			t.Fatalf("%q: got %d items with %s", set, len(list), answer)
		}
		return list, answer
	}
	got := 0
	for set := ""; got < 900; {
		list, answer := page(set)
		if list[0].Node != strconv.Itoa(got) || answer.Child(rsm, "first").Attr("index") != strconv.Itoa(got) {
			t.Fatalf("after %d items there is %s", got, answer)
		}
		got += len(list)
		set = "<set xmlns='" + rsm + "'><after>" + answer.ChildText(rsm, "last") + "</after></set>"
	}
	if list, answer := page("<set xmlns='" + rsm + "'><before/></set>"); list[len(list)-1].Node != "999" || answer.ChildText(rsm, "first") != list[0].Node ||
		answer.Child(rsm, "first").Attr("index") != list[0].Node {
		t.Errorf("the last page is %s", answer)
	}
}

// Pages of a list of items (XEP-0059), of which each request names one.
func TestPageItems(t *testing.T) {
	var all []mod.DiscoItem
	for _, n := range []string{"a", "b", "c", "d"} {
		all = append(all, mod.DiscoItem{Node: n, Name: "title of " + n})
	}
	for _, c := range []struct{ set, want, index string }{
		{"", "a b c d", ""},
		{"<set xmlns='http://jabber.org/protocol/rsm'><max>2</max></set>", "a b", "0"},
		{"<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><after>b</after></set>", "c d", "2"},
		{"<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><before>c</before></set>", "a b", "0"},
		{"<set xmlns='http://jabber.org/protocol/rsm'><max>3</max><before/></set>", "b c d", "1"},
		{"<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><index>3</index></set>", "d", "3"},
		{"<set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set>", "", ""},
		{"<set xmlns='http://jabber.org/protocol/rsm'><max>9</max></set>", "a b c d", "0"},
	} {
		list, set, err := mod.PageItems(modtest.XML(t, "<query xmlns='http://jabber.org/protocol/disco#items'>"+c.set+"</query>"), all)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range list {
			got = append(got, i.Node)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.set, got, c.want)
		}
		const ns = "http://jabber.org/protocol/rsm"
		if c.set == "" {
			if set != nil {
				t.Errorf("a <set/> that nobody asked for: %s", set)
			}
		} else if set.ChildText(ns, "count") != "4" || set.Child(ns, "first").Attr("index") != c.index {
			t.Errorf("%s: got %s", c.set, set)
		}
	}
	for _, set := range []string{"<max>x</max>", "<after>none</after>", "<after>a</after><before>b</before>"} {
		if _, _, err := mod.PageItems(modtest.XML(t, "<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'>"+set+"</set></query>"), all); err == nil {
			t.Errorf("%s was accepted", set)
		}
	}
}
