package pep

import (
	"crypto/rand"
	"testing"

	engine "sabir/engine/pubsub"
	"sabir/engine/vcard"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

const romeo = "romeo@localhost/orchard"

// stamped returns the hash that a presence of a session has behind the extension: "-" where there is none of a picture, "?" where
// nothing is said.
func stamped(t testing.TB, h *modtest.Host, from string) string {
	t.Helper()
	p := h.Pass(mod.Out, modtest.Stanza(t, "<presence from='"+from+"'/>"))
	if err := h.Rewrite(p); err != nil {
		t.Fatal(err)
	}
	x := p.Stanza.Child(vcard.NSUpdate, "x")
	switch hash := x.ChildText(vcard.NSUpdate, "photo"); {
	case x == nil:
		return "?"
	case hash == "":
		return "-"
	default:
		return hash
	}
}

// show publishes a picture of a size, and returns its hash.
func show(t testing.TB, h *modtest.Host, size int) string {
	t.Helper()
	b := make([]byte, size)
	rand.Read(b) // never fails
	a := &vcard.Avatar{Type: "image/png", Data: b}
	item(t, h, vcard.AvatarData, a.ID(), a.DataElement().String())
	item(t, h, vcard.AvatarMetadata, a.ID(), a.MetadataElement().String())
	return a.ID()
}

func item(t testing.TB, h *modtest.Host, node, id, payload string) {
	t.Helper()
	a := h.IQ(stanza.TypeSet, romeo, "", "<pubsub xmlns='"+engine.NS+"'><publish node='"+node+"'><item id='"+id+"'>"+payload+"</item></publish></pubsub>")
	if a == nil || a.Type != stanza.TypeResult {
		t.Fatalf("publishing at %s: %v", node, a)
	}
}

// The hash in presence is that of the picture as it is now, for each session, whoever changed it and how.
func TestAvatarHash(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		account := jid.MustParse(romeo).Bare()
		s := h.Login(romeo)
		say := func(what, want string) {
			t.Helper()
			for range 2 { // what is found out, and what is remembered
				if got := stamped(t, h, romeo); got != want {
					t.Errorf("%s: presence has %s, want %s", what, got, want)
				}
			}
		}
		say("no picture", "?")
		say("a picture", show(t, h, 100))
		second := show(t, h, 200)
		say("another one", second)
		h.Logout(s)
		h.Login(romeo)
		say("a session after it", second)
		item(t, h, vcard.AvatarMetadata, "x", "<metadata xmlns='"+vcard.AvatarMetadata+"'/>")
		say("shown no more", "-")
		third := show(t, h, 300)
		say("shown again", third)
		retract := h.IQ(stanza.TypeSet, romeo, "", "<pubsub xmlns='"+engine.NS+"'><retract node='"+vcard.AvatarData+"'><item id='"+third+"'/></retract></pubsub>")
		if retract == nil || retract.Type != stanza.TypeResult {
			t.Fatal(retract)
		}
		say("retracted", "?")

		// What is found out late is not put over what came meanwhile.
		fourth := show(t, h, 400)
		say("once more", fourth)
		err := d.Write(t.Context(), func(tx mod.Tx) error { return vcard.PutHash(t.Context(), tx, account, 0, "late") })
		if hash, _, ok, e := vcard.GetHash(t.Context(), d, account); err != nil || e != nil || !ok && hash != "" || hash == "late" {
			t.Errorf("stored is %q, %v, %v", hash, err, e)
		}
		configure := h.IQ(stanza.TypeSet, romeo, "", "<pubsub xmlns='"+engine.NSOwner+"'><configure node='"+vcard.AvatarData+"'><x xmlns='jabber:x:data' type='submit'>"+
			"<field var='FORM_TYPE'><value>"+engine.NS+"#node_config</value></field><field var='pubsub#persist_items'><value>0</value></field></x></configure></pubsub>")
		if configure == nil || configure.Type != stanza.TypeResult {
			t.Fatal(configure)
		}
		say("kept no more", "?")
	})
}

// What was found out too late, of an account that was removed meanwhile, is not told of the next one of its name.
func TestAvatarHashOfRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		account := jid.MustParse(romeo).Bare()
		if err := d.Write(t.Context(), func(tx mod.Tx) error { return vcard.PutHash(t.Context(), tx, account, 0, "late") }); err != nil {
			t.Fatal(err)
		}
		h.Login(romeo)
		if got := stamped(t, h, romeo); got != "?" {
			t.Errorf("presence has %s", got)
		}
		if want, got := show(t, h, 100), stamped(t, h, romeo); got != want {
			t.Errorf("presence has %s, want %s", got, want)
		}
	})
}

// BenchmarkFirstPresence measures what the hash in presence costs a session that comes online, with a picture of 30 KB.
func BenchmarkFirstPresence(b *testing.B) {
	h := modtest.New(b, Info, modtest.WithDB(dbtest.SQLite(b), db.Migrate))
	want, s := show(b, h, 30<<10), h.Login(romeo)
	b.ReportAllocs()
	for b.Loop() {
		s.SetFlag(shown, "")
		if got := stamped(b, h, romeo); got != want {
			b.Fatal(got)
		}
	}
}
