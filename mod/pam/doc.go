// Package pam keeps the subscriptions of accounts to nodes anywhere (XEP-0376): a client subscribes by its own server, which asks
// the service in the name of the account, remembers, and tells the other devices. Of the text of XEP-0376 that is what it specifies:
// its sections on automatic subscriptions, on filters and on archives ask questions.
//
// What somebody subscribes to as public is listed at a node of the account (XEP-0465), which the engine of publish-subscribe
// guards.
package pam
