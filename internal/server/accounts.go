package server

import (
	"context"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stream"
)

// hostAccounts are the accounts of one host, with what their removal means to the extensions and sessions.
type hostAccounts struct {
	s      *Server
	domain jid.JID
}

var _ mod.Accounts = (*hostAccounts)(nil)

func (a *hostAccounts) Exists(ctx context.Context, local string) (bool, error) {
	return a.s.accounts(a.domain).Exists(ctx, local)
}

func (a *hostAccounts) Create(ctx context.Context, local, password string) error {
	return a.s.accounts(a.domain).Create(ctx, local, password)
}

func (a *hostAccounts) SetPassword(ctx context.Context, local, password string) error {
	return a.s.accounts(a.domain).SetPassword(ctx, local, password)
}

// Delete removes an account. See mod.Accounts.
func (a *hostAccounts) Delete(ctx context.Context, local string, done ...func()) error {
	account, err := jid.New(local, a.domain.Domain(), "")
	if err != nil {
		return err
	}
	h := a.s.router.Host(a.domain)
	if h != nil {
		if err := h.BeforeAccountRemoved(ctx, account); err != nil {
			return err
		}
	}
	err = a.s.accounts(a.domain).Delete(ctx, local, func(ctx context.Context, tx mod.Tx) error {
		if h == nil {
			return nil
		}
		return h.AccountRemoved(ctx, tx, account)
	})
	if err != nil {
		return err
	}
	for _, f := range done {
		f()
	}
	for _, t := range a.s.dir.Sessions(account) {
		t.Close(string(stream.NotAuthorized), "the account was removed")
	}
	return nil
}
