package pubsub

import (
	"strings"

	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// The namespaces of XEP-0060.
const (
	NS       = "http://jabber.org/protocol/pubsub"
	NSOwner  = NS + "#owner"
	NSEvent  = NS + "#event"
	NSErrors = NS + "#errors"

	nsMetadata      = NS + "#meta-data"
	nsNodeConfig    = NS + "#node_config"
	nsPublishOpts   = NS + "#publish-options"
	nsSubOptions    = NS + "#subscribe_options"
	nsAuthorization = NS + "#subscribe_authorization"
)

// fault returns a stanza error with a condition of XEP-0060#errors.
func fault(c stanza.Condition, condition string) *stanza.Error {
	e := stanza.Err(c, "").With(xmlstream.El(NSErrors, condition))
	if c == stanza.UnexpectedRequest {
		e = e.OfType(stanza.Cancel) // XEP-0060#errors: waiting does not help
	}
	return e
}

// refused says that some of what a request was to change stays as it is, which payload tells. The rest was done
// (XEP-0060#owner-affiliations-multi, #owner-subscriptions-multi).
type refused struct{ payload *xmlstream.Element }

func (*refused) Error() string { return "some of the changes were refused" }

// unsupported says that a feature is not there, for the service or for a node.
func unsupported(feature string) *stanza.Error {
	short := strings.TrimPrefix(feature, NS+"#")
	return stanza.Err(stanza.FeatureNotImplemented, "").With(xmlstream.El(NSErrors, "unsupported", xmlstream.A("feature", short)))
}
