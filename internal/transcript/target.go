package transcript

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"sabir/xmpp/client"
	"sabir/xmpp/jid"
)

// Target is the server that scripts run against.
type Target struct {
	// Client says how to connect; JID, Password and Domain are filled in.
	Client client.Config
	// Domain is that of the accounts; "" where scripts run with their own.
	Domain string
	// Transport is "tcp", "tls" or "websocket", for scripts that are tagged "only: tcp".
	Transport string
	// Account returns an account to log in with. It is called for n = 0, 1, … once for each bare JID of a script; hint
	// is the localpart that the script has for it. Nil means: the accounts are there as the script writes them.
	Account func(ctx context.Context, n int, hint string) (Account, error)
	// Peer makes the place of another server, for scripts with [Server] characters; domain is the one that the script has for
	// it. Nil where the target has no room for other servers. What it opens ends with the caller.
	Peer func(ctx context.Context, domain string) (*Peer, error)
	// Node stops and starts a node of a cluster; nil where there is one node.
	Node func(ctx context.Context, n int, start bool) error
	// Timeout is how long a stanza may take; 0 means five seconds. Quiet is how long nothing is waited for where the
	// script does not say; 0 means half a second.
	Timeout, Quiet time.Duration
	// Log gets details; nil means nowhere.
	Log *slog.Logger
}

const (
	defaultTimeout = 5 * time.Second
	defaultQuiet   = 500 * time.Millisecond
)

func (t *Target) timeout() time.Duration {
	if t.Timeout > 0 {
		return t.Timeout
	}
	return defaultTimeout
}

func (t *Target) quiet() time.Duration {
	if t.Quiet > 0 {
		return t.Quiet
	}
	return defaultQuiet
}

func (t *Target) log() *slog.Logger {
	if t.Log != nil {
		return t.Log
	}
	return slog.New(slog.DiscardHandler)
}

// Accounts deals out the accounts of a list in order.
func Accounts(list []Account) func(context.Context, int, string) (Account, error) {
	return func(_ context.Context, n int, _ string) (Account, error) {
		if n >= len(list) {
			return Account{}, fmt.Errorf("the script needs more than the %d accounts that were given", len(list))
		}
		return list[n], nil
	}
}

// Skip returns why the script does not run against the target, or "": it has a tag for another transport, or asks for
// what the target or this package does not have.
func (s *Script) Skip(t *Target) string {
	for _, tag := range s.Tags {
		only, ok := strings.CutPrefix(tag, "only:")
		if ok && !slices.Contains(strings.Fields(only), t.Transport) {
			return "it is for " + strings.TrimSpace(only) + " only"
		}
	}
	for _, c := range s.Characters {
		switch {
		case c.Kind == ServerKind && t.Peer == nil:
			return "the target has no room for other servers"
		case c.Kind == ComponentKind:
			return "a [" + string(c.Kind) + "] cannot act yet"
		}
	}
	for _, st := range s.Steps {
		switch {
		case (st.Verb == NodeStops || st.Verb == NodeStarts) && t.Node == nil:
			return "it stops nodes, and there is one node"
		}
	}
	return ""
}

// Needs returns the number of accounts that the script uses.
func (s *Script) Needs() int {
	seen := map[string]bool{}
	for i := range s.Characters {
		if s.Characters[i].Kind == ClientKind {
			seen[bareOf(s.Characters[i].Get("jid"))] = true
		}
	}
	return len(seen)
}

func bareOf(address string) string {
	bare, _, _ := strings.Cut(address, "/")
	return bare
}

// people deals out the accounts.
func (s *Script) people(ctx context.Context, t *Target) (*scope, error) {
	v := &scope{domain: t.Domain, captured: map[string]string{}, peers: map[string]*Peer{}}
	known := map[string]int{}
	for i := range s.Characters {
		c := &s.Characters[i]
		p := person{name: c.Name, account: -1}
		if c.Kind == ServerKind {
			if err := v.place(ctx, t, c); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", s.File, c.Line, err)
			}
			p.peer = v.peers[c.Get("domain")]
		}
		if c.Kind != ClientKind {
			v.people = append(v.people, p)
			continue
		}
		bare := bareOf(c.Get("jid"))
		n, ok := known[bare]
		if !ok {
			n = len(v.accounts)
			a, err := v.deal(ctx, t, c, n, bare)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", s.File, c.Line, err)
			}
			known[bare] = n
			v.accounts = append(v.accounts, a)
		}
		p.account = n
		v.people = append(v.people, p)
	}
	if v.domain == "" && len(v.accounts) > 0 {
		v.domain = v.accounts[0].JID.Domain()
	}
	v.sortRenames()
	return v, nil
}

// deal gets one account and notes what it stands for.
func (v *scope) deal(ctx context.Context, t *Target, c *Character, n int, bare string) (Account, error) {
	local, domain, ok := strings.Cut(bare, "@")
	if t.Account == nil {
		j, err := jid.Parse(strings.ReplaceAll(bare, "{domain}", t.Domain))
		if err != nil {
			return Account{}, err
		}
		return Account{j, c.Get("password")}, nil
	}
	a, err := t.Account(ctx, n, strings.Trim(local, "{}"))
	if err != nil {
		return a, err
	}
	if !strings.Contains(bare, "{user") {
		v.old = append(v.old, rename{from: strings.ReplaceAll(bare, "{domain}", a.JID.Domain()), to: a.JID.String()})
	}
	if ok && domain != "{domain}" && domain != a.JID.Domain() {
		v.old = append(v.old, rename{domain, a.JID.Domain(), true})
	}
	return a, nil
}

// sortRenames puts the longer first, and drops what changes nothing.
func (v *scope) sortRenames() {
	slices.SortStableFunc(v.old, func(a, b rename) int { return len(b.from) - len(a.from) })
	v.old = slices.CompactFunc(v.old, func(a, b rename) bool { return a == b })
	v.old = slices.DeleteFunc(v.old, func(r rename) bool { return r.from == r.to })
}

// errScript marks mistakes that show only when a script runs.
var errScript = errors.New("mistake in the script")

// Config returns the settings of the server that the script asks for by tags such as "config: auth.plain = true".
func (s *Script) Config() []string { return s.tagged("config:") }

// Without returns the features that the server must not have, by tags such as "without: http://jabber.org/protocol/pubsub#publish":
// the script shows what it answers then.
func (s *Script) Without() []string { return s.tagged("without:") }

// tagged returns what stands in the tags behind a word.
func (s *Script) tagged(word string) []string {
	var out []string
	for _, tag := range s.Tags {
		if v, ok := strings.CutPrefix(tag, word); ok {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}
