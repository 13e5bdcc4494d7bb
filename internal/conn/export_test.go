//go:build unix

package conn

// FieldsFound tells whether the buffers of a tls.Conn are known.
func FieldsFound() bool { return fields.found }

// Partial returns how much of a record has come.
func (c *Conn) Partial() int {
	rawInput, _, _ := fields.of(c.tls)
	return rawInput.Len()
}

// Kept returns how many bytes the buffers hold.
func (c *Conn) Kept() int {
	rawInput, input, hand := fields.of(c.tls)
	n := rawInput.Cap() + int(input.Size()) + hand.Cap()
	if c.lent != nil {
		n += lentSize
	}
	return n
}
