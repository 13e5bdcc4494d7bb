package pubsub_test

import (
	"fmt"
	"strings"
	"testing"

	"sabir/engine/pubsub"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const nsRSM = "http://jabber.org/protocol/rsm"

// crowded is a service with 2,100 nodes of romeo's, of which every seventh is closed and every third of another type.
func crowded(t *testing.T, d db.DB) *pubsub.Service {
	t.Helper()
	h, s := newServiceOf(t, d, false, pubsub.Limits{Items: 10, Payload: 1000, Nodes: 3000, Subscriptions: 2})
	for name, fields := range map[string]string{"a": "", "b": field("type", "t"), "c": field("access_model", "whitelist")} {
		result(t, set(h, "romeo@localhost/a", service, "<create node='"+name+"'/><configure>"+form("node_config", fields)+"</configure>"))
	}
	err := d.Write(t.Context(), func(tx mod.Tx) error {
		for i := range 2100 {
			like := "a"
			switch {
			case i%7 == 0:
				like = "c"
			case i%3 == 0:
				like = "b"
			}
			if _, err := tx.Exec(t.Context(), `INSERT INTO pubsub_node (num, service, name, creator, created, items, config, purge, expire)
				SELECT num + CAST(? AS BIGINT), service, ?, creator, created, 0, config, purge, expire FROM pubsub_node WHERE name = ?`, i+1, fmt.Sprintf("n%04d", i), like); err != nil {
				return err
			}
		}
		_, err := tx.Exec(t.Context(), `DELETE FROM pubsub_node WHERE name IN ('a', 'b', 'c')`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The nodes of a service with many of them come in pages, without those that are nobody's business.
func TestListing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		s := crowded(t, d)
		ask := func(inner string) ([]mod.DiscoItem, *xmlstream.Element, error) {
			t.Helper()
			return s.Listing(t.Context(), jid.MustParse(service), jid.MustParse("juliet@localhost"), modtest.XML(t, "<query xmlns='http://jabber.org/protocol/disco#items'>"+inner+"</query>"))
		}
		page := func(filter, rsm string) string {
			t.Helper()
			list, set, err := ask(filter + "<set xmlns='" + nsRSM + "'>" + rsm + "</set>")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, i := range list {
				names = append(names, i.Node)
			}
			if len(list) > 0 && (set.ChildText(nsRSM, "first") != names[0] || set.ChildText(nsRSM, "last") != names[len(names)-1]) {
				t.Errorf("%s of %v", set, names)
			}
			return strings.Join(append(names, set.ChildText(nsRSM, "count")), " ")
		}
		filter := "<filter xmlns='urn:xmpp:pubsub-filter:0'><x xmlns='jabber:x:data' type='submit'><field var='included-types'><value>t</value></field></x></filter>"
		for _, c := range []struct{ filter, set, want string }{
			{"", "<max>3</max>", "n0001 n0002 n0003 "},
			{"", "<max>3</max><after>n0005</after>", "n0006 n0008 n0009 "},
			{"", "<max>3</max><before>n0009</before>", "n0005 n0006 n0008 "},
			{"", "<max>2</max><before/>", "n2098 n2099 "},
			{"", "<max>5</max><after>n2097</after>", "n2098 n2099 "},
			{"", "<max>0</max>", "1800"},
			{filter, "<max>3</max>", "n0003 n0006 n0009 "},
			{filter, "<max>0</max>", "600"},
		} {
			if got := page(c.filter, c.set); got != c.want {
				t.Errorf("%s: got %q, want %q", c.set, got, c.want)
			}
		}
		for set, condition := range map[string]stanza.Condition{
			"<after>n0007</after>": stanza.ItemNotFound, "<after>none</after>": stanza.ItemNotFound, "<max>1</max><index>3</index>": stanza.FeatureNotImplemented, "<max>x</max>": stanza.BadRequest,
		} {
			if _, _, err := ask("<set xmlns='" + nsRSM + "'>" + set + "</set>"); err == nil || err.(*stanza.Error).Condition != condition {
				t.Errorf("%s: %v", set, err)
			}
		}
		// Who asks for no page gets the first one.
		got := 0
		for set := ""; ; {
			list, answer, err := ask(set)
			if err != nil {
				t.Fatal(err)
			}
			if got += len(list); len(list) == 0 || answer == nil {
				break
			}
			set = "<set xmlns='" + nsRSM + "'><after>" + answer.ChildText(nsRSM, "last") + "</after></set>"
		}
		if got != 1800 {
			t.Errorf("all pages have %d nodes", got)
		}
	})
}
