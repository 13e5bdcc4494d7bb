package mam

import (
	"context"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// clearArgs are those of the command that empties an archive.
type clearArgs struct {
	Account jid.JID `json:"account" doc:"The address of the account; your own if there is none."`
}

func commands() []mod.Command {
	return []mod.Command{
		mod.Define(mod.Command{Name: "archive clear", Doc: "Deletes the messages in the archive of an account.", Right: mod.User}, clearArchive),
	}
}

// clearArchive empties an archive: that of who asks, where the settings let users do so, or with the right to it that of somebody else.
// The next message begins another archive, with none of the ids of this one.
func clearArchive(ctx context.Context, m *archives, c *mod.Call, a clearArgs) (any, error) {
	account, admin := a.Account.Bare(), c.By.IsZero() || m.h.Right(c.By) >= mod.HostAdmin
	if account.IsZero() {
		account = c.By.Bare()
	}
	switch {
	case account.IsZero():
		return nil, stanza.Err(stanza.NotAcceptable, "name an account")
	case !admin && account != c.By.Bare():
		return nil, stanza.Err(stanza.Forbidden, "an archive is for its owner")
	case !admin && !m.c.Clear:
		return nil, stanza.Err(stanza.NotAllowed, "archives are not emptied here")
	case account.DomainJID() != m.h.Domain() || account.Local() == "":
		return nil, stanza.Errf(stanza.ItemNotFound, "%s is no account of %s", account, m.h.Domain())
	}
	err := m.h.DB().Write(ctx, func(tx mod.Tx) error { return m.log.Remove(ctx, tx, account.String()) })
	if err != nil {
		return nil, err
	}
	m.purgeSoon()
	return mod.Note("The archive is empty."), nil
}
