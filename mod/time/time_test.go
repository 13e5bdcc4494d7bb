package entitytime

import (
	"testing"
	"time"

	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const payload = "<time xmlns='urn:xmpp:time'/>"

func TestTime(t *testing.T) {
	h := modtest.New(t, Info)
	h.Advance(90 * time.Second)
	modtest.Expect(t, h.Get("romeo@localhost/garden", "localhost", payload),
		"<iq type='result' from='localhost'><time xmlns='urn:xmpp:time'><tzo>Z</tzo><utc>2026-03-01T12:01:30Z</utc></time></iq>")
	modtest.ExpectError(t, h.Get("romeo@localhost/garden", "juliet@localhost", payload), stanza.Cancel, stanza.ServiceUnavailable)
}

func TestShowZone(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithConfig(func(c *Config) { c.ShowZone = true }))
	zone := modtest.Epoch.Local().Format("Z07:00")
	modtest.Expect(t, h.Get("romeo@localhost/garden", "localhost", payload),
		"<iq type='result'><time xmlns='urn:xmpp:time'><tzo>"+zone+"</tzo><utc>2026-03-01T12:00:00Z</utc></time></iq>")
}
