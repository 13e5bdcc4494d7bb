// Package pubsub is a service for publish-subscribe (XEP-0060) at pubsub.DOMAIN: anybody may read and subscribe as the
// nodes allow, and users of the host make nodes. The engine of the same name does the work.
package pubsub
