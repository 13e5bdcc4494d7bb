package muc

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"sabir/engine/room"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// setting is a field of muc#roomconfig and what it stands for (XEP-0045#registrar-formtype-owner).
type setting struct {
	field dataform.Field
	get   func(c *room.Config) []string
	set   func(c *room.Config, f *dataform.Field)
}

const (
	cfgPrefix = "muc#roomconfig_"
	// fieldNotify is our own, in the notation that XEP-0068#approach-fieldnames has for such.
	fieldNotify = "{sabir:muc:0}notify"
)

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func yes(b bool) []string { return []string{strconv.Itoa(int(bit(b)))} }

// flag is a setting that is on or off; not says that the field means the opposite of the value.
func flag(name, label string, at func(c *room.Config) *bool, not bool) setting {
	return setting{
		dataform.Field{Var: name, Type: dataform.Boolean, Label: label},
		func(c *room.Config) []string { return yes(*at(c) != not) },
		func(c *room.Config, f *dataform.Field) { v, _ := f.Bool(); *at(c) = v != not },
	}
}

func text(name, label string, t dataform.FieldType, at func(c *room.Config) *string) setting {
	return setting{
		dataform.Field{Var: name, Type: t, Label: label},
		func(c *room.Config) []string { return one(*at(c)) },
		func(c *room.Config, f *dataform.Field) { *at(c) = f.Text() },
	}
}

// number is a setting that is a whole number; what is none becomes -1, which is not valid.
func number(name, label string, at func(c *room.Config) *int) setting {
	return setting{
		dataform.Field{Var: name, Type: dataform.TextSingle, Label: label},
		func(c *room.Config) []string { return []string{strconv.Itoa(*at(c))} },
		func(c *room.Config, f *dataform.Field) {
			n, err := strconv.Atoi(f.Value())
			if err != nil {
				n = -1
			}
			*at(c) = n
		},
	}
}

func options(o ...string) (all []dataform.Option) {
	for _, v := range o {
		all = append(all, dataform.Option{Label: v, Value: v})
	}
	return all
}

// settings are all fields but the lists of owners and admins, in the order of the form.
func (c *chat) settings() []setting {
	all := []setting{
		text(cfgPrefix+"roomname", "Name", dataform.TextSingle, func(c *room.Config) *string { return &c.Name }),
		text(cfgPrefix+"roomdesc", "Description", dataform.TextSingle, func(c *room.Config) *string { return &c.Description }),
		text(cfgPrefix+"lang", "Language of the discussion", dataform.TextSingle, func(c *room.Config) *string { return &c.Lang }),
		text(cfgPrefix+"pubsub", "Address of a PubSub node that belongs to the room", dataform.TextSingle, func(c *room.Config) *string { return &c.PubSub }),
		flag(cfgPrefix+"persistentroom", "Keep the room when everybody has left", func(c *room.Config) *bool { return &c.Persistent }, false),
		flag(cfgPrefix+"publicroom", "List the room", func(c *room.Config) *bool { return &c.Hidden }, true),
		flag(cfgPrefix+"membersonly", "Let only members in", func(c *room.Config) *bool { return &c.MembersOnly }, false),
		flag(cfgPrefix+"passwordprotectedroom", "Ask for a password", func(c *room.Config) *bool { return &c.Protected }, false),
		text(cfgPrefix+"roomsecret", "Password", dataform.TextPrivate, func(c *room.Config) *string { return &c.Password }),
		c.maxUsers(),
		flag(cfgPrefix+"moderatedroom", "Let only those speak who have voice", func(c *room.Config) *bool { return &c.Moderated }, false),
		{
			dataform.Field{Var: cfgPrefix + "whois", Type: dataform.ListSingle, Label: "Who sees the addresses of occupants", Options: options("moderators", "anyone")},
			func(c *room.Config) []string {
				if c.NonAnonymous {
					return []string{"anyone"}
				}
				return []string{"moderators"}
			},
			func(c *room.Config, f *dataform.Field) { c.NonAnonymous = f.Value() == "anyone" },
		},
		flag(cfgPrefix+"changesubject", "Let participants change the subject", func(c *room.Config) *bool { return &c.ChangeSubject }, false),
		flag(cfgPrefix+"allowinvites", "Let all occupants invite others", func(c *room.Config) *bool { return &c.Invites }, false),
		{
			dataform.Field{Var: cfgPrefix + "allowpm", Type: dataform.ListSingle, Label: "Who may send private messages", Options: options("anyone", "participants", "moderators", "none")},
			func(c *room.Config) []string { return []string{string(cmp.Or(c.PrivateTo, room.Anyone))} },
			func(c *room.Config, f *dataform.Field) { c.PrivateTo = room.Who(f.Value()) },
		},
		flag(cfgPrefix+"allow_voice_requests", "Let visitors ask for voice", func(c *room.Config) *bool { return &c.NoVoiceAsking }, true),
		flag("allow_register", "Let users register as members, and reserve a nick", func(c *room.Config) *bool { return &c.NoRegister }, true),
		flag("approve_register", "Let the admins decide who registers", func(c *room.Config) *bool { return &c.ApproveRegister }, false),
		flag("lock_nicks", "Know registered users by their reserved nick", func(c *room.Config) *bool { return &c.LockNicks }, false),
		list(cfgPrefix+"presencebroadcast", "Roles whose presence is told to all", func(c *room.Config) []string { return c.Silent }, func(c *room.Config, v []string) { c.Silent = v }, true),
		list(cfgPrefix+"getmemberlist", "Roles that may read the list of members", func(c *room.Config) []string { return c.MemberLists }, func(c *room.Config, v []string) { c.MemberLists = v }, false),
		number("muc#maxhistoryfetch", "Messages that who enters is sent", func(c *room.Config) *int { return &c.History }),
		flag(cfgPrefix+"enablelogging", "Discussions are published: warn who enters", func(c *room.Config) *bool { return &c.Logged }, false),
		flag(cfgPrefix+"enablearchiving", "Keep the messages", func(c *room.Config) *bool { return &c.Unarchived }, true),
		flag(cfgPrefix+"forwardmentions", "Forward messages with mentions to non-present, affiliated users", func(c *room.Config) *bool { return &c.ForwardMentions }, false),
		notifySetting(),
		number(cfgPrefix+"slow_mode_duration", "Seconds between two messages of one participant", func(c *room.Config) *int { return &c.Slow }),
	}
	return all
}

// usualNotify stands for room.NotifyUsual.
const usualNotify = "usual"

// notifyOf reads a value of the field, and of the setting in the template.
func notifyOf(v string) room.Notify {
	if v == usualNotify {
		return room.NotifyUsual
	}
	return room.Notify(v)
}

// notifySetting says of which messages members are told who are not in the room.
func notifySetting() setting {
	return setting{
		dataform.Field{Var: fieldNotify, Type: dataform.ListSingle, Label: "Messages of which members are notified who are not in the room", Options: []dataform.Option{
			{Label: "All in a members-only room, mentions in another", Value: usualNotify}, {Label: "All", Value: string(room.NotifyAll)},
			{Label: "Mentions", Value: string(room.NotifyMentions)}, {Label: "None", Value: string(room.NotifyNone)},
		}},
		func(c *room.Config) []string { return []string{cmp.Or(string(c.Notify), usualNotify)} },
		func(c *room.Config, f *dataform.Field) { c.Notify = notifyOf(f.Value()) },
	}
}

// list is a setting that is a set of roles; not says that the field has those that the value has not.
func list(name, label string, get func(*room.Config) []string, set func(*room.Config, []string), not bool) setting {
	roles := []string{"moderator", "participant", "visitor"}
	flip := func(v []string) (out []string) {
		for _, r := range roles {
			if slices.Contains(v, r) != not {
				out = append(out, r)
			}
		}
		return out
	}
	return setting{
		dataform.Field{Var: name, Type: dataform.ListMulti, Label: label, Options: options(roles...)},
		func(c *room.Config) []string { return flip(get(c)) },
		func(c *room.Config, f *dataform.Field) { set(c, flip(f.Values)) },
	}
}

// maxUsers is the limit on occupants: one of a list as the registry has it, or another number.
func (c *chat) maxUsers() setting {
	name := cfgPrefix + "maxusers"
	values := []string{"10", "20", "30", "50", "100", "200", "500", "1000", "5000", "10000", "none"}
	if n := c.cfg.MaxUsers; n > 0 && !slices.Contains(values, strconv.Itoa(n)) {
		values = append([]string{strconv.Itoa(n)}, values...)
	}
	return setting{
		dataform.Field{Var: name, Type: dataform.ListSingle, Label: "Occupants at most", Options: options(values...),
			Extra: []*xmlstream.Element{dataform.OpenInteger()}},
		func(c *room.Config) []string {
			if c.MaxUsers == 0 {
				return []string{"none"}
			}
			return []string{strconv.Itoa(c.MaxUsers)}
		},
		func(c *room.Config, f *dataform.Field) {
			n, err := strconv.Atoi(f.Value())
			if err != nil {
				n = 0 // "none"
			}
			c.MaxUsers = n
		},
	}
}

// form is the configuration form with the present values.
func (c *chat) form() *dataform.Form {
	f := dataform.New(dataform.TypeForm, formConfig)
	f.Title = "Configuration of " + c.jid.String()
	for _, s := range c.settings() {
		s.field.Values = s.get(&c.cfg)
		f.Fields = append(f.Fields, s.field)
	}
	for _, l := range affiliationLists() {
		field := dataform.Field{Var: cfgPrefix + l.name, Type: dataform.JIDMulti, Label: l.label}
		for who, a := range c.associates {
			if a.affiliation == l.affiliation {
				field.Values = append(field.Values, who.String())
			}
		}
		slices.Sort(field.Values)
		f.Fields = append(f.Fields, field)
	}
	return f
}

type affiliationList struct {
	name, label string
	affiliation room.Affiliation
}

// affiliationLists are the fields that hold a whole list, other than the changes of muc#admin (XEP-0045#modifyowner).
func affiliationLists() []affiliationList {
	return []affiliationList{{"roomadmins", "All admins", room.Admin}, {"roomowners", "All owners", room.Owner}}
}

// read takes a submission that fits the form and returns the new configuration and the changes of affiliations. What the form left
// out stays as it is.
func (c *chat) read(f *dataform.Form) (room.Config, []move, error) {
	cfg := c.cfg
	for _, s := range c.settings() {
		if field := f.Field(s.field.Var); field != nil {
			s.set(&cfg, field)
		}
	}
	if cfg.Protected && f.Field(cfgPrefix+"roomsecret") == nil && f.Field(cfgPrefix+"passwordprotectedroom") == nil {
		cfg.Password = c.cfg.Password
	}
	if !cfg.Protected {
		cfg.Password = ""
	}
	if err := cfg.Validate(); err != nil {
		return cfg, nil, stanza.Err(stanza.NotAcceptable, err.Error())
	}
	moves, err := c.readLists(f)
	return cfg, moves, err
}

// readLists returns the changes that make the lists of owners and admins what the form says, in order.
func (c *chat) readLists(f *dataform.Form) ([]move, error) {
	changes := make(map[jid.JID]associate)
	for _, l := range affiliationLists() {
		field := f.Field(cfgPrefix + l.name)
		if field == nil {
			continue
		}
		if len(field.Values) > maxItems {
			return nil, stanza.Errf(stanza.PolicyViolation, "a list has at most %d addresses", maxItems)
		}
		want := make(map[jid.JID]bool)
		for _, v := range field.Values {
			j, err := jid.Parse(v)
			if err != nil || j.Local() == "" {
				return nil, stanza.Errf(stanza.NotAcceptable, "the list %s has addresses of users", l.name)
			}
			want[j.Bare()] = true
			if a := c.associates[j.Bare()]; a.affiliation != l.affiliation {
				a.affiliation = l.affiliation
				changes[j.Bare()] = a
			}
		}
		for who, a := range c.associates {
			if _, moved := changes[who]; a.affiliation == l.affiliation && !want[who] && !moved {
				a.affiliation = room.None
				changes[who] = a
			}
		}
	}
	owners := 0
	for _, a := range changes {
		owners += int(bit(a.affiliation == room.Owner))
	}
	for who, a := range c.associates {
		if _, moved := changes[who]; !moved && a.affiliation == room.Owner {
			owners++
		}
	}
	if owners == 0 { // XEP-0045#revokeowner
		return nil, stanza.Err(stanza.Conflict, "a room keeps at least one owner")
	}
	var moves []move
	for _, who := range slices.SortedFunc(maps.Keys(changes), jid.JID.Compare) {
		moves = append(moves, move{who, changes[who]})
	}
	return moves, nil
}

// same tells whether two configurations are equal.
func same(a, b room.Config) bool { return reflect.DeepEqual(a, b) }
