package interop

import (
	"fmt"
	"reflect"
	"testing"
)

// event waits until a notification has come: the kind, who it is from, the node, the item and what it says, as far as given.
func (s *slix) event(t *testing.T, like ...any) {
	t.Helper()
	s.do(t, "event", args{"like": like})
}

// same asserts that a command answers with this.
func (s *slix) same(t *testing.T, do string, with args, want string) {
	t.Helper()
	if got := fmt.Sprint(s.do(t, do, with)); got != want {
		t.Errorf("%s %v: got %s, want %s", do, with, got, want)
	}
}

// TestSlixmppPubSub goes through the library's plugins of publish-subscribe and personal eventing.
func TestSlixmppPubSub(t *testing.T) {
	w := enter(t)
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	a, b := newSlix(t, w, amina, false, args{"pubsub": true}), newSlix(t, w, jonas, true, args{"pubsub": true})
	befriend(t, a, b)
	t.Run("personal eventing", func(t *testing.T) {
		a.do(t, "mood", args{"value": "happy", "text": "fair wind"})
		b.event(t, "user_mood_publish", a.jid, nil, nil, "happy fair wind")
		a.event(t, "user_mood_publish", a.jid, nil, nil, "happy fair wind") // the own devices hear of it too
		a.do(t, "tune", args{"artist": "Umm Kulthum", "title": "Enta Omri"})
		b.event(t, "user_tune_publish", a.jid, nil, nil, "Umm Kulthum: Enta Omri")
		b.do(t, "nick", args{"nick": "Jonas"})
		a.event(t, "user_nick_publish", b.jid, nil, nil, "Jonas")
	})
	t.Run("avatar", func(t *testing.T) {
		const first, second = "iVBORw0KGgoAAAANSUhEUg==", "iVBORw0KGgoAAAANSUhEVQ=="
		id := a.do(t, "avatar", args{"data": first})
		b.event(t, "avatar_metadata_publish", a.jid, nil, id)
		b.same(t, "avatar_of", args{"jid": a.jid, "id": id}, first)
		if got := b.do(t, "photo", args{"jid": a.jid}); !reflect.DeepEqual(got, map[string]any{"type": "image/png", "data": first}) {
			t.Errorf("the picture of the vCard is %v", got)
		}
		b.do(t, "set_photo", args{"name": "Jonas", "data": second})
		a.event(t, "avatar_metadata_publish", b.jid, nil, "641021163727a9c11490e961f3705630988c3572")
	})
	t.Run("bookmarks", func(t *testing.T) {
		a.do(t, "bookmark", args{"room": "deck@conference.harbour.test", "name": "On deck", "nick": "amina"})
		a.same(t, "bookmarks", nil, "map[deck@conference.harbour.test:[On deck true amina]]")
		b.fails(t, "items", args{"at": a.jid, "node": "urn:xmpp:bookmarks:1"}, "not-allowed")
	})
	t.Run("service", func(t *testing.T) { a.service(t, b, "pubsub."+w.Domain) })
}

// service goes through the life of a node of a service.
func (s *slix) service(t *testing.T, b *slix, at string) {
	n := func(more args) args {
		m := args{"at": at, "node": "log"}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	s.do(t, "create", n(args{"config": args{"title": "The log", "max_items": "2", "publish_model": "publishers"}}))
	s.fails(t, "create", n(nil), "conflict")
	b.same(t, "nodes", args{"at": at}, "[log]")
	if c, ok := s.do(t, "node_config", n(nil)).(map[string]any); !ok || c["pubsub#title"] != "The log" || c["pubsub#max_items"] != "2" {
		t.Errorf("the configuration is %v", c)
	}
	b.fails(t, "node_config", n(nil), "forbidden")
	b.same(t, "follow", n(nil), "subscribed")
	b.same(t, "subscriptions", args{"at": at}, "[[log subscribed]]")
	for _, id := range []string{"1", "2", "3"} {
		s.same(t, "publish", n(args{"id": id, "text": "note " + id}), id)
		b.event(t, "pubsub_publish", at, "log", id, "note "+id)
	}
	b.event(t, "pubsub_retract", at, "log", "1")
	b.same(t, "items", n(nil), "[[3 note 3] [2 note 2]]")
	b.same(t, "items", n(args{"max": 1}), "[[3 note 3]]")
	b.fails(t, "publish", n(args{"text": "mine"}), "forbidden")
	s.do(t, "affiliate", n(args{"jid": b.jid, "affiliation": "publisher"}))
	s.same(t, "affiliations", n(nil), fmt.Sprintf("map[%s:owner %s:publisher]", s.jid, b.jid))
	b.do(t, "publish", n(args{"id": "4", "text": "mine"}))
	b.do(t, "retract", n(args{"id": "4"}))
	b.event(t, "pubsub_retract", at, "log", "4")
	s.do(t, "purge", n(nil))
	b.event(t, "pubsub_purge", at, "log")
	s.do(t, "delete", n(nil))
	b.event(t, "pubsub_delete", at, "log")
	b.fails(t, "items", n(nil), "item-not-found")
}
