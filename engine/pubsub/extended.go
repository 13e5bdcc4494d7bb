package pubsub

import (
	"context"
	"slices"
	"strconv"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// nsExtSub qualifies the options by which a subscription is for more than the items of its node (XEP-0497).
const nsExtSub = "urn:xmpp:pubsub-ext-sub:0"

// wanted are the values of the option type, and what they stand for.
var wantedTypes = []struct {
	value string
	wants wants
}{{"items", wantItems}, {"metadata", wantMetadata}, {"linked items", wantLinked}}

// extendedOptions returns the fields of XEP-0497#options.
func extendedOptions(t dataform.Type, x subscription) []dataform.Field {
	typ := dataform.Field{Var: "{" + nsExtSub + "}type", Type: dataform.ListMulti}
	depth := dataform.Field{Var: "{" + nsExtSub + "}depth", Type: dataform.TextSingle, Values: []string{strconv.Itoa(x.depth)}}
	for _, k := range wantedTypes {
		if x.wants&k.wants != 0 {
			typ.Values = append(typ.Values, k.value)
		}
		if t == dataform.TypeForm {
			typ.Options = append(typ.Options, dataform.Option{Value: k.value})
		}
	}
	if t == dataform.TypeForm {
		typ.Label, depth.Label = "What to tell me of", "How many levels of nodes below; -1 for all"
	}
	return []dataform.Field{typ, depth}
}

// extend applies those fields of a form.
func (x *subscription) extend(f *dataform.Form) error {
	if d := f.Field("{" + nsExtSub + "}type"); d != nil {
		x.wants &= wantBody
		for _, k := range wantedTypes {
			if slices.Contains(d.Values, k.value) {
				x.wants |= k.wants
			}
		}
	}
	if d := f.Field("{" + nsExtSub + "}depth"); d != nil && d.Value() != "" {
		n, err := strconv.ParseInt(d.Value(), 10, 32)
		if err != nil {
			return fault(stanza.BadRequest, "invalid-options")
		}
		x.depth = max(int(n), -1)
	}
	return nil
}

// reached is a subscription by which somebody is told of a node: one to the node, or an implicit one, to a node above it or the
// one that it links to.
type reached struct {
	subscription
	implicit bool
	by       wants // what has to be wanted
}

// subscribersOf returns the subscriptions that reach a node for what it tells of, items or metadata (XEP-0497#depth): its own first.
func (s *Service) subscribersOf(ctx context.Context, n *node, what wants) (out []reached, err error) {
	own, err := s.subscribedTo(ctx, n)
	for _, x := range own {
		out = append(out, reached{x, false, what})
	}
	if err != nil || n.config.Parent == "" && n.config.Link == "" {
		return out, err
	}
	add := func(at *node, level int, by wants) error {
		list, err := s.subscribedTo(ctx, at)
		for _, x := range list {
			if level == 0 || x.depth < 0 || x.depth >= level {
				out = append(out, reached{x, true, by})
			}
		}
		return err
	}
	by := what
	if n.config.Link != "" && what == wantItems {
		by = wantLinked
		to, err := s.store.node(ctx, n.at, n.config.Link)
		if err == nil {
			err = add(to, 0, by)
		}
		if err != nil {
			return nil, err
		}
	}
	up, err := s.ancestors(ctx, n)
	for i := 0; err == nil && i < len(up); i++ {
		err = add(up[i], i+1, by)
	}
	return out, err
}

// tellCreated tells those who asked for the metadata of what is below a node of a new one there (XEP-0497#intro).
func (s *Service) tellCreated(ctx context.Context, n *node) {
	if n.config.Parent != "" && !dependent(n.name) {
		s.tellMetadata(ctx, &node{at: n.at, name: n.name}, n)
	}
}

// tellMetadata tells those who asked for it what changed in the configuration of a node, also those above it who will not hear of it
// any more (XEP-0497#metadata_notif).
func (s *Service) tellMetadata(ctx context.Context, was, now *node) {
	f := dataform.New(dataform.TypeResult, nsMetadata)
	for i := range s.fields {
		if x := &s.fields[i]; !slices.Equal(x.get(&was.config), x.get(&now.config)) {
			f.Fields = append(f.Fields, dataform.Field{Var: x.variable(), Type: x.typ, Values: x.get(&now.config)})
		}
	}
	if len(f.Fields) == 1 { // FORM_TYPE
		return
	}
	list, err := s.subscribersOf(ctx, now, wantMetadata)
	if err == nil && was.config.Parent != now.config.Parent {
		var before []reached
		before, err = s.subscribersOf(ctx, was, wantMetadata)
		list = append(list, before...)
	}
	m := s.event(now, xmlstream.El(NSEvent, "configuration", xmlstream.A("node", now.name), f.Element()))
	var to []jid.JID
	told := make(map[jid.JID]bool)
	for _, x := range list {
		if x.state != Subscribed || !x.deliver || x.wants&wantMetadata == 0 || told[x.jid] {
			continue
		}
		ok := false
		if ok, err = s.shows(ctx, now, x.jid); err != nil {
			break
		}
		if ok {
			told[x.jid] = true
			to = append(to, x.jid)
		}
	}
	s.send(ctx, now, m, to)
	if err != nil {
		s.h.Log().Error("subscribers cannot be read", "error", err)
	}
}
