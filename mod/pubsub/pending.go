package pubsub

import (
	"context"

	engine "sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// The ad-hoc command by which an owner asks for the requests that wait, with the name of the feature as its node
// (XEP-0060#owner-subreq-request).
const (
	pendingNode = engine.NS + "#get-pending"
	pendingName = "Subscription requests that wait"
	fieldNode   = "pubsub#node"
	formType    = engine.NS + "#subscribe_authorization"
)

func pendingInfo() mod.Disco {
	return mod.Disco{
		Identities: []mod.Identity{{Category: "automation", Type: "command-node", Name: pendingName}},
		Features:   []string{nsCommands, dataform.NS},
	}
}

// command runs the one command that there is. Its second stage carries all that it needs, so nothing is kept between the
// two.
func (p *pubsub) command(ctx context.Context, r *mod.Request) (*xmlstream.Element, error) {
	if r.Payload.Attr("node") != pendingNode {
		return nil, stanza.Err(stanza.ItemNotFound, "no such command")
	}
	answer := func(status string, children ...*xmlstream.Element) *xmlstream.Element {
		session := r.Payload.Attr("sessionid")
		if session == "" {
			session = stanza.NewID()
		}
		return xmlstream.El(nsCommands, "command", xmlstream.A("node", pendingNode), xmlstream.A("sessionid", session), xmlstream.A("status", status)).Add(children)
	}
	switch r.Payload.Attr("action") {
	case "cancel":
		return answer("canceled"), nil
	case "", "execute", "complete", "next":
	default:
		return nil, stanza.Err(stanza.BadRequest, "no such action").With(xmlstream.El(nsCommands, "bad-action"))
	}
	if x := r.Payload.Child(dataform.NS, "x"); x != nil {
		f, err := dataform.Parse(x)
		if err != nil {
			return nil, stanza.Errf(stanza.BadRequest, "%v", err).With(xmlstream.El(nsCommands, "bad-payload"))
		}
		send, err := p.s.Pending(ctx, p.face.Domain, r.From, f.Field(fieldNode).Value())
		if err != nil {
			return nil, err
		}
		p.h.Route(ctx, r.Result(answer("completed"))) // before the requests (XEP-0060#owner-subreq-pernode)
		send()
		return nil, mod.ErrAnswered
	}
	nodes, err := p.s.PendingNodes(ctx, p.face.Domain, r.From)
	if err != nil {
		return nil, err
	}
	field := dataform.Field{Var: fieldNode, Type: dataform.ListSingle, Label: "Node"}
	for _, n := range nodes {
		field.Options = append(field.Options, dataform.Option{Value: n})
	}
	actions := xmlstream.El(nsCommands, "actions", xmlstream.A("execute", "complete"), xmlstream.El(nsCommands, "complete"))
	return answer("executing", actions, dataform.New(dataform.TypeForm, formType, field).Element()), nil
}
