package pubsub_test

// notYet are the sections for which transcripts are still to be written.
var notYet = notYetOwning

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
