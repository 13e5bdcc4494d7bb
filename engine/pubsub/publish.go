package pubsub

import (
	"context"
	"errors"
	"strings"

	"sabir/mod"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// publish publishes an item (XEP-0060#publisher-publish), to a node that it makes where there is none
// (#publisher-publish-autocreate).
func (s *Service) publish(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	name := x.Attr("node")
	if name == "" {
		return nil, fault(stanza.BadRequest, "nodeid-required")
	}
	options, err := s.publishOptions(r.payload)
	if err != nil {
		return nil, err
	}
	if s.attaching(name) && strings.HasPrefix(name, nsSummary+"/") {
		return nil, stanza.Err(stanza.Forbidden, "summaries are the service's")
	}
	if s.attaching(name) {
		options = nil // XEP-0470#auto-create
	}
	defer s.turn(r.at, name).Unlock()
	n, fresh, err := s.target(ctx, r, name, options)
	if err != nil {
		return nil, err
	}
	i, err := s.incoming(n, r, x)
	if err != nil {
		return nil, err
	}
	if err := s.checkAttachments(n, i, payload(x)); err != nil {
		return nil, err
	}
	st := &steps{all: []*step{{n: n, fresh: fresh, put: i}}}
	if err := s.follow(ctx, st, Changed{NodeChange: mod.NodeChange{Node: name, ID: i.id, Payload: payload(x)}}, n); err != nil {
		return nil, err
	}
	if err := s.apply(ctx, r.at, st); err != nil {
		return nil, err
	}
	p := xmlstream.El(NS, "publish", xmlstream.A("node", name))
	if i.id != "" {
		p.Add(xmlstream.El(NS, "item", xmlstream.A("id", i.id)))
	}
	return result(NS, p), nil
}

// payload returns that of <publish/>, or nil.
func payload(x *xmlstream.Element) *xmlstream.Element { return x.Child(NS, "item").First() }

// publishOptions returns the form of <publish-options/>, or nil.
func (s *Service) publishOptions(pubsub *xmlstream.Element) (*dataform.Form, error) {
	o := pubsub.Child(NS, "publish-options")
	if o == nil || !s.Has(featurePublishOptions) {
		return nil, nil
	}
	f, err := dataform.Parse(o.Child(dataform.NS, "x"))
	if err != nil {
		return nil, stanza.Errf(stanza.BadRequest, "publish-options: %v", err)
	}
	if t := f.FormType(); t != nsPublishOpts || f.Type != dataform.TypeSubmit {
		return nil, stanza.Err(stanza.BadRequest, "publish-options: the form is of type submit with the FORM_TYPE "+nsPublishOpts)
	}
	return f, nil
}

// target returns the node that is published to: one that exists and allows it, or a fresh one that is yet to be stored.
func (s *Service) target(ctx context.Context, r *request, name string, options *dataform.Form) (n *node, fresh bool, err error) {
	n, err = s.store.node(ctx, r.at, name)
	switch {
	case errors.Is(err, errNoNode) && s.attaching(name):
		n, err = s.attachments(ctx, r, name)
		return n, true, err
	case errors.Is(err, errNoNode) && !s.Has(featureAutoCreate):
		return nil, false, s.absent(ctx, r, name)
	case errors.Is(err, errNoNode):
		n, err = s.fresh(ctx, r, name)
		if err == nil && options != nil {
			n.config = s.profiled(n.config, name, options.Field(prefix+"type").Value())
			if n.config, _, err = s.fields.precondition(&n.config, options); err == nil {
				err = n.config.bounded()
			}
			if err == nil {
				defer s.hold(n.config)()
				_, err = s.relate(ctx, n, Config{}, r)
			}
		}
		return n, true, err
	case err != nil:
		return nil, false, err
	}
	if err := s.mayPublish(ctx, n, r); err != nil {
		return nil, false, err
	}
	if options != nil {
		_, met, err := s.fields.precondition(&n.config, options)
		if err != nil {
			return nil, false, err
		}
		if !met {
			return nil, false, fault(stanza.Conflict, "precondition-not-met")
		}
	}
	return n, false, nil
}

// mayPublish obeys affiliations and publish model of a node and of its ancestors.
func (s *Service) mayPublish(ctx context.Context, n *node, r *request) error {
	return s.upwards(ctx, n, func(n *node) error { return s.maySend(ctx, n, r) })
}

// maySend is mayPublish for the node alone.
func (s *Service) maySend(ctx context.Context, n *node, r *request) error {
	a, err := s.affiliation(ctx, n, r.from)
	if err != nil {
		return err
	}
	switch a {
	case Owner, Publisher, PublishOnly:
		return nil
	case Outcast:
		return stanza.Err(stanza.Forbidden, "")
	}
	switch n.config.Publish {
	case PublishOpen:
		return nil
	case PublishSubscribers:
		ok, err := s.store.hasSubscription(ctx, n, r.from, s.now())
		if err != nil || ok {
			return err
		}
	}
	return stanza.Err(stanza.Forbidden, "")
}

// incoming reads the item of a publication, and checks it against the configuration (XEP-0060#publisher-publish-error-badrequest).
func (s *Service) incoming(n *node, r *request, x *xmlstream.Element) (*item, error) {
	var el *xmlstream.Element
	for k := range x.Elements() {
		if k.Is(NS, "item") {
			if el != nil {
				return nil, stanza.Err(stanza.BadRequest, "one item is published at a time")
			}
			el = k
		}
	}
	i := &item{publisher: r.from.Bare(), resource: r.from, stamp: s.now()}
	i.created = i.stamp
	switch {
	case el == nil && n.config.Persist:
		return nil, fault(stanza.BadRequest, "item-required")
	case el == nil && n.config.Payloads:
		return nil, fault(stanza.BadRequest, "payload-required")
	case el == nil:
		return i, nil
	case !n.config.Persist && !n.config.Payloads:
		return nil, fault(stanza.BadRequest, "item-forbidden")
	}
	if i.id = el.Attr("id"); i.id == "" || !s.Has(featureItemIDs) {
		i.id = stanza.NewID()
	}
	if len(i.id) > maxName {
		return nil, stanza.Errf(stanza.NotAcceptable, "the id of an item has up to %d bytes", maxName)
	}
	payload, err := s.payload(n, el)
	if err != nil {
		return nil, err
	}
	if payload != nil {
		i.payload = r.wireForm(payload)
	}
	limit := s.o.Limits.Payload
	if n.config.MaxPayload > 0 {
		limit = min(limit, n.config.MaxPayload)
	}
	if len(i.payload) > limit {
		return nil, fault(stanza.NotAcceptable, "payload-too-big")
	}
	i.payload = s.linked(n, i, payload)
	return i, nil
}

// wireForm returns a payload in the bytes of its publisher where they stand by themselves, else as we write it.
func (r *request) wireForm(payload *xmlstream.Element) string {
	if r.wire != nil {
		wire := r.wire.Inside(xmlstream.Name{Space: NS, Local: "pubsub"}, xmlstream.Name{Space: NS, Local: "publish"},
			xmlstream.Name{Space: NS, Local: "item"}, payload.Name)
		if n, err := xmlstream.Verbatim(wire, parse); err == nil && n.Text != "" && n.El.Equal(payload) {
			return wire
		}
	}
	return payload.String()
}

// payload returns the one child of an item (XEP-0060#publisher-publish-error-badpayload).
func (s *Service) payload(n *node, el *xmlstream.Element) (*xmlstream.Element, error) {
	var payload *xmlstream.Element
	for k := range el.Elements() {
		if payload != nil {
			return nil, fault(stanza.BadRequest, "invalid-payload")
		}
		payload = k
	}
	switch {
	case payload == nil && n.config.Payloads:
		return nil, fault(stanza.BadRequest, "payload-required")
	case payload != nil && n.config.Type != "" && s.typed(n) && payload.Name.Space != n.config.Type:
		return nil, fault(stanza.BadRequest, "invalid-payload")
	}
	return payload, nil
}

// typed tells whether the type of a node names the namespace of its payloads. Extensions use the field for other names too
// (XEP-0462), which a payload does not repeat.
func (s *Service) typed(n *node) bool { return n.config.Type == "http://www.w3.org/2005/Atom" }

// makeRoom deletes the oldest items where a node has too many (XEP-0060#publisher-publish-success-nodefull).
func (s *Service) makeRoom(ctx context.Context, tx mod.Tx, n *node) ([]string, error) {
	held, err := s.store.held(ctx, tx, n)
	if err != nil || held <= s.maxItems(n) {
		return nil, err
	}
	if n.config.NodeFull == FullReject {
		return nil, fault(stanza.Conflict, "node-full")
	}
	gone, err := s.store.oldest(ctx, tx, n, held-s.maxItems(n))
	if err != nil {
		return nil, err
	}
	for _, id := range gone {
		if _, err := s.store.delete(ctx, tx, n, id); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// retract deletes items (XEP-0060#publisher-delete). Owners delete any, others what they have published.
func (s *Service) retract(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, err := s.find(ctx, r, x)
	if err != nil {
		return nil, err
	}
	if err := n.persistent(); err != nil {
		return nil, err
	}
	var ids []string
	for k := range x.Elements() {
		if k.Is(NS, "item") {
			ids = append(ids, k.Attr("id"))
		}
	}
	if len(ids) != 1 || ids[0] == "" {
		return nil, fault(stanza.BadRequest, "item-required")
	}
	i, err := s.store.item(ctx, n, ids[0], s.since(n))
	if err != nil {
		return nil, err
	}
	a, err := s.affiliation(ctx, n, r.from)
	if err != nil {
		return nil, err
	}
	// Who may not delete is told so before it is told whether there is such an item.
	if a != Owner && (a == Outcast || i == nil || i.publisher != r.from.Bare()) {
		return nil, stanza.Err(stanza.Forbidden, "")
	}
	if i == nil {
		return nil, stanza.Err(stanza.ItemNotFound, "")
	}
	if notify, ok := (&dataform.Field{Values: []string{x.Attr("notify")}}).Bool(); ok && notify {
		m := *n
		m.config.NotifyRetract = true
		n = &m
	}
	st := &steps{all: []*step{{n: n, del: ids}}}
	if err := s.detach(ctx, st, n, i.id); err != nil {
		return nil, err
	}
	if err := s.follow(ctx, st, Changed{NodeChange: mod.NodeChange{Node: n.name, ID: i.id}}, n); err != nil {
		return nil, err
	}
	return nil, s.apply(ctx, r.at, st)
}

// purgeNode deletes all items (XEP-0060#owner-purge).
func (s *Service) purgeNode(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, err := s.owned(ctx, r, x)
	if err != nil {
		return nil, err
	}
	if err := n.persistent(); err != nil {
		return nil, err
	}
	st := &steps{more: []func(mod.Tx) error{func(tx mod.Tx) error { return s.store.purge(ctx, tx, n) }}}
	if err := s.follow(ctx, st, Changed{NodeChange: mod.NodeChange{Node: n.name}}, n); err != nil {
		return nil, err
	}
	purged := []*node{n}
	if to, err := s.summaries(ctx, n); err != nil {
		return nil, err
	} else if to != nil && to.items > 0 {
		purged = append(purged, to)
	}
	if err := s.apply(ctx, r.at, st); err != nil {
		return nil, err
	}
	for _, n := range purged {
		s.changed(n)
		if n.config.NotifyRetract {
			s.announce(ctx, n, xmlstream.El(NSEvent, "purge", xmlstream.A("node", n.name)), nil)
		}
	}
	return nil, nil
}
