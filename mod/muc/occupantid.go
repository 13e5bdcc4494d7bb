package muc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"unicode"

	"sabir/xmpp/jid"
	"sabir/xmpp/xmlstream"
)

// occupantID stands for a user in one room and tells nobody who it is (XEP-0421#id-generation).
func (m *muc) occupantID(r, user jid.JID) string {
	h := hmac.New(sha256.New, m.secret)
	// A hash cannot fail to be written to.
	if _, err := io.WriteString(h, r.String()+"\x00"+user.String()); err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:24])
}

func occupantIDElement(id string) *xmlstream.Element {
	return xmlstream.El(nsOccupant, "occupant-id", xmlstream.A("id", id))
}

// nickKey is the same for nicks that look alike but for case and width: two of them are one too many in a room
// (XEP-0045#enter-conflict).
func nickKey(nick string) string { return fold(nick) }

// maxNick bounds a nick, in bytes: it stands in front of each message.
const maxNick = 256

// goodNick tells whether a nick shows something (XEP-0045#bizrules-jids).
func goodNick(nick string) bool {
	if len(nick) > maxNick {
		return false
	}
	for _, r := range nick {
		if unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.In(r, unicode.Mn, unicode.Me) {
			return true
		}
	}
	return false
}
