package feeds

import (
	"context"
	"embed"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/jid"
)

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name: "feeds",
	Specs: []string{
		"XEP-0277 0.6.5", "XEP-0472 0.2.1", "XEP-0501 0.2.0", "XEP-0503 0.3.0", "XEP-0508 0.1.0", "XEP-0060 1.30.0", "RFC 4287 §2", "RFC 5005 §3", "RFC 5005 §4", "RFC 4685 §3",
	},
	Doc:     "Shows microblogs and other nodes that everybody may read on the web, as feeds and as pages, and tells subscribers by WebSub.",
	Engines: []mod.Engine{{Name: pubsub.Module, Schema: pubsub.Schema}},
	Schema:  schema,
	Config: func() any {
		return &Config{Items: 20, Rate: 10, Subscriptions: 10_000, PerTopic: 500, Lease: mod.Duration(10 * 24 * time.Hour)}
	},
	New: newFeeds,
}

// Config is the section [mod.feeds].
type Config struct {
	URL           string       `toml:"url" example:"https://xmpp.example.org" doc:"Where others reach the HTTPS listener, without a path. With it, posts get a link to their page when they are published; without it, pages name the server as it was asked for."`
	Items         int          `toml:"items" doc:"Entries of one page."`
	Rate          int          `toml:"rate" doc:"Requests a second of one network address, in the long run; 0 for no limit."`
	Subscriptions int          `toml:"subscriptions" doc:"WebSub subscriptions of a host; 0 for no hub."`
	PerTopic      int          `toml:"per_topic" doc:"WebSub subscriptions of one feed."`
	Lease         mod.Duration `toml:"lease" doc:"For how long a WebSub subscription is granted where nothing shorter is asked for."`
}

// Validate checks the settings.
func (c *Config) Validate() error {
	switch {
	case c.Items < 1 || c.Items > 200:
		return fmt.Errorf("items is 1 to 200")
	case c.Rate < 0 || c.Subscriptions < 0 || c.PerTopic < 0:
		return fmt.Errorf("rate, subscriptions and per_topic are not negative")
	case time.Duration(c.Lease) < minLease:
		return fmt.Errorf("lease is at least %v", minLease)
	case c.URL != "" && origin(c.URL) != site(strings.TrimSuffix(c.URL, "/")):
		return fmt.Errorf("url is https://NAME or https://NAME:PORT")
	}
	return nil
}

// origin returns scheme and authority of an https: URL, or "".
func origin(s string) site {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return site(u.Scheme + "://" + u.Host)
}

type feeds struct {
	h     mod.Host
	c     *Config
	nodes *pubsub.Public
	pages *pages
	rate  *rate
	busy  chan struct{} // has room for those that are served now
	news  news
	hub   *hub
}

func newFeeds(h mod.Host, cfg any) (*mod.Hooks, error) {
	c := cfg.(*Config)
	p, err := newPages()
	if err != nil {
		return nil, err
	}
	f := &feeds{h: h, c: c, nodes: pubsub.NewPublic(h), pages: p, rate: newRate(c.Rate), busy: make(chan struct{}, maxBusy)}
	f.news.since = h.Clock().Now()
	f.hub = newHub(f)
	return &mod.Hooks{
		HTTP:  []mod.HTTP{{Name: root, Handler: http.HandlerFunc(f.serve)}},
		Pages: f, NodeChanged: f.changed,
		Start: func(ctx context.Context) error { return f.hub.start(ctx) },
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			return f.hub.store.forget(ctx, tx, account)
		},
	}, nil
}

// URL implements mod.Pages.
func (f *feeds) URL(at jid.JID, node, item string) string {
	base := origin(f.c.URL)
	if base == "" {
		return ""
	}
	return base.url(place{at: at, node: node, item: item})
}

// changed has the pages and subscribers of a node follow it.
func (f *feeds) changed(at jid.JID, node string) {
	f.news.note(at, node, f.h.Clock().Now())
	f.hub.changed(at, node)
}

// shows tells whether a node is shown: of an account, its posts and nothing else, however open the rest may be.
func shows(n *pubsub.OpenNode) bool {
	return n.At.Local() == "" || pubsub.Social(n.Name, n.Type)
}
