package interop

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"image"
	"image/color"
	_ "image/jpeg" // what the web client makes of a large picture
	"image/png"
	"math/rand/v2"
	"testing"
)

// painting returns a picture in PNG of so many pixels each way: noise, which no format makes small.
func painting(t *testing.T, size int) []byte {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(size), 0))
	i := image.NewNRGBA(image.Rect(0, 0, size, size))
	for x := range size {
		for y := range size {
			i.SetNRGBA(x, y, color.NRGBA{uint8(r.Uint32()), uint8(r.Uint32()), uint8(r.Uint32()), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, i); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestProfilePicture has a person choose a picture in the web client, by the browser's dialog for files. Others get it both as
// the picture of a vCard (XEP-0153) and as an avatar (XEP-0084), and see it; and the web client sees an avatar of theirs.
func TestProfilePicture(t *testing.T) {
	w := enter(t)
	amina, jonas, leila := w.account(t, "amina"), w.account(t, "jonas"), w.account(t, "leila")
	b := newBrowser(t, w)
	web, friend := b.login(t, w, amina), b.login(t, w, leila)
	other := newSlix(t, w, jonas, false, args{"pubsub": true})
	befriend(t, friend, web)
	befriend(t, other, web)
	befriend(t, other, friend)

	// same waits until all ways to somebody's picture give this one.
	same := func(of string, data []byte) {
		t.Helper()
		text, sum := base64.StdEncoding.EncodeToString(data), sha1.Sum(data)
		id := hex.EncodeToString(sum[:])
		other.event(t, "avatar_metadata_publish", of, nil, id)
		other.same(t, "avatar_of", args{"jid": of, "id": id}, text)
		photo := other.do(t, "photo", args{"jid": of})
		if field[string](t, photo, "data") != text {
			t.Error("the avatar is not the picture of the vCard")
		}
		friend.do(t, "shows_picture", args{"jid": of, "data": text, "type": field[string](t, photo, "type")})
	}
	choose := func(data []byte) {
		t.Helper()
		web.do(t, "set_picture", args{"data": base64.StdEncoding.EncodeToString(data)})
	}
	small := painting(t, 64)
	choose(small)
	same(amina.JID, small)
	choose(painting(t, 400)) // the web client makes it smaller
	large, err := base64.StdEncoding.DecodeString(field[string](t, other.do(t, "photo", args{"jid": amina.JID}), "data"))
	if err != nil {
		t.Fatal(err)
	}
	if c, format, err := image.DecodeConfig(bytes.NewReader(large)); err != nil || format != "jpeg" || c.Width != 256 || len(large) > 110_000 {
		t.Errorf("the large picture is %v, %s, %d bytes, %v", c, format, len(large), err)
	}
	same(amina.JID, large)
	other.do(t, "avatar", args{"data": base64.StdEncoding.EncodeToString(small)})
	same(jonas.JID, small)
	b.clean(t)
}
