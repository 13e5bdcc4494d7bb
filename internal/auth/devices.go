package auth

import (
	"context"
	"errors"
	"time"

	"sabir/mod"
)

// Devices returns the clients of an account that have said which one they are, the last seen first. Connected is not set.
func (h *Host) Devices(ctx context.Context, local string) (all []mod.Device, err error) {
	rows, err := h.a.db.Query(ctx, `SELECT d.id, d.software, d.device, d.first_seen, d.last_seen, d.password,
		(SELECT count(*) FROM auth_token t WHERE t.host = d.host AND t.local = d.local AND t.device = d.id AND t.expires > ?)
		FROM auth_device d WHERE d.host = ? AND d.local = ? ORDER BY d.last_seen DESC, d.id`, h.a.clock.Now(), h.domain, local)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d mod.Device
		var tokens int
		if err := rows.Scan(&d.ID, &d.Software, &d.Device, &d.FirstSeen, &d.LastSeen, &d.Password, &tokens); err != nil {
			return nil, err
		}
		d.Token = tokens > 0
		all = append(all, d)
	}
	return all, rows.Err()
}

// Revoke takes the access of a client away: its tokens are worth nothing any more, and it is forgotten. It does not end sessions. It returns
// mod.ErrNoRows where there is no such client, and mod.ErrPasswordKnown, having done nothing, where the client has shown the password and force is not
// set.
func (h *Host) Revoke(ctx context.Context, local, client string, force bool) error {
	err := h.a.db.Write(ctx, func(tx mod.Tx) error {
		var password bool
		err := tx.QueryRow(ctx, `SELECT password FROM auth_device WHERE host = ? AND local = ? AND id = ?`, h.domain, local, client).Scan(&password)
		if err != nil {
			return err
		}
		if password && !force {
			return mod.ErrPasswordKnown
		}
		if _, err := tx.Exec(ctx, `DELETE FROM auth_device WHERE host = ? AND local = ? AND id = ?`, h.domain, local, client); err != nil {
			return err
		}
		return h.dropOrphans(ctx, tx, local)
	})
	if err == nil {
		h.changes.note(local)
	}
	return err
}

// PasswordPolicy says which other clients lose their access with a new password: config.Devices.PasswordChange.
func (h *Host) PasswordPolicy() string { return h.a.settings.Load().Devices.PasswordChange }

// passwordChanged takes the access away that ends with the old password, of all clients but keep, which has set the new one, "" for none.
func (h *Host) passwordChanged(ctx context.Context, tx mod.Tx, local, keep string) error {
	switch h.PasswordPolicy() {
	case "none":
		_, err := tx.Exec(ctx, `UPDATE auth_device SET password = ? WHERE host = ? AND local = ? AND id <> ?`, false, h.domain, local, keep)
		return err
	case "all":
		keep = ""
	}
	if _, err := tx.Exec(ctx, `DELETE FROM auth_device WHERE host = ? AND local = ? AND id <> ?`, h.domain, local, keep); err != nil {
		return err
	}
	return h.dropOrphans(ctx, tx, local)
}

// deleteDevices forgets the clients of an account that is deleted.
func (h *Host) deleteDevices(ctx context.Context, tx mod.Tx, local string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM auth_device WHERE host = ? AND local = ?`, h.domain, local); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM auth_token WHERE host = ? AND local = ?`, h.domain, local)
	return err
}

const (
	// pruneEvery is how often what is too old is looked for.
	pruneEvery = time.Hour
	// keepExpired is how long a token is kept after its end, so that its client is told what it is that fails.
	keepExpired = 7 * 24 * time.Hour
)

// Prune deletes, until ctx ends, tokens that have expired and clients that were not seen for long.
func (a *Auth) Prune(ctx context.Context, failed func(error)) {
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	for {
		if err := a.prune(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (a *Auth) prune(ctx context.Context) error {
	now := a.clock.Now()
	keep := time.Duration(a.settings.Load().Devices.Keep)
	return a.db.Write(ctx, func(tx mod.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM auth_token WHERE expires < ?`, now.Add(-keepExpired)); err != nil || keep <= 0 {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM auth_device WHERE last_seen < ? AND NOT EXISTS
			(SELECT 1 FROM auth_token t WHERE t.host = auth_device.host AND t.local = auth_device.local AND t.device = auth_device.id AND t.expires > ?)`,
			now.Add(-keep), now)
		return err
	})
}
