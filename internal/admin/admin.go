// Package admin owns the registry of the commands by which a server is administered: its own, and those that extensions bring
// (mod.Command). From it the command line, the HTTP interface of the admin listener and ad-hoc commands (XEP-0050) are made.
package admin

import (
	"context"
	"encoding/json"
	"slices"

	"sabir/internal/auth"
	"sabir/internal/config"
	"sabir/internal/listen"
	"sabir/internal/observe"
	"sabir/internal/s2s"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// Backend is the server that is administered.
type Backend interface {
	// Config returns the configuration in force.
	Config() *config.Config
	// Accounts returns the accounts of a host, or nil where it is none of the server's.
	Accounts(domain jid.JID) mod.Accounts
	// Credentials returns what the accounts of a host are beyond that; nil as with Accounts.
	Credentials(domain jid.JID) *auth.Host
	// Import reads accounts. See auth.Import.
	Import(ctx context.Context, csv string, o auth.ImportOptions) (auth.ImportResult, error)
	// Sessions returns the bound resources of one account, or of all for the zero JID.
	Sessions(bare jid.JID) []mod.Session
	// Reload reads the configuration again, and returns what it has changed.
	Reload(ctx context.Context) ([]config.Change, error)
	// Stop begins to stop the server, and returns at once.
	Stop()
	// Trace returns what is known of the messages with an id.
	Trace(ctx context.Context, id string) (Trace, error)
	// Federation returns what talks to other servers, or nil where no server runs.
	Federation() *s2s.Server
	// Commands returns the host to which a domain belongs, as its own or that of a service, with the commands of its extensions,
	// bound. The zero JID stands for the only host there is.
	Commands(domain jid.JID) (host jid.JID, all []mod.Command, err error)
	// Route sends a stanza on its way, as from a host.
	Route(ctx context.Context, s *stanza.Stanza)
	// Certificates tells of the certificates in use; nil where no server runs.
	Certificates() []listen.CertificateStatus
	// Roster returns the rosters of a host; nil as with Accounts.
	Roster(domain jid.JID) mod.Roster
	// Health returns what is known of the server's state.
	Health(ctx context.Context) observe.Report
}

// Secret is an argument or a result that is never logged.
type Secret = mod.Secret

// define makes a command of the server itself. See mod.Define. It is for the operator, and where it is not local for the server's admins.
func define[T any](name, doc string, local bool, run func(ctx context.Context, b Backend, args T) (any, error)) mod.Command {
	return mod.Define(mod.Command{Name: name, Doc: doc, Right: mod.ServerAdmin, Local: local},
		func(ctx context.Context, b Backend, _ *mod.Call, args T) (any, error) { return run(ctx, b, args) })
}

// hostArg is the argument that commands of extensions have beside their own: a server may have several hosts.
func hostArg() mod.Arg {
	return mod.Arg{Name: "host", Type: mod.ArgText, Doc: "The domain of the host, or of a service of one; needed where no address tells and there are several."}
}

// Description is a command as it is listed.
type Description struct {
	Name string    `json:"name"`
	Doc  string    `json:"doc"`
	Args []mod.Arg `json:"args"`
	// Extension is set where an extension brings it.
	Extension string `json:"extension,omitempty"`
}

// Registry is a set of commands.
type Registry struct {
	list []Description
	own  map[string]mod.Command
	ext  map[string]mod.Command
}

// New returns the registry of the server's commands and of those of extensions, enabled or not.
func New(extensions []mod.Info) *Registry {
	r := &Registry{own: make(map[string]mod.Command), ext: make(map[string]mod.Command)}
	for _, c := range commands() {
		r.list = append(r.list, Description{Name: c.Name, Doc: c.Doc, Args: c.Args})
		r.own[c.Name] = c
	}
	for _, e := range extensions {
		for _, c := range e.Commands {
			if c.Name == "" {
				continue
			}
			r.list = append(r.list, Description{Name: c.Name, Doc: c.Doc, Args: append(slices.Clone(c.Args), hostArg()), Extension: e.Name})
			r.ext[c.Name] = c
		}
	}
	return r
}

// HostCommands returns the commands of the server that clients give to one of its hosts: those that are not local, and those of XEP-0133.
func HostCommands(b Backend) []mod.Command {
	var all []mod.Command
	for _, c := range append(standard(), commands()...) {
		all = append(all, c.Bind(b))
	}
	return all
}

// Commands returns the commands in the order in which they are shown.
func (r *Registry) Commands() []Description { return r.list }

// Run runs a command for the operator. args is a JSON object of its arguments. Errors that are a *stanza.Error are those of who gave the command;
// others are the server's own.
func (r *Registry) Run(ctx context.Context, b Backend, name string, args []byte) (any, error) {
	if len(args) == 0 {
		args = []byte("{}")
	}
	if c, ok := r.own[name]; ok {
		c = c.Bind(b)
		return c.Run(ctx, &mod.Call{}, args)
	}
	c, ok := r.ext[name]
	if !ok {
		return nil, stanza.Errf(stanza.FeatureNotImplemented, "there is no command %q", name)
	}
	return runExtension(ctx, b, &c, args)
}

// runExtension runs a command of an extension on the host that its arguments name.
func runExtension(ctx context.Context, b Backend, c *mod.Command, args []byte) (any, error) {
	var given map[string]json.RawMessage
	if err := json.Unmarshal(args, &given); err != nil {
		return nil, stanza.Errf(stanza.BadRequest, "arguments of %s: they are no JSON object", c.Name)
	}
	domain, err := hostOf(c, given)
	if err != nil {
		return nil, err
	}
	delete(given, hostArg().Name)
	if args, err = json.Marshal(given); err != nil {
		return nil, err
	}
	host, all, err := b.Commands(domain)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name == c.Name {
			return all[i].Run(ctx, &mod.Call{Host: host}, args)
		}
	}
	return nil, stanza.Errf(stanza.FeatureNotImplemented, "%s has no command %q: the extension is not enabled there", host, c.Name)
}

// hostOf returns the domain by which the arguments of a command tell the host: that of the argument host, or of the first address.
func hostOf(c *mod.Command, given map[string]json.RawMessage) (jid.JID, error) {
	read := func(key string) (string, error) {
		var text string
		if raw, ok := given[key]; ok {
			if err := json.Unmarshal(raw, &text); err != nil {
				return "", stanza.Errf(stanza.BadRequest, "arguments of %s: %s is no text", c.Name, key)
			}
		}
		return text, nil
	}
	text, err := read(hostArg().Name)
	for i := 0; err == nil && text == "" && i < len(c.Args); i++ {
		if c.Args[i].Type == mod.ArgAddress {
			text, err = read(c.Args[i].Name)
		}
	}
	if text == "" || err != nil {
		return jid.JID{}, err
	}
	j, err := jid.Parse(text)
	if err != nil {
		return j, stanza.Errf(stanza.BadRequest, "%q is no address", text)
	}
	return j.DomainJID(), nil
}

// Call is Run for callers in the same process: args is a struct such as AccountArgs, and result a pointer to what the command returns.
func (r *Registry) Call(ctx context.Context, b Backend, name string, args, result any) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	v, err := r.Run(ctx, b, name, text)
	if err != nil {
		return err
	}
	if text, err = json.Marshal(v); err != nil {
		return err
	}
	return json.Unmarshal(text, result)
}
