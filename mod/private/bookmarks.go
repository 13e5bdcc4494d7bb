package private

import (
	"context"
	"errors"
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/bookmark"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Bookmarks are kept at a node of the account: private storage is another way to the same data (XEP-0411#conversion). Without nodes they
// are kept here, and move there once there are any.

var bookmarks = xmlstream.Name{Space: bookmark.NSList, Local: "storage"}

// nodes returns the nodes of accounts where they have the bookmarks, else nil.
func (x *private) nodes() mod.AccountNodes {
	if !slices.Contains(x.h.Disco(mod.AtAccount).Features, bookmark.Conversion) {
		return nil
	}
	return x.h.AccountNodes()
}

// atNode returns the bookmarks that are kept at the account's node, where name is theirs and there are any.
func (x *private) atNode(ctx context.Context, account jid.JID, name xmlstream.Name) (*xmlstream.Element, error) {
	if name != bookmarks {
		return nil, nil
	}
	nodes := x.nodes()
	if nodes == nil {
		return nil, nil
	}
	if err := x.move(ctx, nodes, account); err != nil && !errors.As(err, new(*stanza.Error)) { // what does not fit there stays here
		return nil, err
	}
	_, kept, err := nodes.Item(ctx, account, bookmark.NSList, "")
	if !kept.Is(name.Space, name.Local) {
		return nil, err
	}
	return kept, err
}

// moveAll moves the bookmarks of all accounts of the host that are still here.
func (x *private) moveAll(ctx context.Context) error {
	nodes := x.nodes()
	if nodes == nil {
		return nil
	}
	rows, err := x.h.DB().Query(ctx, `SELECT account FROM private_xml WHERE space = 'storage:bookmarks'`)
	if err != nil {
		return err
	}
	var all []jid.JID
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return errors.Join(err, rows.Close())
		}
		if j, err := jid.Parse(s); err == nil && j.DomainJID() == x.h.Domain() {
			all = append(all, j)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, account := range all {
		if err := x.move(ctx, nodes, account); err != nil && ctx.Err() == nil {
			x.h.Log().Error("bookmarks were not moved to the account's node", "account", account.String(), "error", err)
		}
	}
	return ctx.Err()
}

// move moves the bookmarks of an account, beside those that other clients have published, in one form or the other. Of a room that is on
// both sides those count. A client that publishes meanwhile does so before or after.
func (x *private) move(ctx context.Context, nodes mod.AccountNodes, account jid.JID) error {
	if here, err := x.kept(ctx, account, bookmarks); here == nil || err != nil {
		return err // as a rule
	}
	err := nodes.Update(ctx, account, func(ctx context.Context) ([]mod.NodeChange, func(mod.Tx) error, error) {
		merged, err := x.merged(ctx, nodes, account)
		if err != nil {
			return nil, nil, err
		}
		change := mod.NodeChange{Node: bookmark.NSList, ID: "current", Payload: merged, Private: true}
		return []mod.NodeChange{change}, func(tx mod.Tx) error {
			if had, err := x.drop(ctx, tx, account); had || err != nil {
				return err
			}
			return errMoved
		}, nil
	})
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// errMoved undoes a move where the bookmarks are not here any more: another was faster, a client has written meanwhile, or the account
// is gone.
var errMoved = errors.New("private: the bookmarks are not here any more")

// merged returns the bookmarks of the nodes and those that are here as one list, or errMoved where none are here.
func (x *private) merged(ctx context.Context, nodes mod.AccountNodes, account jid.JID) (*xmlstream.Element, error) {
	here, err := x.kept(ctx, account, bookmarks)
	if err == nil && here == nil {
		err = errMoved
	}
	if err != nil {
		return nil, err
	}
	_, there, err := nodes.Item(ctx, account, bookmark.NSList, "")
	if err != nil {
		return nil, err
	}
	items, err := published(ctx, nodes, account)
	if err != nil {
		return nil, err
	}
	old := xmlstream.El(bookmark.NSList, "storage")
	for s := range here.Elements() {
		for k := range s.Elements() {
			old.Add(k)
		}
	}
	return bookmark.Merge(there, items, old), nil
}

// published returns the rooms of the newer form as a list.
func published(ctx context.Context, nodes mod.AccountNodes, account jid.JID) (*xmlstream.Element, error) {
	list, _, err := nodes.NodeItems(ctx, account, account, bookmark.NSItems)
	if err != nil {
		return nil, err
	}
	out := xmlstream.El(bookmark.NSList, "storage")
	for _, i := range list {
		_, x, err := nodes.Item(ctx, account, bookmark.NSItems, i.Name)
		if err != nil {
			return nil, err
		}
		if x.Is(bookmark.NSItems, "conference") {
			out.Add(bookmark.Listed(i.Name, x))
		}
	}
	return out, nil
}

// drop deletes the bookmarks that are here, and tells whether there were any.
func (x *private) drop(ctx context.Context, tx mod.Tx, account jid.JID) (had bool, err error) {
	r, err := tx.Exec(ctx, `DELETE FROM private_xml WHERE account = ? AND space = 'storage:bookmarks' AND local = 'storage'`, account.String())
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}
