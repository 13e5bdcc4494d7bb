package room

import "fmt"

// Affiliation is the lasting association of a user, by bare JID, with a room (XEP-0045#affil). Their order is that of
// their privileges.
type Affiliation int8

// The affiliations.
const (
	Outcast Affiliation = iota - 1
	None
	Member
	Admin
	Owner
)

// Affiliations returns all, lowest first.
func Affiliations() []Affiliation { return []Affiliation{Outcast, None, Member, Admin, Owner} }

// String returns the value of the wire.
func (a Affiliation) String() string {
	return [...]string{"outcast", "none", "member", "admin", "owner"}[a+1]
}

// ParseAffiliation reads the value of the wire.
func ParseAffiliation(s string) (Affiliation, error) {
	for _, a := range Affiliations() {
		if a.String() == s {
			return a, nil
		}
	}
	return None, fmt.Errorf("there is no affiliation %.40q", s)
}

// Role is what an occupant may do during a visit (XEP-0045#roles). Their order is that of their privileges.
type Role int8

// The roles.
const (
	NoRole Role = iota // not an occupant
	Visitor
	Participant
	Moderator
)

// Roles returns all, lowest first.
func Roles() []Role { return []Role{NoRole, Visitor, Participant, Moderator} }

// String returns the value of the wire.
func (r Role) String() string {
	return [...]string{"none", "visitor", "participant", "moderator"}[r]
}

// ParseRole reads the value of the wire.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if r.String() == s {
			return r, nil
		}
	}
	return NoRole, fmt.Errorf("there is no role %.40q", s)
}
