package s2s_test

import (
	"os"
	"testing"

	"sabir/internal/config"
)

// TestPeers lets users of Sabir and of other servers talk, by each way to connect and to prove a domain.
func TestPeers(t *testing.T) {
	if os.Getenv(envPeers) == "" {
		t.Skip("scripts/s2s-peers.sh runs it")
	}
	for _, name := range []string{"prosody", "ejabberd"} {
		for _, way := range []string{"starttls", "direct"} {
			for _, how := range []string{"external", "dialback"} {
				t.Run(name+" "+way+" "+how, func(t *testing.T) {
					w := newWorldAt(t, "127.0.53.53:53")
					w.untrusted = how == "dialback"
					set := ""
					if w.untrusted {
						set = `auth = "dialback"`
					}
					ours, theirs := w.start(set, "ours.example"), w.foreign(name, "theirs.example", w.untrusted)
					plain := way == "starttls"
					for domain, ports := range map[string]map[config.Purpose]string{"ours.example": ours.ports, "theirs.example": theirs.ports} {
						if plain || name == "ejabberd" && domain == "ours.example" { // it connects by STARTTLS only
							w.Point(t, domain, ports[config.S2S], "")
						} else {
							w.Point(t, domain, "", ports[config.S2STLS])
						}
					}
					romeo, juliet := ours.login("romeo@ours.example/x"), theirs.connect("juliet@theirs.example/y")
					juliet.arrive()
					talk(t, romeo, juliet)
					// To those who are offline, both ways: it waits there.
					nurse := ours.connect("nurse@ours.example/z")
					if err := nurse.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					juliet.say("nurse@ours.example", "offline-here")
					romeo.say("nurse@theirs.example", "offline-there")
					talk2(romeo, juliet)
					ours.login("nurse@ours.example/z").message("offline-here")
					there := theirs.connect("nurse@theirs.example/z")
					there.arrive()
					there.message("offline-there")
				})
			}
		}
	}
}

// talk2 takes a message there and back, behind what was sent before.
func talk2(romeo, juliet *user) {
	romeo.say(juliet.jid.String(), "fence-1")
	juliet.message("fence-1")
	juliet.say(romeo.jid.String(), "fence-2")
	romeo.message("fence-2")
}
