// Package pubsub is a service for publish-subscribe (XEP-0060) at pubsub.DOMAIN: anybody may read and subscribe as the
// nodes allow, and users of the host make nodes. The engine of the same name does the work.
//
// Each use case of XEP-0060 and XEP-0163, down to the single error, is shown by a transcript here or in mod/pep under a comment that
// cites its section, or a test says why nothing can show it; the same test keeps that so.
package pubsub
