// Package pubsub owns publish-subscribe (XEP-0060): nodes with their configuration, affiliations, subscriptions and items,
// who may do what with them, and who is told of a change. It serves behind a service of its own (mod/pubsub) and behind
// every account as personal eventing (XEP-0163, mod/pep), which part in three ways: the account owns all its nodes, nodes
// come into being by publishing, and contacts are subscribed by their presence and what their clients announce.
//
// An address has one subscription to a node, and asking again changes its options. Several with a SubID each (multi-subscribe of
// XEP-0060#features) would be of use for filters by content, which there are not, so the feature is not offered.
//
// A change is committed before anybody is told of it, and the subscribers of a node hear of its changes in the order of
// the commits: a lock for each node is held meanwhile.
package pubsub
