//go:build unix

package conn

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"sync"
	"unsafe"
)

// A tls.Conn keeps the buffers that it has read into for as long as it lives: the largest record and the largest message of
// the handshake (golang/go#43563), 3 KB for the hello of a client, and more than 16 for who has sent one long stanza. A Conn
// lends it a buffer while there is something to read, and takes all of them away when it has handed out what has come
// (docs/adr/0019-memory-of-idle-sessions.md).

// lentSize is that of a buffer that is lent: the longest record (RFC 5246 §6.2.3), and the bytes that crypto/tls wants to be free behind it.
const lentSize = 18 << 10

var lentBuffers = sync.Pool{New: func() any { return new([lentSize]byte) }}

// fields are where a tls.Conn has its buffers: what was read from the socket, the data of the record that was decrypted in
// there, and the messages of the handshake. They are not exported; without them, or with other types, nothing is lent.
var fields = findFields()

type tlsFields struct {
	found                 bool
	rawInput, input, hand uintptr
}

func findFields() (f tlsFields) {
	t := reflect.TypeFor[tls.Conn]()
	at := func(name string, want reflect.Type) (uintptr, bool) {
		field, ok := t.FieldByName(name)
		return field.Offset, ok && field.Type == want
	}
	var a, b, c bool
	f.rawInput, a = at("rawInput", reflect.TypeFor[bytes.Buffer]())
	f.input, b = at("input", reflect.TypeFor[bytes.Reader]())
	f.hand, c = at("hand", reflect.TypeFor[bytes.Buffer]())
	f.found = a && b && c
	return f
}

func (f *tlsFields) of(c *tls.Conn) (rawInput *bytes.Buffer, input *bytes.Reader, hand *bytes.Buffer) {
	p := unsafe.Pointer(c)
	return (*bytes.Buffer)(unsafe.Add(p, f.rawInput)), (*bytes.Reader)(unsafe.Add(p, f.input)), (*bytes.Buffer)(unsafe.Add(p, f.hand))
}

// lend gives the tls.Conn a buffer to read into, with the part of a record in it that it had. The reader calls it, as it
// alone reads; what writes touches none of these.
func (c *Conn) lend() {
	if c.lent != nil || !fields.found {
		return
	}
	rawInput, input, _ := fields.of(c.tls)
	if input.Len() > 0 || rawInput.Len() > lentSize {
		return // something has still to be read from there
	}
	c.bare = false
	c.lent = lentBuffers.Get().(*[lentSize]byte)
	n := copy(c.lent[:], rawInput.Bytes())
	*rawInput = *bytes.NewBuffer(c.lent[:n])
}

// drained tells whether all that has come was handed out, but for what is left of the last record.
func (c *Conn) drained() bool {
	if c.lent == nil || !c.raw.dry() {
		return false
	}
	rawInput, _, _ := fields.of(c.tls)
	return rawInput.Len() == 0
}

// takeBack leaves the tls.Conn no more than the part of a record that it has.
func (c *Conn) takeBack() {
	if c.lent == nil {
		return
	}
	rawInput, input, hand := fields.of(c.tls)
	if input.Len() > 0 {
		return
	}
	*input = bytes.Reader{}
	rest := rawInput.Bytes()
	if len(rest) > 0 {
		*rawInput = *bytes.NewBuffer(bytes.Clone(rest))
	} else {
		*rawInput = bytes.Buffer{}
	}
	c.bare = len(rest) == 0
	if hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	lentBuffers.Put(c.lent)
	c.lent = nil
}
