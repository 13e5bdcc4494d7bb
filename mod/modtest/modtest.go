// Package modtest owns a fake host to unit-test one extension: its hooks run as the server runs them, and what it sends
// is recorded instead of delivered.
//
// A Host stands for one virtual domain with one extension. Accounts, rosters, sessions and the clock are the test's. The
// database is a real one that the test brings, see WithDB.
package modtest

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Epoch is the time at which the clock of a Host starts.
var Epoch = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// Option changes how New builds a Host.
type Option func(*Host)

// WithDB gives the extension a database, after migrate has made its tables there: modtest.WithDB(d, db.Migrate).
func WithDB[D mod.DB](d D, migrate func(ctx context.Context, d D, module string, schema fs.FS) error) Option {
	return func(h *Host) {
		h.db = d
		h.migrate = func(ctx context.Context, module string, schema fs.FS) error { return migrate(ctx, d, module, schema) }
	}
}

// WithDomain sets the domain, which is "localhost" otherwise.
func WithDomain(domain string) Option { return func(h *Host) { h.domain = jid.MustParse(domain) } }

// WithAccounts sets the localparts of the accounts, which are romeo, juliet and nurse otherwise.
func WithAccounts(locals ...string) Option {
	return func(h *Host) {
		h.passwords = map[string]string{}
		for _, l := range locals {
			h.passwords[l] = "secret of " + l
		}
	}
}

// WithConfig lets f change the configuration, which holds the defaults. C is the extension's configuration struct.
func WithConfig[C any](f func(*C)) Option {
	return func(h *Host) { h.configure = append(h.configure, func(cfg any) { f(cfg.(*C)) }) }
}

// Host is a fake mod.Host. Its methods may be called from any goroutine; those that fail the test only from the test's.
type Host struct {
	// Stop stops the extension, as the server does in the end. Otherwise the end of the test does.
	Stop func()

	// Hooks is what the extension returned.
	Hooks *mod.Hooks

	t         testing.TB
	info      mod.Info
	domain    jid.JID
	db        mod.DB
	http      *http.Client
	migrate   func(ctx context.Context, module string, schema fs.FS) error
	configure []func(any)
	ctx       context.Context

	mu        sync.Mutex
	now       time.Time
	devices   map[string][]mod.Device
	passwords map[string]string
	sessions  map[string]*Session // by full JID
	contacts  map[string][]mod.Contact
	requests  int
	disco     map[mod.Where]mod.Disco
	features  map[string][]string // by full JID
	notified  []string
	routed    []*stanza.Stanza
	asked     []*Question
	onAsk     func(*stanza.Stanza) *stanza.Stanza
	refuses   func(*mod.Pass) error
	skipped   []jid.JID
	rights    map[string]mod.Right // by bare JID
	peers     []mod.Peer

	work sync.WaitGroup
}

var _ mod.Host = (*Host)(nil)

// New builds an instance of the extension and starts it. It is stopped at the end of the test.
func New(t testing.TB, info mod.Info, opts ...Option) *Host {
	t.Helper()
	h := &Host{
		t: t, info: info, domain: jid.MustParse("localhost"), now: Epoch,
		sessions: map[string]*Session{}, contacts: map[string][]mod.Contact{}, disco: map[mod.Where]mod.Disco{},
	}
	WithAccounts("romeo", "juliet", "nurse")(h)
	for _, o := range opts {
		o(h)
	}
	ctx, stop := context.WithCancel(t.Context())
	h.ctx = ctx
	for _, e := range info.Engines {
		if h.db == nil {
			break
		}
		if err := h.migrate(ctx, e.Name, e.Schema); err != nil {
			t.Fatalf("schema of %s: %v", e.Name, err)
		}
	}
	if h.db != nil && info.Schema != nil {
		if err := h.migrate(ctx, info.Name, info.Schema); err != nil {
			t.Fatalf("schema of %s: %v", info.Name, err)
		}
	}
	var cfg any
	if info.Config != nil {
		cfg = info.Config()
		for _, f := range h.configure {
			f(cfg)
		}
		if v, ok := cfg.(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				t.Fatalf("configuration of %s: %v", info.Name, err)
			}
		}
	} else if len(h.configure) > 0 {
		t.Fatalf("%s has no configuration", info.Name)
	}
	hooks, err := info.New(h, cfg)
	if err != nil {
		t.Fatalf("New of %s: %v", info.Name, err)
	}
	h.Hooks = hooks
	if hooks.Start != nil {
		if err := hooks.Start(ctx); err != nil {
			t.Fatalf("Start of %s: %v", info.Name, err)
		}
	}
	h.Stop = sync.OnceFunc(func() {
		if hooks.Stop != nil {
			hooks.Stop()
		}
		stop()
		h.work.Wait()
	})
	t.Cleanup(h.Stop)
	return h
}

// Domain returns the host's address.
func (h *Host) Domain() jid.JID { return h.domain }

// DB returns the database given by WithDB.
func (h *Host) DB() mod.DB {
	if h.db == nil {
		panic("modtest: the extension " + h.info.Name + " asks for a database: give one by WithDB")
	}
	return h.db
}

// Clock returns the fake clock, which stands still but for Advance.
func (h *Host) Clock() mod.Clock { return clock{h} }

type clock struct{ h *Host }

func (c clock) Now() time.Time {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	return c.h.now
}

// Advance moves the clock on.
func (h *Host) Advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// Log returns a logger that writes to the test's log.
func (h *Host) Log() *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{h.t}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("mod", h.info.Name)
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// Go runs f on a goroutine that ends with the test.
func (h *Host) Go(_ string, f func(ctx context.Context)) { h.work.Go(func() { f(h.ctx) }) }

// Route records a stanza, see Routed.
func (h *Host) Route(_ context.Context, s *stanza.Stanza) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.routed = append(h.routed, s)
}

// RouteAll records stanzas, one for each recipient, see Routed.
func (h *Host) RouteAll(_ context.Context, list []mod.Fan) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range list {
		if len(f.To) == 0 && !f.Stanza.To.IsZero() {
			h.routed = append(h.routed, f.Stanza)
		}
		for _, to := range f.To {
			h.routed = append(h.routed, f.Stanza.WithTo(to))
		}
	}
}

// Routed returns the stanzas that the extension routed since the last call.
func (h *Host) Routed() []*stanza.Stanza {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.routed
	h.routed = nil
	return r
}

// Question is a request that the extension made by Host.Ask and that waits for its answer.
type Question struct {
	*stanza.Stanza
	once sync.Once
	done func(*stanza.Stanza)
}

// Answer answers once; nil stands for the timeout.
func (q *Question) Answer(s *stanza.Stanza) { q.once.Do(func() { q.done(s) }) }

// Ask records the request, see Asked, or has it answered by the function given to OnAsk.
func (h *Host) Ask(_ context.Context, s *stanza.Stanza, done func(*stanza.Stanza)) {
	h.mu.Lock()
	f := h.onAsk
	h.asked = append(h.asked, &Question{Stanza: s, done: done})
	q := h.asked[len(h.asked)-1]
	h.mu.Unlock()
	if f != nil {
		q.Answer(f(s))
	}
}

// Asked returns the requests that the extension made since the last call.
func (h *Host) Asked() []*Question {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.asked
	h.asked = nil
	return a
}

// OnAsk has later requests answered at once by what f returns; nil stands for the timeout.
func (h *Host) OnAsk(f func(*stanza.Stanza) *stanza.Stanza) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onAsk = f
}

// Refuses asks the extension's own Admit hooks, and then the function given to OnRefuses.
func (h *Host) Refuses(_ context.Context, p *mod.Pass) error {
	if err := h.Admit(p); err != nil {
		return err
	}
	h.mu.Lock()
	f := h.refuses
	h.mu.Unlock()
	if f != nil {
		return f(p)
	}
	return nil
}

// OnRefuses lets f stand for the Admit hooks of other extensions.
func (h *Host) OnRefuses(f func(*mod.Pass) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuses = f
}

// SetDisco sets what Disco returns instead of what follows from the extension's own hooks.
func (h *Host) SetDisco(at mod.Where, d mod.Disco) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disco[at] = d
}

// Disco returns what was set by SetDisco, or else what follows from the extension's hooks.
func (h *Host) Disco(at mod.Where) mod.Disco {
	h.mu.Lock()
	d, ok := h.disco[at]
	h.mu.Unlock()
	if ok || h.Hooks == nil {
		return d
	}
	features := map[string]bool{}
	for _, q := range h.Hooks.IQ {
		if q.At&at != 0 && !q.Quiet {
			features[q.Space] = true
		}
	}
	for _, f := range h.Hooks.Features {
		if f.At&at != 0 {
			features[f.Var] = true
		}
	}
	for f := range features {
		d.Features = append(d.Features, f)
	}
	slices.Sort(d.Features)
	for _, i := range h.Hooks.Identities {
		if i.At&at != 0 {
			d.Identities = append(d.Identities, i.Identity)
		}
	}
	if h.Hooks.Forms != nil {
		d.Forms = h.Hooks.Forms(at)
	}
	return d
}

// SetContact puts an item into the fake roster of owner, a bare JID, in place of an older one.
func (h *Host) SetContact(owner, contact string, sub mod.Subscription, groups ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := mod.Contact{JID: jid.MustParse(contact), Subscription: sub, Groups: groups}
	items := h.contacts[owner]
	if i := slices.IndexFunc(items, func(o mod.Contact) bool { return o.JID == c.JID }); i >= 0 {
		items[i] = c
		return
	}
	h.contacts[owner] = append(items, c)
}

// Trace writes to the test's log.
func (h *Host) Trace(mark uint64, what, who, detail string) {
	h.t.Logf("message %d: %s %s %s", mark, what, who, detail)
}

// Mark gives each message the same mark.
func (h *Host) Mark(s *stanza.Stanza) { s.Mark = 1 }

// Limits returns fixed limits: 10000 and 20000 bytes, and 5 minutes.
func (h *Host) Limits() mod.Limits {
	return mod.Limits{BeforeAuth: 10000, AfterAuth: 20000, Idle: 5 * time.Minute}
}

// Peers returns what SetPeers has set.
func (h *Host) Peers() []mod.Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.peers
}

// SetPeers says with which domains the host has streams.
func (h *Host) SetPeers(all ...mod.Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peers = all
}

// AccountNodes returns the extension's own, or nil.
func (h *Host) AccountNodes() mod.AccountNodes {
	if h.Hooks == nil {
		return nil
	}
	return h.Hooks.AccountNodes
}

// Pages returns the extension's own, or else one that shows nothing.
func (h *Host) Pages() mod.Pages {
	if h.Hooks != nil && h.Hooks.Pages != nil {
		return h.Hooks.Pages
	}
	return pages{}
}

type pages struct{}

func (pages) URL(jid.JID, string, string) string { return "" }

// Notifier returns the extension's own, or else one that remembers who was told, see Notified.
func (h *Host) Notifier() mod.Notifier {
	if h.Hooks != nil && h.Hooks.Notifier != nil {
		return h.Hooks.Notifier
	}
	return notifier{h}
}

// NodeChanged calls the extension's own hook.
func (h *Host) NodeChanged(at jid.JID, node string) {
	if h.Hooks != nil && h.Hooks.NodeChanged != nil {
		h.Hooks.NodeChanged(at, node)
	}
}

// ContactChanged calls the extension's own hook.
func (h *Host) ContactChanged(account jid.JID, was, is mod.Contact) {
	if h.Hooks != nil && h.Hooks.ContactChanged != nil {
		h.Hooks.ContactChanged(account, was, is)
	}
}

// Notified returns those who were told of messages without being sent them, since the last call: "ID: ACCOUNT ...".
func (h *Host) Notified() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.notified
	h.notified = nil
	return all
}

type notifier struct{ h *Host }

// Notify keeps who is told: what was counted in a transaction that was undone is not.
func (n notifier) Notify(_ context.Context, s *stanza.Stanza, to []mod.Absent) (func(mod.Tx) error, func()) {
	if len(to) == 0 {
		return nil, nil
	}
	counted := false
	count := func(mod.Tx) error { counted = true; return nil }
	return count, func() {
		if !counted {
			n.h.t.Errorf("%s is told of and was not counted", s.ID)
		}
		var names []string
		for _, a := range to {
			name := a.Account.Local()
			if a.Mentioned {
				name += "!"
			}
			if a.OnMention {
				name += "?"
			}
			names = append(names, name)
		}
		slices.Sort(names)
		n.h.mu.Lock()
		defer n.h.mu.Unlock()
		n.h.notified = append(n.h.notified, s.ID+": "+strings.Join(names, " "))
	}
}

// Capabilities returns the extension's own, or else those that Understands has set.
func (h *Host) Capabilities() mod.Capabilities {
	if h.Hooks != nil && h.Hooks.Capabilities != nil {
		return h.Hooks.Capabilities
	}
	return capabilities{h}
}

// Understands sets the features of the client that is bound to, or reachable at, a full JID.
func (h *Host) Understands(full string, features ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.features == nil {
		h.features = map[string][]string{}
	}
	h.features[full] = features
}

type capabilities struct{ h *Host }

func (c capabilities) Features(p *stanza.Stanza) ([]string, bool) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	f, ok := c.h.features[p.From.String()]
	return f, ok
}

func (c capabilities) Learn(_ context.Context, _ jid.JID, p *stanza.Stanza, known func([]string)) {
	if f, ok := c.Features(p); ok {
		known(f)
	}
}

func (c capabilities) Same(a, b *stanza.Stanza) bool { return a.From == b.From }

// Offline returns the extension's own, or else one that keeps nothing and records the calls of Skip, see Skipped.
func (h *Host) Offline() mod.Offline {
	if h.Hooks != nil && h.Hooks.Offline != nil {
		return h.Hooks.Offline
	}
	return offline{h}
}

// HostNodes returns the extension's own nodes, or none.
func (h *Host) HostNodes() mod.HostNodes {
	if h.Hooks != nil && h.Hooks.HostNodes != nil {
		return h.Hooks.HostNodes
	}
	return noNodes{}
}

type noNodes struct{}

func (noNodes) NodeInfo(context.Context, jid.JID, string) (*mod.Disco, error) { return nil, nil }

func (noNodes) NodeItems(context.Context, jid.JID, string) ([]mod.DiscoItem, bool, error) {
	return nil, false, nil
}

// Right returns what SetRight was told; otherwise the addresses of the domain are users.
func (h *Host) Right(who jid.JID) mod.Right {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r, ok := h.rights[who.Bare().String()]; ok {
		return r
	}
	if who.DomainJID() == h.domain {
		return mod.User
	}
	return mod.Stranger
}

// SetRight sets what somebody may do with the host.
func (h *Host) SetRight(bare string, r mod.Right) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rights == nil {
		h.rights = map[string]mod.Right{}
	}
	h.rights[bare] = r
}

// Commands returns the commands of the extension, bound to what it gave.
func (h *Host) Commands() []mod.Command {
	var all []mod.Command
	for _, c := range h.info.Commands {
		all = append(all, c.Bind(h.Hooks.Instance))
	}
	return all
}

// Command runs a command of the extension by its name. args is JSON.
func (h *Host) Command(name, by, args string) (any, error) {
	h.t.Helper()
	for _, c := range h.Commands() {
		if c.Name == name {
			call := &mod.Call{Host: h.domain}
			if by != "" {
				call.By = jid.MustParse(by)
			}
			return c.Run(h.ctx, call, []byte(args))
		}
	}
	h.t.Fatalf("%s has no command %q", h.info.Name, name)
	return nil, nil
}

type offline struct{ h *Host }

func (offline) Mark(context.Context, jid.JID) (int64, error) { return 1, nil }

func (o offline) Skip(s mod.Session, _ int64) {
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	o.h.skipped = append(o.h.skipped, s.JID())
}

// Skipped returns the sessions for which the extension called Skip since the last call.
func (h *Host) Skipped() []jid.JID {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.skipped
	h.skipped = nil
	return s
}

// Roster returns the extension's own roster, or else the fake one.
func (h *Host) Roster() mod.Roster {
	if h.Hooks != nil && h.Hooks.Roster != nil {
		return h.Hooks.Roster
	}
	return roster{h}
}

type roster struct{ h *Host }

func (r roster) Contact(ctx context.Context, owner, contact jid.JID) (mod.Contact, bool, error) {
	items, err := r.Contacts(ctx, owner)
	for _, c := range items {
		if c.JID == contact {
			return c, true, err
		}
	}
	return mod.Contact{}, false, err
}

func (r roster) Contacts(_ context.Context, owner jid.JID) ([]mod.Contact, error) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	return slices.Clone(r.h.contacts[owner.String()]), nil
}

// Accounts returns the fake accounts.
func (h *Host) Accounts() mod.Accounts { return accounts{h} }

// Password returns the password of an account, and whether there is one of this localpart.
func (h *Host) Password(local string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.passwords[local]
	return p, ok
}

func (r roster) Requests(context.Context, jid.JID) (int, error) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	return r.h.requests, nil
}

// SetRequests sets how many subscription requests wait in each fake roster.
func (h *Host) SetRequests(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = n
}

// HTTP returns the client given by WithHTTP.
func (h *Host) HTTP() *http.Client {
	if h.http == nil {
		panic("modtest: the extension " + h.info.Name + " asks for an HTTP client: give one by WithHTTP")
	}
	return h.http
}

// WithHTTP gives the extension a client for requests to the outside.
func WithHTTP(c *http.Client) Option { return func(h *Host) { h.http = c } }

type accounts struct{ h *Host }

func (a accounts) Exists(_ context.Context, local string) (bool, error) {
	_, ok := a.h.Password(local)
	return ok, nil
}

func (a accounts) Create(_ context.Context, local, password string) error {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	if _, ok := a.h.passwords[local]; ok {
		return stanza.Err(stanza.Conflict, "")
	}
	if _, err := jid.New(local, a.h.domain.Domain(), ""); err != nil || local == "" || password == "" {
		return stanza.Err(stanza.NotAcceptable, "")
	}
	a.h.passwords[local] = password
	return nil
}

func (a accounts) SetPassword(_ context.Context, local, password string, _ mod.Session) error {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	if _, ok := a.h.passwords[local]; !ok {
		return stanza.Err(stanza.ItemNotFound, "")
	}
	if password == "" {
		return stanza.Err(stanza.NotAcceptable, "")
	}
	a.h.passwords[local] = password
	return nil
}

// Devices returns what SetDevices was told.
func (a accounts) Devices(_ context.Context, local string) ([]mod.Device, error) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	return slices.Clone(a.h.devices[local]), nil
}

// Revoke takes one out of those of SetDevices.
func (a accounts) Revoke(_ context.Context, local, id string, force bool) error {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	all := a.h.devices[local]
	i := slices.IndexFunc(all, func(d mod.Device) bool { return d.ID == id })
	switch {
	case i < 0:
		return mod.ErrNoRows
	case all[i].Password && !force:
		return mod.ErrPasswordKnown
	}
	a.h.devices[local] = slices.Delete(slices.Clone(all), i, i+1)
	return nil
}

// SetDevices says which clients have access to an account.
func (h *Host) SetDevices(local string, all ...mod.Device) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.devices == nil {
		h.devices = map[string][]mod.Device{}
	}
	h.devices[local] = all
}

// Delete runs the hooks as mod.Accounts promises: before, in the transaction, then done, then the sessions.
func (a accounts) Delete(ctx context.Context, local string, done ...func()) error {
	h := a.h
	bare, err := jid.New(local, h.domain.Domain(), "")
	if err != nil {
		return err
	}
	if f := h.Hooks.BeforeAccountRemoved; f != nil {
		if err := f(ctx, bare); err != nil {
			return err
		}
	}
	if f := h.Hooks.AccountRemoved; f != nil {
		if err := h.DB().Write(ctx, func(tx mod.Tx) error { return f(ctx, tx, bare) }); err != nil {
			return err
		}
	}
	h.mu.Lock()
	delete(h.passwords, local)
	h.mu.Unlock()
	for _, f := range done {
		f()
	}
	for _, s := range h.Sessions(bare) {
		s.Close("not-authorized", "the account was removed")
	}
	return nil
}

// XML parses an element that stands in the namespace jabber:client, and fails the test where it is not well formed.
func XML(t testing.TB, text string) *xmlstream.Element {
	t.Helper()
	e, err := xmlstream.Parse("<x xmlns='jabber:client'>"+strings.TrimSpace(text)+"</x>", xmlstream.DefaultLimits)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	f := e.First()
	if f == nil {
		t.Fatalf("no element in %s", text)
	}
	return f
}

// Stanza parses a stanza of jabber:client, and fails the test where it breaks a rule.
func Stanza(t testing.TB, text string) *stanza.Stanza {
	t.Helper()
	e := XML(t, text)
	f, err := xmlstream.ParseFrame(e.String(), xmlstream.DefaultLimits)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	s, bad := stanza.FromFrame(f)
	if bad != nil {
		t.Fatalf("%v in %s", bad, text)
	}
	if s == nil {
		t.Fatalf("no stanza: %s", text)
	}
	return s
}
