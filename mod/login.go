package mod

import (
	"context"
	"time"

	"sabir/xmpp/xmlstream"
)

// Inline is something that happens while a client binds its resource by Bind 2 (XEP-0386), within the login and without a
// round trip of its own: a feature that the client asks for, such as carbons, or what every client is told, such as where
// its archive ends.
//
// The session is in the directory and may be sent stanzas when Func runs; all of them reach the client after <success/>.
// Func runs before Hooks.Bound, in no order among those of different extensions, and the client waits for it.
type Inline struct {
	// Var is the name under which the feature is offered (XEP-0386#usecases), mostly its namespace; "" offers nothing.
	Var string
	// Requests are the children of <bind/> by which a client asks for it. Func runs once for each that came, in their
	// order, and for each kind once only. Without Requests Func runs once at every bind.
	Requests []xmlstream.Name
	// Func does what was asked for. request is nil without Requests. What it returns becomes a child of <bound/>; nil
	// adds nothing. There is no way to fail the login: an answer that says so is a child of <bound/> as well, and other
	// errors are logged by Func.
	Func func(ctx context.Context, s Session, request *xmlstream.Element) *xmlstream.Element
}

// Client is what is known of the client behind a session.
type Client struct {
	// ID names this installation of a client among those of its account; "" where the client has not told which it is
	// (XEP-0388#initiation). The server has made it: the id that the client sent is not kept.
	ID string
	// Software and Device are what the client says of itself, for its own user alone (XEP-0388#initiation).
	Software, Device string
	// Mechanism is the SASL mechanism of the login.
	Mechanism string
}

// Device is a client that has access to an account (XEP-0494).
type Device struct {
	// ID is that of Client.ID; for a client that is connected and has not told which it is, one that ends with its session.
	ID string
	// Software and Device are what the client says of itself; "" where it does not, or where that is not kept.
	Software, Device string
	// FirstSeen and LastSeen are when the client logged in for the first time and when it was there the last time, to about
	// an hour.
	FirstSeen, LastSeen time.Time
	// Connected tells whether it has a session.
	Connected bool
	// Password tells whether it has shown the password that is in force, Token whether it has a token to log in with.
	Password, Token bool
}
