package mam

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"sabir/engine/archive"
	"sabir/engine/mam"
	"sabir/mod"
	"sabir/xmpp/jid"
	wire "sabir/xmpp/payload/mam"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

//go:embed schema
var schema embed.FS

// Info describes the extension.
var Info = mod.Info{
	Name:     "mam",
	Specs:    []string{"XEP-0313 1.1.3", "XEP-0059 1.0", "XEP-0359 0.7.0", "XEP-0424 0.4.2", "XEP-0431 0.2.0", "XEP-0441 0.2.0", "XEP-0334 1.0.0"},
	Doc:      "Keeps an archive of messages for every account, on disk before they are delivered.",
	Config:   func() any { return defaults() },
	Schema:   schema,
	Engines:  []mod.Engine{{Name: archive.Module, Schema: archive.Schema}},
	New:      newMAM,
	Commands: commands(),
}

// Config is the section [mod.mam].
type Config struct {
	Keep       mod.Duration `toml:"keep" doc:"How long messages are kept, and up to a week longer; 0s for ever."`
	Default    string       `toml:"default" doc:"Whose messages are archived where the user has not said: always, roster (those of contacts) or never."`
	Prefs      bool         `toml:"prefs" doc:"Whether users may change that for themselves."`
	Search     bool         `toml:"search" doc:"Whether new messages can be found by their words. The index takes about as much room as the text."`
	Tombstones bool         `toml:"tombstones" doc:"Whether a message that its sender retracts is deleted from the archives; a mark stays in its place."`
	Page       int          `toml:"page" doc:"Messages sent at once to a client that does not say how many it wants."`
	Clear      bool         `toml:"clear" doc:"Whether users may empty their archives. Administrators may."`
	MaxPage    int          `toml:"max_page" doc:"Messages sent at once at most."`
}

func defaults() *Config {
	return &Config{Keep: mod.Duration(90 * 24 * time.Hour), Default: wire.Always, Prefs: true, Search: true, Tombstones: true, Clear: true, Page: 50, MaxPage: 250}
}

// Validate checks the values.
func (c *Config) Validate() error {
	switch {
	case c.Keep < 0:
		return fmt.Errorf("keep is not negative")
	case c.Default != wire.Always && c.Default != wire.Never && c.Default != wire.Roster:
		return fmt.Errorf("default is always, roster or never")
	case c.Page < 1 || c.MaxPage < c.Page:
		return fmt.Errorf("page is at least 1, and max_page at least as much")
	}
	return nil
}

const (
	// pageBytes bounds what a client gets at once.
	pageBytes = 512 << 10
	// sweep is how often it is looked for what is too old.
	sweep = 6 * time.Hour
	// settled is when a transaction has long ended that was open at the beginning.
	settled = 10 * time.Second
)

type archives struct {
	h     mod.Host
	c     *Config
	log   *archive.Log // from Start on
	prefs cache
	purge chan struct{} // holds a token when an account was removed
}

func newMAM(h mod.Host, cfg any) (*mod.Hooks, error) {
	m := &archives{h: h, c: cfg.(*Config), prefs: newCache(), purge: make(chan struct{}, 1)}
	both := mod.When{Side: mod.Out | mod.In, Kinds: mod.Messages}
	return &mod.Hooks{
		Instance: m,
		IQ:       m.handlers(),
		Rewrite:  []mod.RewriteHook{{When: both, Func: m.strip}},
		Record:   []mod.RecordHook{{When: both, Func: m.record}},
		Settle:   []mod.SettleHook{{When: both, Func: m.settle}},
		Inline:   []mod.Inline{{Func: m.bound}},
		Features: m.features(),
		AccountRemoved: func(ctx context.Context, tx mod.Tx, account jid.JID) error {
			return m.remove(ctx, tx, account)
		},
		Trace: func(ctx context.Context, id string) ([]mod.TraceEvent, error) { return m.log.Trace(ctx, id) },
		Start: m.start,
	}, nil
}

func (m *archives) features() []mod.Feature {
	vars := []string{wire.NS, wire.NSExtended, wire.NSGroupchat, sid.NS, nsRetract}
	if m.c.Search {
		vars = append(vars, wire.NSFulltext)
	}
	if m.c.Tombstones {
		vars = append(vars, nsRetract+"#tombstone")
	}
	var list []mod.Feature
	for _, v := range vars {
		list = append(list, mod.Feature{At: mod.AtAccount, Var: v}) // XEP-0313#support, XEP-0359#disco, XEP-0424#tombstones
	}
	return append(list, mod.Feature{At: mod.AtHost, Var: nsRetract}) // XEP-0424#disco
}

// handlers are those of the archive's owner, and for anybody else a refusal that does not tell which accounts exist
// (XEP-0313#security-privacy).
func (m *archives) handlers() []mod.IQHandler {
	own := []mod.IQHandler{
		{Local: "query", Type: stanza.TypeSet, SlowFor: searches, Func: m.query},
		{Local: "query", Type: stanza.TypeGet, Func: m.form},
		{Local: "metadata", Type: stanza.TypeGet, Func: m.metadata},
		{Local: "prefs", Type: stanza.TypeGet, Func: m.getPrefs},
		{Local: "prefs", Type: stanza.TypeSet, Func: m.setPrefs},
	}
	var all []mod.IQHandler
	for _, q := range own {
		q.Space, q.Quiet = wire.NS, true
		q.At = mod.AtOwn
		all = append(all, q)
		q.At, q.Unknown, q.SlowFor = mod.AtAccount, true, nil
		q.Func = func(context.Context, *mod.Request) (*xmlstream.Element, error) {
			return nil, stanza.Err(stanza.Forbidden, "an archive is for its owner")
		}
		if q.Local == "query" && q.Type == stanza.TypeSet {
			q.Func = m.strangers
		}
		all = append(all, q)
	}
	return all
}

func (m *archives) start(ctx context.Context) (err error) {
	m.log, err = archive.Open(ctx, m.h.DB(), archive.Options{Space: "mam " + m.h.Domain().String(), Now: m.h.Clock().Now, NoSearch: !m.c.Search})
	if err != nil {
		return err
	}
	m.h.Go("retain", m.clean)
	m.h.Go("index", func(ctx context.Context) { m.log.KeepIndexed(ctx, m.h.Log()) })
	return nil
}

// clean deletes what is too old, and what removed accounts have left, until the host stops.
func (m *archives) clean(ctx context.Context) {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		m.prefs.forget()
		err := m.log.Purge(ctx)
		if err == nil && m.c.Keep > 0 {
			before := m.h.Clock().Now().Add(-time.Duration(m.c.Keep))
			err = m.log.Retain(ctx, func(string) time.Time { return before })
		}
		if err != nil && ctx.Err() == nil {
			m.h.Log().Error("old messages are not deleted from the archives", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			continue
		case <-m.purge:
		}
		select { // the transaction that removes the account is about to be committed
		case <-ctx.Done():
			return
		case <-time.After(settled):
		}
	}
}

// remove ends the archive of an account. What it held is deleted afterwards, in small steps.
func (m *archives) remove(ctx context.Context, tx mod.Tx, account jid.JID) error {
	m.prefs.remove(account)
	if err := m.log.Remove(ctx, tx, account.String()); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM mam_prefs WHERE account = ?`, account.String()); err != nil {
		return err
	}
	m.purgeSoon()
	return nil
}

// purgeSoon has deleted what removed archives have left.
func (m *archives) purgeSoon() {
	select {
	case m.purge <- struct{}{}:
	default: // it will look anyway
	}
}

func (m *archives) options(s mod.Session) mam.Options {
	return mam.Options{Default: m.c.Page, Max: m.c.MaxPage, Bytes: pageBytes, Search: m.c.Search}.Within(s)
}

func (m *archives) form(context.Context, *mod.Request) (*xmlstream.Element, error) {
	return wire.Form(m.c.Search), nil
}

// searches tells whether a request asks for words. What else is asked costs about the same however large an archive is, so
// that it is answered in order with what the client sends besides.
func searches(r *mod.Request) bool {
	q, err := wire.Parse(r.Payload)
	return err == nil && q.Text != ""
}

// strangers answers a query of somebody else: for the archive of a node, which its node says who may read (XEP-0442#querying).
func (m *archives) strangers(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if nodes := m.h.AccountNodes(); nodes != nil && r.Payload.Attr("node") != "" {
		return nodes.Archive(ctx, r)
	}
	return nil, stanza.Err(stanza.Forbidden, "an archive is for its owner")
}

// query answers a query: its results are queued to the session that asks, and then the end of them (XEP-0313#query).
func (m *archives) query(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if r.Session == nil {
		return nil, stanza.Err(stanza.Forbidden, "an archive is for its owner")
	}
	if nodes := m.h.AccountNodes(); nodes != nil && r.Payload.Attr("node") != "" {
		return nodes.Archive(ctx, r)
	}
	o := m.options(r.Session)
	q, err := mam.Parse(r.Payload, o)
	if err != nil {
		return nil, err
	}
	// What waits for the account now is in what is read below. Once the session is available it has got that already.
	var mark int64
	if r.Session.Presence() == nil {
		if mark, err = m.h.Offline().Mark(ctx, r.Account); err != nil {
			return nil, err
		}
	}
	a, err := m.log.Lookup(ctx, r.Account.String())
	if errors.Is(err, archive.ErrNotFound) {
		return mam.None(&q)
	}
	if err != nil {
		return nil, err
	}
	fin, end, err := mam.Answer(ctx, m.log, a, &q, o, func(i archive.Item) error {
		s, err := wire.Result{ID: i.ID, Stamp: i.Stamp, XML: i.Wire}.Message(r.Account, q.ID)
		if err != nil {
			return fmt.Errorf("the message %s of an archive cannot be read: %w", i.ID, err)
		}
		r.Session.Send(s)
		return nil
	})
	if err == nil && end && mark > 0 {
		m.h.Offline().Skip(r.Session, mark)
	}
	return fin, err
}

func (m *archives) metadata(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	return m.ends(ctx, r.Account)
}

func (m *archives) ends(ctx context.Context, account jid.JID) (*xmlstream.Element, error) {
	a, err := m.log.Lookup(ctx, account.String())
	if errors.Is(err, archive.ErrNotFound) {
		return mam.Empty(), nil
	}
	if err != nil {
		return nil, err
	}
	return mam.Metadata(ctx, m.log, a)
}

// bound tells a client that binds by Bind 2 where its archive ends. It catches up from there, so what waits for the
// account and is archived is not delivered to it (XEP-0386#usecases).
func (m *archives) bound(ctx context.Context, s mod.Session, _ *xmlstream.Element) *xmlstream.Element {
	account := s.JID().Bare()
	mark, err := m.h.Offline().Mark(ctx, account)
	var x *xmlstream.Element
	if err == nil {
		x, err = m.ends(ctx, account)
	}
	if err != nil { // the client asks again, or gets by Hooks.Available what waits
		m.h.Log().Error("a client is not told where its archive ends", "error", err)
		return nil
	}
	if mark > 0 {
		m.h.Offline().Skip(s, mark)
	}
	return x
}
