package caps

import (
	"context"
	"embed"
	"fmt"
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
	// maxWaiting bounds the sessions that are tried one after the other for one hash.
	maxWaiting = 20
	// asked is the flag of a session with the node that it was asked for last: once is enough.
	asked = "caps.asked"
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
	h     mod.Host
	c     *Config
	store store
	all   *lru.Cache[key, []string]
	alone *lru.Cache[jid.JID, own]

	mu      sync.Mutex
	waiting map[key][]jid.JID // the sessions to try next, while one is asked

	feature []*xmlstream.Element // of the stream; set at the start
}

func newCaps(h mod.Host, cfg any) (*mod.Hooks, error) {
	return build(h, cfg.(*Config)).hooks(), nil
}

func build(h mod.Host, c *Config) *caps {
	return &caps{
		h: h, c: c, store: store{h.DB(), c.Stored},
		all: lru.New[key, []string](c.Memory), alone: lru.New[jid.JID, own](c.Memory), waiting: make(map[key][]jid.JID),
	}
}

func (x *caps) hooks() *mod.Hooks {
	return &mod.Hooks{
		Features: []mod.Feature{{At: mod.AtHost, Var: wire.NSCaps}, {At: mod.AtHost, Var: wire.NSCaps2}}, // XEP-0115#support
		StreamFeatures: []mod.StreamFeature{
			{Auth: true, Func: func() *xmlstream.Element { return x.feature[0] }},
			{Auth: true, Func: func() *xmlstream.Element { return x.feature[1] }},
		},
		Available: x.available,
		Unbound:   func(_ context.Context, s mod.Session, _ *stanza.Stanza) { x.alone.Delete(s.JID()) },
		Start:     x.start,
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

// announced returns what a presence says of its sender, the safer hashes first.
func announced(p *stanza.Stanza) []wire.Caps {
	if p == nil {
		return nil
	}
	return append(wire.ParseCaps(p.Child(wire.NSCaps2, "c")), wire.ParseCaps(p.Child(wire.NSCaps, "c"))...)
}

// features returns what the client of a session understands, as far as that is known. It does not wait.
func (x *caps) features(s mod.Session) ([]string, bool) {
	for _, c := range announced(s.Presence()) {
		k := keyOf(c)
		if f, ok := x.all.Get(k); ok {
			return f, true
		}
		if o, ok := x.alone.Get(s.JID()); ok && o.key == k {
			return o.features, true
		}
	}
	return nil, false
}

// available learns of a session what is not known yet. Of several hashes any will do.
func (x *caps) available(ctx context.Context, s mod.Session, _ bool) {
	list := announced(s.Presence())
	if len(list) == 0 {
		return
	}
	if _, known := x.features(s); known {
		return
	}
	for _, c := range list {
		f, ok, err := x.store.get(ctx, keyOf(c))
		if err != nil {
			x.h.Log().Error("stored capabilities cannot be read", "error", err)
		}
		if ok {
			x.all.Put(keyOf(c), f)
			return
		}
	}
	x.ask(context.WithoutCancel(ctx), s, list[0])
}

// ask asks a session, unless another is being asked for the same hash: then it waits for that answer.
func (x *caps) ask(ctx context.Context, s mod.Session, c wire.Caps) {
	if s.Flag(asked) == c.Query() || !x.turn(keyOf(c), s.JID()) {
		return
	}
	s.SetFlag(asked, c.Query())
	to := s.JID()
	q := xmlstream.El(wire.NSInfo, "query", xmlstream.A("node", c.Query())) // XEP-0115#discover
	x.h.Ask(ctx, stanza.NewIQ(stanza.TypeGet, x.h.Domain(), to, q), func(answer *stanza.Stanza) {
		x.next(ctx, keyOf(c), x.learn(ctx, to, c, answer))
	})
}

// turn tells whether nobody is being asked for k, which is who's turn then. Otherwise who waits.
func (x *caps) turn(k key, who jid.JID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	list, busy := x.waiting[k]
	switch {
	case !busy:
		x.waiting[k] = nil
	case len(list) < maxWaiting:
		x.waiting[k] = append(list, who)
	}
	return !busy
}

// next asks the sessions that waited, where the answer was of no use to them (XEP-0115#ver-proc).
func (x *caps) next(ctx context.Context, k key, known bool) {
	x.mu.Lock()
	list := x.waiting[k]
	delete(x.waiting, k)
	x.mu.Unlock()
	if known {
		return
	}
	for _, j := range list {
		s := x.h.Session(j)
		if s == nil {
			continue
		}
		for _, c := range announced(s.Presence()) {
			if keyOf(c) == k {
				x.ask(ctx, s, c)
			}
		}
	}
}

// learn verifies an answer and keeps it. It tells whether it holds for all.
func (x *caps) learn(ctx context.Context, from jid.JID, c wire.Caps, answer *stanza.Stanza) bool {
	if answer == nil || answer.Type != stanza.TypeResult {
		return false
	}
	info, err := wire.ParseInfo(answer.Child(wire.NSInfo, "query"), answer.Lang)
	if err != nil || !c.Verify(info) || !modest(info) {
		x.h.Log().Debug("capabilities not verified", "node", c.Node, "algo", c.Algo)
		return false
	}
	if c.Node != "" && info.Ambiguous() {
		x.alone.Put(from, own{keyOf(c), info.Features})
		return false
	}
	x.all.Put(keyOf(c), info.Features)
	if err := x.store.put(ctx, keyOf(c), info.Features, x.h.Clock().Now()); err != nil {
		x.h.Log().Error("capabilities not stored", "error", err)
	}
	return true
}

// modest tells whether an answer is small enough to be kept.
func modest(i *wire.Info) bool {
	n := 0
	for _, f := range i.Features {
		n += len(f)
	}
	return len(i.Features) <= maxFeatures && n <= maxBytes
}
