// Package all lists the extensions that are linked into the server, and nothing else.
package all

import (
	"sabir/mod"
	"sabir/mod/blocking"
	"sabir/mod/disco"
	"sabir/mod/offline"
	"sabir/mod/ping"
	"sabir/mod/presence"
	"sabir/mod/roster"
	entitytime "sabir/mod/time"
	"sabir/mod/version"
)

// Extensions are all extensions. Adding one to Sabir means adding it here.
var Extensions = []mod.Info{
	blocking.Info,
	disco.Info,
	offline.Info,
	ping.Info,
	presence.Info,
	roster.Info,
	entitytime.Info,
	version.Info,
}
