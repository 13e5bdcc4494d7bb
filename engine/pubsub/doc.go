// Package pubsub owns publish-subscribe (XEP-0060): nodes with their configuration, affiliations, subscriptions and items,
// who may do what with them, and who is told of a change. It serves behind a service of its own (mod/pubsub) and behind
// every account as personal eventing (XEP-0163, mod/pep), which part in three ways: the account owns all its nodes, nodes
// come into being by publishing, and contacts are subscribed by their presence and what their clients announce.
//
// An address has one subscription to a node, and asking again changes its options (XEP-0060#subscriber-subscribe-multi). Several with
// a SubID each, the feature multi-subscribe, are not offered: what kind of news, from how deep, until when and with a text or
// without, one subscription can say as well, since there are no filters by content; and clients that know no SubIDs, which ask
// again for what they have, could not end it any more without one (XEP-0060#subscriber-unsubscribe).
//
// What a service does it does by features, which stand in one table with where they are offered. See offers.
//
// A change is committed before anybody is told of it, and the subscribers of a node hear of its changes in the order of
// the commits: a lock for each node is held meanwhile.
package pubsub
