// Package blocking lets users block addresses (XEP-0191): nothing of what they send arrives, and to them the user is
// offline. It blocks politely: subscriptions stay as they are (XEP-0191#impl).
//
// Never blocked are the user's own resources (XEP-0191#privacy) and the address of the user's own server itself, without
// which no request would be answered any more, not even the one that unblocks.
package blocking
