package caps

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sabir/engine/lru"
	"sabir/mod"
	"sabir/xmpp/jid"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:   "caps",
	Specs:  []string{"XEP-0115 1.6.0", "XEP-0390 0.3.2"},
	Doc:    "Tells clients at login what the server can do, and remembers what each kind of client can do.",
	Config: func() any { return &Config{Node: "urn:sabir", Memory: 2000, Stored: 10000} },
	Schema: schema,
	New:    newCaps,
}

// Config is the section [mod.caps].
type Config struct {
	Node   string `toml:"node" doc:"The URI that names the server software (XEP-0115)."`
	Memory int    `toml:"memory" doc:"Kinds of clients whose features are kept in memory."`
	Stored int    `toml:"stored" doc:"Kinds of clients whose features are kept in the database."`
}

// Validate checks that the limits are positive and the node is there.
func (c *Config) Validate() error {
	if c.Memory < 1 || c.Stored < 1 || c.Node == "" {
		return fmt.Errorf("memory and stored are at least 1, and node is not empty")
	}
	return nil
}

const (
	// maxFeatures and maxBytes bound what is kept of one client.
	maxFeatures = 1000
	maxBytes    = 32 << 10
	// maxWaiting bounds those who wait for the answer of a client about one hash.
	maxWaiting = 1000
)

// key names verified features. The node of XEP-0115 is not a part of it: the hash does not cover it.
type key struct {
	kind       int // 115 or 390
	algo, hash string
}

func keyOf(c wire.Caps) key {
	if c.Node == "" {
		return key{390, c.Algo, c.Hash}
	}
	return key{115, c.Algo, c.Hash}
}

// own are features that hold for one session only.
type own struct {
	key      key
	features []string
}

type caps struct {
	h      mod.Host
	c      *Config
	store  store
	all    *lru.Cache[key, []string]
	alone  *lru.Cache[jid.JID, own]
	parsed *lru.Cache[string, []wire.Caps] // announcements in wire form
	tried  *lru.Cache[jid.JID, key]        // what clients were asked for last

	mu      sync.Mutex
	waiting map[key][]waiter // those to try next, while one is asked

	feature []*xmlstream.Element // of the stream; set at the start
}

func newCaps(h mod.Host, cfg any) (*mod.Hooks, error) {
	return build(h, cfg.(*Config)).hooks(), nil
}

func build(h mod.Host, c *Config) *caps {
	return &caps{
		h: h, c: c, store: store{h.DB(), c.Stored},
		all: lru.New[key, []string](c.Memory), alone: lru.New[jid.JID, own](c.Memory), parsed: lru.New[string, []wire.Caps](c.Memory), waiting: make(map[key][]waiter),
		tried: lru.New[jid.JID, key](c.Memory),
	}
}

func (x *caps) hooks() *mod.Hooks {
	return &mod.Hooks{
		Features: []mod.Feature{{At: mod.AtHost, Var: wire.NSCaps}, {At: mod.AtHost, Var: wire.NSCaps2}}, // XEP-0115#support
		StreamFeatures: []mod.StreamFeature{
			{Auth: true, Func: func() *xmlstream.Element { return x.feature[0] }},
			{Auth: true, Func: func() *xmlstream.Element { return x.feature[1] }},
		},
		Capabilities: x,
		Available:    x.available,
		Unbound:      func(_ context.Context, s mod.Session, _ *stanza.Stanza) { x.gone(s.JID()) },
		Start:        x.start,
	}
}

// start computes what the host announces (XEP-0115#stream, XEP-0390#usecases-stream-feature). Service discovery
// answers for the same hashes.
func (x *caps) start(context.Context) error {
	info := x.h.Disco(mod.AtHost).Info("")
	ver, err := info.Ver("sha-1")
	if err != nil {
		return err
	}
	var both []wire.Caps
	for _, algo := range []string{"sha-256", "sha3-256"} {
		hash, err := info.Hash(algo)
		if err != nil {
			return err
		}
		both = append(both, wire.Caps{Algo: algo, Hash: hash})
	}
	x.feature = []*xmlstream.Element{wire.Caps{Node: x.c.Node, Algo: "sha-1", Hash: ver}.Element(), wire.Caps2Element(both...)}
	return nil
}

// announced returns what a presence says of its sender, the safer hashes first. The slice is shared and must not be changed.
func (x *caps) announced(p *stanza.Stanza) []wire.Caps {
	if p == nil {
		return nil
	}
	safer, usual := x.parse(p, wire.NSCaps2), x.parse(p, wire.NSCaps)
	if len(safer) == 0 {
		return usual
	}
	return append(slices.Clip(safer), usual...)
}

// maxParsed bounds what is remembered in wire form, in bytes.
const maxParsed = 1 << 10

// parse reads the announcement of one of the two kinds. Many clients send the same, which is read once: whoever publishes to many
// contacts asks for all of theirs.
func (x *caps) parse(p *stanza.Stanza, space string) []wire.Caps {
	raw := p.ChildRaw(space, "c")
	if raw != "" {
		if list, ok := x.parsed.Get(raw); ok {
			return list
		}
	}
	list := wire.ParseCaps(p.Child(space, "c"))
	if raw != "" && len(raw) <= maxParsed {
		own := make([]wire.Caps, len(list)) // nothing of the stanza, which it would hold on to
		for i, c := range list {
			own[i] = wire.Caps{Node: strings.Clone(c.Node), Algo: strings.Clone(c.Algo), Hash: strings.Clone(c.Hash)}
		}
		x.parsed.Put(strings.Clone(raw), own)
	}
	return list
}

// Features returns what the client understands that sent a presence. See mod.Capabilities.
func (x *caps) Features(p *stanza.Stanza) ([]string, bool) {
	for _, c := range x.announced(p) {
		k := keyOf(c)
		if f, ok := x.all.Get(k); ok {
			return f, true
		}
		if o, ok := x.alone.Get(p.From); ok && o.key == k {
			return o.features, true
		}
	}
	return nil, false
}

// Same tells whether two presences announce the same. See mod.Capabilities.
func (x *caps) Same(a, b *stanza.Stanza) bool { return slices.Equal(x.announced(a), x.announced(b)) }

// available learns of a session what is not known yet.
func (x *caps) available(ctx context.Context, s mod.Session, _ bool) {
	if p := s.Presence(); p != nil {
		x.Learn(ctx, x.h.Domain(), p, func([]string) {})
	}
}

// Learn asks for features that are not known yet. Of several hashes any will do. See mod.Capabilities.
func (x *caps) Learn(ctx context.Context, asker jid.JID, p *stanza.Stanza, known func([]string)) {
	list := x.announced(p)
	if len(list) == 0 {
		return
	}
	if f, ok := x.Features(p); ok {
		known(f)
		return
	}
	for _, c := range list {
		f, ok, err := x.store.get(ctx, keyOf(c))
		if err != nil {
			x.h.Log().Error("stored capabilities cannot be read", "error", err)
		}
		if ok {
			x.all.Put(keyOf(c), f)
			known(f)
			return
		}
	}
	x.ask(context.WithoutCancel(ctx), waiter{asker, p.From, list[0], known})
}

// waiter is somebody who waits for the features of a client.
type waiter struct {
	asker, client jid.JID
	caps          wire.Caps
	known         func([]string)
}

// ask asks a client, unless one is being asked for the same hash: then that answer is waited for. A client is asked once
// for what it announces.
func (x *caps) ask(ctx context.Context, w waiter) {
	if !x.turn(keyOf(w.caps), w) {
		return
	}
	q := xmlstream.El(wire.NSInfo, "query", xmlstream.A("node", w.caps.Query())) // XEP-0115#discover
	x.h.Ask(ctx, stanza.NewIQ(stanza.TypeGet, w.asker, w.client, q), func(answer *stanza.Stanza) {
		x.answered(ctx, w, answer)
	})
}

// turn tells whether nobody is being asked for k, and w's client has not been, which is w's turn then. While somebody is being asked,
// w waits, of the same client as well.
func (x *caps) turn(k key, w waiter) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if list, busy := x.waiting[k]; busy {
		if len(list) < maxWaiting {
			x.waiting[k] = append(list, w)
		}
		return false
	}
	if tried, ok := x.tried.Get(w.client); ok && tried == k {
		return false
	}
	x.waiting[k] = nil
	x.tried.Put(w.client, k)
	return true
}

// gone forgets a client.
func (x *caps) gone(client jid.JID) {
	x.alone.Delete(client)
	x.tried.Delete(client)
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, list := range x.waiting {
		x.waiting[k] = slices.DeleteFunc(list, func(w waiter) bool { return w.client == client })
	}
}

// answered tells what was learned to all who wait for it. Where the answer was of no use to them, the next client is asked
// (XEP-0115#ver-proc).
func (x *caps) answered(ctx context.Context, w waiter, answer *stanza.Stanza) {
	features, all := x.learn(ctx, w, answer)
	k := keyOf(w.caps)
	x.mu.Lock()
	list := x.waiting[k]
	delete(x.waiting, k)
	x.mu.Unlock()
	if features != nil {
		w.known(features)
	}
	for _, o := range list {
		switch {
		case all || features != nil && o.client == w.client:
			o.known(features)
		case o.client != w.client:
			x.ask(ctx, o)
		}
	}
}

// learn verifies an answer and keeps it. all tells that it holds for every client that announces this.
func (x *caps) learn(ctx context.Context, w waiter, answer *stanza.Stanza) (features []string, all bool) {
	if answer == nil || answer.Type != stanza.TypeResult {
		return nil, false
	}
	c := w.caps
	info, err := wire.ParseInfo(answer.Child(wire.NSInfo, "query"), answer.Lang)
	if err != nil || !c.Verify(info) || !modest(info) {
		x.h.Log().Debug("capabilities not verified", "node", c.Node, "algo", c.Algo)
		return nil, false
	}
	if features = info.Features; features == nil {
		features = []string{}
	}
	if c.Node != "" && info.Ambiguous() {
		x.alone.Put(w.client, own{keyOf(c), features})
		return features, false
	}
	x.all.Put(keyOf(c), features)
	if err := x.store.put(ctx, keyOf(c), features, x.h.Clock().Now()); err != nil {
		x.h.Log().Error("capabilities not stored", "error", err)
	}
	return features, true
}

// modest tells whether an answer is small enough to be kept.
func modest(i *wire.Info) bool {
	n := 0
	for _, f := range i.Features {
		n += len(f)
	}
	return len(i.Features) <= maxFeatures && n <= maxBytes
}
