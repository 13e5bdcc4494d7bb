package mod

import (
	"context"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// The way of a stanza through the extensions, in this order. Inside a phase the order must not matter; where it must, a
// hook names in After the extensions that come before it.
//
//	Admit    may refuse it: policy, blocking, limits
//	Rewrite  may change it: ids stripped and added, stamps
//	Record   hands over what must be durable before anybody sees it
//	(the batch commits)
//	Settle   puts in what the commit has made known, such as ids of archives
//	Fork     may add copies for other sessions
//	(delivery)
//	Observe  sees what became of it
//
// A stanza between two local accounts goes through each phase twice: once for its sender's side (Out), once for its
// recipient's (In).

// Side tells whose side of a stanza a hook is asked about.
type Side uint8

// The sides. Out is that of a local sender, In that of a local recipient.
const (
	Out Side = 1 << iota
	In
)

// Kinds is a set of kinds of stanzas.
type Kinds uint8

// Sets of kinds.
const (
	Messages  Kinds = 1 << stanza.Message
	Presences Kinds = 1 << stanza.Presence
	IQs       Kinds = 1 << stanza.IQ
	AllKinds        = Messages | Presences | IQs
)

// Pass is one stanza on its way through the phases of one side. It is valid during the call.
type Pass struct {
	// Stanza is the stanza as it stands. Rewrite and Settle may put a changed clone in its place, others leave it alone.
	Stanza *stanza.Stanza
	Side   Side
	// Account is the bare JID of the local account whose side this is, or the host's own address.
	Account jid.JID
	// Session is the session that sent it, on side Out only; nil where the server itself did.
	Session Session
	// Targets are the sessions that will get a message, on side In from Rewrite on (RFC 6121 §8).
	Targets []Session
	// At is when the server took a message in, on side In: by it those that are stored for an account are in order, also
	// where they get there by way of a session that has ended.
	At time.Time
	// Stored says that the message was taken into a store from which its recipient will get it, so that it is not
	// bounced although Targets is empty. A Record hook sets it.
	Stored bool
	// Archived is where the archive of Account keeps the message, or nil where it does not. The Record hook of the extension
	// that keeps the archive sets it. Where it is set before, the archive has the message already: the message comes anew,
	// because a session ended whose client may not have got it, and is not archived again.
	Archived *Archived
}

// Archived is the place of a message in an archive (XEP-0313).
type Archived struct {
	// By is the address of the archive: the `by` of the stanza-id (XEP-0359).
	By jid.JID
	// ID is given within the transaction. It is there for the writes of Record hooks that come After the archive, and from
	// Settle on. A write that runs again may find another one.
	ID string
}

// Fan is one stanza for many: each address of To gets it, as if it had been sent to that address alone, with the phases of
// both sides and with the errors. It is encoded once. A message has one mark: Host.Trace knows it with all its recipients.
//
// Where To is empty, the stanza goes to where it is addressed, if it is. Both belong to the route from then on and are not changed
// any more.
type Fan struct {
	Stanza *stanza.Stanza
	To     []jid.JID
}

// When says for which stanzas a hook runs.
type When struct {
	Side  Side  // Out, In or both
	Kinds Kinds // which kinds
	After []string
}

// Drop is what an Admit hook returns to end a stanza's way without an answer where the spec asks for that. Why goes
// to the trace.
type Drop struct{ Why string }

// Error says that the stanza was dropped and why.
func (d Drop) Error() string { return "dropped: " + d.Why }

// AdmitHook may refuse a stanza. Func returns nil, a *stanza.Error that its sender gets, or a Drop. Another error
// becomes internal-server-error and is logged.
type AdmitHook struct {
	When
	Func func(ctx context.Context, p *Pass) error
}

// RewriteHook may set p.Stanza to a changed clone.
type RewriteHook struct {
	When
	Func func(ctx context.Context, p *Pass) error
}

// RecordHook may return a write that is committed, together with those of the other stanzas of the batch, before the
// stanza is delivered. The write obeys the rules of DB.Write. If it or the commit fails, the sender gets an error and
// nobody gets the stanza.
type RecordHook struct {
	When
	Func func(ctx context.Context, p *Pass) (func(tx Tx) error, error)
}

// SettleHook may set p.Stanza to a changed clone, once what Record hooks asked for is committed and before anybody sees the
// message: on side In before the sessions of the recipient get it, on side Out before Fork, when it has gone to the
// recipient, who does not see the change. It cannot refuse the message any more. It runs for the messages for which Fork
// runs, once a side.
type SettleHook struct {
	When
	Func func(ctx context.Context, p *Pass)
}

// Copy is one more delivery of a stanza, or of something made from it.
type Copy struct {
	To     Session
	Stanza *stanza.Stanza
}

// ForkHook may add copies of a message. It runs on both sides, once the message is on its way: Targets have it. It runs
// also where the message is neither delivered nor answered (RFC 6121 §8.5), on side Out even for an account that does not
// exist, so that nobody learns which do. It does not run for a message that this server answers with an error. It runs once
// more, and its copies go nowhere, where a session has ended whose client may not have had the message: who has a copy does not get it again.
type ForkHook struct {
	When
	Func func(ctx context.Context, p *Pass) []Copy
}

// Outcome is what became of a stanza on one side.
type Outcome string

// The outcomes.
const (
	Delivered Outcome = "delivered" // queued to at least one session
	Stored    Outcome = "stored"    // kept for later
	Forwarded Outcome = "forwarded" // handed to another side, server or component
	Refused   Outcome = "refused"   // answered with an error
	Dropped   Outcome = "dropped"   // ended without an answer, as the spec asks
)

// ObserveHook sees what became of a message on both sides, and of a presence to somebody on side In; iqs it does not see.
type ObserveHook struct {
	When
	Func func(ctx context.Context, p *Pass, o Outcome)
}

// Where says to which kind of address a request is made.
type Where uint8

// The addresses. A request without `to` is made to the sender's own account (RFC 6120 §10.3).
const (
	AtHost     Where = 1 << iota // the domain itself
	AtAccount                    // the bare JID of a local account, asked by anybody; its owner included
	AtOwn                        // the bare JID of the sender's own account; from others: service-unavailable
	AtStream                     // a stream that has no resource yet (XEP-0077); Session is nil
	AtResource                   // a full JID of a Service; elsewhere those are the clients' own
)

// Request is an iq of type get or set on its way to a handler.
type Request struct {
	*stanza.Stanza
	// Payload is the child element.
	Payload *xmlstream.Element
	// Session is the sender's session; nil where the sender is not local.
	Session Session
	// Account is the bare JID of the account that is asked, with AtAccount and AtOwn.
	Account jid.JID
	// Secure tells whether the sender's stream is encrypted (AtStream).
	Secure bool
	// Addr is the network address of the sender, host only (AtStream).
	Addr string
}

// IQHandler answers requests of one payload. There is one for each payload, place and type; two stop the start.
type IQHandler struct {
	At           Where
	Space, Local string
	// Type is stanza.TypeGet or stanza.TypeSet.
	Type string
	// Quiet keeps Space out of the features that service discovery shows at At.
	Quiet bool
	// Unknown calls Func at AtAccount for accounts that do not exist, too, because its errors or results must not tell
	// them from others. Otherwise service-unavailable answers for those (RFC 6121 §8.5.1).
	Unknown bool
	// Slow runs Func on the worker of the session instead of its reader, so that the stanzas behind need not wait.
	// Their order against the answer is then open.
	Slow bool
	// SlowFor is Slow for the requests for which it returns true. It looks at the request alone and is quick.
	SlowFor func(r *Request) bool
	// Func returns the payload of the result, which may be nil, or an error: a *stanza.Error goes to the sender,
	// another becomes internal-server-error and is logged. ErrAnswered says that an answer was or will be sent by
	// other means: exactly one.
	Func func(ctx context.Context, r *Request) (*xmlstream.Element, error)
}

// ErrAnswered is returned by an IQHandler that sees to the answer itself.
var ErrAnswered = answered{}

type answered struct{}

func (answered) Error() string { return "answered already" }

// PresenceHandler takes presence of certain types over, after Admit and Rewrite. There is one for each side, type and
// kind of address.
type PresenceHandler struct {
	Side Side
	// Types are values of the type attribute; stanza.TypeAvailable is "".
	Types []string
	// Broadcast says: those without `to` (side Out). Otherwise: those with one.
	Broadcast bool
	// Func does what the presence asks for. On side Out with a `to`, returning nil sends p.Stanza on to the
	// recipient's side; ErrAnswered ends its way here.
	Func func(ctx context.Context, p *Pass) error
}

// StreamFeature is a child of <stream:features/> (RFC 6120 §4.3.2).
type StreamFeature struct {
	// Auth says: after authentication, where a resource may be bound. Otherwise: before, on an encrypted stream.
	Auth bool
	// Func returns the element, or nil: always the same, until the settings change. It may be kept.
	Func func() *xmlstream.Element
}

// Feature is a feature of service discovery beside those that follow from the handlers.
type Feature struct {
	At  Where
	Var string
}

// Nonza is a top-level element that is no stanza, on a stream that has a resource. There is one handler for each. Func is
// called in the order of the stream, after the stanzas before it were handled. It does not count for stream management.
type Nonza struct {
	Space, Local string
	Func         func(ctx context.Context, s Session, e *xmlstream.Element)
}

// Hooks is what one instance of an extension does. All fields are optional.
type Hooks struct {
	IQ       []IQHandler
	Presence []PresenceHandler

	Admit   []AdmitHook
	Rewrite []RewriteHook
	Record  []RecordHook
	Settle  []SettleHook
	Fork    []ForkHook
	Observe []ObserveHook

	// Nonzas are handled on streams with a resource.
	Nonzas []Nonza

	StreamFeatures []StreamFeature
	// Inline is what clients may set up while they bind (XEP-0386).
	Inline []Inline

	Features   []Feature
	Identities []IdentityAt
	// Forms returns the forms of extended service discovery at a place (XEP-0128).
	Forms func(at Where) []*xmlstream.Element

	// Bound is called after a resource was bound.
	Bound func(ctx context.Context, s Session)
	// Available is called when a session broadcasts available presence; initial says: for the first time since it was
	// bound or unavailable. The presence extension has handled it already.
	Available func(ctx context.Context, s Session, initial bool)
	// Parked is called when a session has lost its stream and waits for its client to resume it (XEP-0198#resumption), also after
	// a restart of the server. held is what the client may not have got, in order.
	Parked func(ctx context.Context, s Session, held []*stanza.Stanza)
	// Unbound is called when a session ended, however, after it was taken out of the directory. presence is its last
	// available presence, or nil.
	Unbound func(ctx context.Context, s Session, presence *stanza.Stanza)

	// Trace returns what is stored of the messages with an id, by whomever it was given: for administrators, and for messages
	// of which the server's memory knows nothing any more. It may be slow.
	Trace func(ctx context.Context, id string) ([]TraceEvent, error)

	// AccountRemoved deletes what the extension keeps of an account, in the transaction that deletes the account.
	AccountRemoved func(ctx context.Context, tx Tx, account jid.JID) error
	// BeforeAccountRemoved is called before, for what is owed to others, such as the end of subscriptions.
	BeforeAccountRemoved func(ctx context.Context, account jid.JID) error

	// Roster is given by the extension that keeps the rosters. One does.
	Roster Roster
	// Capabilities is given by the extension that learns what clients understand. One does.
	Capabilities Capabilities
	// AccountNodes is given by the extension that keeps nodes of accounts. One does.
	AccountNodes AccountNodes
	// Offline is given by the extension that keeps messages for absent users. One does.
	Offline Offline
	// Pages is given by the extension that shows nodes of publish-subscribe on the web. One does.
	Pages Pages
	// Notifier is given by the extension that wakes devices. One does.
	Notifier Notifier

	// NodeChanged is called after a node of publish-subscribe, of an account or of a service of the host, or what it holds was
	// changed: once that is committed, and before who asked for it has the answer. It does not wait for anything.
	NodeChanged func(at jid.JID, node string)

	// ContactChanged is called after the subscription or the groups of an item in the roster of an account were changed, once that is
	// committed. Where there was no item, or is none any more, the JID alone is set. It does not wait for anything.
	ContactChanged func(account jid.JID, was, is Contact)

	// HTTP are the parts of the server's web site that the extension serves.
	HTTP []HTTP

	// HostNodes is given by extensions that keep nodes of the host. Each is asked in turn.
	HostNodes HostNodes

	// Instance is what the commands of Info are run on: of the type that they were defined for.
	Instance any

	// Services are the domains that the extension owns beside the host's.
	Services []*Service

	// Closing is called before Stop, while streams are still there, where the settings have taken the extension away, or the domain
	// of its service, and the server goes on. It is not called when the server stops: what the extension keeps is there again afterwards.
	Closing func(ctx context.Context)
	// Start is called when the host is complete, Stop when it ends.
	Start func(ctx context.Context) error
	Stop  func()
	// Restored is called when the server has started, after Start: the sessions of before are there again, and wait for their clients
	// (XEP-0198#resumption). No client has connected yet. It is not called when settings change.
	Restored func(ctx context.Context)
}

// IdentityAt is an identity at a place.
type IdentityAt struct {
	At Where
	Identity
}
