package xmlstream

// skip makes room in the kept bytes of an element that is over the limit: the content that was read is thrown away, but
// for the names of the open elements and the namespaces in force, by which what follows is judged. It is false where that
// may not be, or leaves more than half of the room taken.
func (s *scanner) skip() bool {
	from := s.pos - 2 // the scanner looks back so far, for ]]>
	if s.kind != element || len(s.stack) == 0 || from < s.top.end {
		return false
	}
	to := s.top.end
	// What is moved lies in ascending order, so that nothing is overwritten before it is moved.
	move := func(begin, end *uint32) {
		n := copy(s.buf[to:], s.buf[*begin:*end])
		*begin, *end = uint32(to), uint32(to+n)
		to += n
	}
	for k := 1; k < len(s.stack); k++ {
		move(&s.stack[k].name, &s.stack[k].nameEnd)
		last := len(s.binds)
		if k+1 < len(s.stack) {
			last = int(s.stack[k+1].binds)
		}
		for i := int(s.stack[k].binds); i < last; i++ {
			b := &s.binds[i]
			move(&b.prefix, &b.prefixEnd)
			if b.uri.end != inStrs {
				move(&b.uri.off, &b.uri.end)
			}
		}
	}
	gone := from - to
	if s.skipped += gone; s.skipped > s.lim.Skip || len(s.buf)-gone > s.lim.Bytes/2 {
		return false
	}
	s.buf = append(s.buf[:to], s.buf[from:]...)
	s.pos -= gone
	if s.probe > 0 {
		s.probe -= gone
	}
	if s.valid > 0 {
		s.valid -= gone
	}
	if s.cdata > 0 {
		s.cdata = max(to, s.cdata-gone)
	}
	return true
}

// startOnly makes a frame of the start tag of the element that s read, as if it had no content.
func (s *scanner) startOnly(data []byte) (*Frame, fault) {
	s.hasCDATA = false
	out, f := s.rewrite(append(append([]byte(nil), data[:s.top.end-1]...), "/>"...))
	if f != okay {
		return nil, f
	}
	s.rewind()
	if _, f = s.element(out); f != okay {
		return nil, f
	}
	return s.frame(out, string(out)), okay
}
