package room

import (
	"fmt"
	"slices"
)

// Who says up to whom something is open, by affiliation or role.
type Who string

// The values of Who.
const (
	Anyone       Who = "anyone"
	Participants Who = "participants"
	Moderators   Who = "moderators"
	Nobody       Who = "none"
)

// Allows tells whether a role is among them.
func (w Who) Allows(r Role) bool {
	switch w {
	case Anyone:
		return r >= Visitor
	case Participants:
		return r >= Participant
	case Moderators:
		return r == Moderator
	}
	return false
}

// Config is what owners choose for their room. It is kept as JSON, so that fields may come; their zero values are what
// rooms have that were stored before.
type Config struct {
	Name        string   `json:"name,omitempty"`
	Description string   `json:"description,omitempty"`
	Lang        string   `json:"lang,omitempty"`
	Contacts    []string `json:"contacts,omitempty"`
	PubSub      string   `json:"pubsub,omitempty"`

	Persistent  bool   `json:"persistent,omitempty"`
	Hidden      bool   `json:"hidden,omitempty"`
	MembersOnly bool   `json:"members_only,omitempty"`
	Moderated   bool   `json:"moderated,omitempty"`
	Protected   bool   `json:"protected,omitempty"` // by Password
	Password    string `json:"password,omitempty"`
	// NonAnonymous shows full JIDs to all occupants, otherwise to moderators.
	NonAnonymous bool `json:"non_anonymous,omitempty"`
	MaxUsers     int  `json:"max_users,omitempty"` // 0: as many as the service allows

	ChangeSubject bool `json:"change_subject,omitempty"` // by participants
	Invites       bool `json:"invites,omitempty"`        // by all occupants, not moderators alone
	PrivateTo     Who  `json:"private,omitempty"`        // who may send private messages; "" is Anyone
	NoVoiceAsking bool `json:"no_voice_asking,omitempty"`
	NoRegister    bool `json:"no_register,omitempty"`
	// ApproveRegister has the admins decide who registers; then users may ask to become members of a members-only room.
	ApproveRegister bool `json:"approve_register,omitempty"`
	LockNicks       bool `json:"lock_nicks,omitempty"` // registered users enter by the nick that they registered

	Unarchived bool `json:"unarchived,omitempty"` // messages are not kept
	Logged     bool `json:"logged,omitempty"`     // discussions are published: occupants are warned
	History    int  `json:"history,omitempty"`    // messages sent to who enters, at most
	// Silent are the roles whose presence is not broadcast (XEP-0045#enter-pres).
	Silent []string `json:"silent,omitempty"`
	// MemberLists are the roles that may read the lists of members; nil for the rules of XEP-0045#modifymember.
	MemberLists []string `json:"member_lists,omitempty"`
	// ForwardMentions sends members who are not in what mentions them (XEP-0452). Mentions says who may mention whom.
	ForwardMentions bool     `json:"forward_mentions,omitempty"`
	Mentions        Mentions `json:"mentions,omitzero"`
	// Notify says of what the members of the room's own host are told who are not in.
	Notify Notify `json:"notify,omitempty"`
	// Slow is how many seconds a participant waits between two messages (XEP-0500).
	Slow int `json:"slow,omitempty"`
}

// Notify says of which messages members are told who are away. The zero value stands for what is usual: all of them in a
// members-only room, and mentions in others (XEP-0492#rules). A member may have chosen otherwise.
type Notify string

// The values of Notify.
const (
	NotifyUsual    Notify = ""
	NotifyAll      Notify = "all"
	NotifyMentions Notify = "mentions"
	NotifyNone     Notify = "none" // nobody is told, whatever he or she has chosen
)

// NotifiesAll tells whether members who are away and have not chosen are told of all messages, and not of mentions alone.
func (c *Config) NotifiesAll() bool {
	return c.Notify == NotifyAll || c.Notify == NotifyUsual && c.MembersOnly
}

// Mentions are the permissions of XEP-0513#permissions. The zero value is what rooms begin with.
type Mentions struct {
	Count        int `json:"count,omitempty"` // in one message; 0 for the usual number
	Individual   Who `json:"individual,omitempty"`
	Channel      Who `json:"channel,omitempty"`
	Associations Who `json:"associations,omitempty"`
	Hats         Who `json:"hats,omitempty"`
}

const (
	usualMentions = 5
	maxMentions   = 50
)

// Most returns how many mentions of a message count.
func (m *Mentions) Most() int {
	if m.Count == 0 {
		return usualMentions
	}
	return m.Count
}

// Broadcasts tells whether presence of a role is told to the room.
func (c *Config) Broadcasts(r Role) bool { return !slices.Contains(c.Silent, r.String()) }

// Shows tells whether somebody of this role sees the full JIDs of others.
func (c *Config) Shows(r Role) bool { return c.NonAnonymous || r == Moderator }

// Private tells whether somebody of this role may send private messages.
func (c *Config) Private(r Role) bool {
	if c.PrivateTo == "" {
		return r >= Visitor
	}
	return c.PrivateTo.Allows(r)
}

const (
	maxName   = 200
	maxText   = 2000
	maxSecret = 200
	// MaxHistory is the most that a room sends of its history.
	MaxHistory = 200
	maxSlow    = 24 * 3600
)

// Validate returns what is wrong with a configuration (XEP-0045#createroom-reserved: then it is not acceptable).
func (c *Config) Validate() error {
	switch {
	case c.Protected && c.Password == "":
		return fmt.Errorf("a password-protected room needs a password")
	case len(c.Name) > maxName || len(c.Lang) > 35:
		return fmt.Errorf("the name of a room has at most %d bytes, its language at most 35", maxName)
	case len(c.Description) > maxText || len(c.PubSub) > maxText || len(c.Contacts) > 20:
		return fmt.Errorf("descriptions have at most %d bytes, and there are at most 20 contacts", maxText)
	case len(c.Password) > maxSecret:
		return fmt.Errorf("a password has at most %d bytes", maxSecret)
	case c.MaxUsers < 0 || c.History < 0 || c.History > MaxHistory:
		return fmt.Errorf("a room sends 0 to %d messages of its history, and holds no negative number of users", MaxHistory)
	case c.Mentions.Count < 0 || c.Mentions.Count > maxMentions:
		return fmt.Errorf("a message has at most %d mentions", maxMentions)
	case c.Slow < 0 || c.Slow > maxSlow:
		return fmt.Errorf("a slow room waits 0 to %d seconds", maxSlow)
	}
	return nil
}
