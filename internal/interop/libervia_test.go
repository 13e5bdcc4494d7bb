package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	liberviaFolder = "/usr/share/libervia"
	microblog      = "urn:xmpp:microblog:0"
)

// profile is a person of Libervia. One process of it holds the sessions of all.
type profile struct {
	*agent
	name, jid string
}

// place is where a node is.
type place struct{ service, node string }

// newLibervia starts Libervia, on a bus of its own. It trusts the authority of one server.
func newLibervia(t *testing.T, ca string) *agent {
	t.Helper()
	home := t.TempDir()
	env := []string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CACHE_HOME=" + home, "XDG_RUNTIME_DIR=" + home,
		"LC_ALL=C.UTF-8", "SSL_CERT_FILE=" + ca, "PYTHONWARNINGS=ignore"}
	a := startAgent(t, env, "dbus-run-session", "--", "/usr/bin/python3", "testdata/agents/libervia.py", mended(t))
	a.do(t, "ready", args{"within": 50})
	return a
}

// mended returns a folder with a copy of Libervia.
//
// COMPAT Libervia 0.9.0~hg3993, 2026-11: where it asks whether the server has XEP-0376 it does not wait for the answer, so it
// takes every server for one that has it, and subscribes by a request that hardly any knows. The copy waits.
func mended(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "libervia")
	if err := os.CopyFS(dir, os.DirFS(liberviaFolder)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "sat", "plugins", "plugin_xep_0376.py")
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "not self.host.hasFeature(", "not await self.host.hasFeature(")), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// newProfile logs somebody in by Libervia, which knows no SCRAM.
func newProfile(t *testing.T, l *agent, w *world, a Account) *profile {
	t.Helper()
	p := &profile{l, strings.Split(a.JID, "@")[0], a.JID}
	host, port, err := net.SplitHostPort(w.Addresses["c2s"])
	if err != nil {
		t.Fatal(err)
	}
	p.do(t, "login", args{"profile": p.name, "jid": a.JID, "password": a.Password, "host": host, "port": port})
	w.loggedIn(t, a.JID, "PLAIN", "tcp")
	return p
}

// on does something with a node.
func (p *profile) on(t *testing.T, at place, do string, more args) any {
	t.Helper()
	return p.do(t, do, p.with(at, more))
}

func (p *profile) with(at place, more args) args {
	m := args{"profile": p.name, "service": at.service, "node": at.node}
	for k, v := range more {
		m[k] = v
	}
	return m
}

// refused asserts that the server refuses something.
func (p *profile) refused(t *testing.T, at place, do string, more args, condition string) {
	t.Helper()
	if v, err := p.try(do, p.with(at, more)); err == nil || !strings.Contains(err.Error(), condition) {
		t.Errorf("%s: %s at %v: %v, %v; want %s", p.name, do, at, v, err, condition)
	}
}

// publish writes a post, or a comment, and returns its id.
func (p *profile) publish(t *testing.T, at place, text string, more args) string {
	t.Helper()
	m := args{"text": text}
	for k, v := range more {
		m[k] = v
	}
	return fmt.Sprint(p.on(t, at, "publish", m))
}

// hears waits for a notification that an item was published or retracted, which must have come once.
func (p *profile) hears(t *testing.T, at place, kind, id string) any {
	t.Helper()
	list, ok := p.on(t, at, "event", args{"kind": kind, "id": id, "within": patience.Seconds()}).([]any)
	if !ok || len(list) != 1 {
		t.Fatalf("%s hears of the %s of %s by %v", p.name, kind, id, list)
	}
	return list[0]
}

// shows asserts that a node has these posts now, the newest first: by whom and what they say.
func (p *profile) shows(t *testing.T, at place, want ...string) []any {
	t.Helper()
	list, ok := p.on(t, at, "read", nil).([]any)
	var got []string
	for _, v := range list {
		got = append(got, says(t, v))
	}
	if !ok || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s reads %q at %v, want %q", p.name, got, at, want)
	}
	return list
}

// says tells who has written a post and what.
func says(t *testing.T, post any) string {
	t.Helper()
	return field[string](t, post, "author_jid") + ": " + field[string](t, post, "content")
}

// TestLibervia has people of two servers post, follow, comment and retract by Libervia (XEP-0277, XEP-0472).
func TestLibervia(t *testing.T) {
	harbour, lagoon := neighbours(t)
	l := newLibervia(t, harbour.CAFile)
	amina, jonas := newProfile(t, l, harbour, harbour.account(t, "amina")), newProfile(t, l, lagoon, lagoon.account(t, "jonas"))
	blog := place{amina.jid, microblog}

	amina.publish(t, blog, "Good morning.", args{"title": "First"})
	jonas.refused(t, blog, "follow", nil, "not-authorized") // a node of PEP is for those who see its owner's presence
	amina.on(t, blog, "configure", args{"config": args{"access_model": "open"}})
	jonas.on(t, blog, "follow", nil)
	post := amina.publish(t, blog, "The ship from Tunis is at the **quay**.", args{"title": "At the quay", "tags": []string{"harbour"}, "allow_comments": true})
	const first, second = "amina@harbour.test: Good morning.", "amina@harbour.test: The ship from Tunis is at the quay."
	if p := jonas.hears(t, blog, "publish", post); says(t, p) != second || field[string](t, p, "title") != "At the quay" {
		t.Errorf("the notification is %v", p)
	}
	list := field[[]any](t, jonas.shows(t, blog, second, first)[0], "comments")
	if len(list) != 1 {
		t.Fatalf("the comments are at %v", list)
	}
	comments := place{field[string](t, list[0], "service"), field[string](t, list[0], "node")}
	if want := (place{"pubsub." + harbour.Domain, microblog + ":comments/" + post}); comments != want {
		t.Errorf("the comments are at %v, want %v", comments, want)
	}

	amina.on(t, comments, "follow", nil)
	question := jonas.publish(t, comments, "And the papers?", nil)
	const asks, answers = "jonas@lagoon.test: And the papers?", "amina@harbour.test: I have them with me."
	if p := amina.hears(t, comments, "publish", question); says(t, p) != asks || !field[bool](t, p, "author_jid_verified") { // the node stamps who publishes
		t.Errorf("the comment is %v", p)
	}
	answer := amina.publish(t, comments, "I have them with me.", nil)
	jonas.shows(t, comments, answers, asks)

	jonas.refused(t, comments, "retract", args{"id": answer}, "forbidden") // it is another's
	jonas.on(t, comments, "retract", args{"id": question})
	amina.hears(t, comments, "retract", question)
	jonas.shows(t, comments, answers)
	amina.on(t, blog, "retract", args{"id": post})
	jonas.hears(t, blog, "retract", post)
	jonas.shows(t, blog, first)

	follows := func(want string) {
		t.Helper()
		if got := fmt.Sprint(jonas.on(t, blog, "followed", nil)); got != want {
			t.Errorf("%s follows %s, want %s", jonas.name, got, want)
		}
	}
	follows("[" + microblog + "]")
	jonas.on(t, blog, "unfollow", nil)
	follows("[]")
}
