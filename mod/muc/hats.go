package muc

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// nsHats is the namespace of hats (XEP-0317).
const nsHats = "urn:xmpp:hats:0"

const (
	// maxHats bounds the hats of a room, maxWorn who wears some, maxHatText the bytes of a title or an address.
	maxHats    = 50
	maxWorn    = 5000
	maxHatText = 256
)

// hat is one of a room. JSON and doc tags make it a row of the list (XEP-0317#create).
type hat struct {
	Title string `json:"hats#title" doc:"Hat Title"`
	URI   string `json:"hats#uri" doc:"Hat URI"`
	Hue   string `json:"hats#hue" doc:"Hat Hue"`
}

// hats are those of a room and who wears which, by URI.
type hats struct {
	list []hat // by URI
	worn map[jid.JID][]string
}

// find returns a hat, or nil.
func (h *hats) find(uri string) *hat {
	for i := range h.list {
		if h.list[i].URI == uri {
			return &h.list[i]
		}
	}
	return nil
}

// hash changes with the list (XEP-0317#disco); "" where there are no hats.
func (h *hats) hash() string {
	if len(h.list) == 0 {
		return ""
	}
	s := sha256.New()
	for _, x := range h.list {
		if _, err := fmt.Fprintf(s, "%q%q%q", x.URI, x.Title, x.Hue); err != nil { // a hash takes everything
			return ""
		}
	}
	return base64.RawURLEncoding.EncodeToString(s.Sum(nil)[:15])
}

// element is what the presence of a user says of hats, or nil (XEP-0317#presence).
func (h *hats) element(user jid.JID) *xmlstream.Element {
	worn := h.worn[user]
	if len(worn) == 0 {
		return nil
	}
	x := xmlstream.El(nsHats, "hats")
	for _, uri := range worn {
		if k := h.find(uri); k != nil {
			e := xmlstream.El(nsHats, "hat", xmlstream.A("title", k.Title), xmlstream.A("uri", k.URI))
			if k.Hue != "" {
				e.Add(xmlstream.A("hue", k.Hue))
			}
			x.Add(e)
		}
	}
	return x
}

// hatsOf is what the commands of a room run on.
type hatsOf struct {
	m    *muc
	room jid.JID
}

// The arguments of the commands, by the names of XEP-0317#registrar-formtype.
type (
	hatArgs struct {
		Title string `json:"hats#title" doc:"Hat Title" required:""`
		URI   string `json:"hats#uri" doc:"Hat URI" required:""`
		Hue   string `json:"hats#hue" doc:"Hat Hue"`
	}
	hatURI struct {
		URI string `json:"hats#uri" doc:"The role" required:"" choose:""`
	}
	wearArgs struct {
		JID jid.JID `json:"hats#jid" doc:"User Address" required:""`
		URI string  `json:"hats#uri" doc:"The role" required:"" choose:""`
	}
	wornRow struct {
		JID   jid.JID `json:"hats#jid"`
		URI   string  `json:"hats#uri"`
		Title string  `json:"hats#title"`
		Hue   string  `json:"hats#hue"`
	}
)

const hatNode = "urn:xmpp:hats:commands:"

// hatCommands are the commands of a room (XEP-0317#create and others).
func hatCommands() []mod.Command {
	def := func(node, doc string) mod.Command {
		return mod.Command{Node: hatNode + node, FormType: "urn:xmpp:hats:commands", Doc: doc}
	}
	list := []mod.Command{
		mod.Define(def("create", "Create or change a hat"), createHat),
		mod.Define(def("destroy", "Destroy a hat"), destroyHat),
		mod.Define(def("list", "List the hats"), listHats),
		mod.Define(def("assign", "Assign a hat"), func(ctx context.Context, h hatsOf, _ *mod.Call, a wearArgs) (any, error) {
			return nil, wear(ctx, h, a, true)
		}),
		mod.Define(def("unassign", "Remove a hat"), func(ctx context.Context, h hatsOf, _ *mod.Call, a wearArgs) (any, error) {
			return nil, wear(ctx, h, a, false)
		}),
		mod.Define(def("list-assigned", "List who wears which hat"), listWorn),
	}
	for i := range list {
		list[i] = mod.Choosing(list[i], chooseHat)
	}
	return list
}

// mayHats tells who may give a command to a room: its admins all; who belongs to it or is in it may see the list, and in a
// non-anonymous room who wears what.
func (m *muc) mayHats(ctx context.Context, at, who jid.JID, c *mod.Command) (may bool, err error) {
	err = m.inExisting(ctx, at, func(t *turn) error {
		s := t.c.standing(who.Bare())
		belongs := s.Affiliation >= room.Member || s.Role > room.NoRole
		switch c.Node {
		case hatNode + "list":
			may = belongs
		case hatNode + "list-assigned":
			may = s.Affiliation >= room.Admin || t.c.cfg.NonAnonymous && belongs
		default:
			may = s.Affiliation >= room.Admin
		}
		return nil
	})
	return may, err
}

func chooseHat(ctx context.Context, h hatsOf, _ *mod.Call, _ string) (all []mod.Choice, err error) {
	err = h.m.inExisting(ctx, h.room, func(t *turn) error {
		for _, k := range t.c.hats.list {
			all = append(all, mod.Choice{Value: k.URI, Label: k.Title})
		}
		return nil
	})
	return all, err
}

// settled is inExisting for a room that can be changed: its creator has configured it.
func (h hatsOf) settled(ctx context.Context, do func(t *turn) error) error {
	return h.m.inExisting(ctx, h.room, func(t *turn) error {
		if t.c.locked {
			return stanza.Err(stanza.NotAllowed, "configure the room first")
		}
		return do(t)
	})
}

func createHat(ctx context.Context, h hatsOf, _ *mod.Call, a hatArgs) (any, error) {
	u, err := url.Parse(a.URI)
	hue, bad := strconv.ParseFloat(cmp.Or(a.Hue, "0"), 64)
	switch {
	case err != nil || u.Scheme == "" || len(a.URI) > maxHatText:
		return nil, stanza.Err(stanza.NotAcceptable, "a hat is known by a URI")
	case len(a.Title) > maxHatText:
		return nil, stanza.Errf(stanza.NotAcceptable, "a title has at most %d bytes", maxHatText)
	case bad != nil || !(hue >= 0 && hue <= 360):
		return nil, stanza.Err(stanza.NotAcceptable, "a hue is an angle of 0 to 360 degrees")
	}
	return nil, h.settled(ctx, func(t *turn) error {
		c := t.c
		k := c.hats.find(a.URI)
		if k == nil && len(c.hats.list) == maxHats {
			return stanza.Errf(stanza.PolicyViolation, "a room has at most %d hats", maxHats)
		}
		if err := t.write(func(tx mod.Tx) error { return c.m.store.setHat(t.ctx, tx, c.jid, hat(a)) }); err != nil {
			return err
		}
		if k != nil {
			*k = hat(a)
		} else {
			c.hats.list = append(c.hats.list, hat(a))
			slices.SortFunc(c.hats.list, func(x, y hat) int { return cmp.Compare(x.URI, y.URI) })
		}
		c.hatsChanged(t, a.URI)
		return nil
	})
}

func destroyHat(ctx context.Context, h hatsOf, _ *mod.Call, a hatURI) (any, error) {
	return nil, h.settled(ctx, func(t *turn) error {
		c := t.c
		if c.hats.find(a.URI) == nil {
			return stanza.Err(stanza.ItemNotFound, "the room has no such hat")
		}
		if err := t.write(func(tx mod.Tx) error { return c.m.store.removeHat(t.ctx, tx, c.jid, a.URI) }); err != nil {
			return err
		}
		c.hats.list = slices.DeleteFunc(c.hats.list, func(k hat) bool { return k.URI == a.URI })
		var wore []jid.JID
		for who, list := range c.hats.worn {
			if slices.Contains(list, a.URI) {
				c.hats.worn[who] = slices.DeleteFunc(slices.Clone(list), func(u string) bool { return u == a.URI })
				wore = append(wore, who)
			}
		}
		c.showHats(t, wore...)
		c.announcement(t, configChanged)
		return nil
	})
}

func listHats(ctx context.Context, h hatsOf, _ *mod.Call, _ struct{}) (any, error) {
	list := []hat{}
	err := h.m.inExisting(ctx, h.room, func(t *turn) error {
		list = append(list, t.c.hats.list...)
		return nil
	})
	return list, err
}

// wear gives somebody a hat or takes it away (XEP-0317#add, #remove).
func wear(ctx context.Context, h hatsOf, a wearArgs, on bool) error {
	who := a.JID.Bare()
	return h.settled(ctx, func(t *turn) error {
		c := t.c
		worn := c.hats.worn[who]
		has := slices.Contains(worn, a.URI)
		switch {
		case c.hats.find(a.URI) == nil, !on && !has:
			return stanza.Err(stanza.ItemNotFound, "there is no such hat")
		case who.Local() == "":
			return stanza.Err(stanza.NotAcceptable, "users wear hats")
		case on && has:
			return nil
		case on && len(worn) == 0 && len(c.hats.worn) >= maxWorn:
			return stanza.Errf(stanza.PolicyViolation, "at most %d users of a room wear hats", maxWorn)
		}
		if err := t.write(func(tx mod.Tx) error { return c.m.store.wearHat(t.ctx, tx, c.jid, a.URI, who, on) }); err != nil {
			return err
		}
		if on {
			worn = append(slices.Clone(worn), a.URI)
			slices.Sort(worn)
		} else {
			worn = slices.DeleteFunc(slices.Clone(worn), func(u string) bool { return u == a.URI })
		}
		if c.hats.worn[who] = worn; len(worn) == 0 {
			delete(c.hats.worn, who)
		}
		c.showHats(t, who)
		return nil
	})
}

func listWorn(ctx context.Context, h hatsOf, _ *mod.Call, _ struct{}) (any, error) {
	list := []wornRow{}
	err := h.m.inExisting(ctx, h.room, func(t *turn) error {
		for who, worn := range t.c.hats.worn {
			for _, uri := range worn {
				if k := t.c.hats.find(uri); k != nil {
					list = append(list, wornRow{who, uri, k.Title, k.Hue})
				}
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b wornRow) int {
		if n := a.JID.Compare(b.JID); n != 0 {
			return n
		}
		return cmp.Compare(a.URI, b.URI)
	})
	return list, err
}

// hatsChanged tells the occupants of a hat that is new or another, and those who wear it anew.
func (c *chat) hatsChanged(t *turn, uri string) {
	var who []jid.JID
	for j, list := range c.hats.worn {
		if slices.Contains(list, uri) {
			who = append(who, j)
		}
	}
	c.showHats(t, who...)
	c.announcement(t, configChanged)
}

// showHats sends the presence of users anew (XEP-0317#add).
func (c *chat) showHats(t *turn, who ...jid.JID) {
	for _, o := range c.occupants {
		if slices.Contains(who, o.user) {
			o.told = [2]*stanza.Stanza{}
			c.announce(t, o, "")
		}
	}
}

// readHats reads the hats of a room.
func (t store) readHats(ctx context.Context, r jid.JID) (h hats, err error) {
	h.worn = make(map[jid.JID][]string)
	err = t.each(ctx, func(scan func(...any) error) error {
		var k hat
		if err := scan(&k.URI, &k.Title, &k.Hue); err != nil {
			return err
		}
		h.list = append(h.list, k)
		return nil
	}, `SELECT uri, title, hue FROM muc_hat WHERE room = ? ORDER BY uri`, r.String())
	if err != nil || len(h.list) == 0 {
		return h, err
	}
	err = t.each(ctx, func(scan func(...any) error) error {
		var who, uri string
		if err := scan(&who, &uri); err != nil {
			return err
		}
		j, err := jid.Parse(who)
		if err != nil {
			return fmt.Errorf("who wears a hat in %s: %w", r, err)
		}
		h.worn[j] = append(h.worn[j], uri)
		return nil
	}, `SELECT jid, uri FROM muc_hat_worn WHERE room = ? ORDER BY uri`, r.String())
	return h, err
}

func (t store) setHat(ctx context.Context, tx mod.Tx, r jid.JID, k hat) error {
	_, err := tx.Exec(ctx, `INSERT INTO muc_hat (room, uri, title, hue) VALUES (?, ?, ?, ?)
		ON CONFLICT (room, uri) DO UPDATE SET title = excluded.title, hue = excluded.hue`, r.String(), k.URI, k.Title, k.Hue)
	return err
}

func (t store) removeHat(ctx context.Context, tx mod.Tx, r jid.JID, uri string) error {
	_, err := tx.Exec(ctx, `DELETE FROM muc_hat WHERE room = ? AND uri = ?`, r.String(), uri)
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM muc_hat_worn WHERE room = ? AND uri = ?`, r.String(), uri)
	}
	return err
}

func (t store) wearHat(ctx context.Context, tx mod.Tx, r jid.JID, uri string, who jid.JID, on bool) error {
	if !on {
		_, err := tx.Exec(ctx, `DELETE FROM muc_hat_worn WHERE room = ? AND uri = ? AND jid = ?`, r.String(), uri, who.String())
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO muc_hat_worn (room, uri, jid) VALUES (?, ?, ?) ON CONFLICT (room, uri, jid) DO NOTHING`, r.String(), uri, who.String())
	return err
}
