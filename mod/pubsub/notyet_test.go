package pubsub_test

import "slices"

// notYet are the sections for which transcripts are still to be written.
var notYet = slices.Concat(notYetSubscribing, notYetOwning)

// Chapters 5 to 7 of XEP-0060.
var notYetSubscribing = []string{
	"XEP-0060#entity-info",
	"XEP-0060#subscriber-subscribe-request",
	"XEP-0060#subscriber-subscribe-success",
	"XEP-0060#subscriber-subscribe-error-nomatch",
	"XEP-0060#subscriber-subscribe-error-whitelist",
	"XEP-0060#subscriber-subscribe-error-blocked",
	"XEP-0060#subscriber-subscribe-error-toomany",
	"XEP-0060#subscriber-subscribe-error-node",
	"XEP-0060#subscriber-subscribe-configure",
	"XEP-0060#subscriber-subscribe-multi",
	"XEP-0060#subscriber-unsubscribe-request",
	"XEP-0060#subscriber-unsubscribe-success",
	"XEP-0060#subscriber-unsubscribe-error-nosub",
	"XEP-0060#subscriber-unsubscribe-error-forbidden",
	"XEP-0060#subscriber-unsubscribe-error-node",
	"XEP-0060#subscriber-unsubscribe-error-badsubid",
	"XEP-0060#subscriber-configure-support",
	"XEP-0060#subscriber-configure-request",
	"XEP-0060#subscriber-configure-success",
	"XEP-0060#subscriber-configure-error-forbidden",
	"XEP-0060#subscriber-configure-error-jid",
	"XEP-0060#subscriber-configure-error-node",
	"XEP-0060#subscriber-configure-submit",
	"XEP-0060#subscriber-configure-process-success",
	"XEP-0060#subscriber-default-request",
	"XEP-0060#subscriber-default-success",
	"XEP-0060#subscriber-retrieve-perms",
	"XEP-0060#subscriber-retrieve-requestall",
	"XEP-0060#subscriber-retrieve-returnall",
	"XEP-0060#subscriber-retrieve-returnnotify",
	"XEP-0060#subscriber-retrieve-error-badsubid",
	"XEP-0060#subscriber-retrieve-error-notsubscribed",
	"XEP-0060#subscriber-retrieve-error-presence",
	"XEP-0060#subscriber-retrieve-error-rostergroup",
	"XEP-0060#subscriber-retrieve-error-whitelist",
	"XEP-0060#subscriber-retrieve-error-blocked",
	"XEP-0060#subscriber-retrieve-error-node",
	"XEP-0060#subscriber-retrieve-error-items",
	"XEP-0060#publisher-publish-request",
	"XEP-0060#publisher-publish-success-withpayload",
	"XEP-0060#publisher-publish-autocreate",
	"XEP-0060#publisher-delete-request",
	"XEP-0060#publisher-delete-error-node",
	"XEP-0060#publisher-delete-error-nodeid",
	"XEP-0060#publisher-delete-error-itemid",
	"XEP-0060#publisher-delete-error-persistent",
}

// Chapters 8 and 9 of XEP-0060, and XEP-0163.
var notYetOwning = []string{
	"XEP-0060#auto-subscribe-owner",
	"XEP-0060#auto-subscribe-contact",
	"XEP-0060#filtered-notifications",
	"XEP-0163#publish",
	"XEP-0163#notify-num",
	"XEP-0163#support-contact",
	"XEP-0163#impl-subscriptions",
	"XEP-0163#approach-onenode",
}
