package room

import "sabir/xmpp/stanza"

// Standing is what somebody is in a room.
type Standing struct {
	Affiliation Affiliation
	Role        Role
}

// DefaultRole is the role with which a user of this affiliation enters (XEP-0045#roles-default). An outcast, and in a
// members-only room who is no member, gets none: the door is closed.
func DefaultRole(a Affiliation, moderated, membersOnly bool) Role {
	switch {
	case a == Outcast, a == None && membersOnly:
		return NoRole
	case a >= Admin:
		return Moderator
	case a == None && moderated:
		return Visitor
	}
	return Participant
}

// RoleAfter is the role of an occupant whose affiliation has changed. What an affiliation gives is sure; of what it
// takes, moderation goes with the affiliation that brought it (XEP-0045#roles-change).
func RoleAfter(was Standing, now Affiliation, moderated, membersOnly bool) Role {
	least := DefaultRole(now, moderated, membersOnly)
	switch {
	case least == NoRole, least > was.Role, was.Affiliation >= Admin:
		return least
	case was.Affiliation == Member && now == None && was.Role == Participant:
		return least
	}
	return was.Role
}

// ChangeAffiliation tells whether somebody of the affiliation actor may change that of another, or of himself, from one
// to another (XEP-0045#affil-change). last says that the other is the last owner. The error is what the actor is owed.
func ChangeAffiliation(actor, from, to Affiliation, self, last bool) *stanza.Error {
	switch {
	case actor < Admin:
		return stanza.Err(stanza.Forbidden, "only admins and owners change affiliations")
	case self && to == Outcast: // XEP-0045#ban
		return stanza.Err(stanza.Conflict, "nobody bans himself")
	case actor == Owner && from == Owner && to != Owner && last: // XEP-0045#revokeowner
		return stanza.Err(stanza.Conflict, "a room keeps at least one owner")
	case actor == Owner:
		return nil
	case from >= Admin && to == Outcast: // XEP-0045#ban
		return stanza.Err(stanza.NotAllowed, "only an owner bans admins and owners")
	case from >= Admin || to >= Admin: // XEP-0045#modifyowner, XEP-0045#modifyadmin
		return stanza.Err(stanza.Forbidden, "only owners change the lists of owners and admins")
	}
	return nil
}

// ChangeRole tells whether actor may give target another role (XEP-0045#roles-change). The error is what the actor is owed.
// A target who is no occupant has no role to change.
func ChangeRole(actor, target Standing, to Role, self bool) *stanza.Error {
	switch {
	case actor.Role != Moderator && actor.Affiliation < Admin: // XEP-0045#moderator
		return stanza.Err(stanza.Forbidden, "only moderators change roles")
	case to == target.Role:
		return nil
	case to == NoRole:
		return kick(actor, target, self)
	case to == Moderator: // XEP-0045#grantmod
		if actor.Affiliation < Admin {
			return stanza.Err(stanza.Forbidden, "only admins and owners make moderators")
		}
		return nil
	case target.Affiliation >= Admin: // XEP-0045#revokemod, XEP-0045#revokevoice
		return stanza.Err(stanza.NotAllowed, "admins and owners remain moderators")
	case target.Role == Moderator: // XEP-0045#revokemod
		if actor.Affiliation < Admin {
			return stanza.Err(stanza.Forbidden, "only admins and owners take moderation away")
		}
		return nil
	case to < target.Role && target.Affiliation >= actor.Affiliation: // XEP-0045#revokevoice
		return stanza.Err(stanza.NotAllowed, "voice is taken from those of a lower affiliation")
	}
	return nil
}

// kick is the way out (XEP-0045#kick).
func kick(actor, target Standing, self bool) *stanza.Error {
	switch {
	case self:
		return stanza.Err(stanza.Conflict, "nobody kicks himself: leave")
	case target.Affiliation > actor.Affiliation:
		return stanza.Err(stanza.NotAllowed, "nobody kicks those of a higher affiliation")
	case target.Role == Moderator && actor.Affiliation < Admin: // XEP-0045#roles-change
		return stanza.Err(stanza.NotAllowed, "only admins and owners kick moderators")
	}
	return nil
}
