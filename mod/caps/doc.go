// Package caps announces the capabilities of the host, and learns those of its clients (XEP-0115, XEP-0390), so that other
// extensions can tell which session understands what.
//
// What a client answers counts for all who announce the same hash only after it was verified, and not where the hash of
// XEP-0115 also fits another answer (XEP-0115#security-poisoning): then it counts for that session alone.
package caps
