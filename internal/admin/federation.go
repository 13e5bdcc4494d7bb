package admin

import (
	"context"
	"strings"

	"sabir/internal/s2s"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

type (
	// DomainArgs name a remote domain.
	DomainArgs struct {
		Domain string `json:"domain" doc:"The other domain; for block and unblock also \"*.example.org\" for all below one." required:""`
	}
	// CheckArgs name a remote domain and one of ours.
	CheckArgs struct {
		Domain string `json:"domain" doc:"The other domain." required:""`
		From   string `json:"from" doc:"The domain of ours; the first of the configuration if there is none."`
	}
	// Federation is what there is to tell of other servers.
	Federation struct {
		Streams []s2s.Status `json:"streams"`
		Blocked []string     `json:"blocked"`
	}
)

func remoteDomain(s string) (jid.JID, error) {
	j, err := jid.New("", s, "")
	if err != nil {
		return j, stanza.Errf(stanza.BadRequest, "%q is no domain", s)
	}
	return j, nil
}

func federation(b Backend) (*s2s.Server, error) {
	f := b.Federation()
	if f == nil {
		return nil, ErrNotRunning
	}
	return f, nil
}

func listFederation(_ context.Context, b Backend, _ NoArgs) (any, error) {
	f, err := federation(b)
	if err != nil {
		return nil, err
	}
	return Federation{f.List(), f.Blocked()}, nil
}

func closeFederation(_ context.Context, b Backend, args DomainArgs) (any, error) {
	f, err := federation(b)
	if err != nil {
		return nil, err
	}
	j, err := remoteDomain(args.Domain)
	if err != nil {
		return nil, err
	}
	return Count{f.CloseDomain(j)}, nil
}

func checkFederation(ctx context.Context, b Backend, args CheckArgs) (any, error) {
	f, err := federation(b)
	if err != nil {
		return nil, err
	}
	remote, err := remoteDomain(args.Domain)
	if err != nil {
		return nil, err
	}
	local := b.Config().Hosts[0].JID()
	if args.From != "" {
		if local, err = remoteDomain(args.From); err != nil {
			return nil, err
		}
		if b.Accounts(local) == nil {
			return nil, stanza.Errf(stanza.ItemNotFound, "there is no host %s in the configuration", args.From)
		}
	}
	return f.Check(ctx, local, remote), nil
}

func blockFederation(ctx context.Context, b Backend, args DomainArgs, on bool) (any, error) {
	f, err := federation(b)
	if err != nil {
		return nil, err
	}
	name, below := strings.CutPrefix(args.Domain, "*.")
	j, err := remoteDomain(name)
	if err != nil {
		return nil, err
	}
	pattern := j.Domain()
	if below {
		pattern = "*." + pattern
	}
	return struct{}{}, f.Block(ctx, pattern, on)
}
