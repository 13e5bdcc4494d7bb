package bookmark

import (
	"testing"

	"sabir/xmpp/xmlstream"
)

func tree(t *testing.T, s string) *xmlstream.Element {
	t.Helper()
	x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestForms(t *testing.T) {
	list := tree(t, "<conference xmlns='storage:bookmarks' jid='a@b.example' name='A' autojoin='1' x='y'><nick>n</nick><password>p</password><other/></conference>")
	item := tree(t, "<conference xmlns='urn:xmpp:bookmarks:1' name='A' autojoin='1'><nick>n</nick><password>p</password></conference>")
	if got := Item(list); !got.Equal(item) {
		t.Errorf("got %s", got)
	}
	item.Add(tree(t, "<extensions xmlns='urn:xmpp:bookmarks:1'><x xmlns='u'/></extensions>"))
	want := tree(t, "<conference xmlns='storage:bookmarks' jid='a@b.example' name='A' autojoin='1'><nick>n</nick><password>p</password></conference>")
	if got := Listed("a@b.example", item); !got.Equal(want) {
		t.Errorf("got %s", got)
	}
	for x, want := range map[string]string{"<conference xmlns='storage:bookmarks' jid='A@b.Example'/>": "a@b.example", "<conference xmlns='storage:bookmarks'/>": "-",
		"<url xmlns='storage:bookmarks' jid='a@b'/>": "-", "<conference xmlns='storage:bookmarks' jid='@'/>": "-"} {
		got, ok := Room(tree(t, x))
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%s is of %s", x, got)
		}
	}
}

func TestMerge(t *testing.T) {
	a := tree(t, "<storage xmlns='storage:bookmarks'><conference jid='a@b' name='1'/><url url='u'/></storage>")
	b := tree(t, "<storage xmlns='storage:bookmarks'><url url='u'/><conference jid='A@b' name='2'/><conference jid='c@b'/><url url='v'/></storage>")
	want := tree(t, "<storage xmlns='storage:bookmarks'><conference jid='a@b' name='1'/><url url='u'/><conference jid='c@b'/><url url='v'/></storage>")
	if got := Merge(a, nil, b); !got.Equal(want) {
		t.Errorf("got %s", got)
	}
}
