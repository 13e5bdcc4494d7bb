package pubsub

import (
	"context"
	"errors"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// nsRelations qualifies the fields of the configuration by which nodes belong together (XEP-0496): a linking node goes with the node
// that it links to, a child goes with its parent, which also bounds who may read it and publish to it.
const nsRelations = "urn:xmpp:pubsub-relationships:0"

// maxDepth bounds the ancestors of a node, so that the way up ends whatever is stored.
const maxDepth = 100

// notRelated refuses a relationship (XEP-0496#rel-setting).
func notRelated(why string) *stanza.Error {
	e := fault(stanza.NotAllowed, "invalid-option")
	e.Text = why
	return e
}

// hold takes the lock s.tree where one of the configurations has relationships, and returns what lets go of it. Most have none, and
// need not wait for one another.
func (s *Service) hold(list ...Config) (release func()) {
	for _, c := range list {
		if c.Link != "" || c.Parent != "" {
			s.tree.Lock()
			return s.tree.Unlock
		}
	}
	return func() {}
}

// relate checks the relationships of a node whose configuration was, and completes them: a linking node has the parent of the
// node that it links to. It returns the linking nodes that move with it. Who asks may publish to what it relates to: it is told of
// there, and an owner need not bear with the nodes of others. s.hold has been called for both configurations.
func (s *Service) relate(ctx context.Context, n *node, was Config, r *request) (moved []*node, err error) {
	c := &n.config
	if c.Link == was.Link && c.Parent == was.Parent {
		return nil, nil
	}
	if c.Link != "" {
		to, err := s.related(ctx, n.at, c.Link, r, c.Link != was.Link)
		if err != nil {
			return nil, err
		}
		if c.Parent != "" && c.Parent != to.config.Parent {
			return nil, notRelated("a node has the parent of the node that it links to")
		}
		c.Parent = to.config.Parent
	}
	if c.Parent != "" {
		if _, err := s.related(ctx, n.at, c.Parent, r, c.Parent != was.Parent && c.Link == ""); err != nil {
			return nil, err
		}
	}
	if err := s.acyclic(ctx, n); err != nil {
		return nil, err
	}
	if c.Parent == was.Parent || n.num == 0 {
		return nil, nil
	}
	linking, err := s.store.linking(ctx, n.at, n.name)
	for _, l := range linking {
		l.config.Parent = c.Parent
		moved = append(moved, l)
	}
	return moved, err
}

// related returns the node of a relationship, to which who asks may publish where the relationship is new.
func (s *Service) related(ctx context.Context, at jid.JID, name string, r *request, fresh bool) (*node, error) {
	n, err := s.store.node(ctx, at, name)
	if errors.Is(err, errNoNode) {
		return nil, notRelated("there is no such node to relate to")
	}
	if err == nil && fresh {
		err = s.mayPublish(ctx, n, r)
	}
	return n, err
}

// acyclic checks that no way along relationships leads from a node back to it.
func (s *Service) acyclic(ctx context.Context, n *node) error {
	todo, seen := []string{n.config.Link, n.config.Parent}, map[string]bool{"": true}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == n.name {
			return notRelated("relationships must not lead back to the node")
		}
		if seen[name] {
			continue
		}
		if seen[name] = true; len(seen) > maxDepth {
			return notRelated("too many nodes are related")
		}
		k, err := s.store.node(ctx, n.at, name)
		if err != nil {
			return err
		}
		todo = append(todo, k.config.Link, k.config.Parent)
	}
	return nil
}

// ancestors returns the parent of a node, its parent, and so on.
func (s *Service) ancestors(ctx context.Context, n *node) (list []*node, err error) {
	for n.config.Parent != "" && len(list) < maxDepth {
		if n, err = s.store.node(ctx, n.at, n.config.Parent); errors.Is(err, errNoNode) {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// descent is a node below another one, how far, and whether it or what it belongs to is there by a link.
type descent struct {
	*node
	level  int
	linked bool
}

// below returns what is below a node down to a level, negative for all: its children and theirs, and what links to any of them,
// at the level of the node that it links to. Deleting the node deletes all of it (XEP-0496#link-rules, #parent-rules).
func (s *Service) below(ctx context.Context, n *node, depth int) ([]descent, error) {
	list := []descent{{node: n}}
	for i := 0; i < len(list); i++ {
		at := list[i]
		linking, err := s.store.linking(ctx, n.at, at.name)
		if err != nil {
			return nil, err
		}
		for _, k := range linking {
			list = appendNew(list, descent{k, at.level, true})
		}
		if depth >= 0 && at.level >= depth {
			continue
		}
		children, err := s.store.children(ctx, n.at, at.name)
		if err != nil {
			return nil, err
		}
		for _, k := range children {
			list = appendNew(list, descent{k, at.level + 1, at.linked || k.config.Link != ""})
		}
	}
	return list[1:], nil
}

func appendNew(list []descent, d descent) []descent {
	if slices.ContainsFunc(list, func(o descent) bool { return o.name == d.name }) {
		return list
	}
	return append(list, d)
}

// move stores the configurations of nodes.
func (s store) move(ctx context.Context, tx mod.Tx, list []*node) error {
	for _, n := range list {
		if err := s.configure(ctx, tx, n, n.config); err != nil {
			return err
		}
	}
	return nil
}
