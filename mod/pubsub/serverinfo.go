package pubsub

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	engine "sabir/engine/pubsub"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	// nsServerInfo qualifies what a server tells of itself (XEP-0485#impl), and is the feature of one that wants that.
	nsServerInfo   = "urn:xmpp:serverinfo:0"
	serverInfoNode = "serverinfo"
	// infoForm is the FORM_TYPE by which the host tells where that is (XEP-0485#disco), and infoField the field.
	infoForm  = "http://jabber.org/network/serverinfo"
	infoField = "serverinfo-pubsub-node"

	// infoEvery is how often it is looked which domains there are streams with: they come and go all the time.
	infoEvery = 10 * time.Minute
	// askAgain is how long it counts whether a domain wants to be named, and retry how long that it did not answer.
	askAgain, retry = 24 * time.Hour, time.Hour
	// maxAsked bounds the domains that are asked at a time.
	maxAsked = 100
)

// opinion says whether a domain lets others name it, as far as is known until then.
type opinion struct {
	agrees bool
	until  time.Time
}

// serverInfo keeps the node with what the server tells of itself.
type serverInfo struct {
	h mod.Host
	s *engine.Service
	// told is what was published last, "" for nothing.
	told string

	mu       sync.Mutex
	opinions map[jid.JID]opinion
}

func newServerInfo(h mod.Host, s *engine.Service) *serverInfo {
	return &serverInfo{h: h, s: s, opinions: make(map[jid.JID]opinion)}
}

// forms tells where the node is.
func (i *serverInfo) forms(service jid.JID) func(mod.Where) []*xmlstream.Element {
	return func(at mod.Where) []*xmlstream.Element {
		if at&mod.AtHost == 0 {
			return nil
		}
		uri := engine.URI(service, serverInfoNode, "")
		return []*xmlstream.Element{dataform.New(dataform.TypeResult, infoForm, dataform.Field{Var: infoField, Type: dataform.TextSingle, Values: []string{uri}}).Element()}
	}
}

// run keeps the node until the host stops.
func (i *serverInfo) run(ctx context.Context) {
	t := time.NewTicker(infoEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			i.refresh(ctx)
		}
	}
}

// refresh publishes what is to be told now, if that is new.
func (i *serverInfo) refresh(ctx context.Context) {
	peers := i.h.Peers()
	i.askAll(ctx, peers)
	x := i.element(peers)
	if x.String() == i.told {
		return
	}
	if err := i.s.Publish(ctx, mod.NodeChange{Node: serverInfoNode, ID: "current", Payload: x}); err != nil {
		if ctx.Err() == nil {
			i.h.Log().Error("the node serverinfo is not as it should be", "error", err)
		}
		return
	}
	i.told = x.String()
}

// withdraw deletes what was told before, by a server that tells nothing any more.
func (i *serverInfo) withdraw(ctx context.Context) error {
	return i.s.Publish(ctx, mod.NodeChange{Node: serverInfoNode, ID: "current"})
}

// element returns what is told: the domain, and the peers that agree to be named (XEP-0485#privacy). Of others nothing is said.
func (i *serverInfo) element(peers []mod.Peer) *xmlstream.Element {
	i.mu.Lock()
	defer i.mu.Unlock()
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b mod.Peer) int { return strings.Compare(a.Domain.Domain(), b.Domain.Domain()) })
	all := xmlstream.El(nsServerInfo, "federation")
	for _, p := range peers {
		if !i.opinions[p.Domain].agrees {
			continue
		}
		r := xmlstream.El(nsServerInfo, "remote-domain", xmlstream.A("name", p.Domain.Domain()))
		for _, k := range []struct {
			typ string
			n   int
		}{{"incoming", p.In}, {"outgoing", p.Out}, {"bidi", p.Both}} {
			for range k.n {
				r.Add(xmlstream.El(nsServerInfo, "connection", xmlstream.A("type", k.typ)))
			}
		}
		all.Add(r)
	}
	domain := xmlstream.El(nsServerInfo, "domain", xmlstream.A("name", i.h.Domain().Domain()))
	if all.First() != nil {
		domain.Add(all)
	}
	return xmlstream.El(nsServerInfo, "serverinfo", domain)
}

// askAll asks the peers whose opinion is not known, waits for what they answer, and forgets those that are none any more.
func (i *serverInfo) askAll(ctx context.Context, peers []mod.Peer) {
	var asked []jid.JID
	now := i.h.Clock().Now()
	i.mu.Lock()
	for d := range i.opinions {
		if !slices.ContainsFunc(peers, func(p mod.Peer) bool { return p.Domain == d }) {
			delete(i.opinions, d)
		}
	}
	for _, p := range peers {
		if o, ok := i.opinions[p.Domain]; (!ok || !now.Before(o.until)) && len(asked) < maxAsked {
			asked = append(asked, p.Domain)
		}
	}
	i.mu.Unlock()
	var wait sync.WaitGroup
	for _, d := range asked {
		wait.Add(1)
		i.h.Ask(ctx, stanza.NewIQ(stanza.TypeGet, i.h.Domain(), d, xmlstream.El(wire.NSInfo, "query")), func(answer *stanza.Stanza) {
			defer wait.Done()
			i.mu.Lock()
			defer i.mu.Unlock()
			i.opinions[d] = opinionOf(answer, now)
		})
	}
	wait.Wait() // Ask ends by itself
}

// opinionOf reads the answer of a domain to service discovery. One that does not answer has not agreed.
func opinionOf(answer *stanza.Stanza, now time.Time) opinion {
	if answer == nil || answer.Err() != nil {
		return opinion{false, now.Add(retry)}
	}
	info, err := wire.ParseInfo(answer.Child(wire.NSInfo, "query"), "")
	return opinion{err == nil && info.Has(nsServerInfo), now.Add(askAgain)}
}
