package admin

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"sabir/internal/auth"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// nsAdmin is the prefix of the nodes of XEP-0133, and the FORM_TYPE of its forms.
const nsAdmin = "http://jabber.org/protocol/admin"

// The arguments and results of the commands of XEP-0133, by the names of its registry (XEP-0133#registrar-formtype).
type (
	addUserArgs struct {
		JID      jid.JID `json:"accountjid" doc:"The Jabber ID for the account to be added" required:""`
		Password Secret  `json:"password" doc:"The password for this account" required:""`
		Verify   Secret  `json:"password-verify" doc:"Retype password" required:""`
	}
	changePasswordArgs struct {
		JID      jid.JID `json:"accountjid" doc:"The Jabber ID for this account" required:""`
		Password Secret  `json:"password" doc:"The password for this account" required:""`
	}
	// XEP-0133#get-user-stats has accountjid; clients that treat it as they do all others with a user send accountjids.
	statsArgs struct {
		JID  jid.JID   `json:"accountjid" doc:"The Jabber ID for statistics"`
		JIDs []jid.JID `json:"accountjids" doc:"Further Jabber IDs"`
	}
	usersArgs struct {
		JIDs []jid.JID `json:"accountjids" doc:"The Jabber IDs of the accounts" required:""`
	}
	pageArgs struct {
		Max int `json:"max_items" doc:"Maximum number of items to show" oneof:"25 50 75 100 150 200 none"`
	}
	announceArgs struct {
		Lines []string `json:"announcement" doc:"Announcement" required:""`
	}
	lastLogin struct {
		JIDs  []jid.JID `json:"accountjids"`
		Times []string  `json:"lastlogin" doc:"The last login time"`
	}
	userStats struct {
		JID       jid.JID `json:"accountjid"`
		Roster    int     `json:"rostersize" doc:"Number of roster items"`
		Resources string  `json:"onlineresources" doc:"Online resources"`
	}
	rosters struct {
		JIDs  []jid.JID `json:"accountjids"`
		lists []*xmlstream.Element
	}
)

// Elements are the rosters, as jabber:iq:roster has them (XEP-0133#get-user-roster).
func (r rosters) Elements() []*xmlstream.Element { return r.lists }

// standard are the commands of XEP-0133 that make sense here. They are given to a host, about its own accounts.
func standard() []mod.Command {
	all := []mod.Command{
		admin("add-user", "Add a user", addUser),
		admin("delete-user", "Delete users", func(ctx context.Context, b Backend, c *mod.Call, a usersArgs) (any, error) {
			return eachUser(ctx, b, c, a, func(acc mod.Accounts, _ *auth.Host, j jid.JID) error { return acc.Delete(ctx, j.Local()) })
		}),
		admin("disable-user", "Disable users", func(ctx context.Context, b Backend, c *mod.Call, a usersArgs) (any, error) {
			return eachUser(ctx, b, c, a, func(_ mod.Accounts, _ *auth.Host, j jid.JID) error { return disable(ctx, b, j, true) })
		}),
		admin("reenable-user", "Re-enable users", func(ctx context.Context, b Backend, c *mod.Call, a usersArgs) (any, error) {
			return eachUser(ctx, b, c, a, func(_ mod.Accounts, _ *auth.Host, j jid.JID) error { return disable(ctx, b, j, false) })
		}),
		admin("end-user-session", "End sessions of users", endSessions),
		admin("change-user-password", "Change the password of a user", changePassword),
		admin("get-user-roster", "Get the rosters of users", getRosters),
		admin("get-user-lastlogin", "Get the last login time of users", getLastLogin),
		admin("user-stats", "Get statistics of a user", getStats),
		admin("announce", "Send an announcement to online users", announce),
	}
	for _, l := range lists() {
		all = append(all,
			admin("get-"+l.name+"-users-num", "Get the number of "+l.name+" users", func(ctx context.Context, b Backend, c *mod.Call, _ NoArgs) (any, error) {
				all, err := l.users(ctx, b, c.Host, 0)
				return l.number(len(all)), err
			}),
			admin(l.node, "Get the list of "+l.name+" users", func(ctx context.Context, b Backend, c *mod.Call, a pageArgs) (any, error) {
				list, err := l.users(ctx, b, c.Host, a.Max)
				return l.list(list), err
			}),
		)
	}
	return all
}

func admin[T any](name, doc string, run func(ctx context.Context, b Backend, c *mod.Call, a T) (any, error)) mod.Command {
	return mod.Define(mod.Command{Node: nsAdmin + "#" + name, FormType: nsAdmin, Doc: doc, Right: mod.HostAdmin}, run)
}

// userOf checks that an address is that of an account of the host that is administered, and returns what keeps it.
func userOf(b Backend, c *mod.Call, j jid.JID) (mod.Accounts, *auth.Host, error) {
	if j.DomainJID() != c.Host {
		return nil, nil, stanza.Errf(stanza.ItemNotFound, "%s is no address of %s", j, c.Host)
	}
	return account(b, j.Bare())
}

func addUser(ctx context.Context, b Backend, c *mod.Call, a addUserArgs) (any, error) {
	acc, _, err := userOf(b, c, a.JID)
	if err != nil {
		return nil, err
	}
	if a.Password != a.Verify {
		return nil, stanza.Err(stanza.NotAcceptable, "the passwords are not the same")
	}
	return nil, acc.Create(ctx, a.JID.Local(), string(a.Password))
}

func changePassword(ctx context.Context, b Backend, c *mod.Call, a changePasswordArgs) (any, error) {
	acc, _, err := userOf(b, c, a.JID)
	if err != nil {
		return nil, err
	}
	return nil, acc.SetPassword(ctx, a.JID.Local(), string(a.Password), nil)
}

// exist returns the accounts of a list; all of them exist.
func exist(ctx context.Context, b Backend, c *mod.Call, list []jid.JID) (acc mod.Accounts, h *auth.Host, err error) {
	for _, j := range list {
		if acc, h, err = userOf(b, c, j); err != nil {
			return nil, nil, err
		}
		ok, err := acc.Exists(ctx, j.Local())
		if err == nil && !ok {
			err = stanza.Errf(stanza.ItemNotFound, "there is no account %s", j.Bare())
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return acc, h, nil
}

// eachUser does something with accounts, of which all exist.
func eachUser(ctx context.Context, b Backend, c *mod.Call, a usersArgs, do func(mod.Accounts, *auth.Host, jid.JID) error) (any, error) {
	acc, h, err := exist(ctx, b, c, a.JIDs)
	if err != nil {
		return nil, err
	}
	for _, j := range a.JIDs {
		if err := do(acc, h, j.Bare()); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func disable(ctx context.Context, b Backend, j jid.JID, on bool) error {
	_, err := setDisabled(ctx, b, j, on)
	return err
}

// endSessions ends all sessions of users, or those that are named by their full address (XEP-0133#end-user-session).
func endSessions(ctx context.Context, b Backend, c *mod.Call, a usersArgs) (any, error) {
	if _, _, err := exist(ctx, b, c, a.JIDs); err != nil {
		return nil, err
	}
	for _, j := range a.JIDs {
		for _, s := range b.Sessions(j.Bare()) {
			if j.IsBare() || s.JID() == j {
				s.Close(string(stream.PolicyViolation), "closed by an administrator")
			}
		}
	}
	return nil, nil
}

func getRosters(ctx context.Context, b Backend, c *mod.Call, a usersArgs) (any, error) {
	if _, _, err := exist(ctx, b, c, a.JIDs); err != nil {
		return nil, err
	}
	r := rosters{JIDs: a.JIDs}
	for _, j := range a.JIDs {
		contacts, err := b.Roster(c.Host).Contacts(ctx, j.Bare())
		if err != nil {
			return nil, err
		}
		const ns = "jabber:iq:roster"
		q := xmlstream.El(ns, "query")
		for _, k := range contacts {
			i := xmlstream.El(ns, "item", xmlstream.A("jid", k.JID.String()), xmlstream.A("subscription", k.Subscription.String()))
			if k.Name != "" {
				i.Add(xmlstream.A("name", k.Name))
			}
			for _, g := range k.Groups {
				i.Add(xmlstream.El(ns, "group", g))
			}
			q.Add(i)
		}
		r.lists = append(r.lists, q)
	}
	return r, nil
}

// getLastLogin tells when the accounts were used last, as far as that is known: of clients that name themselves, and of those
// that are here (XEP-0133#get-user-lastlogin).
func getLastLogin(ctx context.Context, b Backend, c *mod.Call, a usersArgs) (any, error) {
	acc, _, err := exist(ctx, b, c, a.JIDs)
	if err != nil {
		return nil, err
	}
	l := lastLogin{JIDs: a.JIDs}
	for _, j := range a.JIDs {
		devices, err := acc.Devices(ctx, j.Local())
		if err != nil {
			return nil, err
		}
		var last time.Time
		for _, d := range devices {
			if d.LastSeen.After(last) {
				last = d.LastSeen
			}
		}
		if !last.IsZero() {
			l.Times = append(l.Times, last.UTC().Format(time.RFC3339))
		}
	}
	return l, nil
}

func getStats(ctx context.Context, b Backend, c *mod.Call, a statsArgs) (any, error) {
	all := a.JIDs
	if !a.JID.IsZero() {
		all = append([]jid.JID{a.JID}, all...)
	}
	if len(all) == 0 {
		return nil, stanza.Err(stanza.NotAcceptable, "name an account")
	}
	if _, _, err := exist(ctx, b, c, all); err != nil {
		return nil, err
	}
	var stats []userStats
	for _, j := range all {
		contacts, err := b.Roster(c.Host).Contacts(ctx, j.Bare())
		if err != nil {
			return nil, err
		}
		var here []string
		for _, s := range b.Sessions(j.Bare()) {
			here = append(here, s.JID().Resource())
		}
		slices.Sort(here)
		stats = append(stats, userStats{j.Bare(), len(contacts), strings.Join(here, ",")})
	}
	if len(stats) == 1 {
		return stats[0], nil
	}
	return stats, nil
}

// announce sends a text to all users who are online (XEP-0133#announce).
func announce(ctx context.Context, b Backend, c *mod.Call, a announceArgs) (any, error) {
	users := online(b, c.Host, func(s mod.Session) bool { return s.Presence() != nil })
	for _, j := range users {
		m := stanza.New(stanza.Message, stanza.TypeNormal,
			xmlstream.El(stanza.NSClient, "subject", "Announcement"), xmlstream.El(stanza.NSClient, "body", strings.Join(a.Lines, "\n")))
		m.ID, m.From, m.To = stanza.NewID(), c.Host, j
		b.Route(ctx, m)
	}
	return mod.Note("Sent to " + strconv.Itoa(len(users)) + " users."), nil
}

// online returns the accounts of a host with a session for which this holds, in order.
func online(b Backend, host jid.JID, which func(mod.Session) bool) (all []jid.JID) {
	for _, s := range b.Sessions(jid.JID{}) {
		if j := s.JID(); j.DomainJID() == host && which(s) {
			all = append(all, j.Bare())
		}
	}
	slices.SortFunc(all, jid.JID.Compare)
	return slices.Compact(all)
}

// idleAfter is the silence after which an online user counts as idle.
const idleAfter = 10 * time.Minute

// userList is a list of users that XEP-0133 has, with its length.
type userList struct {
	name  string // as the node of the number has it
	node  string // that of the list
	jids  string // the field of the list
	users func(ctx context.Context, b Backend, host jid.JID, limit int) ([]jid.JID, error)
}

// number and list are the results, under the names that the specification gives them.
func (l userList) number(n int) mod.Table {
	return mod.Table{
		Fields: []mod.Column{{Name: l.name + "usersnum", Doc: "The number of " + l.name + " users", Type: mod.ArgText}}, Values: [][]string{{strconv.Itoa(n)}},
	}
}

func (l userList) list(all []jid.JID) mod.Table {
	t := mod.Table{Fields: []mod.Column{{Name: l.jids, Doc: "The list of " + l.name + " users", Type: mod.ArgAddresses}}, Values: [][]string{nil}}
	for _, j := range all {
		t.Values[0] = append(t.Values[0], j.String())
	}
	return t
}

func lists() []userList {
	active := func(s mod.Session) bool { return time.Since(s.LastActive()) < idleAfter }
	sessions := func(of func(b Backend, host jid.JID) []jid.JID) func(context.Context, Backend, jid.JID, int) ([]jid.JID, error) {
		return func(_ context.Context, b Backend, host jid.JID, limit int) ([]jid.JID, error) {
			all := of(b, host)
			if limit > 0 {
				all = all[:min(limit, len(all))]
			}
			return all, nil
		}
	}
	kept := func(disabled bool) func(context.Context, Backend, jid.JID, int) ([]jid.JID, error) {
		return func(ctx context.Context, b Backend, host jid.JID, limit int) ([]jid.JID, error) {
			return registered(ctx, b, host, disabled, limit)
		}
	}
	return []userList{
		{"registered", "get-registered-users-list", "registereduserjids", kept(false)},
		{"disabled", "get-disabled-users-list", "disableduserjids", kept(true)},
		{"online", "get-online-users-list", "onlineuserjids", sessions(func(b Backend, host jid.JID) []jid.JID {
			return online(b, host, func(mod.Session) bool { return true })
		})},
		{"active", "get-active-users", "activeuserjids", sessions(func(b Backend, host jid.JID) []jid.JID { return online(b, host, active) })},
		{"idle", "get-idle-users", "activeuserjids", sessions(func(b Backend, host jid.JID) []jid.JID { // the name that XEP-0133#get-idle-users-list gives it
			busy := online(b, host, active)
			return online(b, host, func(s mod.Session) bool { return !slices.Contains(busy, s.JID().Bare()) })
		})},
	}
}

// registered returns accounts of a host, or those that are disabled, at most limit of them where that is not 0.
func registered(ctx context.Context, b Backend, host jid.JID, disabled bool, limit int) (all []jid.JID, err error) {
	for after := ""; ; {
		list, err := b.Credentials(host).List(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if !disabled || a.Disabled {
				all = append(all, a.JID)
			}
			if limit > 0 && len(all) == limit {
				return all, nil
			}
		}
		if len(list) < page {
			return all, nil
		}
		after = list[len(list)-1].JID.Local()
	}
}
