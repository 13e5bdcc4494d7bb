package version

import (
	"context"
	"runtime"
	"runtime/debug"

	"sabir/mod"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const ns = "jabber:iq:version"

// Info describes the extension.
var Info = mod.Info{
	Name:   "version",
	Specs:  []string{"XEP-0092 1.1"},
	Doc:    "Tells name and version of the server software to those who ask.",
	Config: func() any { return &Config{Name: "Sabir"} },
	New:    newVersion,
}

// Config is the section [mod.version].
type Config struct {
	Name    string `toml:"name" doc:"The name of the software that is told."`
	Version string `toml:"version" doc:"The version that is told; that of the program where it is empty."`
	ShowOS  bool   `toml:"show_os" doc:"Tells the operating system too, which may help an attacker."`
}

func newVersion(_ mod.Host, cfg any) (*mod.Hooks, error) {
	c := cfg.(*Config)
	v := c.Version
	if v == "" {
		v = buildVersion()
	}
	q := xmlstream.El(ns, "query", xmlstream.El(ns, "name", c.Name), xmlstream.El(ns, "version", v))
	if c.ShowOS { // XEP-0092#security
		q.Add(xmlstream.El(ns, "os", runtime.GOOS))
	}
	return &mod.Hooks{IQ: []mod.IQHandler{{
		At: mod.AtHost, Space: ns, Local: "query", Type: stanza.TypeGet,
		Func: func(context.Context, *mod.Request) (*xmlstream.Element, error) { return q, nil },
	}}}, nil
}

// buildVersion returns the version of the program as the build recorded it.
func buildVersion() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "devel"
}
