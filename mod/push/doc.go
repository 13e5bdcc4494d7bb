// Package push tells devices whose clients are not connected that there is something for them: by way of an app server
// (XEP-0357), or, for a browser, by Web Push (RFC 8030, RFC 8291, RFC 8292).
//
// # When
//
// A message that is worth waking somebody for (engine/urgency) counts for each service of its recipient whose client is not
// there. That is the client which has enabled the service, known by its resource. One that has lost its connection and may resume it
// (XEP-0198) is not there, nor one that does not acknowledge what it was sent although its connection stands: a phone that sleeps
// (XEP-0352), or has lost its network without a word. The count is written in the transaction
// that records the message, so that a crash between the two loses no notification; a sweep sends what is owed. Nothing of it
// is on the way of the message: a service that does not answer costs the message nothing.
//
// Notifications to one service are at least Config.Every apart and sum up what came in between. One is under way at a time.
// An error that will not pass disables the service; others, and silence, are retried ever more rarely, until Config.Tries.
//
// A message counts once for a service, however many clients of the user are in the room that sends it, and also where it comes anew
// because a session has ended whose client did not get it (ledger). What the user has said, and the past that a room sends to who
// enters, counts not at all.
//
// A chat for which the user has asked not to be told, or only of what speaks to them (XEP-0492), is left out: the setting stands with
// the bookmark of the room or contact. Without one every message counts that a client of the user gets, in rooms too: whether a room
// is public, in which case the XEP would have mentions alone told, its members' server does not know. A room of this host does know, and
// says so of the members who are away (mod.Notifier): they are told without being sent the message.
//
// # Web Push
//
// No XEP says how a browser hands its subscription to a server, so the namespace is ours, sabir:webpush:0. A request of type
// get to the own account for <webpush/> returns the public key of the server, base64url, in <key/>. A request of type set
// with <subscribe endpoint='https://…'/>, in which <p256dh/> and <auth/> hold the keys of the browser's PushSubscription,
// enables it; <unsubscribe/> with the endpoint ends it. What the browser gets is a JSON object with the number of messages
// in "count", that of subscription requests in "requests", the account in "account", and, where so configured, "sender"
// and "body".
package push
