package muc

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sabir/engine/adhoc"
	"sabir/engine/archive"
	"sabir/engine/lazy"
	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/disco"
	wiremam "sabir/xmpp/payload/mam"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
)

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name: "muc",
	Specs: []string{
		"XEP-0045 1.35.3", "XEP-0249 1.2", "XEP-0307 0.1", "XEP-0313 1.1.3", "XEP-0317 0.3.1", "XEP-0359 0.7.0", "XEP-0410 1.1.0", "XEP-0421 1.0.1",
		"XEP-0424 0.4.2", "XEP-0425 0.3.0", "XEP-0433 0.1.0", "XEP-0437 0.2.0", "XEP-0452 0.2.2", "XEP-0463 0.2.0", "XEP-0486 0.1.0", "XEP-0488 0.1.0",
		"XEP-0500 0.1.1", "XEP-0502 0.1.0", "XEP-0513 0.1.0",
	},
	Doc:      "Group chat: rooms at a domain of their own.",
	Config:   func() any { return defaults() },
	Schema:   schema,
	Commands: commands(),
	Engines:  []mod.Engine{{Name: archive.Module, Schema: archive.Schema}},
	New:      newMUC,
}

// Config is the section [mod.muc].
type Config struct {
	Service   string       `toml:"service" doc:"The domain of the rooms: a name that is put before the domain of the host, or a full domain with a dot in it."`
	Name      string       `toml:"name" doc:"The name of the service for people."`
	Create    string       `toml:"create" doc:"Who may create rooms: anyone, local (the users of this host), or admins."`
	Admins    []string     `toml:"admins" doc:"Addresses that are owners of every room, may always create some, see those that are hidden in the list, and announce something in all by a message to the service."`
	Rooms     int          `toml:"rooms" doc:"Rooms of one host; 0 for any number."`
	PerUser   int          `toml:"rooms_per_user" doc:"Rooms that one user may have created; 0 for any number."`
	Searches  int          `toml:"searches" doc:"Searches for rooms that one user, or all users of one other domain together, may make in a minute; 0 for any number."`
	Occupants int          `toml:"occupants" doc:"Occupants of one room, at most and unless its owner sets less."`
	History   int          `toml:"history" doc:"Messages that a new room sends to who enters."`
	Idle      mod.Duration `toml:"idle" doc:"After how long without anybody in it a room is no longer held in memory."`
	Keep      mod.Duration `toml:"keep" doc:"How long the messages of rooms are kept, and up to a week longer; 0s for ever."`
	Lock      bool         `toml:"lock" doc:"Let nobody else enter a new room until its creator has accepted or changed its configuration (XEP-0045)."`
	// NotifyMembers is there because each member costs a look-up, and each who sleeps an update, with each message.
	NotifyMembers int      `toml:"notify_members" doc:"Members of a room up to which those who are not in are notified of all its messages, if its configuration says so; with more, they are of explicit mentions."`
	Template      Template `toml:"template" doc:"What a new room is like, until its owner changes it."`
}

// Template is the section [mod.muc.template].
type Template struct {
	Persistent   bool `toml:"persistent" doc:"The room stays when the last occupant leaves."`
	Public       bool `toml:"public" doc:"The room is listed."`
	MembersOnly  bool `toml:"members_only" doc:"Only members enter."`
	Moderated    bool `toml:"moderated" doc:"Only members speak, and those whom a moderator lets."`
	NonAnonymous bool `toml:"non_anonymous" doc:"All occupants see each other's addresses."`
	Archive      bool `toml:"archive" doc:"Messages are kept."`

	Notify string `toml:"notify" doc:"Messages of which the devices of members are notified who are not in the room: all, mentions, none, or usual: all in a members-only room, mentions in another. But for none, members may choose otherwise for themselves."`
}

func defaults() *Config {
	return &Config{
		Service: "conference", Name: "Rooms", Create: "local", PerUser: 20, Searches: 30, Occupants: 10000, History: 20,
		Idle: mod.Duration(10 * time.Minute), Keep: mod.Duration(365 * 24 * time.Hour), Lock: true, NotifyMembers: 1000, Template: Template{Public: true, Archive: true, Notify: usualNotify},
	}
}

// Validate checks what the tags cannot say.
func (c *Config) Validate() error {
	if !slices.Contains([]string{"anyone", "local", "admins"}, c.Create) {
		return fmt.Errorf("create is anyone, local or admins")
	}
	if !slices.Contains([]string{usualNotify, "all", "mentions", "none"}, c.Template.Notify) {
		return fmt.Errorf("template.notify is usual, all, mentions or none")
	}
	for _, a := range c.Admins {
		if j, err := jid.Parse(a); err != nil || !j.IsBare() || j.Local() == "" {
			return fmt.Errorf("admins are addresses such as name@example.org, not %q", a)
		}
	}
	if c.Rooms < 0 || c.PerUser < 0 || c.Searches < 0 || c.Occupants < 1 || c.History < 0 || c.History > room.MaxHistory || c.Idle < mod.Duration(time.Second) || c.Keep < 0 || c.NotifyMembers < 0 {
		return fmt.Errorf("limits are not negative, a room has at least one occupant and sends at most %d messages of its history, idle is at least 1s", room.MaxHistory)
	}
	if strings.TrimSpace(c.Service) == "" {
		return fmt.Errorf("service is missing")
	}
	return nil
}

// new returns the configuration of a new room.
func (c *Config) newRoom() room.Config {
	t := c.Template
	return room.Config{
		Persistent: t.Persistent, Hidden: !t.Public, MembersOnly: t.MembersOnly, Moderated: t.Moderated,
		NonAnonymous: t.NonAnonymous, Unarchived: !t.Archive, History: c.History, Invites: true, Notify: notifyOf(t.Notify),
	}
}

// muc is the service of one host.
type muc struct {
	h      mod.Host
	c      *Config
	svc    *mod.Service
	admins []jid.JID
	store  store
	later  *lazy.Writer
	log    *archive.Log
	secret []byte
	adhoc  *adhoc.Responder
	rai    indicators
	// searches are those of the search for rooms; nil where any number is let through.
	searches *paces

	mu      sync.Mutex
	rooms   map[jid.JID]*chat
	stopped bool
}

func newMUC(h mod.Host, cfg any) (*mod.Hooks, error) {
	m := &muc{h: h, c: cfg.(*Config), store: store{h.DB()}, later: lazy.New(h), rooms: make(map[jid.JID]*chat)}
	domain, err := mod.ServiceDomain(h.Domain(), m.c.Service)
	if err != nil {
		return nil, err
	}
	for _, a := range m.c.Admins {
		j, err := jid.Parse(a)
		if err != nil {
			return nil, err
		}
		m.admins = append(m.admins, j)
	}
	if n := m.c.Searches; n > 0 {
		m.searches = newPaces(pace{n, time.Minute / time.Duration(n)})
	}
	m.adhoc = adhoc.New(adhoc.Options{Host: h, Name: "Commands of the rooms", Commands: m.commandsAt, May: m.mayCommand})
	m.svc = m.service(domain)
	return &mod.Hooks{
		Instance: m, Services: []*mod.Service{m.svc}, Start: m.start, Restored: m.restored, Closing: m.closing, Stop: m.stop,
		BeforeAccountRemoved: m.leaveLists, AccountRemoved: m.forget, Trace: m.trace,
	}, nil
}

func (m *muc) service(domain jid.JID) *mod.Service {
	at := mod.AtHost | mod.AtAccount
	conference := mod.Identity{Category: "conference", Type: "text", Name: m.c.Name}
	return &mod.Service{
		Domain: domain, Name: m.c.Name,
		IQ: []mod.IQHandler{
			{At: at, Space: disco.NSInfo, Local: "query", Type: stanza.TypeGet, Func: m.info},
			{At: at, Space: disco.NSItems, Local: "query", Type: stanza.TypeGet, Func: m.items},
			m.adhoc.IQ(at),
			{At: mod.AtHost, Space: nsSearchQuery, Local: "search", Type: stanza.TypeGet, Slow: true, Func: m.channelSearch},
			{At: mod.AtHost, Space: nsPing, Local: "ping", Type: stanza.TypeGet, Func: pong},
			{At: mod.AtHost, Space: nsUnique, Local: "unique", Type: stanza.TypeGet, Func: m.unique},
			{At: mod.AtAccount, Space: nsPing, Local: "ping", Type: stanza.TypeGet, Func: m.inRoom((*chat).ping)},
			{At: mod.AtAccount, Space: nsAdmin, Local: "query", Type: stanza.TypeGet, Quiet: true, Func: m.inRoom((*chat).adminGet)},
			{At: mod.AtAccount, Space: nsAdmin, Local: "query", Type: stanza.TypeSet, Quiet: true, Func: m.inRoom((*chat).adminSet)},
			{At: mod.AtAccount, Space: nsOwner, Local: "query", Type: stanza.TypeGet, Quiet: true, Func: m.inRoom((*chat).ownerGet)},
			{At: mod.AtAccount, Space: nsOwner, Local: "query", Type: stanza.TypeSet, Quiet: true, Func: m.inRoom((*chat).ownerSet)},
			{At: mod.AtAccount, Space: nsRegister, Local: "query", Type: stanza.TypeGet, Func: m.inRoom((*chat).registerGet)},
			{At: mod.AtAccount, Space: nsRegister, Local: "query", Type: stanza.TypeSet, Func: m.inRoom((*chat).registerSet)},
			{At: mod.AtAccount, Space: nsVCard, Local: "vCard", Type: stanza.TypeGet, Func: m.inRoom((*chat).vcardGet)},
			{At: mod.AtAccount, Space: nsVCard, Local: "vCard", Type: stanza.TypeSet, Func: m.inRoom((*chat).vcardSet)},
			{At: mod.AtAccount, Space: nsMention, Local: "query", Type: stanza.TypeGet, Func: m.inRoom((*chat).mentionsGet)},
			{At: mod.AtAccount, Space: nsMention, Local: "query", Type: stanza.TypeSet, Func: m.inRoom((*chat).mentionsSet)},
			{At: mod.AtAccount, Space: nsToken, Local: "request", Type: stanza.TypeSet, Func: m.inRoom((*chat).tokenRequest)},
			{At: mod.AtAccount, Space: nsToken, Local: "tokens", Type: stanza.TypeGet, Func: m.inRoom((*chat).tokenList)},
			{At: mod.AtAccount, Space: nsToken, Local: "revoke", Type: stanza.TypeSet, Func: m.inRoom((*chat).tokenRevoke)},
			{At: mod.AtAccount, Space: nsModerate, Local: "moderate", Type: stanza.TypeSet, Func: m.inRoom((*chat).moderate)},
			{At: mod.AtAccount, Space: wiremam.NS, Local: "query", Type: stanza.TypeGet, Func: m.mamForm},
			{At: mod.AtAccount, Space: wiremam.NS, Local: "query", Type: stanza.TypeSet, Slow: true, Func: m.mamQuery},
			{At: mod.AtAccount, Space: wiremam.NS, Local: "metadata", Type: stanza.TypeGet, Func: m.mamMetadata},
			{At: mod.AtResource, Space: nsPing, Local: "ping", Type: stanza.TypeGet, Func: m.inRoom((*chat).selfPing)},
		},
		Other: m.other, Presence: m.presence, Message: m.message,
		Features: []mod.Feature{
			{At: at, Var: nsMUC}, {At: at, Var: nsMUC + "#stable_id"}, // XEP-0045#message
			{At: at, Var: nsOccupant}, // XEP-0421#rules: for all rooms
			{At: at, Var: sid.NS},
			{At: mod.AtHost, Var: nsRAI},
			{At: mod.AtHost, Var: nsRegister}, {At: mod.AtHost, Var: nsVCard}, {At: mod.AtAccount, Var: nsMUC + "#self-ping-optimization"}, // XEP-0410#serveroptimization
			{At: mod.AtAccount, Var: formConfig}, {At: mod.AtAccount, Var: formRegister},
			{At: mod.AtAccount, Var: formInfo}, {At: mod.AtAccount, Var: formRequest},
			{At: mod.AtAccount, Var: wiremam.NS + "#extended"},
			{At: mod.AtAccount, Var: nsHats}, {At: mod.AtAccount, Var: nsVersions}, // XEP-0463#disco
			{At: mod.AtAccount, Var: nsMention + "#channel"}, {At: mod.AtAccount, Var: nsMention + "#associations"}, {At: mod.AtAccount, Var: nsMention + "#hats"},
			{At: mod.AtAccount, Var: nsRetract}, {At: mod.AtAccount, Var: nsRetract + "#tombstone"},
		},
		Identities: []mod.IdentityAt{{At: mod.AtHost, Identity: conference}},
	}
}

// start reads what the service needs before the first stanza, and removes what a crash has left of temporary rooms.
func (m *muc) start(ctx context.Context) (err error) {
	if m.log, err = archive.Open(ctx, m.h.DB(), archive.Options{Space: "muc " + m.svc.Domain.String(), Now: m.h.Clock().Now}); err != nil {
		return err
	}
	if m.secret, err = m.store.secret(ctx, m.svc.Domain); err != nil {
		return err
	}
	left, err := m.store.abandoned(ctx, m.svc.Domain)
	if err != nil {
		return err
	}
	for _, r := range left {
		if err := m.h.DB().Write(ctx, func(tx mod.Tx) error { return m.remove(ctx, tx, r) }); err != nil {
			return err
		}
	}
	if err := m.later.Start(ctx); err != nil {
		return err
	}
	m.h.Go("purge", m.purge)
	m.h.Go("sweep", m.sweep)
	m.h.Go("clean", m.clean)
	m.h.Go("ghosts", m.haunt)
	m.h.Go("index", func(ctx context.Context) { m.log.KeepIndexed(ctx, m.h.Log()) })
	return nil
}

// trace tells in which rooms' archives a message is.
func (m *muc) trace(ctx context.Context, id string) ([]mod.TraceEvent, error) {
	return m.log.Trace(ctx, id)
}

// purge deletes what the archives of rooms that are no more have left.
func (m *muc) purge(ctx context.Context) {
	if err := m.log.Purge(ctx); err != nil && ctx.Err() == nil {
		m.h.Log().Error("archives of former rooms not deleted", "error", err)
	}
}

// stop ends the taking of stanzas and writes what waits.
func (m *muc) stop() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.later.Stop()
}

// remove deletes a room with all that is kept of it.
func (m *muc) remove(ctx context.Context, tx mod.Tx, r jid.JID) error {
	if err := m.store.remove(ctx, tx, r); err != nil {
		return err
	}
	return m.log.Remove(ctx, tx, r.String())
}

// leaveLists takes an account that is about to be removed off the lists of the rooms in memory: who has the address later is
// somebody else.
func (m *muc) leaveLists(ctx context.Context, account jid.JID) error {
	rooms, err := m.store.remembering(ctx, account)
	if err != nil {
		return err
	}
	for _, c := range m.loaded() {
		k := task{do: func(t *turn) error {
			if _, ok := t.c.associates[account]; ok {
				t.c.applyAffiliation(t, move{who: account}, item{})
				t.c.versions.floor = t.c.versions.now // the tables will know nothing of the account
			} else if rooms[t.c.jid] { // nor that it was something once
				t.c.versions.now++
				t.c.versions.floor = t.c.versions.now
			}
			delete(t.c.hats.worn, account)
			return nil
		}, done: make(chan error, 1)}
		if taken, closed := c.loop.Put(k); !taken && !closed {
			return errBusy()
		} else if !taken {
			continue
		}
		select {
		case err := <-k.done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// forget removes an account from the lists of rooms. A room whose last owner it was keeps its members.
func (m *muc) forget(ctx context.Context, tx mod.Tx, account jid.JID) error {
	return m.store.forget(ctx, tx, account)
}

// admin tells whether somebody is one of the service.
func (m *muc) admin(bare jid.JID) bool { return slices.Contains(m.admins, bare) }
