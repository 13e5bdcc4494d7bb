package pubsub

import (
	"slices"

	wire "sabir/xmpp/payload/mam"
)

// The features of XEP-0060#features, as service discovery names them.
const (
	featureAccessOpen            = NS + "#access-open"
	featureAccessPresence        = NS + "#access-presence"
	featureAutoCreate            = NS + "#auto-create"
	featureAutoSubscribe         = NS + "#auto-subscribe"
	featureConfigNode            = NS + "#config-node"
	featureConfigNodeMax         = NS + "#config-node-max"
	featureCreateAndConfigure    = NS + "#create-and-configure"
	featureCreateNodes           = NS + "#create-nodes"
	featureDeleteItems           = NS + "#delete-items"
	featureDeleteNodes           = NS + "#delete-nodes"
	featureFilteredNotifications = NS + "#filtered-notifications"
	featureGetPending            = NS + "#get-pending"
	featureInstantNodes          = NS + "#instant-nodes"
	featureItemIDs               = NS + "#item-ids"
	featureLastPublished         = NS + "#last-published"
	featureLeasedSubscription    = NS + "#leased-subscription"
	featureManageSubscriptions   = NS + "#manage-subscriptions"
	featureMember                = NS + "#member-affiliation"
	featureMetadata              = nsMetadata
	featureModifyAffiliations    = NS + "#modify-affiliations"
	featureMultiItems            = NS + "#multi-items"
	featureOutcast               = NS + "#outcast-affiliation"
	featurePersistentItems       = NS + "#persistent-items"
	featurePresenceNotifications = NS + "#presence-notifications"
	featurePresenceSubscribe     = NS + "#presence-subscribe"
	featurePublish               = NS + "#publish"
	featurePublishNodeFull       = NS + "#publish-node-full"
	featurePublishOnly           = NS + "#publish-only-affiliation"
	featurePublishOptions        = nsPublishOpts
	featurePublisher             = NS + "#publisher-affiliation"
	featurePurgeNodes            = NS + "#purge-nodes"
	featureRetractItems          = NS + "#retract-items"
	featureRetrieveAffiliations  = NS + "#retrieve-affiliations"
	featureRetrieveDefault       = NS + "#retrieve-default"
	featureRetrieveDefaultSub    = NS + "#retrieve-default-sub"
	featureRetrieveItems         = NS + "#retrieve-items"
	featureRetrieveSubscriptions = NS + "#retrieve-subscriptions"
	featureRSM                   = NS + "#rsm"
	featureSubscribe             = NS + "#subscribe"
	featureSubNotifications      = NS + "#subscription-notifications"
	featureSubOptions            = NS + "#subscription-options"

	featureOnAJID      = NS + "#pubsub-on-a-jid" // XEP-0060#presence
	featureOrderPubsub = NSOrder + "@" + NS      // XEP-0413#disco
)

// offer says where a feature is: at accounts, at services of their own, or at both.
type offer struct {
	feature     string
	account, at bool
}

// offers are all features. What a service does by one of them it asks Service.Has about, so that a service without it neither
// names it nor does it; internal/xmpptest takes away one after another, and wants a conversation that fails without each.
var offers = []offer{
	{featureAccessOpen, false, true},
	{featureAccessPresence, true, false},
	{featureAutoCreate, true, true},
	{featureAutoSubscribe, true, false},
	{featureConfigNode, true, true},
	{featureConfigNodeMax, true, true},
	{featureCreateAndConfigure, true, true},
	{featureCreateNodes, true, true},
	{featureDeleteItems, true, true},
	{featureDeleteNodes, true, true},
	{featureFilteredNotifications, true, false},
	{featureGetPending, false, true},
	{featureInstantNodes, true, true},
	{featureItemIDs, true, true},
	{featureLastPublished, true, true},
	{featureLeasedSubscription, true, true},
	{featureManageSubscriptions, true, true},
	{featureMember, true, true},
	{featureMetadata, true, true},
	{featureModifyAffiliations, true, true},
	{featureMultiItems, true, true},
	{featureOutcast, true, true},
	{featurePersistentItems, true, true},
	{featurePresenceNotifications, true, false},
	{featurePresenceSubscribe, true, false},
	{featurePublish, true, true},
	{featurePublishNodeFull, true, true},
	{featurePublishOnly, true, true},
	{featurePublishOptions, true, true},
	{featurePublisher, true, true},
	{featurePurgeNodes, true, true},
	{featureRetractItems, true, true},
	{featureRetrieveAffiliations, true, true},
	{featureRetrieveDefault, true, true},
	{featureRetrieveDefaultSub, true, true},
	{featureRetrieveItems, true, true},
	{featureRetrieveSubscriptions, true, true},
	{featureRSM, true, true},
	{featureSubscribe, true, true},
	{featureSubNotifications, true, true},
	{featureSubOptions, true, true},

	{featureOnAJID, true, false},
	{NSOrder, true, true},
	{featureOrderPubsub, true, true},
	{NSFilter, true, true},
	{nsRelations, true, true},
	{nsExtSub, true, true},
	{nsExtDisco, true, true},
	{nsAttachments, true, true},
	{NSSocial, true, true},
	{NSPublic, true, true},
	{NSStories, true, false}, // XEP-0501#discovery
	{wire.NS, false, true},   // of accounts mod/mam names it
}

// Features returns the features of XEP-0060#features that a service has, and the protocols around it, as service discovery names
// them.
func (s *Service) Features() []string {
	var out []string
	for _, o := range offers {
		if (o.account && s.o.PEP || o.at && !s.o.PEP) && s.Has(o.feature) {
			out = append(out, o.feature)
		}
	}
	return out
}

// Has tells whether the service has a feature, of those that services of its kind have.
func (s *Service) Has(feature string) bool { return !slices.Contains(s.o.Without, feature) }

// affiliationFeatures are those of the affiliations that there may be beside owner (XEP-0060#owner-affiliations-modify).
var affiliationFeatures = []struct {
	affiliation Affiliation
	feature     string
}{{Publisher, featurePublisher}, {PublishOnly, featurePublishOnly}, {Member, featureMember}, {Outcast, featureOutcast}}

// assignable returns nil where owners may give an affiliation, or the error that is owed.
func (s *Service) assignable(a Affiliation) error {
	for _, f := range affiliationFeatures {
		if f.affiliation == a && !s.Has(f.feature) {
			return unsupported(f.feature)
		}
	}
	return nil
}

// defaults returns the configuration of a new node that nobody configured.
func (s *Service) defaults() Config {
	c, access := Default(), featureAccessOpen
	if s.o.PEP {
		c, access = DefaultPEP(), featureAccessPresence
	}
	if !s.Has(access) {
		c.Access = AccessWhitelist
	}
	if !s.Has(featureLastPublished) {
		c.SendLast = SendNever
	}
	return s.within(c)
}

// within returns a configuration as far as a service has the features for it.
func (s *Service) within(c Config) Config {
	c.Persist = c.Persist && s.Has(featurePersistentItems)
	c.NotifyRetract = c.NotifyRetract && s.Has(featureRetractItems)
	c.PresenceBased = c.PresenceBased && s.Has(featurePresenceNotifications)
	if !s.Has(featureMultiItems) {
		c.MaxItems = 1
	}
	return c
}

// profiled returns the configuration of a new node as its name and its type ask for it. See Config.profile.
func (s *Service) profiled(c Config, name, typ string) Config {
	if !s.Has(NSSocial) || (name == NSStories || typ == NSStories) && !s.Has(NSStories) {
		return c
	}
	c.profile(name, typ)
	return s.within(c)
}
