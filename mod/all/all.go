// Package all lists the extensions that are linked into the server, and nothing else.
package all

import (
	"sabir/mod"
	"sabir/mod/adhoc"
	"sabir/mod/blocking"
	"sabir/mod/caps"
	"sabir/mod/carbons"
	"sabir/mod/csi"
	"sabir/mod/devices"
	"sabir/mod/disco"
	"sabir/mod/feeds"
	"sabir/mod/last"
	"sabir/mod/limits"
	"sabir/mod/mam"
	"sabir/mod/muc"
	"sabir/mod/offline"
	"sabir/mod/pam"
	"sabir/mod/pep"
	"sabir/mod/ping"
	"sabir/mod/presence"
	"sabir/mod/private"
	"sabir/mod/pubsub"
	"sabir/mod/push"
	"sabir/mod/register"
	"sabir/mod/roster"
	"sabir/mod/session"
	entitytime "sabir/mod/time"
	"sabir/mod/vcard"
	"sabir/mod/version"
)

// Extensions are all extensions. Adding one to Sabir means adding it here.
var Extensions = []mod.Info{
	adhoc.Info,
	blocking.Info,
	caps.Info,
	carbons.Info,
	csi.Info,
	devices.Info,
	disco.Info,
	feeds.Info,
	last.Info,
	limits.Info,
	mam.Info,
	muc.Info,
	offline.Info,
	pam.Info,
	pep.Info,
	ping.Info,
	presence.Info,
	private.Info,
	push.Info,
	pubsub.Info,
	register.Info,
	roster.Info,
	session.Info,
	entitytime.Info,
	vcard.Info,
	version.Info,
}
