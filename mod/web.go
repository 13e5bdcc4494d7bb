package mod

import (
	"net/http"

	"sabir/xmpp/jid"
)

// HTTP is a part of the server's web site that an extension serves, on every HTTPS listener.
//
// Its paths are /NAME/ADDRESS and all below, where ADDRESS is that of the host, of one of its accounts or of one of its
// services, percent-encoded as one segment. The server takes the address for finding the host, and hands a request to the
// extension of that one, whatever name the listener was reached by; for other addresses it answers with 404. So the paths of
// many hosts never meet, and an address of the web says whose it is.
type HTTP struct {
	// Name is the first segment of the paths: lower-case ASCII. No two extensions of a host have the same.
	Name string
	// Handler gets the requests of all methods, with their whole path. It may be called from many goroutines. A panic is
	// contained to its request.
	Handler http.Handler
}

// Pages is what others need of the extension that shows nodes of publish-subscribe on the web.
type Pages interface {
	// URL returns the address of the page of an item of a node that everybody may read, or "" where it has none, or none
	// that is known beforehand.
	URL(at jid.JID, node, item string) string
}
