package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// v2 makes a header of version 2.
func v2(command, protocol byte, body []byte) []byte {
	b := append([]byte(nil), proxyV2...)
	b = append(b, 0x20|command, protocol)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

func addresses(client, server string) []byte {
	c, s := netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)
	b := append(c.Addr().AsSlice(), s.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, c.Port())
	return binary.BigEndian.AppendUint16(b, s.Port())
}

func TestReadProxyHeader(t *testing.T) {
	four := addresses("192.0.2.1:40000", "198.51.100.1:5222")
	six := addresses("[2001:db8::1]:40000", "[2001:db8::2]:5222")
	tls := []byte{pp2SSL, 0, 5, pp2ClientSSL, 0, 0, 0, 0}
	noTLS := []byte{pp2SSL, 0, 5, 0, 0, 0, 0, 0}
	for _, x := range []struct {
		name, in       string
		client, server string // "" for none
		tls            bool
	}{
		{"v1 IPv4", "PROXY TCP4 192.0.2.1 198.51.100.1 40000 5222\r\n", "192.0.2.1:40000", "198.51.100.1:5222", false},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 40000 5222\r\n", "[2001:db8::1]:40000", "[2001:db8::2]:5222", false},
		{"v1 mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 40000 5222\r\n", "192.0.2.1:40000", "198.51.100.1:5222", false},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "", "", false},
		{"v1 unknown and more", "PROXY UNKNOWN ffff:f...f:ffff 1 2 3\r\n", "", "", false},
		{"v1 longest", "PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", "", "", false},
		{"v2 IPv4", string(v2(1, 0x11, four)), "192.0.2.1:40000", "198.51.100.1:5222", false},
		{"v2 IPv6", string(v2(1, 0x21, six)), "[2001:db8::1]:40000", "[2001:db8::2]:5222", false},
		{"v2 with TLS", string(v2(1, 0x11, append(append([]byte(nil), four...), tls...))), "192.0.2.1:40000", "198.51.100.1:5222", true},
		{"v2 without TLS", string(v2(1, 0x11, append(append([]byte(nil), four...), noTLS...))), "192.0.2.1:40000", "198.51.100.1:5222", false},
		{"v2 with an unknown type", string(v2(1, 0x11, append(append([]byte(nil), four...), 0xee, 0, 1, 7))), "192.0.2.1:40000", "198.51.100.1:5222", false},
		{"v2 local", string(v2(0, 0, nil)), "", "", false},
		{"v2 local with addresses", string(v2(0, 0x11, four)), "", "", false},
		{"v2 unspecified", string(v2(1, 0, nil)), "", "", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			const rest = "<?xml version='1.0'?>"
			for _, r := range []io.Reader{strings.NewReader(x.in + rest), iotest.OneByteReader(strings.NewReader(x.in + rest))} {
				h, err := ReadProxyHeader(r)
				if err != nil {
					t.Fatal(err)
				}
				if h.TLS != x.tls || h.Client.IsValid() != (x.client != "") || h.Client.IsValid() && (h.Client.String() != x.client || h.Server.String() != x.server) {
					t.Errorf("header is %+v", h)
				}
				if left, err := io.ReadAll(r); string(left) != rest || err != nil {
					t.Errorf("%q is left", left)
				}
			}
		})
	}
	for name, in := range map[string]string{
		"nothing":                 "",
		"a stream":                "<?xml version='1.0'?><stream:stream>",
		"TLS":                     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00",
		"lower case":              "proxy TCP4 192.0.2.1 198.51.100.1 40000 5222\r\n",
		"too long":                "PROXY UNKNOWN " + strings.Repeat("x", 107) + "\r\n",
		"LF alone":                "PROXY UNKNOWN\n" + strings.Repeat("x", 200),
		"without ports":           "PROXY TCP4 192.0.2.1 198.51.100.1\r\n",
		"two spaces":              "PROXY TCP4  192.0.2.1 198.51.100.1 40000 5222\r\n",
		"IPv6 as TCP4":            "PROXY TCP4 2001:db8::1 2001:db8::2 40000 5222\r\n",
		"zone":                    "PROXY TCP6 fe80::1%eth0 fe80::2 40000 5222\r\n",
		"port too great":          "PROXY TCP4 192.0.2.1 198.51.100.1 65536 5222\r\n",
		"port with zero":          "PROXY TCP4 192.0.2.1 198.51.100.1 040000 5222\r\n",
		"no port":                 "PROXY TCP4 192.0.2.1 198.51.100.1  5222\r\n",
		"name":                    "PROXY TCP4 localhost 198.51.100.1 1 5222\r\n",
		"UDP":                     "PROXY UDP4 192.0.2.1 198.51.100.1 40000 5222\r\n",
		"v2 cut":                  string(v2(1, 0x11, four)[:20]),
		"v2 of version 1":         string(proxyV2) + "\x11\x11\x00\x00",
		"v2 unknown command":      string(v2(2, 0x11, four)),
		"v2 UDP":                  string(v2(1, 0x12, four)),
		"v2 short":                string(v2(1, 0x11, four[:10])),
		"v2 IPv6 short":           string(v2(1, 0x21, four)),
		"v2 cut vector":           string(v2(1, 0x11, append(append([]byte(nil), four...), 1, 0))),
		"v2 vector beyond":        string(v2(1, 0x11, append(append([]byte(nil), four...), 1, 0, 9, 9))),
		"v2 of unreasonable size": string(v2(1, 0x11, make([]byte, maxProxyV2+1))),
	} {
		if h, err := ReadProxyHeader(strings.NewReader(in)); err == nil {
			t.Errorf("%s: taken as %+v", name, h)
		}
	}
}

func FuzzReadProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 40000 5222\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add(v2(1, 0x11, addresses("192.0.2.1:1", "192.0.2.2:2")))
	f.Add(v2(1, 0x21, append(addresses("[2001:db8::1]:1", "[2001:db8::2]:2"), pp2SSL, 0, 5, 1, 0, 0, 0, 0)))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		h, err := ReadProxyHeader(r)
		used := in[:len(in)-r.Len()]
		if len(used) > 16+maxProxyV2 {
			t.Fatalf("%d bytes were read", len(used))
		}
		if err != nil {
			return
		}
		if h.Client.IsValid() != h.Server.IsValid() {
			t.Fatalf("one address only: %+v", h)
		}
		// Exactly what was read is the header: with a byte less it is cut, and nothing behind it matters.
		if _, err := ReadProxyHeader(bytes.NewReader(used[:len(used)-1])); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Fatalf("without its last byte: %v", err)
		}
		if again, err := ReadProxyHeader(bytes.NewReader(used)); err != nil || again != h {
			t.Fatalf("again: %+v, %v", again, err)
		}
	})
}
