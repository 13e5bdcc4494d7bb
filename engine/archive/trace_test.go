package archive

import (
	"slices"
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
)

// TestHolders finds a message by the id of each archive and by those that its sender has given, in all archives of the space.
func TestHolders(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		f := setup(t, d)
		wire := `<message xmlns='jabber:client' id='m_1%' from='a@b/c'><body>id='m2'</body><origin-id xmlns='urn:xmpp:sid:0' id='o&amp;1'/></message>`
		a, b := f.archive("a@b"), f.archive("c@d")
		places := f.add(Message{Wire: wire, Text: "x"}, Row{Archive: a, Peer: address(t, "c@d")}, Row{Archive: b, Peer: address(t, "a@b")})
		f.add(Message{Wire: strings.ReplaceAll(wire, "m_1%", "mx1y")}, Row{Archive: a, Peer: address(t, "e@f")})
		other := f.open("mam other.example")
		for _, id := range []string{places[0].ID, places[1].ID, "m_1%", "o&1"} {
			list, err := f.l.Holders(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, h := range list {
				names = append(names, h.Archive+" "+h.ID)
			}
			want := []string{"a@b " + places[0].ID, "c@d " + places[1].ID}
			if id == "o&1" { // both messages have it
				if len(list) != 3 {
					t.Errorf("%s: %v", id, names)
				}
			} else if !slices.Equal(names, want) {
				t.Errorf("%s: %v, want %v", id, names, want)
			}
			if list, err = other.Holders(ctx, id); err != nil || len(list) > 0 {
				t.Errorf("another space has %s: %v %v", id, list, err)
			}
		}
		for _, id := range []string{"", "m2", "m_1", strings.Repeat("A", 22), "body"} {
			if list, err := f.l.Holders(ctx, id); err != nil || len(list) > 0 {
				t.Errorf("%q: %v %v", id, list, err)
			}
		}
	})
}
