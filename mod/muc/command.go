package muc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// The arguments and results of the commands.
type (
	roomArgs struct {
		Room jid.JID `json:"room" doc:"The address of the room." required:""`
	}
	listArgs struct {
		After string `json:"after" doc:"The address behind which to begin."`
		Limit int    `json:"limit" doc:"The most rooms to list; 100 if there is none."`
	}
	createArgs struct {
		Room  jid.JID  `json:"room" doc:"The address of the room." required:""`
		Owner jid.JID  `json:"owner" doc:"The address of its owner." required:""`
		Name  string   `json:"name" doc:"Its name for people."`
		Set   []string `json:"set" doc:"Settings that differ from the template: FIELD=VALUE, as room config shows them."`
	}
	destroyArgs struct {
		Room      jid.JID `json:"room" doc:"The address of the room." required:""`
		Reason    string  `json:"reason" doc:"A text for its occupants."`
		Alternate jid.JID `json:"alternate" doc:"The address of a room to go to instead."`
	}
	affiliationArgs struct {
		Room        jid.JID `json:"room" doc:"The address of the room." required:""`
		User        jid.JID `json:"user" doc:"The address of the user, or of a domain to ban." required:""`
		Affiliation string  `json:"affiliation" doc:"What the user is to be to the room." required:"" oneof:"owner admin member none outcast"`
		Nick        string  `json:"nick" doc:"A nick to reserve."`
		Reason      string  `json:"reason" doc:"A text for the user and the occupants."`
	}
	configArgs struct {
		Room jid.JID  `json:"room" doc:"The address of the room." required:""`
		Set  []string `json:"set" doc:"Settings to change: FIELD=VALUE. A field that takes several values is given several times."`
	}
	announceArgs struct {
		Text string  `json:"text" doc:"What to say." required:""`
		Room jid.JID `json:"room" doc:"The room to say it in; all in which somebody is if there is none."`
	}

	roomRow struct {
		Room      jid.JID   `json:"room" doc:"Room"`
		Name      string    `json:"name" doc:"Name"`
		Occupants int       `json:"occupants" doc:"Occupants"`
		Public    bool      `json:"public" doc:"Listed"`
		Lasting   bool      `json:"persistent" doc:"Persistent"`
		Members   bool      `json:"members_only" doc:"Members only"`
		Creator   jid.JID   `json:"creator" doc:"Created by"`
		Created   time.Time `json:"created" doc:"Created"`
	}
	occupantRow struct {
		Nick        string    `json:"nick" doc:"Nick"`
		Affiliation string    `json:"affiliation" doc:"Affiliation"`
		Role        string    `json:"role" doc:"Role"`
		Clients     []jid.JID `json:"clients" doc:"Clients"`
	}
	roomDetails struct {
		Room        jid.JID       `json:"room" doc:"Room"`
		Name        string        `json:"name" doc:"Name"`
		Description string        `json:"description,omitempty" doc:"Description"`
		Subject     string        `json:"subject,omitempty" doc:"Subject"`
		Features    []string      `json:"features" doc:"Kind of room"`
		Creator     jid.JID       `json:"creator" doc:"Created by"`
		Created     time.Time     `json:"created" doc:"Created"`
		Owners      []jid.JID     `json:"owners" doc:"Owners"`
		Admins      []jid.JID     `json:"admins,omitempty" doc:"Admins"`
		Members     int           `json:"members" doc:"Members"`
		Outcasts    int           `json:"outcasts" doc:"Banned"`
		Occupants   []occupantRow `json:"occupants" doc:"Occupants"`
	}
	associateRow struct {
		JID         jid.JID `json:"jid" doc:"Who"`
		Affiliation string  `json:"affiliation" doc:"Affiliation"`
		Nick        string  `json:"nick,omitempty" doc:"Reserved nick"`
		Reason      string  `json:"reason,omitempty" doc:"Reason"`
	}
	settingRow struct {
		Field string   `json:"field" doc:"Field"`
		Value []string `json:"value" doc:"Value"`
		Doc   string   `json:"doc" doc:"Meaning"`
	}
)

// commands are those of the service, for its administrators and those of the host.
func commands() []mod.Command {
	def := func(name, doc string) mod.Command {
		return mod.Command{Name: "room " + name, Doc: doc, Right: mod.HostAdmin}
	}
	return []mod.Command{
		mod.Define(def("list", "Lists the rooms, hidden ones included."), listCommand),
		mod.Define(def("inspect", "Tells about a room and who is in it."), inspectCommand),
		mod.Define(def("create", "Makes a persistent room."), createCommand),
		mod.Define(def("destroy", "Destroys a room, its archive included."), destroyCommand),
		mod.Define(def("affiliations", "Lists who belongs to a room, and who is banned."), affiliationsCommand),
		mod.Define(def("affiliation", "Sets what somebody is to a room."), affiliationCommand),
		mod.Define(def("config", "Shows or changes the settings of a room."), configCommand),
		mod.Define(def("announce", "Says something in a room, or in all in which somebody is."), announceCommand),
	}
}

// commandsAt are the commands of the service itself, or of a room.
func (m *muc) commandsAt(at jid.JID) (all []mod.Command) {
	list, instance := commands(), any(m)
	if at.Local() != "" {
		list, instance = hatCommands(), hatsOf{m, at}
	}
	for _, c := range list {
		all = append(all, c.Bind(instance))
	}
	return all
}

// mayCommand tells who may give a command: to the service its administrators and those of the host, to a room as it says.
func (m *muc) mayCommand(ctx context.Context, at, who jid.JID, c *mod.Command) (bool, error) {
	if at.Local() != "" {
		return m.mayHats(ctx, at, who, c)
	}
	return m.h.Right(who) >= c.Right || m.admin(who.Bare()), nil
}

// in has a room do something, and waits until that is committed.
func (m *muc) in(ctx context.Context, r jid.JID, do func(t *turn) error) error {
	if r.DomainJID() != m.svc.Domain || r.Local() == "" || r.IsFull() {
		return stanza.Errf(stanza.ItemNotFound, "%s is no address of a room at %s", r, m.svc.Domain)
	}
	k := task{do: do, done: make(chan error, 1)}
	if err := m.put(r, k); err != nil {
		return err
	}
	select {
	case err := <-k.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the room: %w", ctx.Err())
	}
}

// inExisting is in for a room that is there, locked or not.
func (m *muc) inExisting(ctx context.Context, r jid.JID, do func(t *turn) error) error {
	return m.in(ctx, r, func(t *turn) error {
		if !t.c.exists && !t.c.locked {
			return errNoRoom()
		}
		return do(t)
	})
}

func listCommand(ctx context.Context, m *muc, _ *mod.Call, a listArgs) (any, error) {
	if a.Limit <= 0 {
		a.Limit = 100
	}
	if err := m.later.Flush(ctx); err != nil { // who is in
		return nil, err
	}
	return m.store.rows(ctx, m.svc.Domain, a.After, a.Limit)
}

func inspectCommand(ctx context.Context, m *muc, _ *mod.Call, a roomArgs) (any, error) {
	var d roomDetails
	err := m.inExisting(ctx, a.Room, func(t *turn) error {
		c := t.c
		d = roomDetails{
			Room: c.jid, Name: c.cfg.Name, Description: c.cfg.Description, Features: c.features(), Creator: c.creator, Created: c.created,
			Owners: c.having(room.Owner), Admins: c.having(room.Admin), Members: len(c.having(room.Member)), Outcasts: len(c.having(room.Outcast)),
			Occupants: []occupantRow{},
		}
		if c.subject != nil {
			d.Subject = c.subject.Child(stanza.NSClient, "subject").Text()
		}
		for _, o := range c.occupants {
			r := occupantRow{Nick: o.nick, Affiliation: o.Affiliation.String(), Role: o.Role.String()}
			for _, s := range o.seats {
				r.Clients = append(r.Clients, s.full)
			}
			d.Occupants = append(d.Occupants, r)
		}
		return nil
	})
	return d, err
}

// having returns those with an affiliation, in order.
func (c *chat) having(a room.Affiliation) (all []jid.JID) {
	for j, x := range c.associates {
		if x.affiliation == a {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, jid.JID.Compare)
	return all
}

func createCommand(ctx context.Context, m *muc, _ *mod.Call, a createArgs) (any, error) {
	if a.Owner.Local() == "" {
		return nil, stanza.Errf(stanza.BadRequest, "%s is no address of a user", a.Owner)
	}
	return nil, m.in(ctx, a.Room, func(t *turn) error {
		c := t.c
		if c.exists || c.locked {
			return stanza.Errf(stanza.Conflict, "there is a room %s", c.jid)
		}
		c.clear()
		c.kept = kept{cfg: m.c.newRoom(), creator: a.Owner.Bare(), created: m.h.Clock().Now()}
		c.cfg.Name = a.Name
		c.become(a.Owner.Bare(), associate{affiliation: room.Owner})
		c.locked = true
		cfg, moves, err := c.assign(a.Set)
		if err == nil {
			cfg.Persistent = true // nobody is in it
			err = c.configure(t, cfg, moves, jid.JID{})
		}
		if err != nil {
			c.state = state{loaded: true}
			c.clear()
		}
		return err
	})
}

func destroyCommand(ctx context.Context, m *muc, _ *mod.Call, a destroyArgs) (any, error) {
	d := xmlstream.El(nsOwner, "destroy")
	if !a.Alternate.IsZero() {
		d.Add(xmlstream.A("jid", a.Alternate.String()))
	}
	if a.Reason != "" {
		d.Add(xmlstream.El(nsOwner, "reason", a.Reason))
	}
	return nil, m.inExisting(ctx, a.Room, func(t *turn) error { return t.c.destroy(t, d) })
}

func affiliationsCommand(ctx context.Context, m *muc, _ *mod.Call, a roomArgs) (any, error) {
	list := []associateRow{}
	err := m.inExisting(ctx, a.Room, func(t *turn) error {
		for _, k := range room.Affiliations() {
			for _, j := range t.c.having(k) {
				x := t.c.associates[j]
				list = append(list, associateRow{j, k.String(), x.nick, x.reason})
			}
		}
		slices.Reverse(list)
		return nil
	})
	return list, err
}

func affiliationCommand(ctx context.Context, m *muc, _ *mod.Call, a affiliationArgs) (any, error) {
	now, err := room.ParseAffiliation(a.Affiliation)
	if err != nil {
		return nil, stanza.Err(stanza.BadRequest, err.Error())
	}
	who := a.User.Bare()
	return nil, m.inExisting(ctx, a.Room, func(t *turn) error {
		c := t.c
		was := c.associates[who]
		last := was.affiliation == room.Owner && len(c.owners()) == 1
		switch {
		case last && now != room.Owner: // XEP-0045#revokeowner
			return stanza.Err(stanza.Conflict, "a room keeps at least one owner")
		case now >= room.Member && who.Local() == "":
			return stanza.Err(stanza.BadRequest, "a whole domain can be banned, and nothing else")
		case a.Nick != "" && !goodNick(a.Nick):
			return stanza.Err(stanza.NotAcceptable, "a nick shows something and is not too long")
		case a.Nick != "" && c.reservedFor(a.Nick, who):
			return stanza.Err(stanza.Conflict, "this nick is reserved for somebody else")
		}
		x := associate{affiliation: now, nick: was.nick, reason: a.Reason}
		if a.Nick != "" {
			x.nick = a.Nick
		}
		if now < room.Member {
			x.nick = ""
		}
		if err := c.setAffiliation(t, who, x, item{reason: a.Reason}); err != nil {
			return err
		}
		return c.closeIfEmpty(t)
	})
}

func configCommand(ctx context.Context, m *muc, _ *mod.Call, a configArgs) (any, error) {
	var list []settingRow
	err := m.inExisting(ctx, a.Room, func(t *turn) error {
		c := t.c
		if len(a.Set) > 0 {
			cfg, moves, err := c.assign(a.Set)
			if err == nil {
				err = c.configure(t, cfg, moves, jid.JID{})
			}
			if err != nil {
				return err
			}
		}
		for _, f := range c.form().Fields {
			if f.Var == dataform.FormType || f.Type == dataform.TextPrivate && len(f.Values) > 0 && f.Values[0] == "" {
				continue
			}
			list = append(list, settingRow{strings.TrimPrefix(f.Var, cfgPrefix), f.Values, f.Label})
		}
		return nil
	})
	return list, err
}

// assign reads FIELD=VALUE as if an owner had submitted the form with these fields. The names may be without their prefix.
func (c *chat) assign(set []string) (room.Config, []move, error) {
	form := c.form()
	s := &dataform.Form{Type: dataform.TypeSubmit}
	for _, x := range set {
		name, value, ok := strings.Cut(x, "=")
		if form.Field(cfgPrefix+name) != nil {
			name = cfgPrefix + name
		}
		if !ok || form.Field(name) == nil {
			return room.Config{}, nil, stanza.Errf(stanza.BadRequest, "%q is no FIELD=VALUE of the settings of a room", x)
		}
		if f := s.Field(name); f != nil {
			f.Values = append(f.Values, value)
			continue
		}
		s.Fields = append(s.Fields, dataform.Field{Var: name, Values: []string{value}})
	}
	if len(set) == 0 {
		return c.cfg, nil, nil
	}
	s, err := form.Submit(s)
	if err != nil {
		return room.Config{}, nil, err
	}
	return c.read(s)
}

func announceCommand(ctx context.Context, m *muc, _ *mod.Call, a announceArgs) (any, error) {
	s := stanza.New(stanza.Message, stanza.TypeGroupchat, xmlstream.El(stanza.NSClient, "body", a.Text))
	s.ID = stanza.NewID()
	if a.Room.IsZero() {
		m.tellRooms(s)
		return nil, nil
	}
	return nil, m.inExisting(ctx, a.Room, func(t *turn) error {
		t.pronounce(s)
		return nil
	})
}
