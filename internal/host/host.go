// Package host owns one virtual domain: the extensions that are enabled on it, their configuration, and the tables into
// which their hooks are frozen. It implements mod.Host.
package host

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Router sends stanzas on their way. internal/route implements it.
type Router interface {
	Route(ctx context.Context, s *stanza.Stanza)
	RouteAll(ctx context.Context, list []mod.Fan)
}

// Tracer remembers what becomes of messages. internal/observe implements it.
type Tracer interface {
	Mark() uint64
	Note(mark uint64, what, who, detail string)
}

// Enabled is an extension with its configuration for one host.
type Enabled struct {
	Info   mod.Info
	Config any
}

// Options say what a Host is made of.
type Options struct {
	Domain     jid.JID
	DB         mod.DB
	Clock      mod.Clock
	Log        *slog.Logger
	Directory  *session.Directory
	Router     Router
	Accounts   mod.Accounts
	Extensions []Enabled
	// Items are the services of this domain, for service discovery.
	Items []mod.DiscoItem
	// Limits returns the limits of clients' streams. It may be nil.
	Limits func() mod.Limits
	// Peers returns the domains with which the host has streams. It may be nil.
	Peers func() []mod.Peer
	// Trace remembers what becomes of messages. It may be nil.
	Trace Tracer
	// Commands are those of the server itself, bound.
	Commands []mod.Command
	// Right tells what somebody may do, by bare JID. Nil: everybody of the domain is a user, everybody else a stranger.
	Right func(who jid.JID) mod.Right
	// HTTP makes the requests of extensions to the outside.
	HTTP *http.Client
	// Panicked counts a panic of an extension. It may be nil.
	Panicked func(extension string)
	// Shuffle, where it is not nil, reorders hooks within a phase. Tests use it to show that the order does not matter.
	Shuffle func(n int, swap func(i, j int))
}

// Host is one virtual domain.
type Host struct {
	o     Options
	t     tables
	asks  asks
	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
	// commands are those of the server and of the extensions, bound; own is how many are the server's.
	commands []mod.Command
	own      int
}

// New builds the extensions of a host and freezes their hooks. Conflicting registrations are an error that names both
// sides.
func New(o Options) (*Host, error) {
	h := &Host{o: o}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.asks.init(h)
	if o.Panicked == nil {
		h.o.Panicked = func(string) {}
	}
	if o.Limits == nil {
		h.o.Limits = func() mod.Limits { return mod.Limits{} }
	}
	if o.Peers == nil {
		h.o.Peers = func() []mod.Peer { return nil }
	}
	for _, e := range o.Extensions {
		hooks, err := e.Info.New(&view{h, e.Info.Name}, e.Config)
		if err != nil {
			h.stop()
			return nil, fmt.Errorf("extension %s on %s: %w", e.Info.Name, o.Domain, err)
		}
		if err := h.t.add(e.Info.Name, hooks); err != nil {
			h.stop()
			return nil, fmt.Errorf("host %s: %w", o.Domain, err)
		}
	}
	if err := h.bindCommands(); err != nil {
		h.stop()
		return nil, fmt.Errorf("host %s: %w", o.Domain, err)
	}
	for _, v := range h.t.services {
		v.asks = &h.asks
	}
	if err := h.t.freeze(o.Shuffle); err != nil {
		h.stop()
		return nil, fmt.Errorf("host %s: %w", o.Domain, err)
	}
	return h, nil
}

// Start starts the extensions, in the order of their list. Where one fails, those before it are stopped.
func (h *Host) Start(ctx context.Context) error {
	for i, e := range h.t.ext {
		if e.hooks.Start == nil {
			continue
		}
		if err := e.hooks.Start(ctx); err != nil {
			h.stopExtensions(h.t.ext[:i])
			return fmt.Errorf("extension %s on %s: %w", e.name, h.o.Domain, err)
		}
	}
	return nil
}

// Stop stops the extensions and waits for their goroutines.
func (h *Host) Stop() {
	h.stopExtensions(h.t.ext)
	h.stop()
	h.tasks.Wait()
}

func (h *Host) stopExtensions(ext []extension) {
	for _, e := range slices.Backward(ext) {
		if e.hooks.Stop != nil {
			e.hooks.Stop()
		}
	}
}

// Domain returns the address of the host.
func (h *Host) Domain() jid.JID { return h.o.Domain }

// Accounts returns the users of the host.
func (h *Host) Accounts() mod.Accounts { return h.o.Accounts }

// Roster returns the rosters of the host's users; never nil.
func (h *Host) Roster() mod.Roster { return h.t.roster }

// Capabilities returns what is known of clients; never nil.
func (h *Host) Capabilities() mod.Capabilities { return h.t.caps }

// AccountNodes returns the nodes of accounts, or nil.
func (h *Host) AccountNodes() mod.AccountNodes { return h.t.nodes }

// Pages returns what others need of the extension that shows nodes on the web; never nil.
func (h *Host) Pages() mod.Pages { return h.t.pages }

// Notifier returns what others need of the extension that wakes devices; never nil.
func (h *Host) Notifier() mod.Notifier { return h.t.notifier }

// NodeChanged tells the extensions of a change of a node of publish-subscribe that was committed.
func (h *Host) NodeChanged(at jid.JID, node string) {
	for _, f := range h.t.nodeChanged {
		f(at, node)
	}
}

// ContactChanged tells the extensions of a change of an item of a roster that was committed.
func (h *Host) ContactChanged(account jid.JID, was, is mod.Contact) {
	for _, f := range h.t.contactChanged {
		f(account, was, is)
	}
}

// Web returns what the extensions serve on the web, by the first segment of its paths. It must not be changed.
func (h *Host) Web() map[string]http.Handler { return h.t.http }

// Offline returns what others need of the extension that keeps messages for absent users; never nil.
func (h *Host) Offline() mod.Offline { return h.t.offline }

// Extensions returns the names of the extensions that are enabled, in the order of the list.
func (h *Host) Extensions() []string {
	names := make([]string, len(h.t.ext))
	for i, e := range h.t.ext {
		names[i] = e.name
	}
	return names
}

// Disco returns what the host answers in service discovery. See mod.Host.
func (h *Host) Disco(at mod.Where) mod.Disco {
	d := h.t.disco(at)
	if at&mod.AtHost != 0 {
		d.Items = h.t.items(h.o.Items)
	}
	return d
}

// recovered reports a panic within an extension. It is called from a deferred function.
func (h *Host) recovered(extension string, r any) {
	h.o.Panicked(extension)
	h.o.Log.Error("panic in an extension", "extension", extension, "host", h.o.Domain.String(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// view is the host as one extension sees it.
type view struct {
	*Host
	name string
}

var _ mod.Host = (*view)(nil)

func (v *view) DB() mod.DB         { return v.o.DB }
func (v *view) Clock() mod.Clock   { return v.o.Clock }
func (v *view) Limits() mod.Limits { return v.o.Limits() }
func (v *view) Peers() []mod.Peer  { return v.o.Peers() }
func (v *view) HTTP() *http.Client { return v.o.HTTP }

func (v *view) Trace(mark uint64, what, who, detail string) {
	if v.o.Trace != nil && mark != 0 {
		v.o.Trace.Note(mark, what, who, detail)
	}
}

func (v *view) Mark(s *stanza.Stanza) {
	if v.o.Trace == nil || s.Mark != 0 || s.ID == "" {
		return
	}
	s.Mark = v.o.Trace.Mark()
	v.o.Trace.Note(s.Mark, mod.TraceID, s.From.String(), s.ID)
}

func (v *view) Log() *slog.Logger {
	return v.o.Log.With("host", v.o.Domain.String(), "extension", v.name)
}

func (v *view) Go(name string, f func(ctx context.Context)) {
	v.tasks.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				v.recovered(v.name+"/"+name, r)
			}
		}()
		f(v.ctx)
	})
}

func (v *view) Sessions(bare jid.JID) []mod.Session {
	in := v.o.Directory.Sessions(bare)
	if len(in) == 0 {
		return nil
	}
	out := make([]mod.Session, len(in))
	for i, s := range in {
		out[i] = s
	}
	if len(in) > 1 {
		slices.SortStableFunc(out, func(a, b mod.Session) int { return rank(b.(*session.Session)) - rank(a.(*session.Session)) })
	}
	return out
}

// rank orders sessions: by priority, those without presence last.
func rank(s *session.Session) int {
	ok, prio := s.Available()
	if !ok {
		return -1000
	}
	return int(prio)
}

func (v *view) Session(full jid.JID) mod.Session {
	if s := v.o.Directory.Find(full); s != nil {
		return s
	}
	return nil
}

func (v *view) Route(ctx context.Context, s *stanza.Stanza) { v.o.Router.Route(ctx, s) }

func (v *view) RouteAll(ctx context.Context, list []mod.Fan) { v.o.Router.RouteAll(ctx, list) }

func (v *view) Refuses(ctx context.Context, p *mod.Pass) (err error) {
	extension := ""
	defer func() { // or a stored stanza would stop all behind it, each time that it is looked at
		if r := recover(); r != nil {
			v.recovered(extension, r)
			err = stanza.Err(stanza.InternalServerError, "")
		}
	}()
	for _, k := range v.Phases(p.Side, p.Stanza.Kind).Admit {
		extension = k.Extension
		if err := k.H.Func(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) Ask(ctx context.Context, s *stanza.Stanza, done func(*stanza.Stanza)) {
	v.asks.ask(ctx, s, done)
}
