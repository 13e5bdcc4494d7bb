package push

import (
	"context"
	"embed"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"sabir/engine/lru"
	"sabir/engine/urgency"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/forward"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
)

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:  "push",
	Specs: []string{"XEP-0357 0.4.1", "XEP-0492 0.2.0", "RFC 8030", "RFC 8291", "RFC 8292"},
	Doc:   "Wakes phones and browsers that are not connected when there is a message for them.",
	Config: func() any {
		return &Config{Services: 32, Every: mod.Duration(10 * time.Second), Tries: 12, Web: true}
	},
	Schema: schema,
	New: func(h mod.Host, cfg any) (*mod.Hooks, error) {
		return newPush(h, cfg.(*Config)).hooks(), nil
	},
}

// Config is the section [mod.push].
type Config struct {
	Sender      bool         `toml:"sender" doc:"Tell push services who has sent the last message. App servers can read it; what a browser gets is encrypted for it."`
	Body        bool         `toml:"body" doc:"Tell push services the text of the last message, with the same limits."`
	Placeholder string       `toml:"placeholder" doc:"Text that goes to app servers in place of that of the message, such as \"New message\"; some show nothing without one."`
	Services    int          `toml:"services" min:"1" doc:"App servers and browsers that one account may enable."`
	Every       mod.Duration `toml:"every" doc:"Least time between two notifications to one device; what comes in between is summed up."`
	Tries       int          `toml:"tries" min:"1" doc:"Failures in a row after which a device is not notified any more, until it enables its service again."`
	Web         bool         `toml:"web" doc:"Notify browsers too (Web Push)."`
	Contact     string       `toml:"contact" doc:"Mail address or https: URL under which the operators of browsers' push services reach you; postmaster at the domain otherwise."`
}

// Validate checks what the tags do not say.
func (c *Config) Validate() error {
	if c.Services < 1 || c.Tries < 1 || c.Every < 0 {
		return fmt.Errorf("services and tries are at least 1, and every is not negative")
	}
	if u, err := url.Parse(c.Contact); err != nil || c.Contact != "" && !strings.Contains(c.Contact, "@") && (u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("contact is a mail address or an https: URL")
	}
	return nil
}

// accounts bounds the accounts whose services are remembered, most of which have none.
const accounts = 50000

type push struct {
	h     mod.Host
	c     *Config
	store store
	// cache holds the services of accounts, the empty list too. changes counts what was forgotten of it, so that what was read
	// before is not put there after; both under mu.
	cache   *lru.Cache[jid.JID, []*service]
	mu      sync.Mutex
	changes int
	// settings, ledgers and talks may be lost: they are read again, or a message is counted twice.
	settings settings
	ledgers  *lru.Cache[key, *ledger]
	talks    *lru.Cache[talker, *talk]
	jobs     jobs
	keys     keys
}

func newPush(h mod.Host, c *Config) *push {
	p := &push{
		h: h, c: c, store: store{h.DB(), h.Domain().String()}, cache: lru.New[jid.JID, []*service](accounts),
		settings: newSettings(), ledgers: lru.New[key, *ledger](ledgers), talks: lru.New[talker, *talk](talkers),
	}
	p.jobs.init()
	return p
}

func (p *push) hooks() *mod.Hooks {
	in := mod.When{Side: mod.In, Kinds: mod.Messages | mod.Presences}
	return &mod.Hooks{
		IQ: p.handlers(),
		Record: []mod.RecordHook{
			{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: p.record},
			{When: mod.When{Side: mod.Out, Kinds: mod.Messages}, Func: p.sent},
		},
		Observe:     []mod.ObserveHook{{When: in, Func: p.observe}},
		Bound:       p.bound,
		Parked:      p.parked,
		Unbound:     p.unbound,
		Notifier:    p,
		NodeChanged: p.nodeChanged,
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			p.changed(account)
			p.settings.forget(account)
			return p.store.removeAccount(ctx, tx, account)
		},
		Start: func(context.Context) error { p.h.Go("notify", p.run); return nil },
	}
}

// services returns the enabled services of an account. The slice is shared.
func (p *push) services(ctx context.Context, account jid.JID) ([]*service, error) {
	if list, ok := p.cache.Get(account); ok {
		return list, nil
	}
	p.mu.Lock()
	before := p.changes
	p.mu.Unlock()
	account = account.Clone()
	all, err := p.store.services(ctx, account)
	if err != nil {
		return nil, err
	}
	var list []*service
	for _, s := range all {
		if s.failed == "" {
			list = append(list, s)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changes == before {
		p.cache.Put(account, list)
	}
	return list, nil
}

// changed forgets the services of an account, which were changed.
func (p *push) changed(account jid.JID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changes++
	p.cache.Delete(account)
}

// asleep returns the services of an account whose clients are not there.
func (p *push) asleep(ctx context.Context, account jid.JID) []*service {
	list, err := p.services(ctx, account)
	if err != nil { // it must not stand in the message's way
		p.h.Log().Error("push services cannot be read", "error", err)
		return nil
	}
	if len(list) == 0 {
		return nil
	}
	var out []*service
	for _, s := range list {
		if !p.awake(s) {
			out = append(out, s)
		}
	}
	return out
}

// patience is how long a client may take to acknowledge what it was sent. One that takes longer sleeps, although its connection
// may stand: a phone whose user does not look (XEP-0352), or that has lost its network without a word.
const patience = 20 * time.Second

// awake tells whether the client that has enabled a service is there and gets messages.
func (p *push) awake(s *service) bool {
	full, err := s.account.WithResource(s.resource)
	if err != nil {
		return false
	}
	t := p.h.Session(full)
	if t == nil || t.Presence() == nil || !t.Connected() {
		return false
	}
	since := t.Unanswered()
	return since.IsZero() || p.h.Clock().Now().Sub(since) < patience
}

// notable tells whether a message is one to be told of: not what a user has sent to itself or said in a room, nor the past of a room.
func (p *push) notable(account jid.JID, s *stanza.Stanza) bool {
	switch {
	case s.Kind != stanza.Message, s.From.Bare() == account, !urgency.Notifies(s):
		return false
	case s.Type == stanza.TypeGroupchat:
		return !history(s) && !p.echo(account, s)
	}
	return true
}

// wanting returns the services of an account that are to be told of a message as far as its user has chosen.
func (p *push) wanting(ctx context.Context, account jid.JID, s *stanza.Stanza) []*service {
	list, err := p.services(ctx, account)
	if err != nil { // it must not stand in the message's way
		p.h.Log().Error("push services cannot be read", "error", err)
		return nil
	}
	if len(list) == 0 || !p.notable(account, s) {
		return nil
	}
	set := p.setting(ctx, account, s)
	var out []*service
	for _, k := range list {
		if set.wanted(k, s) {
			out = append(out, k)
		}
	}
	return out
}

// sent notes what a user says in a room.
func (p *push) sent(ctx context.Context, ps *mod.Pass) (func(mod.Tx) error, error) {
	s := ps.Stanza
	if s.Type != stanza.TypeGroupchat || !urgency.Notifies(s) {
		return nil, nil
	}
	if list, err := p.services(ctx, ps.Account); err == nil && len(list) > 0 {
		p.said(ps.Account, s)
	}
	return nil, nil
}

// record counts a message for the services whose clients are not there, and ends those that take their leave.
func (p *push) record(ctx context.Context, ps *mod.Pass) (func(mod.Tx) error, error) {
	if gone := p.farewell(ctx, ps); gone != nil {
		return func(tx mod.Tx) error { return p.store.remove(ctx, tx, *gone) }, nil
	}
	var list []*service
	for _, s := range p.wanting(ctx, ps.Account, ps.Stanza) {
		if p.ledger(s.key).enter(identify(ps.Stanza), ps.Stanza.To, !p.awake(s)) {
			list = append(list, s)
		}
	}
	return p.counting(ctx, list), nil
}

// counting returns the write that adds a message to what waits for services; nil where there are none.
func (p *push) counting(ctx context.Context, list []*service) func(mod.Tx) error {
	if len(list) == 0 {
		return nil
	}
	for _, s := range list {
		s.unread.Store(true)
	}
	return func(tx mod.Tx) error { return p.store.count(ctx, tx, list) }
}

// observe sends off what was recorded, without waiting for it.
func (p *push) observe(ctx context.Context, ps *mod.Pass, o mod.Outcome) {
	s := ps.Stanza
	switch {
	case o != mod.Delivered && o != mod.Stored:
	case s.Kind == stanza.Presence:
		if s.Type == stanza.TypeSubscribe {
			for _, to := range p.asleep(ctx, ps.Account) {
				p.jobs.add(to.key, p.h.Clock().Now(), news{requests: true})
			}
		}
	case p.farewell(ctx, ps) != nil:
		p.changed(ps.Account)
	default:
		p.tell(ctx, ps.Account, s)
	}
}

// tell notes a message for the services of an account: to be told now where the client sleeps, otherwise to be looked at again
// when the client should have acknowledged it.
func (p *push) tell(ctx context.Context, account jid.JID, st *stanza.Stanza) {
	n, now := p.about(st), p.h.Clock().Now()
	for _, s := range p.wanting(ctx, account, st) {
		tell, counted := p.ledger(s.key).tell(st)
		if !tell {
			continue
		}
		awake := p.awake(s)
		if !awake && counted {
			p.jobs.add(s.key, now, n)
			continue
		}
		doubt, at := n, now
		doubt.messages, doubt.check = false, 1
		if awake {
			at = now.Add(patience + time.Second)
			if s.unread.Swap(false) {
				p.jobs.seen(s.key, now)
			}
		}
		p.jobs.add(s.key, at, doubt)
	}
}

// Notify implements mod.Notifier.
func (p *push) Notify(ctx context.Context, st *stanza.Stanza, to []mod.Absent) (count func(mod.Tx) error, tell func()) {
	if !urgency.Notifies(st) {
		return nil, nil
	}
	what := identify(st)
	if sid.Of(st, st.From.Bare()) == "" { // the room gives its id later, and the sender's may be that of several
		what = identity{mark: st.Mark}
	}
	var list []*service
	for _, a := range to {
		sleeping := p.asleep(ctx, a.Account)
		if len(sleeping) == 0 {
			continue
		}
		set := p.setting(ctx, a.Account, st).of(a)
		for _, s := range sleeping {
			if (a.Mentioned && set.when(s.kind) != never || set.wanted(s, st)) && p.ledger(s.key).enter(what, jid.JID{}, true) {
				list = append(list, s)
			}
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	n, now := p.about(st), p.h.Clock().Now()
	return p.counting(ctx, list), func() {
		for _, s := range list {
			p.jobs.add(s.key, now, n)
		}
	}
}

// unbound ends the doubt about what a client has got: what it has not is routed anew.
func (p *push) unbound(_ context.Context, t mod.Session, _ *stanza.Stanza) {
	list, ok := p.cache.Get(t.JID().Bare())
	for i := 0; ok && i < len(list); i++ {
		if list[i].resource == t.JID().Resource() {
			p.jobs.certain(list[i].key)
		}
	}
}

// parked counts what a client may not have got that has lost its connection, and tells its services.
func (p *push) parked(ctx context.Context, t mod.Session, held []*stanza.Stanza) {
	account := t.JID().Bare()
	list, err := p.services(ctx, account)
	for i := 0; err == nil && i < len(list); i++ {
		s := list[i]
		if s.resource != t.JID().Resource() {
			continue
		}
		if n, last := p.worth(ctx, s, held); n > 0 {
			s.unread.Store(true)
			p.jobs.certain(s.key)
			var owed bool
			err = p.h.DB().Write(ctx, func(tx mod.Tx) (err error) {
				owed, err = p.store.raise(ctx, tx, s.key, n)
				return err
			})
			if err == nil && owed {
				p.jobs.add(s.key, p.h.Clock().Now(), last)
			}
		}
	}
	if err != nil {
		p.h.Log().Error("a client that has lost its connection is not told", "jid", t.JID().String(), "error", err)
	}
}

// worth counts what is to be told to a service of what its client may not have got, and says what of the last of it.
func (p *push) worth(ctx context.Context, to *service, held []*stanza.Stanza) (n int, last news) {
	for _, s := range held {
		if p.notable(to.account, s) && p.setting(ctx, to.account, s).wanted(to, s) {
			l := p.ledger(to.key)
			l.enter(identify(s), s.To, true)
			l.tell(s)
			n++
			last = p.about(s)
		}
	}
	return n, last
}

// about is what may be told of a message. Of a mention that is the message in the room (XEP-0452#usecases).
func (p *push) about(s *stanza.Stanza) news {
	n := news{messages: true, mark: s.Mark}
	if m := s.Child(nsMentions, "mentions"); m != nil {
		if f, err := forward.Parse(m.Child(forward.NS, "forwarded")); err == nil && f.Stanza != nil && f.Stanza.From.Bare() == s.From {
			s = f.Stanza
		}
	}
	if p.c.Sender {
		n.sender = s.From.String()
	}
	if p.c.Body {
		n.body = short(s.Body())
	}
	return n
}

// maxBody bounds the text that goes into a notification, in bytes: Web Push has room for about 3900.
const maxBody = 1000

// short cuts a text at a character.
func short(s string) string {
	if len(s) <= maxBody {
		return s
	}
	return strings.ToValidUTF8(s[:maxBody], "") + "…"
}

// bound forgets what a device was told of: its client sees for itself.
func (p *push) bound(_ context.Context, t mod.Session) {
	list, ok := p.cache.Get(t.JID().Bare())
	if !ok {
		return
	}
	for _, s := range list {
		if s.resource == t.JID().Resource() && s.unread.Swap(false) {
			p.jobs.seen(s.key, p.h.Clock().Now())
		}
	}
}
