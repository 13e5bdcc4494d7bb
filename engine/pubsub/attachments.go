package pubsub

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// The namespaces of attachments to items and of their summaries (XEP-0470), with which the names of the nodes begin that hold
// them: one node for the attachments of each item, with an item for each who attaches, and one for the summaries of all items of
// a node. Both link to the node of the items (XEP-0496), and what may be done at them is what may be done there.
const (
	nsAttachments = "urn:xmpp:pubsub-attachments:1"
	nsSummary     = "urn:xmpp:pubsub-attachments:summary:1"
)

// maxAttachments bounds what somebody attaches to an item, in bytes: all of it is read where it is summed up.
const maxAttachments = 8 << 10

// maxReactions and maxReaction bound which reactions a summary has: how many different ones, of which the rarest are left out, and how
// long one is, in bytes.
const maxReactions, maxReaction = 100, 64

// attachedTo returns node and item of which the node of this name holds the attachments at a service. ok is false where it is
// none (XEP-0470#basic).
func attachedTo(at jid.JID, name string) (node, item string, ok bool) {
	uri, ok := strings.CutPrefix(name, nsAttachments+"/xmpp:")
	address, query, two := strings.Cut(uri, "?;")
	if !ok || !two {
		return "", "", false
	}
	if address, err := url.PathUnescape(address); err != nil || address != at.String() {
		return "", "", false
	}
	for part := range strings.SplitSeq(query, ";") {
		k, v, _ := strings.Cut(part, "=")
		v, err := url.PathUnescape(v)
		switch {
		case err == nil && k == "node" && node == "":
			node = v
		case err == nil && k == "item" && item == "":
			item = v
		default:
			return "", "", false
		}
	}
	return node, item, node != "" && item != ""
}

// attaching tells whether a name is one of those that only the service gives (XEP-0470#node-creation-rejection).
func attaching(name string) bool {
	return strings.HasPrefix(name, nsAttachments+"/") || strings.HasPrefix(name, nsSummary+"/")
}

// attaching is that function for a service, which gives no names where it has no attachments.
func (s *Service) attaching(name string) bool { return attaching(name) && s.Has(nsAttachments) }

// leading returns the name of the node that a dependent one belongs to, and otherwise the name itself. Both share a lock by it.
func leading(at jid.JID, name string) string {
	if node, _, ok := attachedTo(at, name); ok {
		return leading(at, node)
	}
	for _, prefix := range []string{nsSummary + "/", nsFollowers} {
		if node, ok := strings.CutPrefix(name, prefix); ok {
			return leading(at, node)
		}
	}
	return name
}

// dependent tells whether a node of this name belongs to another one, which says who may do what at it: attachments, their
// summaries, and public subscribers.
func dependent(name string) bool {
	return slices.ContainsFunc(dependents[:], func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// dependents begin the names of dependent nodes.
var dependents = [...]string{nsAttachments + "/", nsSummary + "/", nsFollowers}

// standIn returns the node that says who may do what at a node: for a dependent one that which it belongs to.
func (s *Service) standIn(ctx context.Context, n *node) (*node, error) {
	if n.config.Link == "" || !dependent(n.name) {
		return n, nil
	}
	t, err := s.store.node(ctx, n.at, n.config.Link)
	if errors.Is(err, errNoNode) {
		return n, nil
	}
	return t, err
}

// attachments returns a fresh node for the attachments of an item (XEP-0470#auto-create).
func (s *Service) attachments(ctx context.Context, r *request, name string) (*node, error) {
	target, id, ok := attachedTo(r.at, name)
	if !ok {
		return nil, stanza.Err(stanza.ItemNotFound, "")
	}
	t, err := s.store.node(ctx, r.at, target)
	if errors.Is(err, errNoNode) {
		return nil, stanza.Err(stanza.ItemNotFound, "")
	}
	if err == nil {
		err = s.mayPublish(ctx, t, r)
	}
	if err != nil {
		return nil, err
	}
	i, err := s.store.item(ctx, t, id, s.since(t))
	if err == nil && i == nil {
		err = stanza.Err(stanza.ItemNotFound, "")
	}
	if err != nil {
		return nil, err
	}
	// A URI can be written in many ways. There is one node for an item, so that nobody makes more of them.
	if other, err := s.store.attachedNode(ctx, t, id); err != nil || other != "" {
		if err == nil {
			err = stanza.Err(stanza.ItemNotFound, "what is attached to this item is at "+other)
		}
		return nil, err
	}
	n := s.beside(t, name)
	n.attached, n.config.NodeFull = id, FullReject // nobody loses by it what he or she has attached
	return n, nil
}

// attachedNode returns the name of the node with what is attached to an item, or "".
func (s store) attachedNode(ctx context.Context, n *node, id string) (name string, err error) {
	err = s.db.QueryRow(ctx, `SELECT name FROM pubsub_node WHERE service = ? AND link = ? AND attached = ? AND attached <> ''`, n.at.String(), n.name, id).Scan(&name)
	if errors.Is(err, mod.ErrNoRows) {
		return "", nil
	}
	return name, err
}

// beside returns a fresh node that belongs to another one.
func (s *Service) beside(t *node, name string) *node {
	c := s.defaults()
	c.Access, c.RosterGroups, c.Publish = t.config.Access, t.config.RosterGroups, t.config.Publish
	c.MaxItems, c.SendLast, c.Link, c.Parent = 0, SendNever, t.name, t.config.Parent
	return &node{at: t.at, name: name, creator: t.creator, created: s.now(), config: c}
}

// checkAttachments checks an item that is published to a node of attachments (XEP-0470#validity-check).
func (s *Service) checkAttachments(n *node, i *item, payload *xmlstream.Element) error {
	_, _, ok := attachedTo(n.at, n.name)
	switch {
	case !ok || !s.attaching(n.name):
		return nil
	case i.id != i.publisher.String() || !payload.Is(nsAttachments, "attachments"):
		return stanza.Err(stanza.BadRequest, "attachments are an item of the bare JID of who attaches")
	case len(i.payload) > maxAttachments:
		return fault(stanza.NotAcceptable, "payload-too-big")
	}
	return nil
}

// summarize adds to the steps that change a node of attachments what the summary becomes by them (XEP-0470#summary-node).
func (s *Service) summarize(ctx context.Context, st *steps, n *node, c Changed) error {
	target, id, ok := attachedTo(n.at, n.name)
	if !ok || !s.attaching(n.name) {
		return nil
	}
	all := make(map[string]*xmlstream.Element)
	if n.num != 0 && c.ID != "" {
		if err := s.Each(ctx, n.at, n.name, func(who string, x *xmlstream.Element) bool { all[who] = x; return true }); err != nil {
			return err
		}
	}
	if all[c.ID] = c.Payload; c.Payload == nil {
		delete(all, c.ID)
	}
	name := nsSummary + "/" + target
	to, err := s.store.node(ctx, n.at, name)
	fresh := errors.Is(err, errNoNode)
	if fresh {
		var t *node
		if t, err = s.store.node(ctx, n.at, target); err == nil {
			to = s.beside(t, name)
			to.config.Publish = PublishPublishers
		}
	}
	if err != nil {
		return err
	}
	i := &item{id: id, publisher: n.creator, stamp: s.now(), payload: summary(all).String()}
	i.created = i.stamp
	st.all = append(st.all, &step{n: to, fresh: fresh, put: i})
	return nil
}

// summary counts what is attached (XEP-0470#noticed_summarizing, #reactions_summarizing). What it does not know it leaves out.
func summary(all map[string]*xmlstream.Element) *xmlstream.Element {
	noticed, reactions := 0, make(map[string]int)
	for _, x := range all {
		if x.Child(nsAttachments, "noticed") != nil {
			noticed++
		}
		seen := make(map[string]bool)
		for k := range x.Child(nsAttachments, "reactions").Elements() {
			if v := k.Text(); k.Is(nsAttachments, "reaction") && v != "" && len(v) <= maxReaction && !seen[v] {
				seen[v] = true
				reactions[v]++
			}
		}
	}
	out := xmlstream.El(nsSummary, "summary")
	if noticed > 0 {
		out.Add(xmlstream.El(nsSummary, "noticed", xmlstream.A("count", strconv.Itoa(noticed))))
	}
	if len(reactions) == 0 {
		return out
	}
	var list []string
	for v := range reactions {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(reactions[b]-reactions[a], strings.Compare(a, b)) })
	x := xmlstream.El(nsSummary, "reactions")
	for _, v := range list[:min(len(list), maxReactions)] {
		k := xmlstream.El(nsSummary, "reaction", v)
		if reactions[v] > 1 {
			k.Add(xmlstream.A("count", strconv.Itoa(reactions[v])))
		}
		x.Add(k)
	}
	return out.Add(x)
}

// summaries returns the node with the summaries of a node's items, or nil.
func (s *Service) summaries(ctx context.Context, n *node) (*node, error) {
	to, err := s.store.node(ctx, n.at, nsSummary+"/"+n.name)
	if errors.Is(err, errNoNode) {
		return nil, nil
	}
	return to, err
}

// detach adds to the steps that delete an item what is told of that to subscribers of the summaries. What is attached to it goes with it,
// see store.detach.
func (s *Service) detach(ctx context.Context, st *steps, n *node, id string) error {
	to, err := s.summaries(ctx, n)
	if to == nil || err != nil {
		return err
	}
	i, err := s.store.item(ctx, to, id, s.since(to))
	if i != nil {
		st.all = append(st.all, &step{n: to, del: []string{id}})
	}
	return err
}

const (
	attachedToOne = `SELECT num FROM pubsub_node WHERE service = ? AND link = ? AND attached = ? AND attached <> ''`
	attachedToAny = `SELECT num FROM pubsub_node WHERE service = ? AND link = ? AND attached <> ''`
)

// detach deletes what is attached to an item that is being deleted, for whatever reason, with its summary; "" stands for all items.
func (s store) detach(ctx context.Context, tx mod.Tx, n *node, id string) error {
	query, args := attachedToAny, []any{n.at.String(), n.name}
	if id != "" {
		query, args = attachedToOne, append(args, id)
	}
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	nums, err := collect(rows, scanNum)
	if err != nil || len(nums) == 0 {
		return err
	}
	for _, num := range nums {
		if err := s.remove(ctx, tx, num); err != nil {
			return err
		}
	}
	to := &node{at: n.at, name: nsSummary + "/" + n.name}
	err = tx.QueryRow(ctx, `SELECT num FROM pubsub_node WHERE service = ? AND name = ?`, to.at.String(), to.name).Scan(&to.num)
	switch {
	case errors.Is(err, mod.ErrNoRows):
		return nil
	case err == nil && id == "":
		err = s.purge(ctx, tx, to)
	case err == nil:
		_, err = s.delete(ctx, tx, to, id)
	}
	return err
}

// dependents returns the dependent nodes of a node whose configuration changes, with the models that it has now
// (XEP-0470#auto-create).
func (s *Service) dependents(ctx context.Context, n *node, was Config) (list []*node, err error) {
	c := n.config
	if c.Access == was.Access && c.Publish == was.Publish && slices.Equal(c.RosterGroups, was.RosterGroups) && c.Parent == was.Parent {
		return nil, nil
	}
	linking, err := s.store.linking(ctx, n.at, n.name)
	for _, l := range linking {
		if dependent(l.name) {
			l.config.Access, l.config.RosterGroups, l.config.Parent = c.Access, c.RosterGroups, c.Parent
			if _, _, ok := attachedTo(l.at, l.name); ok {
				l.config.Publish = c.Publish
			}
			list = append(list, l)
		}
	}
	return list, err
}
