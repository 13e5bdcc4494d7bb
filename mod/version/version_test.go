package version

import (
	"runtime"
	"testing"

	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const payload = "<query xmlns='jabber:iq:version'/>"

func TestVersion(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithConfig(func(c *Config) { c.Version = "1.2" }))
	modtest.Expect(t, h.Get("romeo@localhost/garden", "localhost", payload),
		"<iq type='result' from='localhost' to='romeo@localhost/garden'><query xmlns='jabber:iq:version'><name>Sabir</name><version>1.2</version></query></iq>")
	modtest.ExpectError(t, h.Get("romeo@localhost/garden", "juliet@localhost", payload), stanza.Cancel, stanza.ServiceUnavailable)
}

func TestShowOS(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithConfig(func(c *Config) { c.ShowOS = true }))
	modtest.Expect(t, h.Get("romeo@localhost/garden", "localhost", payload),
		"<iq type='result'><query xmlns='jabber:iq:version'><name>Sabir</name><version>{any}</version><os>"+runtime.GOOS+"</os></query></iq>")
}

func TestBuildVersion(t *testing.T) {
	if buildVersion() == "" {
		t.Error("the version is empty, which XEP-0092#protocol forbids")
	}
}
