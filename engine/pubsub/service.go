package pubsub

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sabir/engine/lru"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Limits bound what a service keeps.
type Limits struct {
	Items         int // of a node
	Payload       int // bytes of one, as it is stored
	Nodes         int // of one creator at one service
	Subscriptions int // of one node
	Stored        int // characters of all payloads in the nodes of one creator at one service; 0 for any number
	Total         int // nodes of one service; 0 for any number
}

// Options say what a Service is.
type Options struct {
	// PEP makes a service of every account of the host (XEP-0163). Otherwise there is one.
	PEP    bool
	Limits Limits
	// MayCreate tells whether somebody may create nodes. It is not asked with PEP, where only the account itself may.
	MayCreate func(who jid.JID) bool
	// Domain is the address of the service, without PEP.
	Domain jid.JID
	// Follow, where it is not nil, tells with PEP what a change of a node brings with it, before it is made. Changes that
	// follow are not asked about. The lock of the account is held: Follow may read nodes and not change any.
	Follow func(ctx context.Context, account jid.JID, c Changed) (Followed, error)
	// Lapsed, where it is not nil, is told with PEP of a node that holds less than before although nobody deleted it: items expired,
	// went with their publisher's presence, or had to go when the node was configured.
	Lapsed func(ctx context.Context, account jid.JID, node string)
	// Without are features that the service does not have, as service discovery names them.
	Without []string
}

// Service answers the requests of one service, or of all accounts of a host. Its methods may be called from any goroutine.
type Service struct {
	h     mod.Host
	o     Options
	store store
	names *lru.Cache[jid.JID, *known] // what accounts have, for those who come online
	// writes counts the changes, so that names holds nothing that was read before one.
	writes atomic.Int64
	// purging says that there are nodes whose items go with their publishers, so that a logout has to look. It is never taken
	// back: such nodes are rare.
	purging atomic.Bool
	remote  remote
	sharers sharers
	// counts holds how many subscriptions nodes have at most, by their numbers.
	counts *lru.Cache[int64, int]
	// readers holds the subscriptions of some nodes, by their numbers.
	readers *lru.Cache[int64, subscriptions]
	// fields are those of the form by which nodes are configured.
	fields fieldset

	// tree is held while relationships between nodes are changed, so that no two changes make a circle.
	tree  sync.Mutex
	seed  maphash.Seed
	turns [1024]sync.Mutex
}

// remembered is for how many accounts the list of their nodes is kept in memory.
const remembered = 5000

// New returns a service of a host, whose DB has the tables of Schema.
func New(h mod.Host, o Options) *Service {
	s := &Service{h: h, o: o, store: store{h.DB()}, names: lru.New[jid.JID, *known](remembered), counts: lru.New[int64, int](remembered),
		readers: lru.New[int64, subscriptions](rememberedLists), seed: maphash.MakeSeed()}
	s.fields = fieldsOf(s.Has)
	return s
}

// turn takes the lock of a node, which the caller unlocks: changes of a node and what is told of them come one by one. With
// PEP it is that of the account, since nodes change together.
func (s *Service) turn(at jid.JID, name string) *sync.Mutex {
	if name = leading(at, name); s.o.PEP {
		name = ""
	}
	m := &s.turns[maphash.String(s.seed, at.String()+"\x00"+name)%uint64(len(s.turns))]
	m.Lock()
	return m
}

func (s *Service) now() time.Time { return s.h.Clock().Now().UTC().Truncate(time.Microsecond) }

// request is a request to a service.
type request struct {
	at      jid.JID            // the service: with PEP an account
	from    jid.JID            // who asks, with or without a resource
	payload *xmlstream.Element // <pubsub/> of NS or NSOwner
	wire    *stanza.Stanza     // the request as it came, or nil
	room    int                // bytes of the items in the answer, of which there is one at least
}

// The most that an answer holds of items, in bytes. Elsewhere stanzas of half a megabyte are refused, with the stream that brings them.
const (
	roomHere      = 512 << 10
	roomElsewhere = 256 << 10
)

// room returns how many bytes of items who asks can be given at once.
func room(s mod.Session) int {
	if s == nil {
		return roomElsewhere
	}
	return max(1, min(roomHere, s.Room()/2))
}

// action is a child of <pubsub/> that says what is to be done, and the feature by which it is there.
type action struct {
	get, owner     bool
	local, feature string
	writes         bool // what the node holds, or who may do what with it
	do             func(s *Service, ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error)
}

var actions = []action{
	{true, false, "items", featureRetrieveItems, false, (*Service).retrieve},
	{true, false, "subscriptions", featureRetrieveSubscriptions, false, (*Service).ownSubscriptions},
	{true, false, "affiliations", featureRetrieveAffiliations, false, (*Service).ownAffiliations},
	{true, false, "options", featureSubOptions, false, (*Service).getOptions},
	{true, false, "default", featureRetrieveDefaultSub, false, (*Service).defaultOptions},
	{false, false, "publish", featurePublish, true, (*Service).publish},
	{false, false, "retract", featureDeleteItems, true, (*Service).retract},
	{false, false, "subscribe", featureSubscribe, false, (*Service).subscribe},
	{false, false, "unsubscribe", featureSubscribe, false, (*Service).unsubscribe},
	{false, false, "options", featureSubOptions, false, (*Service).setOptions},
	{false, false, "create", featureCreateNodes, true, (*Service).create},
	{true, true, "configure", featureConfigNode, false, (*Service).getConfig},
	{true, true, "default", featureRetrieveDefault, false, (*Service).defaultConfig},
	{true, true, "affiliations", featureModifyAffiliations, false, (*Service).affiliations},
	{true, true, "subscriptions", featureManageSubscriptions, false, (*Service).subscriptions},
	{false, true, "configure", featureConfigNode, false, (*Service).setConfig},
	{false, true, "affiliations", featureModifyAffiliations, true, (*Service).setAffiliations},
	{false, true, "subscriptions", featureManageSubscriptions, false, (*Service).setSubscriptions},
	{false, true, "delete", featureDeleteNodes, true, (*Service).deleteNode},
	{false, true, "purge", featurePurgeNodes, true, (*Service).purgeNode},
}

// Handlers returns the handlers of a service's requests at a place: mod.AtHost in the IQ of a mod.Service, or mod.AtAccount
// with PEP.
func (s *Service) Handlers(at mod.Where) []mod.IQHandler {
	var out []mod.IQHandler
	for _, ns := range []string{NS, NSOwner} {
		for _, typ := range []string{stanza.TypeGet, stanza.TypeSet} {
			// Unknown: an account without the node that is asked for answers as one that does not exist.
			out = append(out, mod.IQHandler{At: at, Space: ns, Local: "pubsub", Type: typ, Unknown: true, Func: s.handle})
		}
	}
	return out
}

func (s *Service) handle(ctx context.Context, q *mod.Request) (*xmlstream.Element, error) {
	r := &request{at: s.o.Domain, from: q.From, payload: q.Payload, wire: q.Stanza, room: room(q.Session)}
	if s.o.PEP {
		r.at = q.Account
	}
	x, err := s.do(ctx, r, q.Type == stanza.TypeGet)
	var some *refused
	if !errors.As(err, &some) {
		return x, err
	}
	a := q.ErrorReply(stanza.Err(stanza.NotAcceptable, "")).Add(some.payload)
	a.From = r.at
	s.h.Route(ctx, a)
	return nil, mod.ErrAnswered
}

func (s *Service) do(ctx context.Context, r *request, get bool) (*xmlstream.Element, error) {
	owner := r.payload.Name.Space == NSOwner
	for x := range r.payload.Elements() {
		if x.Name.Space != r.payload.Name.Space {
			continue
		}
		for _, a := range actions {
			if a.get != get || a.owner != owner || a.local != x.Name.Local {
				continue
			}
			if !s.Has(a.feature) {
				return nil, unsupported(a.feature)
			}
			if a.writes && s.kept(x.Attr("node")) {
				return nil, stanza.Err(stanza.Forbidden, "the server alone writes this node")
			}
			return a.do(s, ctx, r, x)
		}
		return nil, stanza.Errf(stanza.BadRequest, "<%.40s/> is no request here", x.Name.Local)
	}
	return nil, stanza.Err(stanza.BadRequest, "the request is empty")
}

// find returns the node that a request is about, or the error that is owed.
func (s *Service) find(ctx context.Context, r *request, x *xmlstream.Element) (*node, error) {
	name := x.Attr("node")
	if name == "" {
		return nil, fault(stanza.BadRequest, "nodeid-required")
	}
	n, err := s.store.node(ctx, r.at, name)
	if errors.Is(err, errNoNode) || err == nil && s.hidden(n, r.from) {
		return nil, s.absent(ctx, r, name)
	}
	return n, err
}

// absent is the error for a node that is not there: where it went, if it was deleted in favour of another one
// (XEP-0060#subscriber-subscribe-error-redirect).
func (s *Service) absent(ctx context.Context, r *request, name string) error {
	uri, err := s.store.moved(ctx, r.at, name)
	if err != nil {
		return err
	}
	if uri != "" {
		gone := stanza.Err(stanza.Gone, "")
		gone.URI = uri // RFC 6120 §8.3.3.5
		return gone
	}
	return stanza.Err(stanza.ItemNotFound, "")
}

// owned is find for what only an owner may do.
func (s *Service) owned(ctx context.Context, r *request, x *xmlstream.Element) (*node, error) {
	n, err := s.find(ctx, r, x)
	if err != nil {
		return nil, err
	}
	a, err := s.affiliation(ctx, n, r.from)
	if err != nil {
		return nil, err
	}
	if a != Owner {
		return nil, stanza.Err(stanza.Forbidden, "")
	}
	return n, nil
}

// affiliation returns what somebody is to a node. An account owns its nodes whatever is stored (XEP-0163#approach-everyjid).
func (s *Service) affiliation(ctx context.Context, n *node, who jid.JID) (Affiliation, error) {
	if s.o.PEP && who.Bare() == n.at {
		return Owner, nil
	}
	n, err := s.standIn(ctx, n)
	if err != nil {
		return None, err
	}
	if n.known != nil {
		return n.known.by[who.Bare()], nil
	}
	return s.store.affiliation(ctx, n, who)
}

// knowing returns a copy of a node that answers who may read it without the database, for as long as its lock is held. subs
// are its subscriptions, and others that concern it.
func (s *Service) knowing(ctx context.Context, n *node, subs []reached) (*node, error) {
	list, err := s.store.affiliations(ctx, n)
	if err != nil {
		return nil, err
	}
	k := &standings{affiliations: list, by: make(map[jid.JID]Affiliation, len(list)), subscribed: make(map[jid.JID]bool, len(subs))}
	for _, a := range list {
		k.by[a.jid] = a.affiliation
	}
	for _, x := range subs {
		if !x.implicit && x.state == Subscribed {
			k.subscribed[x.jid.Bare()] = true
		}
	}
	m := *n
	m.known = k
	return &m, nil
}

// upwards returns nil where may does for a node and for each of its ancestors, which bound what may be done at it
// (XEP-0496#parent-rules), or the first error.
func (s *Service) upwards(ctx context.Context, n *node, may func(n *node) error) error {
	n, err := s.standIn(ctx, n)
	if err != nil {
		return err
	}
	if err := may(n); err != nil || n.config.Parent == "" {
		return err
	}
	list, err := s.ancestors(ctx, n)
	for i := 0; err == nil && i < len(list); i++ {
		err = may(list[i])
	}
	return err
}

// mayRead returns nil where somebody may subscribe to a node and read it, and so its ancestors, or the error that is owed.
func (s *Service) mayRead(ctx context.Context, n *node, who jid.JID) error {
	return s.upwards(ctx, n, func(n *node) error { return s.reaches(ctx, n, who) })
}

// reaches is mayRead for the node alone (XEP-0060#accessmodels, #affiliations). With the access model authorize that is who has
// a subscription.
func (s *Service) reaches(ctx context.Context, n *node, who jid.JID) error {
	a, err := s.affiliation(ctx, n, who)
	if err != nil {
		return err
	}
	switch a {
	case Owner, Publisher, Member:
		return nil
	case PublishOnly, Outcast:
		return stanza.Err(stanza.Forbidden, "")
	}
	switch n.config.Access {
	case AccessOpen:
		return nil
	case AccessPresence:
		return s.contactOf(ctx, n, who, "presence-subscription-required", func(c mod.Contact) bool { return c.Subscription&mod.SubFrom != 0 })
	case AccessRoster:
		return s.contactOf(ctx, n, who, "not-in-roster-group", func(c mod.Contact) bool {
			return slices.ContainsFunc(c.Groups, func(g string) bool { return slices.Contains(n.config.RosterGroups, g) })
		})
	case AccessAuthorize:
		ok, err := s.subscribed(ctx, n, who)
		if err == nil && !ok {
			err = fault(stanza.NotAuthorized, "not-subscribed")
		}
		return err
	}
	return fault(stanza.NotAllowed, "closed-node")
}

// subscribed tells whether somebody has a subscription with any address.
func (s *Service) subscribed(ctx context.Context, n *node, who jid.JID) (bool, error) {
	if n.known != nil {
		return n.known.subscribed[who.Bare()], nil
	}
	return s.store.hasSubscription(ctx, n, who, s.now())
}

// contactOf returns nil where somebody is a contact of an owner of the node in the way that is asked for, or not-authorized
// with this condition.
func (s *Service) contactOf(ctx context.Context, n *node, who jid.JID, condition string, is func(mod.Contact) bool) error {
	owners, err := s.owners(ctx, n)
	if err != nil {
		return err
	}
	for _, o := range owners {
		if o.DomainJID() != s.h.Domain() {
			continue // its roster is elsewhere
		}
		c, ok, err := s.h.Roster().Contact(ctx, o, who.Bare())
		if err != nil {
			return err
		}
		if ok && is(c) {
			return nil
		}
	}
	return fault(stanza.NotAuthorized, condition)
}

// owners returns the bare JIDs of a node's owners.
func (s *Service) owners(ctx context.Context, n *node) ([]jid.JID, error) {
	var out []jid.JID
	if s.o.PEP {
		out = append(out, n.at)
	}
	n, err := s.standIn(ctx, n)
	if err != nil {
		return nil, err
	}
	var list []affiliated
	if n.known != nil {
		list = n.known.affiliations
	} else {
		list, err = s.store.affiliations(ctx, n)
	}
	for _, a := range list {
		if a.affiliation == Owner && !slices.Contains(out, a.jid) {
			out = append(out, a.jid)
		}
	}
	return out, err
}

// since returns the time before which items of a node are expired.
func (s *Service) since(n *node) time.Time {
	if n.config.ItemExpire == 0 {
		return time.UnixMicro(0)
	}
	return s.now().Add(-time.Duration(n.config.ItemExpire) * time.Second)
}

// maxItems returns how many items a node may have.
func (s *Service) maxItems(n *node) int64 {
	if _, _, ok := attachedTo(n.at, n.name); ok || s.kept(n.name) { // an item for each who attaches something, or is subscribed
		return int64(s.o.Limits.Subscriptions)
	}
	if n.config.MaxItems > 0 {
		return int64(min(n.config.MaxItems, s.o.Limits.Items))
	}
	return int64(s.o.Limits.Items)
}

// write commits a change, and forgets what is remembered of the service's nodes.
func (s *Service) write(ctx context.Context, at jid.JID, fn func(tx mod.Tx) error) error {
	err := s.h.DB().Write(ctx, fn)
	s.writes.Add(1)
	s.names.Delete(at)
	return err
}

// result returns <pubsub/> around an element.
func result(ns string, x ...*xmlstream.Element) *xmlstream.Element {
	return xmlstream.El(ns, "pubsub", x)
}

// AccountRemoved deletes the nodes of an account, and what it is to those of others. It belongs into the hook of this name.
func (s *Service) AccountRemoved(ctx context.Context, tx mod.Tx, account jid.JID) error {
	rows, err := tx.Query(ctx, `SELECT num FROM pubsub_node WHERE service = ?`, account.String())
	if err != nil {
		return err
	}
	nums, err := collect(rows, scanNum)
	if err != nil {
		return err
	}
	for _, num := range nums {
		if err := s.store.remove(ctx, tx, num); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, `DELETE FROM pubsub_moved WHERE service = ?`, account.String()); err != nil {
		return err
	}
	if err := s.store.unfollow(ctx, tx, account); err != nil {
		return err
	}
	for _, q := range []string{
		`UPDATE pubsub_node SET subscribed = subscribed + 1 WHERE num IN (SELECT node FROM pubsub_subscription WHERE bare = ?)`,
		`DELETE FROM pubsub_subscription WHERE bare = ?`,
	} {
		if _, err := tx.Exec(ctx, q, account.String()); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `DELETE FROM pubsub_affiliation WHERE jid = ?`, account.String())
	s.writes.Add(1)
	s.names.Delete(account)
	s.sharers.forget(account)
	return err
}
