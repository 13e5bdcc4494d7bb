package pubsub

import (
	"context"
	"errors"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
)

// The fields of the form by which an owner grants a subscription (XEP-0060#registrar-formtypes-auth).
const (
	fieldAllow      = prefix + "allow"
	fieldNode       = prefix + "node"
	fieldSubscriber = prefix + "subscriber_jid"
)

func authorizationForm(t dataform.Type, node, who string) *dataform.Form {
	f := dataform.New(t, nsAuthorization,
		dataform.Field{Var: fieldNode, Type: dataform.TextSingle, Label: "Node", Values: []string{node}},
		dataform.Field{Var: fieldSubscriber, Type: dataform.JIDSingle, Label: "Who wants to subscribe", Values: []string{who}},
		dataform.Field{Var: fieldAllow, Type: dataform.Boolean, Label: "Allow it", Values: []string{"0"}})
	f.Title = "A subscription request"
	return f
}

// askOwners sends the owners of a node a request to decide on (XEP-0060#owner-subreq-process).
func (s *Service) askOwners(ctx context.Context, n *node, who jid.JID) {
	owners, err := s.owners(ctx, n)
	if err != nil {
		s.h.Log().Error("the owners of a node cannot be read", "error", err)
		return
	}
	m := message(n, stanza.TypeNormal, authorizationForm(dataform.TypeForm, n.name, who.String()).Element())
	s.send(ctx, n, m, owners)
}

// Message takes a message to a service: the answer of an owner to a request (XEP-0060#owner-subreq-process). It returns
// false where it is something else.
func (s *Service) Message(ctx context.Context, at jid.JID, m *stanza.Stanza) (bool, error) {
	x := m.Child(dataform.NS, "x")
	if x == nil || m.Type == stanza.TypeError {
		return false, nil
	}
	f, err := dataform.Parse(x)
	if err != nil || f.FormType() != nsAuthorization {
		return false, nil
	}
	if f.Type == dataform.TypeCancel {
		return true, nil
	}
	f, err = authorizationForm(dataform.TypeForm, "", "").Submit(f)
	if err != nil {
		return true, err
	}
	name := f.Field(fieldNode).Value()
	who, err := jid.Parse(f.Field(fieldSubscriber).Value())
	if name == "" || err != nil {
		return true, stanza.Err(stanza.BadRequest, "the form names a node and an address")
	}
	defer s.turn(at, name).Unlock()
	n, err := s.store.node(ctx, at, name)
	if errors.Is(err, errNoNode) {
		return true, stanza.Err(stanza.ItemNotFound, "")
	}
	if err != nil {
		return true, err
	}
	if a, err := s.affiliation(ctx, n, m.From); err != nil || a != Owner {
		if err == nil {
			err = stanza.Err(stanza.Forbidden, "")
		}
		return true, err
	}
	sub, err := s.store.subscription(ctx, n, who, s.now())
	if err != nil || sub.state != Pending {
		return true, err // another owner was faster
	}
	was := sub
	if sub.state = NotSub; allows(f) {
		sub.state = Subscribed
	}
	if err := s.changeSubscription(ctx, n, was, sub); err != nil {
		return true, err
	}
	s.tellOwners(ctx, n, sub)
	return true, nil
}

func allows(f *dataform.Form) bool {
	v, _ := f.Field(fieldAllow).Bool()
	return v
}

// PendingNodes returns the nodes of which somebody may grant subscriptions and where a request waits, and Pending the
// requests of one node (XEP-0060#owner-subreq-request). Who owns no node at all may grant none.
func (s *Service) PendingNodes(ctx context.Context, at, who jid.JID) ([]string, error) {
	if !s.Has(featureGetPending) {
		return nil, unsupported(featureGetPending)
	}
	owned, waiting, err := s.store.awaiting(ctx, at, who, s.now())
	if err == nil && owned == 0 { // XEP-0060#owner-subreq-error-forbidden
		err = stanza.Err(stanza.Forbidden, "")
	}
	return waiting, err
}

// awaiting returns how many nodes of a service somebody owns, and the names of those where a request for a subscription waits.
func (s store) awaiting(ctx context.Context, at, who jid.JID, now time.Time) (owned int, waiting []string, err error) {
	rows, err := s.db.Query(ctx, `SELECT n.name, CASE WHEN EXISTS (SELECT 1 FROM pubsub_subscription s
		WHERE s.node = n.num AND s.state = 'pending' AND (s.expires = 0 OR s.expires > ?)) THEN 1 ELSE 0 END
		FROM pubsub_affiliation a JOIN pubsub_node n ON n.num = a.node WHERE a.jid = ? AND a.affiliation = 'owner' AND n.service = ? ORDER BY n.name`,
		now.UnixMicro(), who.Bare().String(), at.String())
	if err != nil {
		return 0, nil, err
	}
	_, err = collect(rows, func(r scanner) (some int, err error) {
		var name string
		if err = r.Scan(&name, &some); some == 1 {
			waiting = append(waiting, name)
		}
		owned++
		return some, err
	})
	return owned, waiting, err
}

func (s *Service) pending(ctx context.Context, n *node) (out []subscription, err error) {
	all, err := s.store.subscriptions(ctx, n, s.now())
	for _, x := range all {
		if x.state == Pending {
			out = append(out, x)
		}
	}
	return out, err
}

// Pending returns what sends who asks each request that waits at a node. See PendingNodes.
func (s *Service) Pending(ctx context.Context, at, who jid.JID, name string) (send func(), err error) {
	if !s.Has(featureGetPending) {
		return nil, unsupported(featureGetPending)
	}
	n, err := s.store.node(ctx, at, name)
	if errors.Is(err, errNoNode) {
		return nil, stanza.Err(stanza.ItemNotFound, "")
	}
	if err != nil {
		return nil, err
	}
	if a, err := s.affiliation(ctx, n, who); err != nil || a != Owner {
		if err == nil {
			err = stanza.Err(stanza.Forbidden, "")
		}
		return nil, err
	}
	waiting, err := s.pending(ctx, n)
	return func() {
		for _, x := range waiting {
			s.send(ctx, n, message(n, stanza.TypeNormal, authorizationForm(dataform.TypeForm, n.name, x.jid.String()).Element()), []jid.JID{who})
		}
	}, err
}
