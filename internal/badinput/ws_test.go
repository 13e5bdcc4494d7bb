package badinput

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// The opcodes of RFC 6455 §5.2.
const (
	wsText   = 1
	wsBinary = 2
	wsClose  = 8
)

// wsFrame makes a masked frame of a client (RFC 6455 §5.2).
func wsFrame(opcode byte, payload []byte) []byte {
	return rawFrame(0x80|opcode, true, uint64(len(payload)), payload)
}

// rawFrame makes a frame whose first byte and length may be wrong.
func rawFrame(first byte, mask bool, length uint64, payload []byte) []byte {
	b := []byte{first}
	bit := byte(0)
	if mask {
		bit = 0x80
	}
	switch {
	case length < 126:
		b = append(b, bit|byte(length))
	case length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), length)
	}
	if !mask {
		return append(b, payload...)
	}
	var key [4]byte
	rand.Read(key[:]) // never fails
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// wsMacro makes the frame of {wsframe:kind:[option:]…payload}. Kinds are text, binary, cont, close, ping and opN;
// options are nomask, nofin, rsv1 and len=N.
func wsMacro(arg string) ([]byte, error) {
	kind, rest, _ := strings.Cut(arg, ":")
	first := byte(0x80)
	switch kind {
	case "text":
		first |= wsText
	case "binary":
		first |= wsBinary
	case "cont":
	case "close":
		first |= wsClose
	case "ping":
		first |= 9
	default:
		n, err := strconv.Atoi(strings.TrimPrefix(kind, "op"))
		if err != nil || n > 15 {
			return nil, fmt.Errorf("{wsframe:%s:…} is of no kind", kind)
		}
		first |= byte(n)
	}
	mask, length := true, uint64(0)
	for {
		opt, more, _ := strings.Cut(rest, ":")
		switch {
		case opt == "nomask":
			mask = false
		case opt == "nofin":
			first &^= 0x80
		case opt == "rsv1":
			first |= 0x40
		case strings.HasPrefix(opt, "len="):
			n, err := strconv.ParseUint(strings.TrimPrefix(opt, "len="), 0, 64)
			if err != nil {
				return nil, err
			}
			length = n
		default:
			if length == 0 {
				length = uint64(len(rest))
			}
			return rawFrame(first, mask, length, []byte(rest)), nil
		}
		rest = more
	}
}

// upgrade makes a WebSocket of a TLS connection (RFC 6455 §4.1, RFC 7395 §3.1).
func upgrade(c net.Conn, host string) error {
	req := "GET /xmpp-websocket HTTP/1.1\r\nHost: " + host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"
	if _, err := io.WriteString(c, req); err != nil {
		return err
	}
	// The server says nothing after its answer before we do: a reader with a buffer takes nothing too much.
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the upgrade was answered with %s", resp.Status)
	}
	return nil
}

// wsReader returns the payload of one data frame at each Read.
type wsReader struct {
	conn   net.Conn
	closed func(code int)
	rest   []byte
}

func (r *wsReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		var h [2]byte
		if _, err := io.ReadFull(r.conn, h[:]); err != nil {
			return 0, err
		}
		n := uint64(h[1] & 0x7f)
		ext := 0
		switch n {
		case 126:
			ext = 2
		case 127:
			ext = 8
		}
		var l [8]byte
		if _, err := io.ReadFull(r.conn, l[8-ext:]); err != nil {
			return 0, err
		}
		if ext > 0 {
			n = binary.BigEndian.Uint64(l[:])
		}
		if h[1]&0x80 != 0 || n > uint64(len(p)) {
			return 0, fmt.Errorf("a masked or too long frame of %d bytes", n)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r.conn, b); err != nil {
			return 0, err
		}
		switch h[0] & 0x0f {
		case wsText:
			r.rest = b
		case wsClose:
			if len(b) >= 2 {
				r.closed(int(binary.BigEndian.Uint16(b)))
			} else {
				r.closed(1005)
			}
			if _, err := r.conn.Write(wsFrame(wsClose, b)); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
