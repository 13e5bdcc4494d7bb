package interop

import (
	"fmt"
	"net"
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
	a := startAgent(t, env, "dbus-run-session", "--", "/usr/bin/python3", "testdata/agents/libervia.py", liberviaFolder)
	a.do(t, "ready", args{"within": 50})
	return a
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

// TestLibervia has people of two servers post, follow, comment and retract by Libervia (XEP-0277, XEP-0472), which subscribes by the own
// server (XEP-0376), and for all to see where it is told to (XEP-0465).
func TestLibervia(t *testing.T) {
	harbour, lagoon := neighbours(t)
	l := newLibervia(t, harbour.CAFile)
	amina, jonas := newProfile(t, l, harbour, harbour.account(t, "amina")), newProfile(t, l, lagoon, lagoon.account(t, "jonas"))
	blog := place{amina.jid, microblog}

	amina.publish(t, blog, "Good morning.", args{"title": "First"})
	jonas.refused(t, blog, "follow", nil, "not-authorized") // a node of PEP is for those who see its owner's presence
	amina.on(t, blog, "configure", args{"config": args{"access_model": "open"}})
	jonas.on(t, blog, "follow", args{"public": true})
	seen := func(who *profile, do string, more args, want string) {
		t.Helper()
		if got := fmt.Sprint(who.on(t, blog, do, more)); got != want {
			t.Errorf("%s: %s is %s, want %s", who.name, do, got, want)
		}
	}
	seen(amina, "followers", nil, "["+jonas.jid+"]")
	seen(amina, "follows", args{"of": jonas.jid}, "[["+amina.jid+" "+microblog+"]]")
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

	seen(jonas, "followed", nil, "["+microblog+"]")
	jonas.on(t, blog, "unfollow", nil)
	seen(jonas, "followed", nil, "[]")
	seen(amina, "followers", nil, "[]")
	jonas.refused(t, blog, "follows", args{"of": "nobody@" + harbour.Domain}, "item-not-found")
	amina.refused(t, blog, "follows", args{"of": jonas.jid}, "item-not-found") // as if he were not there
}
