package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The signature that starts a header of version 2 and cannot start one of version 1 (PROXY protocol §2.2).
var proxyV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")

const (
	maxProxyV1 = 107  // bytes of a line of version 1, its CRLF included (PROXY protocol §2.1)
	maxProxyV2 = 2048 // bytes after the fixed part of version 2; more is refused
)

// Types of version 2 that are understood (PROXY protocol §2.2.6).
const (
	pp2SSL       = 0x20
	pp2ClientSSL = 0x01 // bit of its client field: the client has connected over TLS
)

// ProxyHeader is what a proxy tells of the client. Client and Server are not valid where it speaks for itself (LOCAL, such as a
// health check) or does not know them (UNKNOWN, UNSPEC).
type ProxyHeader struct {
	Client, Server netip.AddrPort
	// TLS says that the client has used TLS towards the proxy.
	TLS bool
}

// ReadProxyHeader reads a header of version 1 or 2 and not a byte more. The error says what is wrong with it.
func ReadProxyHeader(r io.Reader) (ProxyHeader, error) {
	var start [12]byte // the shortest line of version 1 has 15 bytes
	if _, err := io.ReadFull(r, start[:]); err != nil {
		return ProxyHeader{}, fmt.Errorf("reading the PROXY header: %w", err)
	}
	if bytes.Equal(start[:], proxyV2) {
		return readProxyV2(r)
	}
	if !bytes.HasPrefix(start[:], []byte("PROXY ")) {
		return ProxyHeader{}, errors.New("no PROXY header")
	}
	return readProxyV1(r, start[:])
}

// readProxyV1 reads the rest of a line such as "PROXY TCP4 192.0.2.1 198.51.100.1 40000 5222".
func readProxyV1(r io.Reader, start []byte) (ProxyHeader, error) {
	line := make([]byte, len(start), maxProxyV1)
	copy(line, start)
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxProxyV1 {
			return ProxyHeader{}, errors.New("PROXY line of more than 107 bytes")
		}
		// One byte at a time: what follows the line belongs to the client, and there is no place to keep it.
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return ProxyHeader{}, fmt.Errorf("reading the PROXY header: %w", err)
		}
	}
	f := strings.Split(string(line[:len(line)-2]), " ")
	if f[1] == "UNKNOWN" { // PROXY protocol §2.1: whatever stands behind it is to be ignored
		return ProxyHeader{}, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return ProxyHeader{}, errors.New("malformed PROXY line")
	}
	client, err := proxyAddr(f[2], f[4], f[1] == "TCP4")
	if err != nil {
		return ProxyHeader{}, err
	}
	server, err := proxyAddr(f[3], f[5], f[1] == "TCP4")
	if err != nil {
		return ProxyHeader{}, err
	}
	return ProxyHeader{Client: client, Server: server}, nil
}

func proxyAddr(host, port string, v4 bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(host)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		return netip.AddrPort{}, errors.New("malformed address in the PROXY line")
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port[0] == '0' && port != "0" {
		return netip.AddrPort{}, errors.New("malformed port in the PROXY line")
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), nil
}

// readProxyV2 reads what follows the signature of version 2.
func readProxyV2(r io.Reader) (ProxyHeader, error) {
	var fixed [4]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return ProxyHeader{}, fmt.Errorf("reading the PROXY header: %w", err)
	}
	if fixed[0]>>4 != 2 {
		return ProxyHeader{}, fmt.Errorf("PROXY header of unknown version %d", fixed[0]>>4)
	}
	n := int(binary.BigEndian.Uint16(fixed[2:]))
	if n > maxProxyV2 {
		return ProxyHeader{}, errors.New("PROXY header of more than 2048 bytes")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return ProxyHeader{}, fmt.Errorf("reading the PROXY header: %w", err)
	}
	switch fixed[0] & 0x0f {
	case 0: // LOCAL: the proxy's own connection
		return ProxyHeader{}, nil
	case 1: // PROXY
	default:
		return ProxyHeader{}, errors.New("PROXY header with an unknown command")
	}
	var size int
	switch fixed[1] {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	case 0x00: // UNSPEC: addresses are to be ignored
		return ProxyHeader{}, nil
	default:
		return ProxyHeader{}, fmt.Errorf("PROXY header for protocol 0x%02x, which is not TCP", fixed[1])
	}
	if n < 2*size+4 {
		return ProxyHeader{}, errors.New("PROXY header that is too short for its addresses")
	}
	client, ok1 := netip.AddrFromSlice(body[:size])
	server, ok2 := netip.AddrFromSlice(body[size : 2*size])
	if !ok1 || !ok2 {
		return ProxyHeader{}, errors.New("malformed address in the PROXY header")
	}
	ports := body[2*size:]
	h := ProxyHeader{
		Client: netip.AddrPortFrom(client.Unmap(), binary.BigEndian.Uint16(ports)),
		Server: netip.AddrPortFrom(server.Unmap(), binary.BigEndian.Uint16(ports[2:])),
	}
	return h, h.readTypes(ports[4:])
}

// readTypes reads the type-length-value vectors after the addresses of version 2 (PROXY protocol §2.2).
func (h *ProxyHeader) readTypes(b []byte) error {
	for len(b) > 0 {
		if len(b) < 3 {
			return errors.New("cut vector in the PROXY header")
		}
		n := int(binary.BigEndian.Uint16(b[1:]))
		if len(b) < 3+n {
			return errors.New("cut vector in the PROXY header")
		}
		if b[0] == pp2SSL && n >= 5 {
			h.TLS = b[3]&pp2ClientSSL != 0
		}
		b = b[3+n:]
	}
	return nil
}
