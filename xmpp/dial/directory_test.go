package dial

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestParseDirectory reads what domains publish by XEP-0487#httpformat.
func TestParseDirectory(t *testing.T) {
	const pin = "4/mggdlVx8A3pvHAWW5sD+qJyMtUHgiRuPjVC48N0XQ="
	link := func(rel, rest string) string {
		return `{"rel":"urn:xmpp:alt-connections:` + rel + `","priority":1,"weight":1,` + rest + `}`
	}
	good := link("s2s-tls", `"port":443,"sni":"h.example","ips":["192.0.2.1","2001:db8::1"]`)
	for _, c := range []struct{ name, doc, want string }{
		{"all", `{"xmpp":{"ttl":3000,"public-key-pins-sha-256":["` + pin + `"]},"links":[` + good + `]}`, "50m0s 1 tls://h.example:443[192.0.2.1 2001:db8::1]"},
		{"by priority", `{"xmpp":{"ttl":3000},"links":[{"rel":"urn:xmpp:alt-connections:s2s-tls","priority":9,"weight":1,"port":1,"sni":"late","ips":["::1"]},` + good + `]}`,
			"50m0s 0 tls://h.example:443[192.0.2.1 2001:db8::1] tls://late:1[::1]"},
		{"of others", `{"xmpp":{"ttl":3000},"links":[` + link("tls", `"port":443,"sni":"h","ips":["::1"]`) + `,` + link("s2s-quic", `"port":443,"sni":"h","ips":["::1"]`) + `]}`, "50m0s 0"},
		{"no port", `{"xmpp":{"ttl":3000},"links":[` + link("s2s-tls", `"sni":"h","ips":["::1"]`) + `]}`, "50m0s 0"},
		{"no addresses", `{"xmpp":{"ttl":3000},"links":[` + link("s2s-tls", `"port":1,"sni":"h","ips":["h.example","fe80::1%eth0"]`) + `]}`, "50m0s 0"},
		{"no name", `{"xmpp":{"ttl":3000},"links":[` + link("s2s-tls", `"port":1,"ips":["::1"]`) + `]}`, "50m0s 0"},
		{"ttl short", `{"xmpp":{"ttl":1}}`, "1m0s 0"},
		{"ttl long", `{"xmpp":{"ttl":9000000000000000000}}`, "24h0m0s 0"},
		{"no ttl", `{"xmpp":{}}`, "error"},
		{"bad pin", `{"xmpp":{"ttl":1,"public-key-pins-sha-256":["AAAA"]}}`, "error"},
		{"port too large", `{"xmpp":{"ttl":1},"links":[` + link("s2s-tls", `"port":70000`) + `]}`, "error"},
		{"XEP-0156 only", `{"links":[` + good + `]}`, "none"},
		{"no JSON", `<XRD/>`, "error"},
		{"many", `{"xmpp":{"ttl":3000},"links":[` + strings.Repeat(good+",", 1000) + good + `]}`, "50m0s 0" + strings.Repeat(" tls://h.example:443[192.0.2.1 2001:db8::1]", maxLinks)},
	} {
		dir, err := parseDirectory([]byte(c.doc), RelServerTLS)
		got := "error"
		switch {
		case errors.Is(err, ErrNoDirectory):
			got = "none"
		case err == nil:
			got = fmt.Sprintf("%v %d", dir.TTL.Round(time.Second), len(dir.Pins))
			for _, x := range dir.Targets {
				got += fmt.Sprintf(" %s%v", x, x.Addrs)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}
