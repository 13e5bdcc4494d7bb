// Package offline keeps messages for accounts that have no resource to take them, and delivers them when one comes
// (RFC 6121 §8.5.2.2, XEP-0160), with the time at which they were sent (XEP-0203) and as their senders ask (XEP-0334).
//
// Messages come in the order in which they were sent, and before those that are sent while they are handed over.
//
// A message is deleted after the session has taken it. A session that ends gives back what it could not write, and the
// message is stored again. Only a crash between the two can make a message come twice; none is lost by it.
package offline
