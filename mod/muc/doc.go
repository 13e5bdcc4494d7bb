// Package muc owns Multi-User Chat (XEP-0045): a service at a domain of its own with rooms in it, their occupants, lists and
// settings, and what belongs around them: stable ids of messages (XEP-0359) and occupants (XEP-0421), self-pings
// (XEP-0410), retraction (XEP-0424) and moderation (XEP-0425), unique names (XEP-0307), pictures of rooms (XEP-0486), slow mode (XEP-0500),
// hats (XEP-0317), search (XEP-0433), how busy a room is (XEP-0502), mentions that reach
// members who are away (XEP-0452, XEP-0513), tokens that invite (XEP-0488), versions of affiliations (XEP-0463), activity of rooms for members who are not in (XEP-0437), and commands for administrators.
//
// A room has one owner: everything that concerns it goes through its loop (engine/room), one thing after the other. So there
// are no locks within a room, there is one order for all occupants and the archive, and what came together is committed
// together before any of it is told. Senders of messages wait for that commit, and for nothing else.
//
// Rooms are loaded when somebody turns to them and unloaded when they are idle. What is in the tables survives a
// restart, occupants included: a session that is resumed is still in its rooms, and one that is not is found out as a ghost.
//
// Each use case of XEP-0045, each status code and each error at the door is shown by a transcript or a test; another test keeps that so.
// Two codes of its registry (XEP-0045#registrar-statuscodes-init) are never sent, 102 and 103, by which a room would say that it
// begins or ceases to show members who are away: presence is that of occupants (XEP-0045#enter-pres), and neither the text nor
// the fields of a configuration (XEP-0045#registrar-formtype-owner) know of a room that shows others.
package muc
