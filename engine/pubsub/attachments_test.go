package pubsub_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"sabir/engine/pubsub"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

const (
	service     = "pubsub.localhost"
	attachments = "urn:xmpp:pubsub-attachments:1"
	summaries   = "urn:xmpp:pubsub-attachments:summary:1/n"
)

// What is attached to an item goes with it, whatever it goes by.
func TestAttachmentsGo(t *testing.T) {
	for name, c := range map[string]struct {
		fields string // of the configuration
		gone   func(t *testing.T, p posts)
		told   string // what subscribers of the summaries hear; "" for nothing: nobody did anything to an item
	}{
		"retracted": {"", func(t *testing.T, p posts) {
			result(t, p.set("romeo", "<retract node='n'><item id='a'/></retract>"))
		}, "<retract "},
		"too many": {field("max_items", "1"), func(t *testing.T, p posts) { p.publish("b") }, ""},
		"fewer": {field("max_items", "2"), func(t *testing.T, p posts) {
			p.publish("b")
			result(t, p.owner("<configure node='n'>"+form("node_config", field("max_items", "1"))+"</configure>"))
		}, ""},
		"not kept": {"", func(t *testing.T, p posts) {
			result(t, p.owner("<configure node='n'>"+form("node_config", field("persist_items", "0"))+"</configure>"))
		}, ""},
		"purged": {"", func(t *testing.T, p posts) { result(t, p.owner("<purge node='n'/>")) }, "<purge "},
		"expired": {field("item_expire", "60"), func(t *testing.T, p posts) {
			p.h.Advance(2 * time.Minute)
			if err := p.s.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, ""},
		"offline": {field("purge_offline", "1"), func(t *testing.T, p posts) {
			if err := p.s.Offline(t.Context(), jid.MustParse("romeo@localhost")); err != nil {
				t.Fatal(err)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, d db.DB) {
				p := newPosts(t, d, c.fields)
				node := attachments + "/xmpp:" + service + "?;node=n;item=a"
				result(t, p.attach("juliet", node))
				result(t, p.set("romeo", "<subscribe node='"+summaries+"' jid='romeo@localhost'/>"))
				if got := ids(result(t, p.get("<items node='"+summaries+"'/>"))); got != "a" {
					t.Fatalf("there are summaries of %q", got)
				}
				p.h.Routed()
				c.gone(t, p)
				told := ""
				for _, m := range p.h.Routed() {
					if strings.Contains(m.String(), summaries) {
						told += m.String()
					}
				}
				if (told == "") != (c.told == "") || !strings.Contains(told, c.told) {
					t.Errorf("told %q, want %q", told, c.told)
				}
				refused(t, p.get("<items node='"+node+"'/>"), stanza.ItemNotFound, "")
				if got := ids(result(t, p.get("<items node='"+summaries+"'/>"))); got != "" {
					t.Errorf("there are summaries of %q", got)
				}
			})
		})
	}
}

// An item has one node for what is attached to it, however its name is written, and that has room for as many as may subscribe.
func TestAttachmentsBounded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		p := newPosts(t, d, "")
		node := attachments + "/xmpp:" + service + "?;node=n;item=a"
		result(t, p.attach("juliet", node))
		for _, other := range []string{"?;item=a;node=n", "?;node=%6E;item=a"} {
			refused(t, p.attach("juliet", attachments+"/xmpp:"+service+other), stanza.ItemNotFound, "")
		}
		for _, none := range []string{"?;node=n;item=a;more=x", "?;node=n;item=a;item=b"} {
			refused(t, p.attach("juliet", attachments+"/xmpp:"+service+none), stanza.ItemNotFound, "")
		}
		result(t, p.attach("romeo", node))
		refused(t, p.attach("mercutio", node), stanza.Conflict, "node-full")
		if got := strings.Count(result(t, p.get("<items node='"+node+"'/>")).String(), "<noticed"); got != 2 {
			t.Errorf("%d have attached something, want 2", got)
		}
		result(t, p.attach("juliet", node)) // again
	})
}

// A summary counts all that is attached, of reactions the most frequent.
func TestSummary(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, s := newServiceOf(t, d, false, pubsub.Limits{Items: 2, Payload: 10_000, Nodes: 3, Subscriptions: 5})
		p := posts{t, h, s}
		result(t, p.set("romeo", "<create node='n'/><configure>"+form("node_config", field("publish_model", "open"))+"</configure>"))
		p.publish("a")
		for i := range 5 {
			own := ""
			for k := range 30 {
				own += "<reaction>" + strconv.Itoa(1000*i+k) + "</reaction>"
			}
			who := "user" + strconv.Itoa(i)
			result(t, p.set(who, "<publish node='"+attachments+"/xmpp:"+service+"?;node=n;item=a'><item id='"+who+"@localhost'><attachments xmlns='"+attachments+"'><noticed/><reactions>"+
				"<reaction>all</reaction><reaction>"+strings.Repeat("long", 20)+"</reaction>"+own+"</reactions></attachments></item></publish>"))
		}
		got := result(t, p.get("<items node='"+summaries+"'/>")).String()
		if !strings.Contains(got, "<noticed count='5'/>") || !strings.Contains(got, "<reaction count='5'>all</reaction>") || strings.Count(got, "<reaction") != 1+100 || strings.Contains(got, "long") {
			t.Errorf("the summary is %s", got)
		}
	})
}

// posts are a service with a node "n" to which everybody may publish, and an item "a" in it.
type posts struct {
	t *testing.T
	h *modtest.Host
	s *pubsub.Service
}

func newPosts(t *testing.T, d db.DB, fields string) posts {
	h, s := newService(t, d, false)
	p := posts{t, h, s}
	result(t, p.set("romeo", "<create node='n'/><configure>"+form("node_config", field("publish_model", "open")+fields)+"</configure>"))
	p.publish("a")
	return p
}

func (p posts) set(who, inner string) *stanza.Stanza {
	return set(p.h, who+"@localhost/a", service, inner)
}

func (p posts) get(inner string) *stanza.Stanza { return get(p.h, "romeo@localhost/a", service, inner) }

func (p posts) owner(inner string) *stanza.Stanza {
	return p.h.IQ(stanza.TypeSet, "romeo@localhost/a", service, "<pubsub xmlns='"+ns+"#owner'>"+inner+"</pubsub>")
}

func (p posts) publish(id string) {
	p.t.Helper()
	result(p.t, p.set("romeo", "<publish node='n'><item id='"+id+"'><x xmlns='u'/></item></publish>"))
}

func (p posts) attach(who, node string) *stanza.Stanza {
	return p.set(who, "<publish node='"+node+"'><item id='"+who+"@localhost'><attachments xmlns='"+attachments+"'><noticed/></attachments></item></publish>")
}
