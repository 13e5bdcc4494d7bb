package host

import (
	"context"
	"fmt"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// bindCommands collects the commands of the server and of the extensions. Two with the same name or node stop the start.
func (h *Host) bindCommands() error {
	by := make(map[string]string)
	add := func(owner string, c mod.Command) error {
		for _, key := range []string{"name " + c.Name, "node " + c.NodeOf()} {
			if was, dup := by[key]; dup && key != "name " {
				return fmt.Errorf("%s and %s both have a command of the %s", was, owner, key)
			}
			by[key] = owner
		}
		h.commands = append(h.commands, c)
		return nil
	}
	for _, c := range h.o.Commands {
		if err := add("the server", c); err != nil {
			return err
		}
	}
	h.own = len(h.commands)
	for i, e := range h.o.Extensions {
		for _, c := range e.Info.Commands {
			instance := h.t.ext[i].hooks.Instance
			if instance == nil {
				return fmt.Errorf("extension %s has commands, and nothing to run them on", e.Info.Name)
			}
			if err := add("extension "+e.Info.Name, c.Bind(instance)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Commands returns all commands of the host, bound. The slice must not be changed.
func (h *Host) Commands() []mod.Command { return h.commands }

// ExtensionCommands returns those of the extensions alone.
func (h *Host) ExtensionCommands() []mod.Command { return h.commands[h.own:] }

// Right tells what somebody may do with the host.
func (h *Host) Right(who jid.JID) mod.Right {
	switch {
	case h.o.Right != nil:
		return h.o.Right(who.Bare())
	case who.DomainJID() == h.o.Domain:
		return mod.User
	}
	return mod.Stranger
}

// HostNodes returns the nodes of the host that extensions keep; never nil.
func (h *Host) HostNodes() mod.HostNodes { return hostNodes{h} }

// hostNodes asks each extension in turn.
type hostNodes struct{ h *Host }

func (n hostNodes) NodeInfo(ctx context.Context, who jid.JID, node string) (*mod.Disco, error) {
	for _, e := range n.h.t.ext {
		if e.hooks.HostNodes == nil {
			continue
		}
		if d, err := e.hooks.HostNodes.NodeInfo(ctx, who, node); d != nil || err != nil {
			return d, err
		}
	}
	return nil, nil
}

func (n hostNodes) NodeItems(ctx context.Context, who jid.JID, node string) ([]mod.DiscoItem, bool, error) {
	for _, e := range n.h.t.ext {
		if e.hooks.HostNodes == nil {
			continue
		}
		if list, ok, err := e.hooks.HostNodes.NodeItems(ctx, who, node); ok || err != nil {
			return list, ok, err
		}
	}
	return nil, false, nil
}
