package room_test

import (
	"fmt"
	"strings"
	"testing"

	"sabir/engine/room"
	"sabir/xmpp/stanza"
)

// Who may change which affiliation, as XEP-0045#affil-change and the use cases of admins and owners have it: for each
// actor a table of the present affiliation (rows: outcast none member admin owner) and the new one (columns, in the same
// order). y: done, f: forbidden, n: not-allowed.
var affiliationTables = []struct{ actor, table string }{
	{"outcast", `
		f f f f f
		f f f f f
		f f f f f
		f f f f f
		f f f f f`},
	{"none", `
		f f f f f
		f f f f f
		f f f f f
		f f f f f
		f f f f f`},
	{"member", `
		f f f f f
		f f f f f
		f f f f f
		f f f f f
		f f f f f`},
	{"admin", `
		y y y f f
		y y y f f
		y y y f f
		n f f f f
		n f f f f`},
	{"owner", `
		y y y y y
		y y y y y
		y y y y y
		y y y y y
		y y y y y`},
}

// Who may change which role, as XEP-0045#roles-change and the use cases of moderators and admins have it. For each actor, a
// role and an affiliation, and each affiliation of the target, a table of its present role (rows: visitor participant
// moderator) and the new one (columns: none visitor participant moderator). Admins and owners are moderators.
var roleTables = []struct{ actor, target, table string }{
	{"none/visitor none/participant member/visitor member/participant", "none member admin owner", `
		f f f f
		f f f f
		f f f f`},
	// A moderator kicks and gives voice; voice is taken from those below; moderation is the business of admins.
	{"none/moderator", "none", `
		y y y f
		y n y f
		n f f y`},
	{"none/moderator", "member", `
		n y y f
		n n y f
		n f f y`},
	{"member/moderator", "none", `
		y y y f
		y y y f
		n f f y`},
	{"member/moderator", "member", `
		y y y f
		y n y f
		n f f y`},
	{"none/moderator member/moderator", "admin owner", `
		n y n f
		n n y f
		n n n y`},
	{"admin/moderator admin/participant admin/none owner/moderator owner/none", "none member", `
		y y y y
		y y y y
		y y y y`},
	// Nobody takes moderation or voice from admins and owners; they are kicked by their like.
	{"admin/moderator owner/moderator", "admin", `
		y y n y
		y n y y
		y n n y`},
	{"admin/moderator", "owner", `
		n y n y
		n n y y
		n n n y`},
	{"owner/moderator", "owner", `
		y y n y
		y n y y
		y n n y`},
}

func rows(t *testing.T, table string) [][]string {
	t.Helper()
	var out [][]string
	for _, l := range strings.Split(strings.TrimSpace(table), "\n") {
		out = append(out, strings.Fields(l))
	}
	return out
}

func letter(e *stanza.Error) string {
	if e == nil {
		return "y"
	}
	switch e.Condition {
	case stanza.Forbidden:
		return "f"
	case stanza.NotAllowed:
		return "n"
	case stanza.Conflict:
		return "c"
	}
	return string(e.Condition)
}

func affiliation(t *testing.T, s string) room.Affiliation {
	t.Helper()
	a, err := room.ParseAffiliation(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func standing(t *testing.T, s string) room.Standing {
	t.Helper()
	a, r, _ := strings.Cut(s, "/")
	role, err := room.ParseRole(r)
	if err != nil {
		t.Fatal(err)
	}
	return room.Standing{Affiliation: affiliation(t, a), Role: role}
}

// TestAffiliationMatrix checks all 125 cells.
func TestAffiliationMatrix(t *testing.T) {
	names := []string{"outcast", "none", "member", "admin", "owner"}
	cells := 0
	for _, tab := range affiliationTables {
		for i, row := range rows(t, tab.table) {
			for j, want := range row {
				cells++
				got := letter(room.ChangeAffiliation(affiliation(t, tab.actor), affiliation(t, names[i]), affiliation(t, names[j]), false, false))
				if got != want {
					t.Errorf("%s makes %s from %s: %s, want %s", tab.actor, names[j], names[i], got, want)
				}
			}
		}
	}
	if cells != 125 {
		t.Errorf("%d cells", cells)
	}
}

// TestAffiliationOfOneself: nobody bans himself, and the last owner remains (XEP-0045#ban, #revokeowner).
func TestAffiliationOfOneself(t *testing.T) {
	for _, c := range []struct {
		actor, to  string
		self, last bool
		want       string
	}{
		{"admin", "outcast", true, false, "c"},
		{"owner", "outcast", true, false, "c"},
		{"owner", "outcast", true, true, "c"},
		{"owner", "admin", true, true, "c"},
		{"owner", "none", true, true, "c"},
		{"owner", "owner", true, true, "y"},
		{"owner", "admin", true, false, "y"},
		{"member", "outcast", true, false, "f"},
		{"member", "none", true, false, "f"},
	} {
		from := affiliation(t, c.actor)
		if got := letter(room.ChangeAffiliation(from, from, affiliation(t, c.to), c.self, c.last)); got != c.want {
			t.Errorf("%s makes himself %s (last %v): %s, want %s", c.actor, c.to, c.last, got, c.want)
		}
	}
}

// TestRoleMatrix checks the cells of all tables.
func TestRoleMatrix(t *testing.T) {
	from := []string{"visitor", "participant", "moderator"}
	to := []string{"none", "visitor", "participant", "moderator"}
	cells := 0
	for _, tab := range roleTables {
		for _, actor := range strings.Fields(tab.actor) {
			for _, target := range strings.Fields(tab.target) {
				for i, row := range rows(t, tab.table) {
					for j, want := range row {
						cells++
						role, err := room.ParseRole(to[j])
						if err != nil {
							t.Fatal(err)
						}
						got := letter(room.ChangeRole(standing(t, actor), standing(t, target+"/"+from[i]), role, false))
						if got != want {
							t.Errorf("%s makes %s/%s a %s: %s, want %s", actor, target, from[i], to[j], got, want)
						}
					}
				}
			}
		}
	}
	t.Logf("%d cells", cells)
	if cells < 400 {
		t.Errorf("%d cells are not all", cells)
	}
	if got := letter(room.ChangeRole(standing(t, "owner/moderator"), standing(t, "owner/moderator"), room.NoRole, true)); got != "c" {
		t.Errorf("somebody kicks himself: %s", got)
	}
}

// TestDefaultRoles checks the table of XEP-0045#roles-default.
func TestDefaultRoles(t *testing.T) {
	for _, c := range []struct {
		moderated, members bool
		want               string // none member admin owner
	}{
		{true, false, "visitor participant moderator moderator"},
		{false, false, "participant participant moderator moderator"},
		{false, true, "none participant moderator moderator"},
		{true, true, "none participant moderator moderator"},
	} {
		var got []string
		for _, a := range []room.Affiliation{room.None, room.Member, room.Admin, room.Owner} {
			got = append(got, room.DefaultRole(a, c.moderated, c.members).String())
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("moderated %v, members-only %v: %s, want %s", c.moderated, c.members, s, c.want)
		}
		if r := room.DefaultRole(room.Outcast, c.moderated, c.members); r != room.NoRole {
			t.Errorf("an outcast enters as %s", r)
		}
	}
}

// TestRoleAfter: what an affiliation gives and what it takes (XEP-0045#roles-change).
func TestRoleAfter(t *testing.T) {
	for _, c := range []struct {
		was, now           string
		moderated, members bool
		want               string
	}{
		{"none/visitor", "member", true, false, "participant"},
		{"none/participant", "admin", false, false, "moderator"},
		{"none/visitor", "owner", true, false, "moderator"},
		{"member/participant", "none", true, false, "visitor"},
		{"member/participant", "none", false, false, "participant"},
		{"member/participant", "none", false, true, "none"},
		{"member/moderator", "none", true, false, "moderator"}, // moderation that an admin gave stays
		{"admin/moderator", "member", false, false, "participant"},
		{"owner/moderator", "admin", false, false, "moderator"},
		{"owner/moderator", "none", true, false, "visitor"},
		{"none/participant", "outcast", false, false, "none"},
	} {
		if got := room.RoleAfter(standing(t, c.was), affiliation(t, c.now), c.moderated, c.members); got.String() != c.want {
			t.Errorf("%s becomes %s: %s, want %s", c.was, c.now, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, a := range room.Affiliations() {
		if got, err := room.ParseAffiliation(a.String()); err != nil || got != a {
			t.Errorf("%s: %v, %v", a, got, err)
		}
	}
	for _, r := range room.Roles() {
		if got, err := room.ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%s: %v, %v", r, got, err)
		}
	}
	if _, err := room.ParseAffiliation("Owner"); err == nil {
		t.Error("an affiliation was made up")
	}
	if _, err := room.ParseRole(""); err == nil {
		t.Error("a role was made up")
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]room.Config{
		"no password":       {Protected: true},
		"a long name":       {Name: strings.Repeat("x", 201)},
		"negative users":    {MaxUsers: -1},
		"too much history":  {History: room.MaxHistory + 1},
		"a negative pace":   {Slow: -1},
		"long descriptions": {Description: strings.Repeat("x", 2001)},
		"a long password":   {Password: strings.Repeat("x", 201)},
	} {
		if c.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := (&room.Config{Protected: true, Password: "x", History: room.MaxHistory}).Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		who  room.Who
		want string
	}{{"", "visitor participant moderator"}, {room.Anyone, "visitor participant moderator"}, {room.Participants, "participant moderator"}, {room.Moderators, "moderator"}, {room.Nobody, ""}} {
		cfg := room.Config{PrivateTo: c.who}
		var got []string
		for _, r := range room.Roles() {
			if cfg.Private(r) {
				got = append(got, r.String())
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("private messages to %q: %s", c.who, s)
		}
	}
	cfg := room.Config{Silent: []string{"visitor"}}
	if got := fmt.Sprint(cfg.Broadcasts(room.Visitor), cfg.Broadcasts(room.Moderator), cfg.Shows(room.Participant), cfg.Shows(room.Moderator)); got != "false true false true" {
		t.Error(got)
	}
}
