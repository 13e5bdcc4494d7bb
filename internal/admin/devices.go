package admin

import (
	"context"
	"errors"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

type (
	// DeviceArgs name a client of an account.
	DeviceArgs struct {
		JID    jid.JID `json:"jid" doc:"The address of the account: user@domain." required:""`
		Device string  `json:"device" doc:"The id of the client, as account devices tells it." required:""`
	}
	// Device is a client with access to an account.
	Device struct {
		ID        string    `json:"id"`
		Software  string    `json:"software,omitempty"`
		Device    string    `json:"device,omitempty"`
		FirstSeen time.Time `json:"first_seen"`
		LastSeen  time.Time `json:"last_seen"`
		Connected bool      `json:"connected"`
		Password  bool      `json:"password"` // it has shown the password that is in force
		Token     bool      `json:"token"`    // it has a token to log in with
	}
)

func listDevices(ctx context.Context, b Backend, args AccountArgs) (any, error) {
	a, _, err := account(b, args.JID)
	if err != nil {
		return nil, err
	}
	exists, err := a.Exists(ctx, args.JID.Local())
	if err == nil && !exists {
		err = stanza.Errf(stanza.ItemNotFound, "there is no account %s", args.JID)
	}
	if err != nil {
		return nil, err
	}
	all, err := a.Devices(ctx, args.JID.Local())
	list := []Device{}
	for _, d := range all {
		list = append(list, Device(d))
	}
	return list, err
}

// revokeDevice takes the access of a client away, also of one that knows the password: that it cannot use it any more is up to
// a new password.
func revokeDevice(ctx context.Context, b Backend, args DeviceArgs) (any, error) {
	a, _, err := account(b, args.JID)
	if err != nil {
		return nil, err
	}
	if err = a.Revoke(ctx, args.JID.Local(), args.Device, true); errors.Is(err, mod.ErrNoRows) {
		err = stanza.Errf(stanza.ItemNotFound, "%s has no client %s", args.JID, args.Device)
	}
	return struct{}{}, err
}
