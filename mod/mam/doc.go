// Package mam keeps the archives of accounts and answers their queries (XEP-0313, with the preferences of XEP-0441, the search
// of XEP-0431 and the metadata that Bind 2 hands out, XEP-0386). It marks messages with their place in the archive (XEP-0359) and removes
// marks that others forged, keeps what hints ask for (XEP-0334), and puts tombstones in the place of retracted messages (XEP-0424).
//
// A message between two local accounts is in both archives, each with an id of its own, and its body is stored once. Both
// rows and the body are part of the commit that comes before the delivery: a message that anybody has seen is in the archives.
//
// # What is archived
//
//	headline, groupchat                              no: rooms have archives of their own (XEP-0313#business-storeret-user-archives)
//	error                                            if it answers a message that is in the archive, so that every device learns of it
//	<no-store/>, <no-permanent-store/>               no (XEP-0334#hints), also beside <store/>
//	<store/>                                         yes (XEP-0334#store-worthy)
//	<body/>, <subject/>                              yes
//	encrypted content (OMEMO, OpenPGP, XEP-0027)     yes
//	receipts, markers that say "received" and so on  yes (XEP-0184, XEP-0333); not the mere request for them
//	reactions, retractions, corrections, attachments yes (XEP-0444, XEP-0424, XEP-0308, XEP-0367, XEP-0422)
//	calls: Jingle messages, call invites             yes (XEP-0353, XEP-0482)
//	invitations to rooms                             yes (XEP-0249, XEP-0045#invite-mediated)
//	all else: chat states, events of PubSub          no
//
// A message that is refused, or bounced because nobody is there to take it, is in no archive. Corrections and the indication
// of a fallback (XEP-0428) are data: they are kept as they came.
package mam
