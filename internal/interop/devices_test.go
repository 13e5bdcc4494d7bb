package interop

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sabir/internal/wiretest"
)

// TestDevices has one account on two devices of slixmpp: carbons (XEP-0280) go to the other, the network is cut and a process
// stopped, and the session goes on as if nothing had been (XEP-0198#resumption); both devices have one history (XEP-0313).
func TestDevices(t *testing.T) {
	w := enter(t)
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	tunnel := wiretest.New(t, w.Addresses["c2s"])
	host, text, err := splitPort(tunnel.Addr)
	if err != nil {
		t.Fatal(err)
	}
	laptop := newSlix(t, w, amina, false, args{"resource": "laptop"})
	phone := newSlix(t, w, amina, false, args{"resource": "phone", "manage": true, "host": host, "port": text})
	friend := newSlix(t, w, jonas, false, args{"manage": true})
	for _, d := range []*slix{laptop, phone} {
		d.do(t, "carbons", nil)
	}
	carbon := func(t *testing.T, way, with, text string) {
		t.Helper()
		if n := laptop.do(t, "carbon", args{"way": way, "with": with, "text": text}); n != 1.0 {
			t.Errorf("%v carbons of %q", n, text)
		}
	}
	var history []string
	write := func(t *testing.T, texts ...string) {
		t.Helper()
		for _, text := range texts {
			friend.Send(t, amina.JID+"/phone", text)
			history = append(history, text)
		}
	}
	arrive := func(t *testing.T, texts ...string) {
		t.Helper()
		for _, text := range texts {
			phone.Receive(t, jonas.JID, text)
			carbon(t, "received", jonas.JID, text)
		}
	}

	t.Run("carbons", func(t *testing.T) {
		write(t, "to the phone")
		arrive(t, "to the phone")
		phone.Send(t, jonas.JID, "from the phone")
		history = append(history, "from the phone")
		friend.Receive(t, amina.JID, "from the phone")
		carbon(t, "sent", jonas.JID, "from the phone")
	})
	t.Run("network cut", func(t *testing.T) {
		tunnel.Shut(true)
		tunnel.Cut()
		write(t, "in the tunnel 1", "in the tunnel 2", "in the tunnel 3")
		friend.do(t, "ping", nil)
		tunnel.Shut(false)
		if got := phone.do(t, "resumed", args{"times": 1}); got != amina.JID+"/phone" {
			t.Errorf("resumed as %v", got)
		}
		arrive(t, "in the tunnel 1", "in the tunnel 2", "in the tunnel 3")
	})
	t.Run("stopped", func(t *testing.T) {
		process := phone.cmd.Process
		if err := process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		write(t, "while it sleeps 1")
		friend.do(t, "ping", nil)
		tunnel.Shut(true) // its provider has forgotten it
		tunnel.Cut()
		write(t, "while it sleeps 2")
		friend.do(t, "ping", nil)
		tunnel.Shut(false)
		if err := process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		phone.do(t, "resumed", args{"times": 2})
		arrive(t, "while it sleeps 1", "while it sleeps 2")
		phone.Send(t, jonas.JID, "awake")
		history = append(history, "awake")
		friend.Receive(t, amina.JID, "awake")
	})
	t.Run("history", func(t *testing.T) {
		for _, d := range []*slix{laptop, phone} {
			list, ok := d.do(t, "archive", args{"with": jonas.JID}).([]any)
			if !ok {
				t.Fatalf("%s has no archive", d.jid)
			}
			var got []string
			for _, m := range list {
				got = append(got, field[string](t, m, "body"))
			}
			if !slices.Equal(got, history) {
				t.Errorf("the archive has %q, want %q", got, history)
			}
		}
	})
}

func splitPort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	return host, port, err
}

// TestProfanityDevice has profanity as the second device of an account: it shows the history that another device has made
// (XEP-0313) and what that one sends (XEP-0280), each message once, and resumes its session (XEP-0198) after it was stopped
// and after the network was cut.
func TestProfanityDevice(t *testing.T) {
	w := enter(t)
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	laptop, friend := newSlix(t, w, amina, false, nil), newSlix(t, w, jonas, false, nil)
	talk(t, friend, laptop, "before profanity came")
	talk(t, laptop, friend, "from the laptop")

	tunnel := wiretest.New(t, w.Addresses["c2s"])
	p := newProfanityVia(t, w, amina, tunnel.Addr, "/mam on", "/carbons on", "/reconnect 1")
	p.remembers(t, jonas.JID)
	history := []string{"before profanity came", "from the laptop"}
	p.once(t, history...)
	talk(t, laptop, friend, "what the laptop says now")
	history = append(history, "what the laptop says now")
	p.once(t, history...)

	// Nothing but the server's log tells whether a session went on or another was opened.
	resumptions := func() int { return strings.Count(w.Log(), `msg="session resumed" jid=`+amina.JID) }
	for i, away := range []struct {
		text string
		back func() error
	}{
		{"while it is stopped", func() error { return syscall.Kill(p.process(t), syscall.SIGCONT) }},
		{"while the network is cut", func() error { tunnel.Shut(false); return nil }},
		{"while both", func() error { tunnel.Shut(false); return syscall.Kill(p.process(t), syscall.SIGCONT) }},
	} {
		if i != 1 {
			if err := syscall.Kill(p.process(t), syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		if i > 0 {
			tunnel.Shut(true)
			tunnel.Cut()
		}
		talk(t, friend, laptop, away.text)
		if err := away.back(); err != nil {
			t.Fatal(err)
		}
		history = append(history, away.text)
		p.once(t, history...)
		eventually(t, func() error {
			if n := resumptions(); n != i {
				return fmt.Errorf("the session was resumed %d times, want %d", n, i)
			}
			return nil
		})
	}
	p.Send(t, jonas.JID, "profanity is awake")
	friend.Receive(t, amina.JID, "profanity is awake")
	p.once(t, append(history, "profanity is awake")...)
}

// talk sends a message from one to another.
func talk(t *testing.T, from, to *slix, text string) {
	t.Helper()
	from.Send(t, to.jid, text)
	to.Receive(t, from.jid, text)
}
