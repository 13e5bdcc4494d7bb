package muc

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"sabir/engine/archive"
	"sabir/engine/lazy"
	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// chat is a room in memory. What it holds belongs to its loop.
type chat struct {
	m    *muc
	jid  jid.JID
	loop *room.Loop[task]
	ctx  context.Context // of the goroutine that runs the loop
	used atomic.Int64    // when it did something last, in ns, for the sweeper
	idle bool            // the sweeper has found it so
	state
}

// state is what goes when a room ends.
type state struct {
	// fresh are the changes of seats that no message has been committed with yet.
	fresh  map[jid.JID]moved
	loaded bool
	// exists says that it is in the tables. One that is locked is not, nor one that was destroyed.
	exists bool
	// locked says that its creator has not yet accepted or changed its configuration (XEP-0045#createroom-general).
	locked bool

	kept
	archive    archive.Archive
	associates map[jid.JID]associate // by bare JID

	// occupants are in the order in which they came. A nick has one, with a seat for each of the user's clients.
	occupants []*occupant
	nicks     map[string]*occupant // by nickKey
	seats     map[jid.JID]*seat    // by full JID

	hats     hats // (XEP-0317)
	activity activity
	picture  string // the hash of that in its vCard, or ""
	history  []past
	invited  map[jid.JID]jid.JID // who by whom, both bare
}

// occupant is somebody in the room (XEP-0045#terms-general).
type occupant struct {
	nick string
	jid  jid.JID // room@service/nick
	user jid.JID // bare
	room.Standing
	id    string // occupant id (XEP-0421)
	seats []*seat
	// told are the presences as they are sent to those who see the full JID, and to the others; nil until needed.
	told [2]*stanza.Stanza
	// spoke and invites are for the limits on messages and invitations.
	spoke   time.Time
	invites budget
}

// seat is one client of an occupant.
type seat struct {
	*occupant
	full     jid.JID
	presence *stanza.Stanza // as the client sent it, without what only we say
	follows  bool           // it has asked for the version of the affiliations (XEP-0463)
}

// moved is the change of a seat, as it goes into the tables.
type moved struct {
	at    time.Time
	write func(tx mod.Tx) error
}

// here tells whether a room is there for others than its creator.
func (c *chat) here() bool { return c.exists && !c.locked }

// load reads the room, if there is one.
func (c *chat) load(ctx context.Context) error {
	c.clear()
	k, err := c.m.store.room(ctx, c.jid)
	if err != nil || k == nil {
		return err
	}
	c.kept = *k
	if c.associates, err = c.m.store.associates(ctx, c.jid); err != nil {
		return err
	}
	if err := c.m.later.Flush(ctx); err != nil {
		return err
	}
	there, err := c.m.store.occupants(ctx, c.jid)
	if err != nil {
		return err
	}
	for _, o := range there {
		c.sit(o.jid, o.nick, o.role, o.presence)
	}
	if err := c.openArchive(ctx); err != nil {
		return err
	}
	if _, c.picture, err = c.m.store.vcard(ctx, c.jid); err != nil {
		return err
	}
	if c.activity, err = c.m.store.activity(ctx, c.jid); err != nil {
		return err
	}
	if c.hats, err = c.m.store.readHats(ctx, c.jid); err != nil {
		return err
	}
	c.exists = true
	return nil
}

// clear makes the maps of a room in which nobody is.
func (c *chat) clear() {
	c.associates = make(map[jid.JID]associate)
	c.nicks, c.seats = make(map[string]*occupant), make(map[jid.JID]*seat)
	c.invited = make(map[jid.JID]jid.JID)
	c.hats.worn = make(map[jid.JID][]string)
	c.fresh = make(map[jid.JID]moved)
}

func (c *chat) seatKey(full jid.JID) string { return c.jid.String() + " " + full.String() }

// openArchive opens the archive of the room and reads the end of it, which who enters is sent.
func (c *chat) openArchive(ctx context.Context) error {
	a, err := c.m.log.Archive(ctx, c.jid.String())
	if err != nil {
		return err
	}
	c.archive = a
	return c.loadHistory(ctx)
}

// affiliation returns that of a user. The admins of the service own every room.
func (c *chat) affiliation(user jid.JID) room.Affiliation {
	if c.m.admin(user) {
		return room.Owner
	}
	if a, ok := c.associates[user]; ok {
		return a.affiliation
	}
	if a, ok := c.associates[user.DomainJID()]; ok { // XEP-0045#modifyban: a ban of a domain is one of all its users
		return a.affiliation
	}
	return room.None
}

// standing returns what a user is, by any of his or her occupants; the highest role counts.
func (c *chat) standing(user jid.JID) room.Standing {
	s := room.Standing{Affiliation: c.affiliation(user)}
	for _, o := range c.occupants {
		if o.user == user && o.Role > s.Role {
			s.Role = o.Role
		}
	}
	return s
}

// roleFor is the role with which somebody of this affiliation enters.
func (c *chat) roleFor(a room.Affiliation) room.Role {
	return room.DefaultRole(a, c.cfg.Moderated, c.cfg.MembersOnly)
}

// owners returns the bare JIDs of the owners.
func (c *chat) owners() (all []jid.JID) {
	for j, a := range c.associates {
		if a.affiliation == room.Owner {
			all = append(all, j)
		}
	}
	return all
}

// sit adds a client with a nick, and the occupant if it is the first. It tells nobody.
func (c *chat) sit(full jid.JID, nick string, role room.Role, presence *stanza.Stanza) *seat {
	o := c.nicks[nickKey(nick)]
	if o == nil {
		at, err := c.jid.WithResource(nick)
		if err != nil {
			at = c.jid // cannot be: a nick was a resource before
		}
		user := full.Bare()
		o = &occupant{nick: nick, jid: at, user: user, id: c.m.occupantID(c.jid, user)}
		o.Affiliation, o.Role = c.affiliation(user), role
		c.nicks[nickKey(nick)] = o
		c.occupants = append(c.occupants, o)
	}
	s := &seat{occupant: o, full: full, presence: presence}
	o.seats = append(o.seats, s)
	o.told = [2]*stanza.Stanza{}
	c.seats[full] = s
	return s
}

// rise removes a client, and the occupant if it was the last. It tells nobody.
func (c *chat) rise(s *seat) (last bool) {
	delete(c.seats, s.full)
	s.occupant.drop(s)
	c.forgetSeat(s.full)
	if len(s.occupant.seats) > 0 {
		return false
	}
	c.dropOccupant(s.occupant)
	return true
}

func (o *occupant) drop(s *seat) {
	o.seats = slices.DeleteFunc(o.seats, func(x *seat) bool { return x == s })
	o.told = [2]*stanza.Stanza{}
}

func (c *chat) dropOccupant(o *occupant) {
	if c.nicks[nickKey(o.nick)] == o {
		delete(c.nicks, nickKey(o.nick))
	}
	if i := slices.Index(c.occupants, o); i >= 0 {
		c.occupants = slices.Delete(c.occupants, i, i+1)
	}
}

// keepSeat has the place of a client in the room stored: with the next message, or else a little later.
func (c *chat) keepSeat(s *seat) {
	o := stored{jid: s.full, nick: s.nick, role: s.Role, presence: s.presence}
	store, r := c.m.store, c.jid
	c.changeSeat(s.full, func(tx mod.Tx) error { return store.sit(context.Background(), tx, r, o) })
}

func (c *chat) forgetSeat(full jid.JID) {
	store, r := c.m.store, c.jid
	c.changeSeat(full, func(tx mod.Tx) error { return store.rise(context.Background(), tx, r, full) })
}

func (c *chat) changeSeat(full jid.JID, write func(tx mod.Tx) error) {
	if !c.exists {
		return
	}
	c.m.later.Put(c.seatKey(full), write)
	c.fresh[full] = moved{c.m.h.Clock().Now(), write}
}

// unstored returns the changes of seats that may not be in the tables yet. Committed with a message they make sure that who
// hears it is still in the room after a restart, and hears what follows.
func (c *chat) unstored() (list []moved) {
	since := c.m.h.Clock().Now().Add(-2 * lazy.Every)
	for _, f := range c.fresh {
		if f.at.After(since) {
			list = append(list, f)
		}
	}
	return list
}

// find returns the occupant of an address in the room, or nil.
func (c *chat) find(at jid.JID) *occupant {
	o := c.nicks[nickKey(at.Resource())]
	if o == nil || o.nick != at.Resource() {
		return nil
	}
	return o
}

// lastUse returns when the room did something. Any goroutine may ask.
func (c *chat) lastUse() time.Time { return time.Unix(0, c.used.Load()) }

// closeIfEmpty ends a room that nobody is in any more, where it is temporary or was never unlocked (XEP-0045#exit).
func (c *chat) closeIfEmpty(t *turn) error {
	if len(c.seats) > 0 || c.exists && c.cfg.Persistent {
		return nil
	}
	return c.end(t)
}

// end deletes the room.
func (c *chat) end(t *turn) error {
	if c.exists {
		if err := t.write(func(tx mod.Tx) error { return c.m.remove(t.ctx, tx, c.jid) }); err != nil {
			return err
		}
		c.m.h.Go("purge", c.m.purge)
	}
	for full := range c.seats {
		c.m.later.Drop(c.seatKey(full))
	}
	c.m.later.Drop("activity " + c.jid.String())
	c.state = state{loaded: true}
	c.clear()
	return nil
}

// errNoRoom is what is owed for a room that is not there (XEP-0045#bizrules-message).
func errNoRoom() *stanza.Error { return stanza.Err(stanza.ItemNotFound, "there is no such room") }

// seatOf returns the place of a client in the room, or the error that it is owed where it has none (XEP-0045#message).
func (c *chat) seatOf(from jid.JID) (*seat, error) {
	if !c.exists && !c.locked {
		return nil, errNoRoom()
	}
	s := c.seats[from]
	if s == nil {
		return nil, stanza.Err(stanza.NotAcceptable, "only occupants may do that")
	}
	return s, nil
}
