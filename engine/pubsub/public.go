package pubsub

import (
	"context"
	"errors"
	"math"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// Public reads the nodes that everybody may read, for those who show them outside of XMPP. Nobody is asked who reads: a node
// of another access model than open is not there.
type Public struct {
	store store
	clock mod.Clock
}

// NewPublic returns a reader of the tables of Schema.
func NewPublic(h mod.Host) *Public { return &Public{store{h.DB()}, h.Clock()} }

// OpenNode is a node that everybody may read.
type OpenNode struct {
	At                                 jid.JID
	Name                               string
	Title, Description, Type, Language string
	Created                            time.Time

	n *node
}

// OpenItem is an item of such a node.
type OpenItem struct {
	ID string
	// Publisher is who published it, as far as subscribers are told; else the zero JID.
	Publisher        jid.JID
	Created, Updated time.Time // first and last publication
	// Payload is nil where the item has none.
	Payload *xmlstream.Element
	// Place orders the items of a node by their last publication.
	Place int64
}

// Node returns a node, or nil where there is none that everybody may read.
func (p *Public) Node(ctx context.Context, at jid.JID, name string) (*OpenNode, error) {
	n, err := p.store.node(ctx, at, name)
	if errors.Is(err, errNoNode) {
		return nil, nil
	}
	if err != nil || n.config.Access != AccessOpen || !n.config.Persist {
		return nil, err
	}
	// Who reads a node reads those above it (XEP-0496#parent-rules).
	for up, i := n, 0; up.config.Parent != ""; i++ {
		up, err = p.store.node(ctx, at, up.config.Parent)
		if errors.Is(err, errNoNode) {
			break
		}
		if err != nil || up.config.Access != AccessOpen || i == maxDepth {
			return nil, err
		}
	}
	c := &n.config
	return &OpenNode{n.at, n.name, c.Title, c.Description, c.Type, c.Language, n.created, n}, nil
}

// Item returns an item, or nil.
func (p *Public) Item(ctx context.Context, n *OpenNode, id string) (*OpenItem, error) {
	i, err := p.store.item(ctx, n.n, id, p.since(n))
	if i == nil || err != nil {
		return nil, err
	}
	return openItem(n.n, i)
}

func (p *Public) since(n *OpenNode) time.Time {
	if n.n.config.ItemExpire == 0 {
		return time.UnixMicro(0)
	}
	return p.clock.Now().Add(-time.Duration(n.n.config.ItemExpire) * time.Second)
}

const (
	openBefore = `SELECT ` + itemFields + ` FROM pubsub_item WHERE node = ? AND stamp >= ? AND seq < ? ORDER BY seq DESC LIMIT ?`
	openAfter  = `SELECT ` + itemFields + ` FROM pubsub_item WHERE node = ? AND stamp >= ? AND seq > ? ORDER BY seq LIMIT ?`
	openMade   = `SELECT ` + itemFields + ` FROM pubsub_item WHERE node = ? AND stamp >= ? AND created <= ? ORDER BY created DESC, seq DESC LIMIT ?`
)

// Newest is a place behind all items.
const Newest = math.MaxInt64

// Before returns up to limit items that were published last before the one at a place, newest publication first.
func (p *Public) Before(ctx context.Context, n *OpenNode, place int64, limit int) ([]*OpenItem, error) {
	return p.list(ctx, n, openBefore, n.n.num, p.since(n).UnixMicro(), place, limit)
}

// After returns up to limit items that were published last after the one at a place, the oldest first.
func (p *Public) After(ctx context.Context, n *OpenNode, place int64, limit int) ([]*OpenItem, error) {
	return p.list(ctx, n, openAfter, n.n.num, p.since(n).UnixMicro(), place, limit)
}

// Until returns up to limit items that were first published at a time or before, newest first.
func (p *Public) Until(ctx context.Context, n *OpenNode, t time.Time, limit int) ([]*OpenItem, error) {
	return p.list(ctx, n, openMade, n.n.num, p.since(n).UnixMicro(), t.UnixMicro(), limit)
}

func (p *Public) list(ctx context.Context, n *OpenNode, query string, args ...any) ([]*OpenItem, error) {
	rows, err := p.store.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r scanner) (*OpenItem, error) {
		i, err := scanItem(r)
		if err != nil {
			return nil, err
		}
		return openItem(n.n, i)
	})
}

func openItem(n *node, i *item) (*OpenItem, error) {
	o := &OpenItem{ID: i.id, Created: i.created, Updated: i.stamp, Place: i.seq}
	if n.tells(i) {
		o.Publisher = i.publisher
	}
	if i.payload != "" {
		payload, err := i.node()
		if err != nil {
			return nil, err
		}
		o.Payload = payload.El
	}
	return o, nil
}
