package pubsub

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// Module is the name under which Schema is migrated.
const Module = "pubsub"

// Schema holds the tables. They are shared by all services of a server.
//
//go:embed schema
var Schema embed.FS

// Affiliation is what somebody is to a node (XEP-0060#affiliations). The zero value is none.
type Affiliation string

// The affiliations.
const (
	Owner       Affiliation = "owner"
	Publisher   Affiliation = "publisher"
	PublishOnly Affiliation = "publish-only"
	Member      Affiliation = "member"
	Outcast     Affiliation = "outcast"
	None        Affiliation = ""
)

// wire returns the value on the wire, where none has a name.
func (a Affiliation) wire() string {
	if a == None {
		return "none"
	}
	return string(a)
}

// State is that of a subscription (XEP-0060#substates). There is no state unconfigured: no options are required.
type State string

// The states.
const (
	Subscribed State = "subscribed"
	Pending    State = "pending"
	NotSub     State = "none"
)

// subscription is one that a node has.
type subscription struct {
	jid     jid.JID // bare or full
	state   State
	deliver bool
	expires time.Time // zero: never
	public  bool      // others may know of it (XEP-0465)
	wants   wants
	depth   int // how many levels of nodes below it is for; negative for all (XEP-0497)
}

// wants is a set of what a subscription is for (XEP-0497#type).
type wants int64

const (
	wantItems wants = 1 << iota
	wantMetadata
	wantLinked
	wantBody // a text with the items, see fieldBody
)

// node is a node as it is stored.
type node struct {
	num     int64
	at      jid.JID // the service
	name    string
	creator jid.JID
	created time.Time
	items   int64
	seq     int64 // the number of the last publication
	config  Config
	// subscribed is how often its subscriptions have changed.
	subscribed int64
	// attached is the item to which a fresh node of attachments belongs; "" for any other, and for all that were there before.
	attached string
	// known holds what is asked of the tables once for many readers; nil where it is asked for each. See Service.knowing.
	known *standings
}

// standings are what addresses are to a node at one moment.
type standings struct {
	affiliations []affiliated
	by           map[jid.JID]Affiliation
	subscribed   map[jid.JID]bool // bare JIDs
}

// persistent returns nil where a node keeps its items, or the error that a request for them is owed.
func (n *node) persistent() error {
	if n.config.Persist {
		return nil
	}
	return unsupported(featurePersistentItems)
}

// tells says whether readers are told who published an item: as the owner has said (XEP-0060#impl-association), else where that may be
// another than the creator of the node.
func (n *node) tells(i *item) bool {
	switch n.config.ItemReply {
	case ReplyNone:
		return false
	case ReplyPublisher:
		return true
	}
	return n.config.Publish != PublishPublishers || i.publisher != n.creator
}

// item is one that is stored.
type item struct {
	id        string
	seq       int64   // the number of its last publication at the node
	publisher jid.JID // bare
	resource  jid.JID // that has published it just now; not stored
	created   time.Time
	stamp     time.Time // of its last publication
	payload   string    // complete by itself; empty for none
}

// size returns about how many bytes of an answer an item is.
func (i *item) size() int { return len(i.payload) + len(i.id) + 64 }

// errNoNode says that a node is not there.
var errNoNode = errors.New("no such node")

// store reads and writes the tables.
type store struct{ db mod.DB }

const nodeFields = `num, service, name, creator, created, items, seq, config, subscribed`

type scanner interface{ Scan(dest ...any) error }

func scanNode(r scanner) (*node, error) {
	n := new(node)
	var service, creator, config string
	var created int64
	if err := r.Scan(&n.num, &service, &n.name, &creator, &created, &n.items, &n.seq, &config, &n.subscribed); err != nil {
		return nil, err
	}
	n.created = time.UnixMicro(created).UTC()
	if err := json.Unmarshal([]byte(config), &n.config); err != nil {
		return nil, fmt.Errorf("pubsub: configuration of a node: %w", err)
	}
	var err error
	if n.at, err = jid.Parse(service); err == nil {
		n.creator, err = jid.Parse(creator)
	}
	return n, err
}

// node returns a node, or errNoNode.
func (s store) node(ctx context.Context, at jid.JID, name string) (*node, error) {
	n, err := scanNode(s.db.QueryRow(ctx, `SELECT `+nodeFields+` FROM pubsub_node WHERE service = ? AND name = ?`, at.String(), name))
	if errors.Is(err, mod.ErrNoRows) {
		return nil, errNoNode
	}
	return n, err
}

// nodes returns those of a service, by name.
func (s store) nodes(ctx context.Context, at jid.JID) (list []*node, err error) {
	rows, err := s.db.Query(ctx, `SELECT `+nodeFields+` FROM pubsub_node WHERE service = ? ORDER BY name`, at.String())
	if err != nil {
		return nil, err
	}
	return collect(rows, scanNode)
}

// linking and children return the nodes that link to a node, and those below it, by name.
func (s store) linking(ctx context.Context, at jid.JID, name string) ([]*node, error) {
	rows, err := s.db.Query(ctx, `SELECT `+nodeFields+` FROM pubsub_node WHERE service = ? AND link = ? AND link <> '' ORDER BY name`, at.String(), name)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanNode)
}

func (s store) children(ctx context.Context, at jid.JID, name string) ([]*node, error) {
	rows, err := s.db.Query(ctx, `SELECT `+nodeFields+` FROM pubsub_node WHERE service = ? AND parent = ? AND parent <> '' ORDER BY name`, at.String(), name)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanNode)
}

// purging tells whether any node has items that go with their publishers.
func (s store) purging(ctx context.Context) (bool, error) {
	var one int
	err := s.db.QueryRow(ctx, `SELECT 1 FROM pubsub_node WHERE purge LIMIT 1`).Scan(&one)
	if errors.Is(err, mod.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// expiring returns the nodes of all services whose items expire.
func (s store) expiring(ctx context.Context) ([]*node, error) {
	rows, err := s.db.Query(ctx, `SELECT `+nodeFields+` FROM pubsub_node WHERE expire > 0`)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanNode)
}

// collect reads all rows and closes them.
func collect[T any](rows mod.Rows, scan func(scanner) (T, error)) (list []T, err error) {
	return collectWhile(rows, scan, func(T) bool { return true })
}

// collectWhile is collect for the rows up to the first one that is not taken.
func collectWhile[T any](rows mod.Rows, scan func(scanner) (T, error), take func(T) bool) (list []T, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		if !take(v) {
			return list, nil
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// moved returns where a node went that was deleted, or "".
func (s store) moved(ctx context.Context, at jid.JID, name string) (uri string, err error) {
	err = s.db.QueryRow(ctx, `SELECT uri FROM pubsub_moved WHERE service = ? AND name = ?`, at.String(), name).Scan(&uri)
	if errors.Is(err, mod.ErrNoRows) {
		return "", nil
	}
	return uri, err
}

// redirects returns how many nodes of a service went elsewhere.
func (s store) redirects(ctx context.Context, at jid.JID) (n int, err error) {
	err = s.db.QueryRow(ctx, `SELECT COUNT(*) FROM pubsub_moved WHERE service = ?`, at.String()).Scan(&n)
	return n, err
}

// count returns how many nodes a service has of a creator, without dependent ones, which others bring into being. It compares byte by
// byte, which LIKE does not do in all databases: a name that only looks like one of those is the creator's own choice.
func (s store) count(ctx context.Context, at, creator jid.JID) (n int, err error) {
	args := []any{at.String(), creator.String()}
	for _, p := range dependents {
		args = append(args, len(p), p)
	}
	err = s.db.QueryRow(ctx, `SELECT COUNT(*) FROM pubsub_node WHERE service = ? AND creator = ?
		AND SUBSTR(name, 1, CAST(? AS INTEGER)) <> ? AND SUBSTR(name, 1, CAST(? AS INTEGER)) <> ? AND SUBSTR(name, 1, CAST(? AS INTEGER)) <> ?`,
		args...).Scan(&n)
	return n, err
}

// total returns how many nodes a service has.
func (s store) total(ctx context.Context, at jid.JID) (n int, err error) {
	err = s.db.QueryRow(ctx, `SELECT COUNT(*) FROM pubsub_node WHERE service = ?`, at.String()).Scan(&n)
	return n, err
}

// create makes a node and its creator's affiliation. It returns false where the name is taken.
func (s store) create(ctx context.Context, tx mod.Tx, n *node) (bool, error) {
	num, err := newNum()
	if err != nil {
		return false, err
	}
	config, err := json.Marshal(&n.config)
	if err != nil {
		return false, err
	}
	r, err := tx.Exec(ctx, `INSERT INTO pubsub_node (`+nodeFields+`, purge, expire, link, parent, attached) VALUES (?, ?, ?, ?, ?, 0, 0, ?, 0, ?, ?, ?, ?, ?)
		ON CONFLICT (service, name) DO NOTHING`,
		num, n.at.String(), n.name, n.creator.String(), n.created.UnixMicro(), string(config), n.config.PurgeOffline, n.config.ItemExpire, n.config.Link, n.config.Parent,
		n.attached)
	if err != nil {
		return false, err
	}
	if rows, err := r.RowsAffected(); err != nil || rows == 0 {
		return false, err
	}
	n.num = num
	if _, err := tx.Exec(ctx, `DELETE FROM pubsub_moved WHERE service = ? AND name = ?`, n.at.String(), n.name); err != nil {
		return false, err
	}
	return true, s.setAffiliation(ctx, tx, n, n.creator, Owner)
}

// newNum returns 63 random bits, so that one statement numbers nodes on both engines and no counter is shared.
func newNum() (int64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(b[:]) >> 1), nil
}

func (s store) configure(ctx context.Context, tx mod.Tx, n *node, c Config) error {
	config, err := json.Marshal(&c)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE pubsub_node SET config = ?, purge = ?, expire = ?, link = ?, parent = ? WHERE num = ?`, string(config), c.PurgeOffline, c.ItemExpire,
		c.Link, c.Parent, n.num)
	return err
}

// remove deletes a node with all that belongs to it.
func (s store) remove(ctx context.Context, tx mod.Tx, num int64) error {
	for _, q := range []string{
		`DELETE FROM pubsub_item WHERE node = ?`, `DELETE FROM pubsub_affiliation WHERE node = ?`,
		`DELETE FROM pubsub_subscription WHERE node = ?`, `DELETE FROM pubsub_node WHERE num = ?`,
	} {
		if _, err := tx.Exec(ctx, q, num); err != nil {
			return err
		}
	}
	return nil
}

func (s store) setMoved(ctx context.Context, tx mod.Tx, n *node, uri string) error {
	_, err := tx.Exec(ctx, `INSERT INTO pubsub_moved (service, name, uri) VALUES (?, ?, ?) ON CONFLICT (service, name) DO UPDATE SET uri = excluded.uri`,
		n.at.String(), n.name, uri)
	return err
}

// affiliation returns that of a bare JID.
func (s store) affiliation(ctx context.Context, n *node, who jid.JID) (a Affiliation, err error) {
	err = s.db.QueryRow(ctx, `SELECT affiliation FROM pubsub_affiliation WHERE node = ? AND jid = ?`, n.num, who.Bare().String()).Scan(&a)
	if errors.Is(err, mod.ErrNoRows) {
		return None, nil
	}
	return a, err
}

// affiliated is an entry of a list of affiliations: with the node's name where it is a list of somebody's.
type affiliated struct {
	jid         jid.JID
	node        string
	affiliation Affiliation
}

func (s store) affiliations(ctx context.Context, n *node) ([]affiliated, error) {
	rows, err := s.db.Query(ctx, `SELECT jid, affiliation FROM pubsub_affiliation WHERE node = ? ORDER BY jid`, n.num)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r scanner) (a affiliated, err error) {
		err = r.Scan(address{&a.jid}, &a.affiliation)
		return a, err
	})
}

func (s store) affiliationsOf(ctx context.Context, at, who jid.JID) ([]affiliated, error) {
	rows, err := s.db.Query(ctx, `SELECT n.name, a.affiliation FROM pubsub_affiliation a JOIN pubsub_node n ON n.num = a.node
		WHERE a.jid = ? AND n.service = ? ORDER BY n.name`, who.Bare().String(), at.String())
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r scanner) (a affiliated, err error) {
		err = r.Scan(&a.node, &a.affiliation)
		return a, err
	})
}

func (s store) setAffiliation(ctx context.Context, tx mod.Tx, n *node, who jid.JID, a Affiliation) error {
	if a == None {
		_, err := tx.Exec(ctx, `DELETE FROM pubsub_affiliation WHERE node = ? AND jid = ?`, n.num, who.Bare().String())
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO pubsub_affiliation (node, jid, affiliation) VALUES (?, ?, ?)
		ON CONFLICT (node, jid) DO UPDATE SET affiliation = excluded.affiliation`, n.num, who.Bare().String(), string(a))
	return err
}

// subscriptionFields are those of the table, named s, that scanSubscription reads.
const subscriptionFields = `s.jid, s.state, s.deliver, s.expires, s.public, s.wants, s.depth`

// scanSubscription reads those fields; before are others that stand before them.
func scanSubscription(r scanner, before ...any) (x subscription, err error) {
	var expires int64
	if err = r.Scan(append(before, address{&x.jid}, &x.state, &x.deliver, &expires, &x.public, &x.wants, &x.depth)...); err == nil && expires != 0 {
		x.expires = time.UnixMicro(expires).UTC()
	}
	return x, err
}

// subscription returns that of exactly this address; its state is NotSub where there is none.
func (s store) subscription(ctx context.Context, n *node, who jid.JID, now time.Time) (subscription, error) {
	x, err := scanSubscription(s.db.QueryRow(ctx, `SELECT `+subscriptionFields+` FROM pubsub_subscription s
		WHERE node = ? AND jid = ? AND (expires = 0 OR expires > ?)`, n.num, who.String(), now.UnixMicro()))
	if errors.Is(err, mod.ErrNoRows) {
		return subscription{jid: who, state: NotSub, deliver: true, wants: wantItems}, nil
	}
	return x, err
}

// subscriptions returns those of a node, in the order of their addresses.
func (s store) subscriptions(ctx context.Context, n *node, now time.Time) ([]subscription, error) {
	rows, err := s.db.Query(ctx, `SELECT `+subscriptionFields+` FROM pubsub_subscription s
		WHERE node = ? AND (expires = 0 OR expires > ?) ORDER BY jid`, n.num, now.UnixMicro())
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r scanner) (subscription, error) { return scanSubscription(r) })
}

// subscribers returns how many subscriptions a node has: of all states, and of those that get what is new.
func (s store) subscribers(ctx context.Context, n *node, now time.Time) (all, subscribed int, err error) {
	err = s.db.QueryRow(ctx, `SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN state = 'subscribed' THEN 1 ELSE 0 END), 0) AS BIGINT)
		FROM pubsub_subscription WHERE node = ? AND (expires = 0 OR expires > ?)`, n.num, now.UnixMicro()).Scan(&all, &subscribed)
	return all, subscribed, err
}

// subscribedAt is a subscription with the name of its node.
type subscribedAt struct {
	subscription
	node string
}

// subscriptionsOf returns those that a bare JID has at a service, at one node where name is not "".
func (s store) subscriptionsOf(ctx context.Context, at, who jid.JID, name string, now time.Time) ([]subscribedAt, error) {
	rows, err := s.db.Query(ctx, `SELECT n.name, `+subscriptionFields+` FROM pubsub_subscription s JOIN pubsub_node n ON n.num = s.node
		WHERE s.bare = ? AND n.service = ? AND (? = '' OR n.name = ?) AND (s.expires = 0 OR s.expires > ?) ORDER BY n.name, s.jid`,
		who.Bare().String(), at.String(), name, name, now.UnixMicro())
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r scanner) (x subscribedAt, err error) {
		x.subscription, err = scanSubscription(r, &x.node)
		return x, err
	})
}

// endedAt is a subscription with its node and service.
type endedAt struct {
	subscribedAt
	service jid.JID
}

// ended returns the public subscriptions whose time is over.
func (s store) ended(ctx context.Context, now time.Time) ([]endedAt, error) {
	rows, err := s.db.Query(ctx, `SELECT n.service, n.name, `+subscriptionFields+` FROM pubsub_subscription s JOIN pubsub_node n ON n.num = s.node
		WHERE s.public AND s.expires > 0 AND s.expires <= ?`, now.UnixMicro())
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r scanner) (x endedAt, err error) {
		x.subscription, err = scanSubscription(r, address{&x.service}, &x.node)
		return x, err
	})
}

// hasSubscription tells whether a bare JID has a subscription in this state with any of its addresses.
func (s store) hasSubscription(ctx context.Context, n *node, who jid.JID, now time.Time) (bool, error) {
	var one int
	err := s.db.QueryRow(ctx, `SELECT 1 FROM pubsub_subscription WHERE node = ? AND bare = ? AND state = 'subscribed'
		AND (expires = 0 OR expires > ?) LIMIT 1`, n.num, who.Bare().String(), now.UnixMicro()).Scan(&one)
	if errors.Is(err, mod.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (s store) setSubscription(ctx context.Context, tx mod.Tx, n *node, x subscription) error {
	if _, err := tx.Exec(ctx, `UPDATE pubsub_node SET subscribed = subscribed + 1 WHERE num = ?`, n.num); err != nil {
		return err
	}
	if x.state == NotSub {
		_, err := tx.Exec(ctx, `DELETE FROM pubsub_subscription WHERE node = ? AND jid = ?`, n.num, x.jid.String())
		return err
	}
	var expires int64
	if !x.expires.IsZero() {
		expires = x.expires.UnixMicro()
	}
	_, err := tx.Exec(ctx, `INSERT INTO pubsub_subscription (node, jid, bare, state, deliver, expires, public, wants, depth) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (node, jid) DO UPDATE SET state = excluded.state, deliver = excluded.deliver, expires = excluded.expires,
		public = excluded.public, wants = excluded.wants, depth = excluded.depth`,
		n.num, x.jid.String(), x.jid.Bare().String(), string(x.state), x.deliver, expires, x.public, int64(x.wants), x.depth)
	return err
}

// address scans an address.
type address struct{ to *jid.JID }

// Scan implements sql.Scanner.
func (t address) Scan(src any) error {
	var err error
	switch v := src.(type) {
	case string:
		*t.to, err = jid.Parse(v)
	case []byte:
		*t.to, err = jid.Parse(string(v))
	default:
		err = fmt.Errorf("pubsub: an address is stored as %T", src)
	}
	return err
}
