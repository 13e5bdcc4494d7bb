package pubsub

import (
	"context"
	"slices"
	"strconv"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// nsExtDisco is the type of the form by which a request for items asks for the nodes below a node (XEP-0499).
const nsExtDisco = "urn:xmpp:pubsub-ext-disco:0"

// discovery is what such a form asks for.
type discovery struct {
	items, nodes, linked, full bool
	depth                      int
}

// parseDiscovery reads the form of a request for service discovery. ok is false where it has none.
func parseDiscovery(query *xmlstream.Element) (d discovery, ok bool, err error) {
	x := query.Child(dataform.NS, "x")
	if x == nil {
		return d, false, nil
	}
	f, err := dataform.Parse(x)
	if err != nil || f.FormType() != nsExtDisco {
		return d, false, nil
	}
	d = discovery{items: true, nodes: true}
	if t := f.Field("type"); t != nil && len(t.Values) > 0 {
		d.items, d.nodes = slices.Contains(t.Values, "items"), slices.Contains(t.Values, "nodes")
	}
	for name, to := range map[string]*bool{"linked_nodes": &d.linked, "full_metadata": &d.full} {
		if v := f.Field(name); v != nil {
			if *to, ok = v.Bool(); !ok {
				return d, true, stanza.Errf(stanza.BadRequest, "the field %s is true or false", name)
			}
		}
	}
	if v := f.Field("depth"); v != nil && v.Value() != "" {
		n, err := strconv.ParseInt(v.Value(), 10, 32)
		if err != nil {
			return d, true, stanza.Err(stanza.BadRequest, "the field depth is a number")
		}
		d.depth = int(n)
	}
	return d, true, nil
}

// Discover answers a request for the items of a node that asks for what is below it, each with its node, as far as who asks may
// read it (XEP-0499#discover). ok is false where the request has no such form, or where there is no node.
func (s *Service) Discover(ctx context.Context, at, who jid.JID, query *xmlstream.Element) (list []mod.DiscoItem, ok bool, err error) {
	if !s.Has(nsExtDisco) {
		return nil, false, nil
	}
	d, ok, err := parseDiscovery(query)
	if !ok || err != nil {
		return nil, ok, err
	}
	n, err := s.visible(ctx, at, who, query.Attr("node"))
	if n == nil || err != nil {
		return nil, false, err
	}
	if err := s.mayRead(ctx, n, who); err != nil {
		return nil, true, err
	}
	below, err := s.below(ctx, n, d.depth)
	if err != nil {
		return nil, true, err
	}
	for _, k := range append([]descent{{node: n}}, below...) {
		if (k.linked || k.config.Link != "") && k.node != n && !d.linked {
			continue
		}
		if ok, err := s.reads(ctx, k.node, who); err != nil {
			return nil, true, err
		} else if !ok {
			continue
		}
		if d.nodes && k.node != n {
			item, err := s.nodeItem(ctx, k.node, d.full)
			if err != nil {
				return nil, true, err
			}
			list = append(list, item)
		}
		if !d.items {
			continue
		}
		ids, err := s.store.ids(ctx, k.node, s.since(k.node), s.o.Limits.Items)
		if err != nil {
			return nil, true, err
		}
		for _, id := range ids {
			list = append(list, mod.DiscoItem{JID: at, Node: k.name, Name: id})
		}
	}
	return list, true, nil
}

// nodeItem returns a node with the form that says what it belongs to, or all that there is to say of it.
func (s *Service) nodeItem(ctx context.Context, n *node, full bool) (mod.DiscoItem, error) {
	f := dataform.New(dataform.TypeResult, nsMetadata)
	if full {
		var err error
		if f, err = s.metadata(ctx, n); err != nil {
			return mod.DiscoItem{}, err
		}
	} else {
		for _, r := range []struct{ name, value string }{{"link", n.config.Link}, {"parent", n.config.Parent}} {
			if r.value != "" {
				f.Fields = append(f.Fields, dataform.Field{Var: "{" + nsRelations + "}" + r.name, Type: dataform.TextSingle, Values: []string{r.value}})
			}
		}
	}
	return mod.DiscoItem{JID: n.at, Node: n.name, Name: n.config.Title, Form: f.Element()}, nil
}
