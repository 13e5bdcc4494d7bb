package c2s

import (
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// startTLS answers <starttls/> (RFC 6120 §5.4.2). The handshake follows as soon as the transport reads on.
func (c *clientStream) startTLS(local string) error {
	if local != "starttls" {
		return stream.Err(stream.UnsupportedStanzaType, "")
	}
	if c.principal != nil || !c.t.startTLS() {
		// RFC 6120 §5.4.2.2: the failure ends the stream.
		if err := c.writeElement(xmlstream.El(stream.NSTLS, "failure")); err != nil {
			return err
		}
		return errEnd
	}
	return c.writeElement(xmlstream.El(stream.NSTLS, "proceed"))
}
