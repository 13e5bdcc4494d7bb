package interop

import "testing"

// TestPhone has the web client in a window of a phone's size, where fingers do not hover: its user accepts somebody, chats, and
// enters a room; all of it fits into the window.
func TestPhone(t *testing.T) {
	w := enter(t)
	amina, jonas := w.account(t, "amina"), w.account(t, "jonas")
	other := newSlix(t, w, jonas, false, nil)
	other.do(t, "set_vcard", args{"name": "Jonas Berg", "nick": "Jonas"})
	own := newSlix(t, w, amina, false, nil)
	own.do(t, "set_vcard", args{"name": "Amina Haddad", "nick": "Amina"})
	own.do(t, "logout", nil)
	b := newBrowser(t, w)
	web := b.loginWith(t, w, amina, args{"phone": true})
	fits := func(what string) {
		t.Helper()
		if n, ok := web.do(t, "overflow", nil).(float64); !ok || n > 0 {
			t.Errorf("%s: the page is %v pixels too wide", what, n)
		}
	}
	fits("roster")
	befriend(t, other, web)
	fits("contact")
	for _, line := range []struct {
		from, to peer
		text     string
	}{
		{other, web, "Good morning, Amina! Has the ship from Tunis come in?"},
		{web, other, "Good morning Jonas. Yes, an hour ago, she lies at the east quay."},
		{other, web, "Then we can unload before noon. I am on my way."},
		{web, other, "See you there. Bring coffee! ☕"},
	} {
		line.from.Send(t, line.to.JID(), line.text)
		line.to.Receive(t, line.from.JID(), line.text)
	}
	fits("chat")
	web.do(t, "shot", args{"path": picturePath(t, "phone.png"), "settle": 800})
	const room = "quay@conference.harbour.test"
	web.do(t, "enter", args{"room": room, "nick": "amina"})
	web.do(t, "say", args{"room": room, "text": "Is anybody here?"})
	web.do(t, "hears", args{"room": room, "text": "Is anybody here?"})
	fits("room")
	b.clean(t)
}
