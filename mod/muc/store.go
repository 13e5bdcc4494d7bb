package muc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// store is the tables of the extension.
type store struct{ db mod.DB }

// kept is a room as it is stored.
type kept struct {
	cfg     room.Config
	creator jid.JID
	created time.Time
	subject *stanza.Stanza // or nil
	// versions are those of the affiliations.
	versions versions
}

// associate is somebody with an affiliation.
type associate struct {
	affiliation room.Affiliation
	nick        string // reserved, or ""
	reason      string
}

// stored is an occupant.
type stored struct {
	jid      jid.JID
	nick     string
	role     room.Role
	presence *stanza.Stanza
}

// secret returns the key of the service for occupant ids, and makes it the first time.
func (t store) secret(ctx context.Context, domain jid.JID) ([]byte, error) {
	var fresh [32]byte
	if _, err := rand.Read(fresh[:]); err != nil {
		return nil, err
	}
	var key string
	err := t.db.Write(ctx, func(tx mod.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO muc_service (domain, secret) VALUES (?, ?) ON CONFLICT (domain) DO NOTHING`,
			domain.String(), hex.EncodeToString(fresh[:]))
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT secret FROM muc_service WHERE domain = ?`, domain.String()).Scan(&key)
	})
	if err != nil {
		return nil, fmt.Errorf("secret of the service: %w", err)
	}
	return hex.DecodeString(key)
}

// room returns a room, or nil.
func (t store) room(ctx context.Context, r jid.JID) (*kept, error) {
	var creator, cfg, subject string
	var created int64
	k := &kept{}
	err := t.db.QueryRow(ctx, `SELECT creator, created, config, subject, affiliation_version, affiliation_floor FROM muc_room WHERE room = ?`, r.String()).
		Scan(&creator, &created, &cfg, &subject, &k.versions.now, &k.versions.floor)
	if errors.Is(err, mod.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	k.created = time.UnixMicro(created)
	if err := readConfig(cfg, &k.cfg); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", r, err)
	}
	if k.creator, err = jid.Parse(creator); err != nil {
		return nil, fmt.Errorf("creator of %s: %w", r, err)
	}
	if subject != "" {
		if k.subject, err = parse(subject); err != nil {
			return nil, fmt.Errorf("subject of %s: %w", r, err)
		}
	}
	return k, nil
}

// put stores a room, new or changed, without its subject.
func (t store) put(ctx context.Context, tx mod.Tx, service, r jid.JID, k kept) error {
	cfg, err := json.Marshal(k.cfg)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO muc_room (room, service, creator, created, name, hidden, persistent, config, subject, name_key, description_key)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?) ON CONFLICT (room) DO UPDATE SET name = excluded.name, hidden = excluded.hidden,
		persistent = excluded.persistent, config = excluded.config, name_key = excluded.name_key, description_key = excluded.description_key`,
		r.String(), service.String(), k.creator.String(), k.created.UnixMicro(), k.cfg.Name, bit(k.cfg.Hidden), bit(k.cfg.Persistent), string(cfg),
		fold(k.cfg.Name), fold(k.cfg.Description))
	return err
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (t store) setSubject(ctx context.Context, tx mod.Tx, r jid.JID, subject string) error {
	_, err := tx.Exec(ctx, `UPDATE muc_room SET subject = ? WHERE room = ?`, subject, r.String())
	return err
}

func (t store) remove(ctx context.Context, tx mod.Tx, r jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM muc_room WHERE room = ?`, r.String())
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_affiliation WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_occupant WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_vcard WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_request WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_token WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_left WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_activity WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_untold WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_hat WHERE room = ?`, r.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_hat_worn WHERE room = ?`, r.String())
	}
	return err
}

// forget removes somebody from all lists.
func (t store) forget(ctx context.Context, tx mod.Tx, account jid.JID) error {
	err := t.forgetVersions(ctx, tx, account)
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_affiliation WHERE jid = ?`, account.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_hat_worn WHERE jid = ?`, account.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_request WHERE jid = ?`, account.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_token WHERE creator = ?`, account.String())
	}
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_left WHERE jid = ?`, account.String())
	}
	return err
}

// count returns how many rooms a service has, and how many of them somebody has created.
func (t store) count(ctx context.Context, service, creator jid.JID) (all, own int, err error) {
	err = t.db.QueryRow(ctx, `SELECT count(*) FROM muc_room WHERE creator = ? AND service = ?`, creator.String(), service.String()).Scan(&own)
	if err == nil {
		err = t.db.QueryRow(ctx, `SELECT count(*) FROM muc_room WHERE service = ?`, service.String()).Scan(&all)
	}
	return all, own, err
}

// associates returns all that have an affiliation with a room.
func (t store) associates(ctx context.Context, r jid.JID) (list map[jid.JID]associate, err error) {
	rows, err := t.db.Query(ctx, `SELECT jid, affiliation, nick, reason FROM muc_affiliation WHERE room = ? AND affiliation <> ?`, r.String(), int64(room.None))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	list = make(map[jid.JID]associate)
	for rows.Next() {
		var who string
		var a associate
		var affiliation int64
		if err := rows.Scan(&who, &affiliation, &a.nick, &a.reason); err != nil {
			return nil, err
		}
		a.affiliation = room.Affiliation(affiliation)
		j, err := jid.Parse(who)
		if err != nil {
			return nil, fmt.Errorf("affiliation with %s: %w", r, err)
		}
		list[j] = a
	}
	return list, rows.Err()
}

// affiliate sets what somebody is to a room. Who is nothing any more is remembered for a while: see forgetMoves.
func (t store) affiliate(ctx context.Context, tx mod.Tx, r, who jid.JID, a associate, version int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO muc_affiliation (room, jid, affiliation, nick, reason, version, born) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (room, jid) DO UPDATE SET affiliation = excluded.affiliation, nick = excluded.nick, reason = excluded.reason,
		version = CASE WHEN muc_affiliation.affiliation = excluded.affiliation THEN muc_affiliation.version ELSE excluded.version END`,
		r.String(), who.String(), int64(a.affiliation), a.nick, a.reason, version, version)
	return err
}

// occupants returns those who were in a room.
func (t store) occupants(ctx context.Context, r jid.JID) (list []stored, err error) {
	rows, err := t.db.Query(ctx, `SELECT jid, nick, role, presence FROM muc_occupant WHERE room = ? ORDER BY jid`, r.String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var who, presence string
		var o stored
		var role int64
		if err := rows.Scan(&who, &o.nick, &role, &presence); err != nil {
			return nil, err
		}
		o.role = room.Role(role)
		if o.jid, err = jid.Parse(who); err != nil {
			return nil, fmt.Errorf("occupant of %s: %w", r, err)
		}
		if o.presence, err = parse(presence); err != nil {
			return nil, fmt.Errorf("presence of an occupant of %s: %w", r, err)
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

func (t store) sit(ctx context.Context, tx mod.Tx, r jid.JID, o stored) error {
	_, err := tx.Exec(ctx, `INSERT INTO muc_occupant (room, jid, nick, role, presence) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (room, jid) DO UPDATE SET nick = excluded.nick, role = excluded.role, presence = excluded.presence`,
		r.String(), o.jid.String(), o.nick, int64(o.role), string(o.presence.Append(nil, stanza.NSClient)))
	return err
}

func (t store) rise(ctx context.Context, tx mod.Tx, r, who jid.JID) error {
	_, err := tx.Exec(ctx, `DELETE FROM muc_occupant WHERE room = ? AND jid = ?`, r.String(), who.String())
	return err
}

// abandoned returns the temporary rooms in which nobody is any more.
func (t store) abandoned(ctx context.Context, service jid.JID) ([]jid.JID, error) {
	return t.list(ctx, `SELECT room FROM muc_room WHERE service = ? AND persistent = 0
		AND NOT EXISTS (SELECT 1 FROM muc_occupant o WHERE o.room = muc_room.room)`, service)
}

// occupied returns the rooms in which somebody is.
func (t store) occupied(ctx context.Context, service jid.JID) ([]jid.JID, error) {
	return t.list(ctx, `SELECT room FROM muc_room WHERE service = ?
		AND EXISTS (SELECT 1 FROM muc_occupant o WHERE o.room = muc_room.room)`, service)
}

func (t store) list(ctx context.Context, query string, service jid.JID) (all []jid.JID, err error) {
	rows, err := t.db.Query(ctx, query, service.String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r string
		if err := rows.Scan(&r); err != nil {
			return nil, err
		}
		j, err := jid.Parse(r)
		if err != nil {
			return nil, err
		}
		all = append(all, j)
	}
	return all, rows.Err()
}

// rows returns rooms of a service with what administrators want to know, behind an address.
func (t store) rows(ctx context.Context, service jid.JID, after string, limit int) (list []roomRow, err error) {
	rows, err := t.db.Query(ctx, `SELECT room, name, hidden, persistent, creator, created, config,
		(SELECT count(DISTINCT o.nick) FROM muc_occupant o WHERE o.room = r.room) FROM muc_room r WHERE service = ? AND room > ? ORDER BY room LIMIT ?`,
		service.String(), after, limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	list = []roomRow{}
	for rows.Next() {
		var r, creator, config string
		var hidden, persistent, created, occupants int64
		k := roomRow{}
		if err := rows.Scan(&r, &k.Name, &hidden, &persistent, &creator, &created, &config, &occupants); err != nil {
			return nil, err
		}
		var cfg room.Config
		err := readConfig(config, &cfg)
		if err == nil {
			k.Room, err = jid.Parse(r)
		}
		if err == nil {
			k.Creator, err = jid.Parse(creator)
		}
		if err != nil {
			return nil, fmt.Errorf("room %s: %w", r, err)
		}
		k.Public, k.Lasting, k.Members = hidden == 0, persistent == 1, cfg.MembersOnly
		k.Created, k.Occupants = time.UnixMicro(created).UTC(), int(occupants)
		list = append(list, k)
	}
	return list, rows.Err()
}

// errEnough ends each without an error.
var errEnough = errors.New("enough")

// each calls f for each row of a query.
func (t store) each(ctx context.Context, f func(scan func(...any) error) error, query string, args ...any) (err error) {
	rows, err := t.db.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			if errors.Is(err, errEnough) {
				err = nil
			}
			return err
		}
	}
	return rows.Err()
}

// readConfig reads a configuration as it is stored.
func readConfig(text string, to *room.Config) error { return json.Unmarshal([]byte(text), to) }

// listing is a room in the list of the service.
type listing struct {
	jid  jid.JID
	name string
}

// page returns public rooms, and perhaps those that are hidden, in the order of their addresses, up to limit of those behind after or, backwards, before it.
func (t store) page(ctx context.Context, service jid.JID, hidden bool, after, before string, backwards bool, limit int) (list []listing, err error) {
	query := `SELECT room, name FROM muc_room WHERE service = ? AND hidden <= ? AND room > ? ORDER BY room LIMIT ?`
	from := after
	if backwards {
		query = `SELECT room, name FROM muc_room WHERE service = ? AND hidden <= ? AND (room < ? OR ? = '') ORDER BY room DESC LIMIT ?`
		from = before
	}
	args := []any{service.String(), bit(hidden), from, limit}
	if backwards {
		args = []any{service.String(), bit(hidden), from, from, limit}
	}
	rows, err := t.db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r string
		var l listing
		if err := rows.Scan(&r, &l.name); err != nil {
			return nil, err
		}
		if l.jid, err = jid.Parse(r); err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, rows.Err()
}

// listed returns how many rooms are listed, and how many of them come before one.
func (t store) listed(ctx context.Context, service jid.JID, hidden bool, before string) (all, index int, err error) {
	err = t.db.QueryRow(ctx, `SELECT count(*), CAST(coalesce(sum(CASE WHEN room < ? THEN 1 ELSE 0 END), 0) AS BIGINT) FROM muc_room
		WHERE service = ? AND hidden <= ?`, before, service.String(), bit(hidden)).Scan(&all, &index)
	return all, index, err
}

// limits are those of a stored stanza: what was accepted once is accepted again.
var limits = xmlstream.Limits{Bytes: 16 << 20, Depth: 200, Attrs: 200, Children: 100000, Name: 1 << 16}

// parse reads a stanza that was stored.
func parse(wire string) (*stanza.Stanza, error) {
	f, err := xmlstream.ParseFrame(wire, limits)
	if err != nil {
		return nil, err
	}
	s, bad := stanza.FromFrame(f)
	if bad != nil {
		return nil, bad
	}
	if s == nil {
		return nil, fmt.Errorf("no stanza")
	}
	return s, nil
}
