// Package ledger owns the oracle of the tests that break a server and look what became of what it had promised. It runs in
// another process than the server: accounts with two devices each write to one another and to accounts that are offline, and
// a Book notes every message, every acknowledgement and every receipt. Afterwards Check compares the Book with what the
// archives hold and what the devices got.
//
// A message counts as accepted where the server said so: by an <a/> whose h covers it (XEP-0198#acking), or, on a stream
// without stream management, by the answer to a ping that was sent behind it (RFC 6120 §10.1). Of every accepted message it
// is asked that it is in both archives once (XEP-0313), that each device can tell a copy that comes again by its stanza-id
// (XEP-0359), and that the messages of one device stay in order. Others may be missing, but not by half: in one archive
// alone, or delivered without being in the recipient's archive.
//
// The devices speak XEP-0198, XEP-0280 and XEP-0313 by themselves, on purpose without the client library's code for that, and
// so they talk to any server: Peer starts ejabberd and Prosody.
package ledger
