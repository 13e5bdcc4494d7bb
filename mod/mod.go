// Package mod is the surface of an extension: everything that an extension sees of the server, and nothing else.
//
// An extension is a folder mod/x with one exported variable, its Info, that mod/all lists. For each virtual host on
// which the extension is enabled the server calls Info.New once and merges the Hooks that it returns with those of the
// other extensions into tables that do not change while the server runs. Extensions keep no package-level state, hold
// no sessions beyond a call, and start goroutines only by Host.Go.
package mod

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Info describes an extension. It is constant.
type Info struct {
	// Name is the folder's name and that of the section [mod.NAME] of the configuration: lower-case ASCII.
	Name string
	// Specs lists what it implements, each as "XEP-0199 2.0.1" or "RFC 6121 §2".
	Specs []string
	// Doc says in one sentence for operators what it does.
	Doc string
	// Off says that the extension is not enabled unless the configuration does so.
	Off bool
	// Config returns a pointer to a new configuration struct that holds the defaults, or is nil where there is
	// nothing to configure. Its fields have `toml:"name"` and `doc:"one sentence"` tags; durations are of type
	// Duration. Where *T has a method Validate() error, it is called after reading.
	Config func() any
	// Schema holds the migrations of its tables, as internal/db reads them: schema/NNNN_x.sql. Nil without tables.
	Schema fs.FS
	// Commands are what people may have it do. They are run on Hooks.Instance.
	Commands []Command
	// Engines are the packages of engine/ with tables that it uses. Several extensions may name one.
	Engines []Engine
	// New makes the instance for one host. cfg is what Config returned, filled in. The services of h other than DB,
	// Log, Clock and Domain may be used from Hooks.Start on, not yet within New.
	New func(h Host, cfg any) (*Hooks, error)
}

// Engine is a package of engine/ that keeps tables.
type Engine struct {
	// Name is that of the module in the database.
	Name string
	// Schema holds the migrations, as those of Info.
	Schema fs.FS
}

// Duration is a time.Duration that configuration files write as "90s" or "24h".
type Duration time.Duration

// UnmarshalText reads Go's notation of a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText writes Go's notation of a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Clock tells the time. Tests bring their own.
type Clock interface {
	Now() time.Time
}

// Host is one virtual domain with its services.
type Host interface {
	// Domain returns the address of the host itself.
	Domain() jid.JID
	// DB returns the database. All hosts share one: tables have a column for the host or for the bare JID.
	DB() DB
	Clock() Clock
	// Log returns a logger that names host and extension. Bodies, passwords and tokens are never logged.
	Log() *slog.Logger
	// Go runs f on a goroutine that the host owns: a panic in f is logged and counted, and ctx ends when the host stops.
	// name is for people, such as "prune".
	Go(name string, f func(ctx context.Context))

	// Sessions returns the bound resources of a local account, highest priority first, those without presence last.
	// The slice is the caller's.
	Sessions(bare jid.JID) []Session
	// Session returns the bound resource of exactly this address, or nil.
	Session(full jid.JID) Session
	// Route sends a stanza on its way as from s.From, an address of this host or of one of its services: through the
	// phases to a local or remote recipient. It does not wait for the recipient. Errors come back as stanzas.
	Route(ctx context.Context, s *stanza.Stanza)
	// RouteAll is Route for one stanza after the other, each to one or to many. What is recorded for them shares one commit, and
	// they are written to their recipients' streams when all are on their way.
	RouteAll(ctx context.Context, list []Fan)
	// Ask routes an iq of type get or set, from an address as Route takes, and calls done once with the answer, or with nil after a timeout of 30
	// seconds. An answer counts only where it comes from the address that was asked.
	Ask(ctx context.Context, s *stanza.Stanza, done func(answer *stanza.Stanza))
	// Refuses asks the Admit hooks about a stanza that was kept, as if it came now: nil, or why it may not go on.
	Refuses(ctx context.Context, p *Pass) error

	Accounts() Accounts
	// Roster returns what the extension that provides the roster gives; never nil.
	Roster() Roster
	// Capabilities returns what the extension gives that learns what clients understand; never nil.
	Capabilities() Capabilities
	// Offline returns what the extension that keeps messages for absent users gives; never nil.
	Offline() Offline
	// AccountNodes returns what the extension gives that keeps nodes of accounts, or nil.
	AccountNodes() AccountNodes
	// HostNodes returns what the extensions give that keep nodes of the host; never nil.
	HostNodes() HostNodes
	// Right tells what somebody may do with the host, whatever the resource.
	Right(who jid.JID) Right
	// Commands returns the commands of the host, those of its extensions and of the server, bound to what they run on.
	Commands() []Command
	// Pages returns what the extension gives that shows nodes on the web; never nil.
	Pages() Pages
	// Notifier returns what the extension gives that wakes devices; never nil.
	Notifier() Notifier
	// NodeChanged calls Hooks.NodeChanged of all extensions. Who keeps nodes of publish-subscribe calls it.
	NodeChanged(at jid.JID, node string)
	// ContactChanged calls Hooks.ContactChanged of all extensions. Who keeps the rosters calls it.
	ContactChanged(account jid.JID, was, is Contact)
	// Disco returns what the host answers in service discovery for itself (AtHost) or for an account (AtAccount).
	Disco(at Where) Disco
	// Trace notes what became of a message beside its way, for administrators who ask. mark is Stanza.Mark; what, who and
	// detail are those of TraceEvent. Mark gives a message that was taken from a store its mark, and notes its id; messages
	// that go by Route need none.
	Trace(mark uint64, what, who, detail string)
	Mark(s *stanza.Stanza)
	// Limits returns the limits of clients' streams that are in force now.
	Limits() Limits
	// Peers returns the other domains with which the host has streams now.
	Peers() []Peer
	// HTTP returns a client for requests to the outside. The server's one dialler makes its connections, so that the policy
	// of the section [outbound] holds whatever an address that somebody gave us resolves or is redirected to. It is shared:
	// requests bring their own deadline.
	HTTP() *http.Client
}

// Peer is another domain that has proved itself on streams with the host. In, Out and Both count those on which it sends, the host does,
// and both do.
type Peer struct {
	Domain        jid.JID
	In, Out, Both int
}

// Limits bound what a client may send on a stream.
type Limits struct {
	// BeforeAuth and AfterAuth are the bytes of a top-level element, before and after authentication.
	BeforeAuth, AfterAuth int
	// Idle is the silence after which a client is asked for a sign of life; 0 for never.
	Idle time.Duration
}

// FlagCarbons is the flag of a session whose client gets copies of what other resources of the account send and get
// (XEP-0280). What such a session has had as a copy need not be sent to it again when the other session ends.
const FlagCarbons = "carbons.enabled"

// Urgency says what becomes of a stanza for a client whose user does not look.
type Urgency uint8

// The urgencies.
const (
	Urgent      Urgency = iota // sent now
	Patient                    // sent with the next urgent one
	Replaceable                // as Patient, unless a newer one of its sender and state has come until then
)

// Judge says how urgent a stanza is and, of one that can be replaced, of which of its sender's states it tells.
type Judge = func(*stanza.Stanza) (u Urgency, state uint8)

// Session is a bound resource of a local account (RFC 6120 §7).
type Session interface {
	// JID returns the full JID.
	JID() jid.JID
	// Send queues a stanza for the client and never blocks. The session stamps `to` where it is absent. A session that
	// has ended drops it: routing decides before who gets a message.
	Send(s *stanza.Stanza)
	// Deliver is Send, and tells whether the session took the stanza. What it took and could not write until it ended is
	// routed anew, messages at least.
	Deliver(s *stanza.Stanza) bool
	// Entrust is for a message that leaves a store: where the session can be resumed after the process has ended, the
	// message can be handed from the one to the other without being in neither. It returns nil where that cannot be: then
	// Deliver does it, and the message is deleted after. at is when the server took it in: by it the message comes before those that
	// came meanwhile, also after the end of the process.
	Entrust(s *stanza.Stanza, at time.Time) Entrusted
	// Room returns how many bytes the session has room for, with some hundred counted for each stanza besides what it has on the
	// wire. Who sends much at once out of a store sends a part of that, and more when the client asks for it.
	Room() int
	// Presence returns the last available presence that the client broadcast, or nil while it is unavailable.
	Presence() *stanza.Stanza
	// SetPresence keeps p, nil for unavailable, and its priority. It belongs to the extension that handles presence.
	SetPresence(p *stanza.Stanza, priority int8)
	// Priority returns the priority of the last presence.
	Priority() int8
	// Flag returns what SetFlag kept under this key, or "".
	Flag(key string) string
	// SetFlag keeps a small value with the session, where every node of a cluster sees it; "" removes it. Keys start
	// with the name of the extension.
	SetFlag(key, value string)
	// Directed tells the addresses to which the client has sent directed presence and not yet unavailable
	// (RFC 6121 §4.6.3). Direct adds or removes one; it returns false where there are too many already.
	Directed() []jid.JID
	Direct(to jid.JID, available bool) bool
	// Connected tells whether there is a stream now. A session that can be resumed may wait for its client without one.
	Connected() bool
	// Unanswered returns since when the client has not acknowledged what it was sent (XEP-0198#acking): the zero time where it has,
	// or where it does not do so at all.
	Unanswered() time.Time
	// HoldBack holds back what judge does not call urgent until something urgent comes, and sends all of it, in order, before
	// that. Of stanzas that can be replaced, the newest of each sender and state is kept. Nil ends it. So does the loss of the
	// stream. What is held back is bounded.
	HoldBack(judge func(*stanza.Stanza) (Urgency, uint8))
	// CatchUp has messages of type chat or normal that others send wait until done is called, which is owed: what Send, Deliver and
	// Entrust queue meanwhile, out of a store, comes first. While a session becomes available the server does so by itself.
	CatchUp() (done func())
	// Close ends the stream with a stream error, or without one where condition is "".
	Close(condition, text string)
	// LastActive returns when the client sent its last stanza.
	LastActive() time.Time
	// Client returns what is known of the client.
	Client() Client
}

// ErrPasswordKnown says that only a new password takes the access of a client away (XEP-0494#revoking-access).
var ErrPasswordKnown = errors.New("the client knows the password: only a new one takes its access away")

// Entrusted is a message on its way from a store to a session. After Write was committed, Deliver is called, otherwise Drop.
type Entrusted interface {
	// Write keeps the message for the session, in the transaction that deletes it from the store.
	Write(ctx context.Context, tx Tx) error
	// Deliver queues it. It returns false where the session has ended meanwhile: the message belongs into the store again.
	Deliver() bool
	// Drop gives it up.
	Drop()
}

// Accounts are the users of a host.
type Accounts interface {
	// Exists tells whether there is an account of this localpart.
	Exists(ctx context.Context, local string) (bool, error)
	// Create makes an account. It returns a *stanza.Error: conflict where it exists, not-acceptable where name or
	// password do not please.
	Create(ctx context.Context, local, password string) error
	// SetPassword replaces the password. by is the session whose client does so, nil for an administrator: other clients lose
	// the access that they have by the old password, and their sessions end, as far as the settings do not say otherwise.
	SetPassword(ctx context.Context, local, password string, by Session) error
	// Devices returns the clients that have access to an account, the connected ones first, then by when they were seen.
	Devices(ctx context.Context, local string) ([]Device, error)
	// Revoke takes the access of a client away and ends its sessions. It returns ErrNoRows where there is no such client,
	// and ErrPasswordKnown, having done nothing, where the client knows the password and force is not set.
	Revoke(ctx context.Context, local, id string, force bool) error
	// Delete removes the account and, by Hooks.AccountRemoved, all that extensions keep of it, in one transaction; then it
	// calls done, and then it ends the account's sessions.
	Delete(ctx context.Context, local string, done ...func()) error
}

// Subscription is the state of a roster item: who sees whose presence (RFC 6121 §2.1.2.5).
type Subscription uint8

// The states of a subscription.
const (
	SubNone Subscription = 0
	SubTo   Subscription = 1 // the user sees the contact
	SubFrom Subscription = 2 // the contact sees the user
	SubBoth Subscription = SubTo | SubFrom
)

// String returns the value of the wire: none, to, from, both.
func (s Subscription) String() string {
	return [...]string{"none", "to", "from", "both"}[s&3]
}

// Contact is an item of a roster, as other extensions see it.
type Contact struct {
	JID          jid.JID
	Name         string
	Subscription Subscription
	Groups       []string
}

// Roster answers questions about the rosters of local accounts.
type Roster interface {
	// Contact returns an item of the roster of the account owner.
	Contact(ctx context.Context, owner, contact jid.JID) (Contact, bool, error)
	// Contacts returns the whole roster. The slice is shared and must not be changed.
	Contacts(ctx context.Context, owner jid.JID) ([]Contact, error)
	// Requests returns how many subscription requests wait for the owner's answer (RFC 6121 §3.1.3).
	Requests(ctx context.Context, owner jid.JID) (int, error)
}

// Capabilities tell what clients understand, as their presence announces it (XEP-0115, XEP-0390). A presence is one of type
// available, from a full JID, of a local client or of one elsewhere.
type Capabilities interface {
	// Features returns the features of the client that sent a presence, as far as they are known. It does not wait. The
	// slice is shared and must not be changed.
	Features(presence *stanza.Stanza) ([]string, bool)
	// Learn calls known once with the features of the client, now or after the client was asked for them, which asker does.
	// It does not call it where the presence announces nothing, or the client does not tell.
	Learn(ctx context.Context, asker jid.JID, presence *stanza.Stanza, known func(features []string))
	// Same tells whether two presences announce the same.
	Same(a, b *stanza.Stanza) bool
}

// AccountNodes answers service discovery for the nodes of accounts (XEP-0030#info-nodes). Who asks may see the presence of
// the account or not: what to show is the extension's to decide.
type AccountNodes interface {
	// NodeInfo tells about a node; nil where there is none for who asks.
	NodeInfo(ctx context.Context, account, who jid.JID, node string) (*Disco, error)
	// Nodes returns the nodes of an account that who asks may know of.
	// query is the request, which may ask for nodes of some types only (XEP-0462).
	Nodes(ctx context.Context, account, who jid.JID, query *xmlstream.Element) ([]DiscoItem, error)
	// NodeItems returns what belongs to a node; ok is false where there is none for who asks.
	NodeItems(ctx context.Context, account, who jid.JID, node string) (items []DiscoItem, ok bool, err error)

	// Item returns an item of a node, the newest one where id is "": its id and its payload, or "" and nil. MayRead tells whether
	// somebody may read a node; one that is not there may be read by nobody.
	Item(ctx context.Context, account jid.JID, node, id string) (string, *xmlstream.Element, error)
	MayRead(ctx context.Context, account, who jid.JID, node string) (bool, error)
	// Discover answers a request for items that asks for what is below a node (XEP-0499); ok is false where it does not, or there
	// is none.
	Discover(ctx context.Context, account, who jid.JID, query *xmlstream.Element) (items []DiscoItem, ok bool, err error)
	// Archive answers a query for the archive of a node of r.Account (XEP-0442), as a handler does.
	Archive(ctx context.Context, r *Request) (*xmlstream.Element, error)
	// Change makes changes in the name of an account, in one commit with write, which may be nil and obeys the rules of
	// DB.Write. Those who are interested are told. A *stanza.Error says what limit stands against it.
	Change(ctx context.Context, account jid.JID, changes []NodeChange, write func(tx Tx) error) error
	// Update is Change for what depends on what there is: plan says what Change is told else, and what it reads of the account's nodes stays
	// so until the commit. It makes no changes itself. Where it fails, so does Update.
	Update(ctx context.Context, account jid.JID, plan func(ctx context.Context) (changes []NodeChange, write func(tx Tx) error, err error)) error
}

// NodeChange is a change of an item of an account's node.
type NodeChange struct {
	Node, ID string
	Payload  *xmlstream.Element // nil: the item is deleted
	// Private and Many say of a node that is made for the change that only the account may read it, and not all, and that it
	// has room for many items, and not for one.
	Private, Many bool
}

// HostNodes answers service discovery for nodes of the host (XEP-0030#info-nodes).
type HostNodes interface {
	// NodeInfo tells about a node; nil where there is none. An error is what the asker is owed.
	NodeInfo(ctx context.Context, who jid.JID, node string) (*Disco, error)
	// NodeItems returns what belongs to a node; ok is false where there is none.
	NodeItems(ctx context.Context, who jid.JID, node string) (items []DiscoItem, ok bool, err error)
}

// Offline is what others need of the extension that keeps messages for absent users (XEP-0160). A client that reads what it
// has missed from the archive must not get the same a second time when it becomes available (XEP-0313#business-storeret-user-archives).
type Offline interface {
	// Mark returns a place behind all that waits for an account now. It is taken before the archive is read.
	Mark(ctx context.Context, account jid.JID) (int64, error)
	// Skip says that the client of s has, or knows that the archive has, what was archived up to mark: when s becomes
	// available, such messages are deleted and not delivered to it. Those that are in no archive still are.
	Skip(s Session, mark int64)
}

// Notifier is what others need of the extension that wakes devices (XEP-0357).
type Notifier interface {
	// Notify is for a message of which accounts of the host are to be told without being sent it: one that a room keeps for members
	// who are away. count adds it, in the transaction that records the message, to what waits for those of their devices whose clients are
	// not there; tell, called after the commit, tells these, and does not wait for it. Both are nil where there is nobody to tell.
	Notify(ctx context.Context, s *stanza.Stanza, to []Absent) (count func(tx Tx) error, tell func())
}

// Absent is an account that is told of a message in a room.
type Absent struct {
	Account jid.JID
	// Nick is the name under which the room knows the account, or "".
	Nick string
	// Mentioned says that the room knows that the message speaks to the account.
	Mentioned bool
	// OnMention says what holds where the account has chosen nothing for the room: it is told of what speaks to it (XEP-0492#rules).
	OnMention bool
}

// Identity is an identity in service discovery (XEP-0030#info-basic).
type Identity struct {
	Category, Type, Name, Lang string
}

// Disco is an answer of service discovery (XEP-0030, XEP-0128).
type Disco struct {
	Identities []Identity
	Features   []string
	Forms      []*xmlstream.Element // jabber:x:data forms of type result
	Items      []DiscoItem
}

// DiscoItem is an entity associated with a host.
type DiscoItem struct {
	JID        jid.JID
	Node, Name string
	Form       *xmlstream.Element // of a node that tells of itself in a list (XEP-0499), or nil
}
