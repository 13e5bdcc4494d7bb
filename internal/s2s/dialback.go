package s2s

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"sabir/xmpp/xmlstream"
)

// Namespaces of dialback (XEP-0220).
const (
	nsDialback        = "jabber:server:dialback"
	nsDialbackFeature = "urn:xmpp:features:dialback"
)

// dialbackFeature offers dialback, with errors (XEP-0220#advertisement-errors).
func dialbackFeature() *xmlstream.Element {
	return xmlstream.El(nsDialbackFeature, "dialback", xmlstream.El(nsDialbackFeature, "errors"))
}

// dialbackKeys makes and checks the keys of dialback.
type dialbackKeys struct{ secret [32]byte }

func newDialbackKeys() *dialbackKeys {
	k := new(dialbackKeys)
	rand.Read(k.secret[:]) // never fails
	return k
}

// key returns the key with which originating proves itself to receiving on a stream (XEP-0185#algorithm). Each field has its length
// before it, so that no two sets of fields give the same bytes (CVE-2016-0756).
func (k *dialbackKeys) key(receiving, originating, id string) string {
	m := hmac.New(sha256.New, k.secret[:])
	for _, s := range []string{receiving, originating, id} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		m.Write(n[:]) // a hash takes all
		m.Write([]byte(s))
	}
	return hex.EncodeToString(m.Sum(nil))
}

// valid tells whether a key is ours.
func (k *dialbackKeys) valid(receiving, originating, id, key string) bool {
	return hmac.Equal([]byte(k.key(receiving, originating, id)), []byte(key))
}

// appendDialback writes <db:result/> or <db:verify/>. The prefix is the one that the header declares: some servers know
// no other. inner is XML.
func appendDialback(dst []byte, local, from, to, id, typ, inner string) []byte {
	dst = append(append(dst, "<db:"...), local...)
	for _, a := range [...][2]string{{"from", from}, {"to", to}, {"id", id}, {"type", typ}} {
		if a[1] != "" {
			dst = append(append(append(dst, ' '), a[0]...), "='"...)
			dst = append(xmlstream.AppendAttr(dst, a[1]), '\'')
		}
	}
	if inner == "" {
		return append(dst, "/>"...)
	}
	dst = append(append(dst, '>'), inner...)
	return append(append(append(dst, "</db:"...), local...), '>')
}

// dialbackError is the content of a dialback element of type error (XEP-0220#errors).
func dialbackError(kind, condition, text string) string {
	x := "<error type='" + kind + "'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
	if text != "" {
		x += "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>" + string(xmlstream.AppendText(nil, text)) + "</text>"
	}
	return x + "</error>"
}
