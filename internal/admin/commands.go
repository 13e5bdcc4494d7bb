package admin

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"

	"sabir/internal/auth"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
)

// The arguments and results of the commands. Their JSON is the interface of the admin listener.
type (
	// AccountArgs name an account.
	AccountArgs struct {
		JID jid.JID `json:"jid" doc:"The address of the account: user@domain." required:""`
	}
	// PasswordArgs name an account and its password.
	PasswordArgs struct {
		JID      jid.JID `json:"jid" doc:"The address of the account: user@domain." required:""`
		Password Secret  `json:"password" doc:"The password; a random one is made and shown if there is none."`
	}
	// PasswordResult tells the password where it was made.
	PasswordResult struct {
		JID      jid.JID `json:"jid"`
		Password Secret  `json:"password,omitempty"`
	}
	// ListArgs choose accounts.
	ListArgs struct {
		Domain string `json:"domain" doc:"The domain; all if there is none."`
		After  string `json:"after" doc:"The user name behind which to begin, with a domain only."`
		Limit  int    `json:"limit" doc:"The most accounts to list; all if there is none."`
	}
	// ImportArgs are accounts in CSV.
	ImportArgs struct {
		CSV        Secret `json:"csv" doc:"Lines of CSV: jid,password." required:""`
		Replace    bool   `json:"replace" doc:"Give accounts that exist the password of the file."`
		Iterations int    `json:"iterations" doc:"Iterations of PBKDF2 instead of those of the configuration."`
	}
	// SessionArgs choose sessions.
	SessionArgs struct {
		JID jid.JID `json:"jid" doc:"An account; all if there is none."`
	}
	// CloseArgs choose sessions to close.
	CloseArgs struct {
		JID    jid.JID `json:"jid" doc:"The account, or the full address of one session." required:""`
		Reason string  `json:"reason" doc:"A text for the client."`
	}
	// Session is a bound resource.
	Session struct {
		JID        jid.JID   `json:"jid"`
		Available  bool      `json:"available"`
		Priority   int8      `json:"priority"`
		LastActive time.Time `json:"last_active"`
		Software   string    `json:"software,omitempty"` // what the client says of itself
		Device     string    `json:"device,omitempty"`
		Mechanism  string    `json:"mechanism,omitempty"`
		// Waiting says that the session has lost its connection and waits for its client to resume it.
		Waiting bool `json:"waiting,omitempty"`
	}
	// Count is how many were affected.
	Count struct {
		Count int `json:"count"`
	}
	// NoArgs is for commands without arguments.
	NoArgs struct{}
)

// page is how many accounts are read at a time.
const page = 1000

func commands() []mod.Command {
	return []mod.Command{
		define("account add", "Makes an account.", true, addAccount),
		define("account passwd", "Sets the password of an account.", true, setPassword),
		define("account disable", "Closes an account to logins and ends its sessions.", true, func(ctx context.Context, b Backend, a AccountArgs) (any, error) {
			return setDisabled(ctx, b, a.JID, true)
		}),
		define("account enable", "Opens a disabled account again.", true, func(ctx context.Context, b Backend, a AccountArgs) (any, error) {
			return setDisabled(ctx, b, a.JID, false)
		}),
		define("account delete", "Removes an account and all that is kept of it.", true, deleteAccount),
		define("account list", "Lists accounts.", true, listAccounts),
		define("account devices", "Lists the clients with access to an account.", false, listDevices),
		define("account revoke", "Takes the access of a client away and ends its sessions.", false, revokeDevice),
		define("account import", "Makes accounts from CSV with lines jid,password.", true, importAccounts),
		define("session list", "Lists the sessions that are bound.", false, listSessions),
		define("session close", "Ends sessions.", false, closeSessions),
		mod.Define(mod.Command{Name: "trace", Doc: "Tells what became of a message.", Right: mod.HostAdmin}, trace),
		define("s2s list", "Lists the streams with other servers and what waits for them.", false, listFederation),
		define("s2s close", "Ends the streams with a domain; what waits is tried anew.", false, closeFederation),
		define("s2s check", "Looks at the way to a domain: DNS, addresses, TLS, certificate, what its server offers.", false, checkFederation),
		define("s2s block", "Closes a domain, until it is unblocked.", false, func(ctx context.Context, b Backend, a DomainArgs) (any, error) {
			return blockFederation(ctx, b, a, true)
		}),
		define("s2s unblock", "Opens a domain that was blocked.", false, func(ctx context.Context, b Backend, a DomainArgs) (any, error) {
			return blockFederation(ctx, b, a, false)
		}),
		define("certificate list", "Lists the certificates of the hosts that are in use, and why files that would replace one are refused.", false, func(_ context.Context, b Backend, _ NoArgs) (any, error) {
			if list := b.Certificates(); list != nil {
				return list, nil
			}
			return nil, ErrNotRunning
		}),
		define("reload", "Reads the configuration file again and puts it in force.", false, func(ctx context.Context, b Backend, _ NoArgs) (any, error) {
			return b.Reload(ctx)
		}),
		define("stop", "Stops the server; clients are told.", true, func(_ context.Context, b Backend, _ NoArgs) (any, error) {
			b.Stop()
			return struct{}{}, nil
		}),
		define("health", "Tells whether the server is ready.", true, func(ctx context.Context, b Backend, _ NoArgs) (any, error) {
			return b.Health(ctx), nil
		}),
	}
}

// account finds the host of the address of an account.
func account(b Backend, j jid.JID) (mod.Accounts, *auth.Host, error) {
	if j.Local() == "" || j.IsFull() {
		return nil, nil, stanza.Errf(stanza.BadRequest, "%s is not of the form user@domain", j)
	}
	a, h := b.Accounts(j.DomainJID()), b.Credentials(j.DomainJID())
	if a == nil || h == nil {
		return nil, nil, stanza.Errf(stanza.ItemNotFound, "there is no host %s in the configuration", j.Domain())
	}
	return a, h, nil
}

// RandomPassword returns a password of 120 random bits that is easy to type.
func RandomPassword() (string, error) {
	b := make([]byte, 15)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	s := strings.ToLower(base32.StdEncoding.EncodeToString(b))
	return s[:6] + "-" + s[6:12] + "-" + s[12:18] + "-" + s[18:], nil
}

// givenOrRandom returns a password and, where it was made here, what to tell of it.
func givenOrRandom(j jid.JID, given Secret) (string, PasswordResult, error) {
	if given != "" {
		return string(given), PasswordResult{JID: j}, nil
	}
	p, err := RandomPassword()
	return p, PasswordResult{JID: j, Password: Secret(p)}, err
}

func addAccount(ctx context.Context, b Backend, args PasswordArgs) (any, error) {
	a, _, err := account(b, args.JID)
	if err != nil {
		return nil, err
	}
	password, result, err := givenOrRandom(args.JID, args.Password)
	if err != nil {
		return nil, err
	}
	return result, a.Create(ctx, args.JID.Local(), password)
}

func setPassword(ctx context.Context, b Backend, args PasswordArgs) (any, error) {
	a, _, err := account(b, args.JID)
	if err != nil {
		return nil, err
	}
	password, result, err := givenOrRandom(args.JID, args.Password)
	if err != nil {
		return nil, err
	}
	return result, a.SetPassword(ctx, args.JID.Local(), password, nil)
}

func setDisabled(ctx context.Context, b Backend, j jid.JID, disabled bool) (any, error) {
	_, h, err := account(b, j)
	if err != nil {
		return nil, err
	}
	if err := h.SetDisabled(ctx, j.Local(), disabled); err != nil {
		return nil, err
	}
	n := 0
	if disabled {
		for _, s := range b.Sessions(j) {
			s.Close(string(stream.NotAuthorized), "the account was disabled")
			n++
		}
	}
	return Count{n}, nil
}

func deleteAccount(ctx context.Context, b Backend, args AccountArgs) (any, error) {
	a, _, err := account(b, args.JID)
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.Delete(ctx, args.JID.Local())
}

func listAccounts(ctx context.Context, b Backend, args ListArgs) (any, error) {
	var domains []jid.JID
	if args.Domain != "" {
		j, err := jid.New("", args.Domain, "")
		if err != nil {
			return nil, stanza.Errf(stanza.BadRequest, "%q is no domain", args.Domain)
		}
		domains = append(domains, j)
	} else {
		c := b.Config()
		for i := range c.Hosts {
			domains = append(domains, c.Hosts[i].JID())
		}
	}
	list := []auth.Account{}
	for _, d := range domains {
		h := b.Credentials(d)
		if h == nil {
			return nil, stanza.Errf(stanza.ItemNotFound, "there is no host %s in the configuration", d)
		}
		for after := args.After; ; {
			n := page
			if args.Limit > 0 {
				n = min(n, args.Limit-len(list))
			}
			as, err := h.List(ctx, after, n)
			if err != nil {
				return nil, err
			}
			list = append(list, as...)
			if len(as) < page || args.Limit > 0 && len(list) >= args.Limit {
				break
			}
			after = as[len(as)-1].JID.Local()
		}
	}
	return list, nil
}

func importAccounts(ctx context.Context, b Backend, args ImportArgs) (any, error) {
	if args.Iterations != 0 && (args.Iterations < sasl.MinIterations || args.Iterations > sasl.MaxIterations) {
		return nil, stanza.Errf(stanza.BadRequest, "iterations are %d to %d", sasl.MinIterations, sasl.MaxIterations)
	}
	return b.Import(ctx, string(args.CSV), auth.ImportOptions{Replace: args.Replace, Iterations: args.Iterations})
}

func listSessions(_ context.Context, b Backend, args SessionArgs) (any, error) {
	list := []Session{}
	for _, s := range b.Sessions(args.JID.Bare()) {
		c := s.Client()
		list = append(list, Session{
			JID: s.JID(), Available: s.Presence() != nil, Priority: s.Priority(), LastActive: s.LastActive(),
			Software: c.Software, Device: c.Device, Mechanism: c.Mechanism, Waiting: !s.Connected(),
		})
	}
	return list, nil
}

func closeSessions(_ context.Context, b Backend, args CloseArgs) (any, error) {
	n := 0
	for _, s := range b.Sessions(args.JID.Bare()) {
		if args.JID.IsFull() && s.JID() != args.JID {
			continue
		}
		reason := args.Reason
		if reason == "" {
			reason = "closed by an administrator"
		}
		s.Close(string(stream.PolicyViolation), reason)
		n++
	}
	if n == 0 {
		return nil, stanza.Errf(stanza.ItemNotFound, "%s has no session", args.JID)
	}
	return Count{n}, nil
}
