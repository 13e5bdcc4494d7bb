package mod

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Service is a domain beside the host's own that an extension owns, such as conference.example.org. All that is addressed
// to it, to its bare JIDs (its rooms, say) and to its full JIDs comes to the extension, whoever sent it; and
// the extension sends with Host.Route and Host.RouteAll as from any of these addresses, to local and remote recipients.
//
// What a local user sends passes the phases of the user's side first (Out), as if the service were on another server; what
// the service sends to a local user passes those of the user (In). The service itself has no phases.
//
// The functions are called on the goroutine of the sender, in the order in which it sent. They may be called from many
// goroutines at once. A panic is contained to its stanza.
type Service struct {
	// Domain is the address. See ServiceDomain. It must not be that of a host or of another service.
	Domain jid.JID
	// Name is for people, in the list of the host's services (XEP-0030#items).
	Name string
	// Hidden keeps the service out of that list.
	Hidden bool

	// IQ are the requests that it answers: AtHost at the domain itself, AtAccount at a bare JID, AtResource at a full JID.
	// Request.Account is the bare JID with the latter two. The field Unknown has no meaning here: only the service knows
	// which addresses there are.
	IQ []IQHandler
	// Other takes the iqs for which IQ has no handler: requests, and results and errors that answer no Host.Ask. An error
	// that it returns goes to the sender of a request. Where it is nil, service-unavailable does.
	Other func(ctx context.Context, s *stanza.Stanza) error
	// Presence takes every presence, of whatever type. An error goes to its sender, where one is owed.
	Presence func(ctx context.Context, s *stanza.Stanza) error
	// Message takes every message, of whatever type, after what the sender's side records of it was committed. It may
	// return a function that waits until what the message owes is durable. The server calls it once, after it has handed
	// over the other messages that it read with this one; it lets the sender know that the message was accepted only
	// then. An error, at once or from waiting, goes to the sender, where one is owed.
	//
	// What Owed returns for ctx, where it is not nil, belongs into the transaction in which the service makes the message durable.
	//
	// Message and Presence never wait for the answer to something that the service sends: a stanza of type error may come from
	// within Host.Route.
	Message func(ctx context.Context, s *stanza.Stanza) (wait func(ctx context.Context) error, err error)

	// Features and Identities are those of service discovery, beside the namespaces of IQ. See Disco.
	Features   []Feature
	Identities []IdentityAt
}

// owing is the key of Owing.
type owing struct{}

// Owing returns a context for Service.Message with what the sender wants written along with the message: that it has been handled.
func Owing(ctx context.Context, write func(ctx context.Context, tx Tx) error) context.Context {
	return context.WithValue(ctx, owing{}, write)
}

// Owed returns what is to be written in the transaction that makes a message durable, or nil. It may be called any number of times: without
// it a client that resumes after a sudden end of the server sends the message again (XEP-0198#acking).
func Owed(ctx context.Context) func(ctx context.Context, tx Tx) error {
	write, _ := ctx.Value(owing{}).(func(context.Context, Tx) error)
	return write
}

// ServiceDomain returns the address of a service of a host. A name without a dot is put before the domain of the host: conference
// gives conference.example.org. Another is the address itself.
func ServiceDomain(host jid.JID, name string) (jid.JID, error) {
	full := name
	if !strings.Contains(name, ".") {
		full = name + "." + host.Domain()
	}
	j, err := jid.New("", full, "")
	if err == nil && j == host {
		err = fmt.Errorf("a service needs another domain than its host %s", host)
	}
	if err != nil {
		return jid.JID{}, fmt.Errorf("domain of a service: %w", err)
	}
	return j, nil
}

// Disco returns what follows from the fields of the service for one place: the features and identities to which the
// extension adds those of the address that was asked. The service itself answers disco#info and disco#items, by handlers
// like all others.
func (s *Service) Disco(at Where) Disco {
	var d Disco
	for _, q := range s.IQ {
		if q.At&at != 0 && !q.Quiet {
			d.Features = append(d.Features, q.Space)
		}
	}
	for _, f := range s.Features {
		if f.At&at != 0 {
			d.Features = append(d.Features, f.Var)
		}
	}
	for _, i := range s.Identities {
		if i.At&at != 0 {
			d.Identities = append(d.Identities, i.Identity)
		}
	}
	slices.Sort(d.Features)
	d.Features = slices.Compact(d.Features)
	return d
}
