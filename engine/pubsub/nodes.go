package pubsub

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/payload/datetime"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// maxName bounds the names of nodes and the ids of items, in bytes.
const maxName = 1023

// fresh returns a new node with the default configuration, yet to be stored, where who asks may make one.
func (s *Service) fresh(ctx context.Context, r *request, name string) (*node, error) {
	switch {
	case s.o.PEP && r.from.Bare() != r.at:
		// The same answer for a node that is not there and an account that is not there.
		return nil, stanza.Err(stanza.ItemNotFound, "")
	case !s.o.PEP && (s.o.MayCreate == nil || !s.o.MayCreate(r.from.Bare())):
		return nil, stanza.Err(stanza.Forbidden, "")
	case len(name) > maxName:
		return nil, stanza.Errf(stanza.NotAcceptable, "the name of a node has up to %d bytes", maxName)
	}
	if ok, err := s.registered(ctx, r.from); err != nil {
		return nil, err
	} else if !ok { // XEP-0060#owner-create-general
		return nil, stanza.Err(stanza.RegistrationRequired, "the address is a temporary one")
	}
	if has, err := s.store.count(ctx, r.at, r.from.Bare()); err != nil {
		return nil, err
	} else if has >= s.o.Limits.Nodes {
		return nil, fault(stanza.PolicyViolation, "max-nodes-exceeded")
	}
	if most := s.o.Limits.Total; most > 0 {
		if has, err := s.store.total(ctx, r.at); err != nil {
			return nil, err
		} else if has >= most {
			return nil, fault(stanza.PolicyViolation, "max-nodes-exceeded")
		}
	}
	n := &node{at: r.at, name: name, creator: r.from.Bare(), created: s.now(), config: s.defaults()}
	n.config = s.profiled(n.config, name, "")
	return n, nil
}

// create makes a node (XEP-0060#owner-create): without a name, one of the service's making.
func (s *Service) create(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	name := x.Attr("node")
	instant := name == ""
	if instant && !s.Has(featureInstantNodes) {
		return nil, fault(stanza.NotAcceptable, "nodeid-required")
	}
	if instant {
		name = stanza.NewID()
	}
	if s.attaching(name) {
		return nil, stanza.Err(stanza.NotAllowed, "the service makes the nodes of attachments")
	}
	defer s.turn(r.at, name).Unlock()
	n, err := s.fresh(ctx, r, name)
	if err != nil {
		if s.o.PEP && r.from.Bare() != r.at {
			err = stanza.Err(stanza.Forbidden, "")
		}
		return nil, err
	}
	if c := r.payload.Child(NS, "configure"); c != nil && s.Has(featureCreateAndConfigure) { // else it is ignored (XEP-0060#owner-create-and-configure)
		if c.Attr("node") != "" {
			return nil, stanza.Err(stanza.BadRequest, "<create/> names the node")
		}
		if form := c.Child(dataform.NS, "x"); form != nil {
			if f, err := dataform.Parse(form); err == nil { // submitted says what is wrong with it
				n.config = s.profiled(n.config, name, f.Field(prefix+"type").Value())
			}
			if n.config, err = s.submitted(n.config, form); err != nil {
				return nil, err
			}
		}
	}
	defer s.hold(n.config)()
	if _, err := s.relate(ctx, n, Config{}, r); err != nil {
		return nil, err
	}
	s.note(n.config)
	err = s.write(ctx, n.at, func(tx mod.Tx) error {
		made, err := s.store.create(ctx, tx, n)
		if err == nil && !made {
			err = stanza.Err(stanza.Conflict, "there is a node of this name")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if s.tellCreated(ctx, n); !instant {
		return nil, nil
	}
	return result(NS, xmlstream.El(NS, "create", xmlstream.A("node", name))), nil
}

// submitted returns a configuration as changed by a form on the wire.
func (s *Service) submitted(c Config, form *xmlstream.Element) (Config, error) {
	f, err := dataform.Parse(form)
	if err != nil {
		return c, stanza.Errf(stanza.BadRequest, "%v", err)
	}
	if c, err = s.fields.submit(&c, f); err != nil {
		return c, err
	}
	if c.MaxItems > s.o.Limits.Items {
		return c, stanza.Errf(stanza.NotAcceptable, "a node has up to %d items", s.o.Limits.Items)
	}
	if c.MaxPayload > s.o.Limits.Payload {
		return c, stanza.Errf(stanza.NotAcceptable, "a payload has up to %d bytes", s.o.Limits.Payload)
	}
	return c, c.bounded()
}

// configurable is owned for a node whose configuration is its owner's to choose (XEP-0060#owner-configure-error-options).
func (s *Service) configurable(ctx context.Context, r *request, x *xmlstream.Element) (*node, error) {
	n, err := s.owned(ctx, r, x)
	if err == nil && s.kept(n.name) {
		err = stanza.Err(stanza.NotAllowed, "the server keeps this node")
	}
	return n, err
}

// getConfig returns the form of the configuration (XEP-0060#owner-configure).
func (s *Service) getConfig(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	n, err := s.configurable(ctx, r, x)
	if err != nil {
		return nil, err
	}
	form := s.fields.form(&n.config, dataform.TypeForm, nsNodeConfig).Element()
	return result(NSOwner, xmlstream.El(NSOwner, "configure", xmlstream.A("node", n.name), form)), nil
}

// setConfig changes the configuration. A form of type cancel changes nothing.
func (s *Service) setConfig(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, err := s.configurable(ctx, r, x)
	if err != nil {
		return nil, err
	}
	form := x.Child(dataform.NS, "x")
	if form == nil {
		return nil, stanza.Err(stanza.BadRequest, "the form is missing")
	}
	if form.Attr("type") == string(dataform.TypeCancel) {
		return nil, nil
	}
	was := *n
	if n.config, err = s.submitted(n.config, form); err != nil {
		return nil, err
	}
	defer s.hold(was.config, n.config)()
	moved, err := s.relate(ctx, n, was.config, r)
	if err != nil {
		return nil, err
	}
	dependents, err := s.dependents(ctx, n, was.config)
	if err != nil {
		return nil, err
	}
	moved = append(slices.DeleteFunc(moved, func(m *node) bool { return dependent(m.name) }), dependents...)
	c := n.config
	s.note(c)
	err = s.write(ctx, n.at, func(tx mod.Tx) error {
		if err := s.store.move(ctx, tx, append(moved, n)); err != nil {
			return err
		}
		if !c.Persist {
			return s.store.purge(ctx, tx, n)
		}
		_, err := s.makeRoomBy(ctx, tx, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.lapsed(ctx, n)
	if c.NotifyConfig {
		ev := xmlstream.El(NSEvent, "configuration", xmlstream.A("node", n.name))
		if c.Payloads {
			ev.Add(s.fields.form(&c, dataform.TypeResult, nsNodeConfig).Element())
		}
		s.announce(ctx, n, ev, nil)
	}
	s.tellMetadata(ctx, &was, n)
	for _, m := range moved {
		if !dependent(m.name) {
			before := *m
			before.config.Parent = was.config.Parent
			s.tellMetadata(ctx, &before, m)
		}
	}
	s.opened(ctx, &was, n)
	return nil, nil
}

// makeRoomBy is makeRoom for a limit that was lowered, which refuses nothing.
func (s *Service) makeRoomBy(ctx context.Context, tx mod.Tx, n *node) ([]string, error) {
	m := *n
	m.config.NodeFull = FullDiscard
	return s.makeRoom(ctx, tx, &m)
}

// defaultConfig returns what new nodes have (XEP-0060#owner-default).
func (s *Service) defaultConfig(_ context.Context, _ *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	if !s.Has(featureConfigNode) { // XEP-0060#owner-default-error-noconfig
		return nil, unsupported(featureConfigNode)
	}
	if t := x.Attr("type"); t != "" && t != nodeType {
		return nil, unsupported("collections")
	}
	c := s.defaults()
	return result(NSOwner, xmlstream.El(NSOwner, "default", s.fields.form(&c, dataform.TypeForm, nsNodeConfig).Element())), nil
}

// deleteNode deletes a node with all that is below it, in favour of another one where there is a <redirect/>
// (XEP-0060#owner-delete).
func (s *Service) deleteNode(ctx context.Context, r *request, x *xmlstream.Element) (*xmlstream.Element, error) {
	defer s.turn(r.at, x.Attr("node")).Unlock()
	n, err := s.owned(ctx, r, x)
	if err != nil {
		return nil, err
	}
	uri := ""
	if d := x.Child(NSOwner, "redirect"); d != nil {
		if uri = d.Attr("uri"); uri == "" || len(uri) > maxName {
			return nil, stanza.Errf(stanza.BadRequest, "a redirect has a uri of up to %d bytes", maxName)
		}
		if err := s.roomForRedirect(ctx, n); err != nil {
			return nil, err
		}
	}
	s.tree.Lock()
	defer s.tree.Unlock()
	below, err := s.below(ctx, n, -1)
	if err != nil {
		return nil, err
	}
	gone := []*node{n}
	for _, d := range below {
		gone = append(gone, d.node)
	}
	st, told := new(steps), make([][]jid.JID, len(gone))
	for i, g := range gone { // whom to tell, before nobody knows any more
		to, texts, err := s.audience(ctx, g, true)
		if err != nil {
			return nil, err
		}
		told[i] = append(to, texts...)
		if g != n && dependent(g.name) {
			continue
		}
		if err := s.follow(ctx, st, Changed{NodeChange: mod.NodeChange{Node: g.name}}, g); err != nil {
			return nil, err
		}
	}
	st.more = append(st.more, func(tx mod.Tx) error {
		for _, g := range gone {
			if err := s.store.remove(ctx, tx, g.num); err != nil {
				return err
			}
		}
		if uri == "" {
			return nil
		}
		return s.store.setMoved(ctx, tx, n, uri)
	})
	if err := s.apply(ctx, r.at, st); err != nil {
		return nil, err
	}
	for i, g := range gone {
		s.changed(g)
		if !g.config.NotifyDelete {
			continue
		}
		ev := xmlstream.El(NSEvent, "delete", xmlstream.A("node", g.name))
		if uri != "" && g == n {
			ev.Add(xmlstream.El(NSEvent, "redirect", xmlstream.A("uri", uri)))
		}
		s.send(ctx, g, s.event(g, ev), told[i])
	}
	return nil, nil
}

// roomForRedirect returns nil where a service may remember one more node that went elsewhere: as many as it may have.
func (s *Service) roomForRedirect(ctx context.Context, n *node) error {
	most := s.o.Limits.Total
	if s.o.PEP {
		most = s.o.Limits.Nodes
	}
	if most == 0 {
		return nil
	}
	has, err := s.store.redirects(ctx, n.at)
	if err == nil && has >= most {
		err = stanza.Err(stanza.PolicyViolation, "too many nodes went elsewhere: delete this one without a redirect")
	}
	return err
}

// Info tells about a node (XEP-0060#entity-info, #entity-metadata). It returns nil where there is none, or where who asks may not read it and the service is that of
// an account: what somebody keeps there is nobody's business.
func (s *Service) Info(ctx context.Context, at, who jid.JID, name string) (*mod.Disco, error) {
	n, err := s.visible(ctx, at, who, name)
	if n == nil || err != nil {
		return nil, err
	}
	d := &mod.Disco{
		Identities: []mod.Identity{{Category: "pubsub", Type: nodeType, Name: n.config.Title}},
		Features:   []string{wire.NSInfo, wire.NSItems, NS},
	}
	if !s.Has(featureMetadata) {
		return d, nil
	}
	f, err := s.metadata(ctx, n)
	if err != nil {
		return nil, err
	}
	d.Forms = append(d.Forms, f.Element())
	return d, nil
}

// metadata returns what a node tells of itself (XEP-0060#entity-metadata).
func (s *Service) metadata(ctx context.Context, n *node) (*dataform.Form, error) {
	f := s.fields.form(&n.config, dataform.TypeResult, nsMetadata)
	_, count, err := s.store.subscribers(ctx, n, s.now())
	if err != nil {
		return nil, err
	}
	list, err := s.store.affiliations(ctx, n)
	if err != nil {
		return nil, err
	}
	var publishers []string
	for _, a := range list {
		if a.affiliation == Publisher {
			publishers = append(publishers, a.jid.String())
		}
	}
	owners, err := s.owners(ctx, n)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, o := range owners {
		names = append(names, o.String())
	}
	f.Fields = append(f.Fields,
		dataform.Field{Var: prefix + "creation_date", Type: dataform.TextSingle, Values: []string{datetime.Format(n.created)}},
		dataform.Field{Var: prefix + "creator", Type: dataform.JIDSingle, Values: []string{n.creator.String()}},
		dataform.Field{Var: prefix + "owner", Type: dataform.JIDMulti, Values: names},
		dataform.Field{Var: prefix + "publisher", Type: dataform.JIDMulti, Values: publishers},
		dataform.Field{Var: prefix + "num_subscribers", Type: dataform.TextSingle, Values: []string{strconv.Itoa(count)}},
	)
	return f, nil
}

// visible returns a node, or nil where there is none that who asks may know of.
func (s *Service) visible(ctx context.Context, at, who jid.JID, name string) (*node, error) {
	n, err := s.store.node(ctx, at, name)
	if errors.Is(err, errNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s.hidden(n, who) {
		return nil, nil
	}
	ok, err := s.shows(ctx, n, who)
	if !ok {
		return nil, err
	}
	return n, err
}

// shows tells whether somebody may know that a node exists: who may read it, and at a service of its own all but for the
// access model whitelist.
func (s *Service) shows(ctx context.Context, n *node, who jid.JID) (bool, error) {
	if !s.o.PEP && n.config.Access != AccessWhitelist && n.config.Parent == "" {
		return true, nil
	}
	err := s.mayRead(ctx, n, who)
	var se *stanza.Error
	if errors.As(err, &se) {
		return false, nil
	}
	return err == nil, err
}
