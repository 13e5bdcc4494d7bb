package roster

import "sabir/mod"

// state is the state of a subscription between an account and a contact, seen from the account: one of the nine of
// RFC 6121 appendix A.1. It is a set of the four bits below, of which not every combination exists: who is subscribed
// does not ask any more.
type state uint8

const (
	bitTo   state = 1 << iota // the account sees the contact
	bitFrom                   // the contact sees the account
	bitOut                    // the account has asked to see the contact ("Pending Out")
	bitIn                     // the contact has asked to see the account ("Pending In")
)

// The nine states.
const (
	none      state = 0
	noneOut         = bitOut
	noneIn          = bitIn
	noneOutIn       = bitOut | bitIn
	to              = bitTo
	toIn            = bitTo | bitIn
	from            = bitFrom
	fromOut         = bitFrom | bitOut
	both            = bitTo | bitFrom
)

// String returns the name that RFC 6121 appendix A.1 gives the state.
func (s state) String() string {
	switch s {
	case none:
		return "None"
	case noneOut:
		return "None + Pending Out"
	case noneIn:
		return "None + Pending In"
	case noneOutIn:
		return "None + Pending Out+In"
	case to:
		return "To"
	case toIn:
		return "To + Pending In"
	case from:
		return "From"
	case fromOut:
		return "From + Pending Out"
	case both:
		return "Both"
	}
	return "no state"
}

// subscription returns the part of the state that the roster shows (RFC 6121 §2.1.2.5).
func (s state) subscription() mod.Subscription {
	var sub mod.Subscription
	if s&bitTo != 0 {
		sub |= mod.SubTo
	}
	if s&bitFrom != 0 {
		sub |= mod.SubFrom
	}
	return sub
}

// event is a subscription stanza that the account sent or got.
type event uint8

const (
	sentSubscribe event = iota
	sentUnsubscribe
	sentSubscribed
	sentUnsubscribed
	gotSubscribe
	gotUnsubscribe
	gotSubscribed
	gotUnsubscribed
	events
)

// row is a line of a table of RFC 6121 appendix A. pass says that a stanza that was sent is routed, or that one that
// came is delivered.
type row struct {
	when state
	pass bool
	then state
}

// table holds the tables of RFC 6121 appendix A, in its order. What pre-approval adds (§3.4) is not in them: see
// out and in.
var table = [events][9]row{
	sentSubscribe: { // A.2.1
		{none, true, noneOut},
		{noneOut, true, noneOut},
		{noneIn, true, noneOutIn},
		{noneOutIn, true, noneOutIn},
		{to, true, to},
		{toIn, true, toIn},
		{from, true, fromOut},
		{fromOut, true, fromOut},
		{both, true, both},
	},
	sentUnsubscribe: { // A.2.2
		{none, true, none},
		{noneOut, true, none},
		{noneIn, true, noneIn},
		{noneOutIn, true, noneIn},
		{to, true, none},
		{toIn, true, noneIn},
		{from, true, from},
		{fromOut, true, from},
		{both, true, from},
	},
	sentSubscribed: { // A.2.3
		{none, false, none},
		{noneOut, false, noneOut},
		{noneIn, true, from},
		{noneOutIn, true, fromOut},
		{to, false, to},
		{toIn, true, both},
		{from, false, from},
		{fromOut, false, fromOut},
		{both, false, both},
	},
	sentUnsubscribed: { // A.2.4
		{none, false, none},
		{noneOut, false, noneOut},
		{noneIn, true, none},
		{noneOutIn, true, noneOut},
		{to, false, to},
		{toIn, true, to},
		{from, true, none},
		{fromOut, true, noneOut},
		{both, true, to},
	},
	gotSubscribe: { // A.3.1
		{none, true, noneIn},
		{noneOut, true, noneOutIn},
		{noneIn, false, noneIn},
		{noneOutIn, false, noneOutIn},
		{to, true, toIn},
		{toIn, false, toIn},
		{from, false, from},
		{fromOut, false, fromOut},
		{both, false, both},
	},
	gotUnsubscribe: { // A.3.2
		{none, false, none},
		{noneOut, false, noneOut},
		{noneIn, true, none},
		{noneOutIn, true, noneOut},
		{to, false, to},
		{toIn, true, to},
		{from, true, none},
		{fromOut, true, noneOut},
		{both, true, to},
	},
	gotSubscribed: { // A.3.3
		{none, false, none},
		{noneOut, true, to},
		{noneIn, false, noneIn},
		{noneOutIn, true, toIn},
		{to, false, to},
		{toIn, false, toIn},
		{from, false, from},
		{fromOut, true, both},
		{both, false, both},
	},
	gotUnsubscribed: { // A.3.4
		{none, false, none},
		{noneOut, true, none},
		{noneIn, false, noneIn},
		{noneOutIn, true, noneIn},
		{to, true, none},
		{toIn, true, noneIn},
		{from, false, from},
		{fromOut, true, from},
		{both, true, from},
	},
}

// on returns what becomes of the stanza and of the state.
func (s state) on(e event) (pass bool, then state) {
	for _, r := range table[e] {
		if r.when == s {
			return r.pass, r.then
		}
	}
	return false, s
}
