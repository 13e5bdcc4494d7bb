package vcard

import (
	"encoding/base64"
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

const romeo, juliet = "romeo@localhost/garden", "juliet@localhost/balcony"

func newHost(t *testing.T, d db.DB, opts ...modtest.Option) *modtest.Host {
	return modtest.New(t, Info, append([]modtest.Option{modtest.WithDB(d, db.Migrate)}, opts...)...)
}

func card(inner string) string { return "<vCard xmlns='vcard-temp'>" + inner + "</vCard>" }

const (
	ok   = "<iq type='result'/>"
	full = "<FN>Romeo M.</FN><N><FAMILY>Montague</FAMILY><MIDDLE/></N><PHOTO><TYPE>image/png</TYPE><BINVAL>AAEC\n  AwQ=</BINVAL></PHOTO><x xmlns='urn:client'/>"
)

func TestCard(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		modtest.ExpectError(t, h.Get(romeo, "", card("")), stanza.Cancel, stanza.ItemNotFound)
		modtest.Expect(t, h.Set(romeo, "", card(full)), ok)
		for _, who := range []struct{ from, to string }{{romeo, ""}, {romeo, "romeo@localhost"}, {juliet, "romeo@localhost"}, {"x@capulet.example/a", "romeo@localhost"}} {
			modtest.Expect(t, h.Get(who.from, who.to, card("")), "<iq type='result'>"+card(full)+"</iq>")
		}
		modtest.Expect(t, h.Set(romeo, "romeo@localhost", card("<FN>R.</FN>")), ok)
		modtest.Expect(t, h.Get(juliet, "romeo@localhost", card("")), "<iq type='result'>"+card("<FN>R.</FN>")+"</iq>")
		modtest.Expect(t, h.Set(romeo, "", card("")), ok)
		modtest.ExpectError(t, h.Get(romeo, "", card("")), stanza.Cancel, stanza.ItemNotFound)
	})
}

func TestOthers(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t))
	for _, to := range []string{"juliet@localhost", "nobody@localhost"} { // the same for who has none and who is none
		modtest.ExpectError(t, h.Get(romeo, to, card("")), stanza.Cancel, stanza.ServiceUnavailable)
		modtest.ExpectError(t, h.Set(romeo, to, card("<FN>pwn</FN>")), stanza.Auth, stanza.Forbidden)
	}
	modtest.ExpectError(t, h.Set(romeo, "localhost", card("<FN>pwn</FN>")), stanza.Auth, stanza.Forbidden)
	modtest.ExpectError(t, h.Set("romeo@capulet.example/a", "romeo@localhost", card("<FN>pwn</FN>")), stanza.Auth, stanza.Forbidden)
}

func TestValidation(t *testing.T) {
	h := newHost(t, dbtest.SQLite(t), modtest.WithConfig(func(c *Config) { c.Photo, c.Bytes = 300, 1000 }))
	photo := func(n int) string {
		return card("<PHOTO><BINVAL>" + base64.StdEncoding.EncodeToString(make([]byte, n)) + "</BINVAL></PHOTO>")
	}
	modtest.Expect(t, h.Set(romeo, "", photo(300)), ok)
	for _, n := range []int{301, 302, 303, 304} {
		modtest.ExpectError(t, h.Set(romeo, "", photo(n)), stanza.Modify, stanza.PolicyViolation)
	}
	modtest.ExpectError(t, h.Set(romeo, "", card("<LOGO><BINVAL>?</BINVAL></LOGO>")), stanza.Modify, stanza.NotAcceptable)
	modtest.ExpectError(t, h.Set(romeo, "", card("<fn>Romeo</fn>")), stanza.Modify, stanza.NotAcceptable)
	modtest.ExpectError(t, h.Set(romeo, "", card("<DESC>"+strings.Repeat("x", 1000)+"</DESC>")), stanza.Modify, stanza.PolicyViolation)
	modtest.Expect(t, h.Get(romeo, "", card("")), "<iq type='result'>"+photo(300)+"</iq>")
}

func TestAccountRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := newHost(t, d)
		modtest.Expect(t, h.Set(romeo, "", card("<FN>R.</FN>")), ok)
		modtest.Expect(t, h.Set(juliet, "", card("<FN>J.</FN>")), ok)
		h.Remove("romeo")
		modtest.ExpectError(t, h.Get(juliet, "romeo@localhost", card("")), stanza.Cancel, stanza.ServiceUnavailable)
		modtest.Expect(t, h.Get(romeo, "juliet@localhost", card("")), "<iq type='result'>"+card("<FN>J.</FN>")+"</iq>")
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{Bytes: 0, Photo: 1}, {Bytes: 1, Photo: 0}} {
		if c.Validate() == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
