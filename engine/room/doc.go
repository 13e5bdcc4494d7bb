// Package room owns what makes a room a room, whatever protocol leads into it: the affiliations and roles of XEP-0045, the
// rules of who may change which of them, the settings that an owner may choose, and the loop in which a room does one thing after the other.
//
// It knows nothing of stanzas on their way or of tables; mod/muc does.
package room
