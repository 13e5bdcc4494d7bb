// Package carbons copies instant messages to all devices of a user (XEP-0280): what one device sends or gets, the others
// that asked for it get wrapped.
//
// What is copied follows XEP-0280#recommended-rules to the letter, as the feature urn:xmpp:carbons:rules:0 promises. Where the text
// leaves a choice:
//
//   - A message that this server refuses was never sent: neither it nor the error is copied. An error that somebody else
//     answers with is copied to the devices that know of the message.
//   - A message of a user to the own account goes round once: a device gets it itself or one copy, and the one that sent it
//     no copy.
//   - <private/> stays in the message, as the text has it since 0.14.0, and <no-copy/> (XEP-0334) alone is honoured, too.
//   - A message that comes in with <sent/> or <received/> is a forgery, for the server gives its own to the sessions. The
//     client that it is for must ignore it (XEP-0280#security); many did not. It is refused, whoever sends it to whom.
//   - A copy bears no <delay/>: it is made when the message passes.
//
// The flag "carbons.enabled" of a session says that its client asked for copies.
package carbons
