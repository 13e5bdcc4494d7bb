package xmlstream

// EventKind says what an Event is.
type EventKind uint8

const (
	StreamStart EventKind = iota + 1 // the stream's opening tag
	FrameEvent                       // a complete top-level element
	StreamEnd                        // the stream's closing tag
	Oversize                         // a top-level element over Limits.Bytes, of which only the start tag was kept
)

// Event is what Next found: Header is set for StreamStart, Frame for FrameEvent, and for Oversize to the element without
// its content.
type Event struct {
	Kind   EventKind
	Frame  *Frame
	Header *Header
}

// Decl is the declaration of a namespace prefix.
type Decl struct{ Prefix, URI string }

func (d *Decl) append(b []byte) []byte {
	b = append(append(append(b, " xmlns:"...), d.Prefix...), "='"...)
	return append(AppendAttr(b, d.URI), '\'')
}

// Header is the opening tag of a stream (RFC 6120 §4.7). Whatever element it is: the caller judges that.
type Header struct {
	Name      Name
	Prefix    string // of the name, as it stood
	Attrs     []Attr // without namespace declarations
	DefaultNS string // the content namespace (RFC 6120 §4.8.2)
	Decls     []Decl // of prefixes
}

// Attr returns the value of the attribute without a namespace, or "".
func (h *Header) Attr(local string) string {
	for i := range h.Attrs {
		if a := &h.Attrs[i]; a.Name.Local == local && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// place says where in a stream the decoder stands.
type place uint8

const (
	atStart   place = iota // nothing was read; an XML declaration may come
	atRestart              // the same after white space, which may belong to the stream before
	afterMark              // U+FEFF was read; an XML declaration may come
	inProlog               // the header comes
	inStream
	atEmptyEnd // the header was <stream:stream/>
	afterEnd
)

// tokenKind is what stands at the top level of a stream.
type tokenKind uint8

const (
	unknown     tokenKind = iota
	byteOrder             // U+FEFF at the start
	declaration           // <?xml …?>
	header
	element
	closing // the stream's end tag
)

// Decoder reads a stream that comes in pieces. It is for one goroutine at a time.
type Decoder struct {
	lim    Limits
	place  place
	scope  *scope   // of the open stream
	in     []byte   // borrowed from the caller of Feed
	offset int64    // of in[0] in all that was fed
	s      *scanner // of an incomplete token, which is kept in s.buf; nil as a rule
	err    error
}

// NewDecoder returns a decoder that awaits a stream header. For l see Limits.
func NewDecoder(l Limits) *Decoder { return &Decoder{lim: l.orDefault()} }

// SetLimits changes the limits from the next top-level element on.
func (d *Decoder) SetLimits(l Limits) { d.lim = l.orDefault() }

// Restart makes d await a new stream header (RFC 6120 §4.3.3). What was fed and not read yet belongs to the new stream;
// Discard throws it away. White space before the header may be the end of the old stream and is skipped.
func (d *Decoder) Restart() {
	d.place, d.scope = atRestart, nil
	if d.s != nil { // the beginning of an element of the old stream is now to be read otherwise
		kept := len(d.s.buf)
		d.in = append(d.s.buf[:kept:kept], d.in...)
		d.offset -= int64(kept)
		d.s.buf = nil
		d.release()
	}
}

// Discard throws away what was fed and not read yet. It may be followed by Feed.
func (d *Decoder) Discard() {
	d.offset += int64(d.Buffered())
	d.in = nil
	d.release()
}

// Buffered returns the number of bytes that were fed and are not yet part of an event. Where TLS takes over it must be
// zero: plaintext behind a <starttls/> is an injection.
func (d *Decoder) Buffered() int {
	n := len(d.in)
	if d.s != nil {
		n += len(d.s.buf)
	}
	return n
}

// Idle tells whether nothing is kept: no input and no incomplete element. An idle decoder holds no buffers.
func (d *Decoder) Idle() bool { return d.s == nil && len(d.in) == 0 }

// Feed gives input, cut anywhere. It is allowed where Next returned ErrMore, at the beginning, and after Discard;
// otherwise it panics. p is borrowed until Next returns ErrMore, or until Discard.
func (d *Decoder) Feed(p []byte) {
	if d.err != nil {
		return
	}
	if len(d.in) > 0 {
		panic("xmlstream: Feed before Next asked for more")
	}
	d.in = p
}

func (d *Decoder) release() {
	if d.s != nil {
		d.s.free()
		d.s = nil
	}
}

// consume drops n bytes of input.
func (d *Decoder) consume(n int) {
	d.in = d.in[n:]
	d.offset += int64(n)
}

// Next returns the next event, or ErrMore, or an *Error, which is final. After StreamEnd only white space may come.
func (d *Decoder) Next() (Event, error) {
	if d.err != nil {
		return Event{}, d.err
	}
	if d.place == atEmptyEnd {
		d.place = afterEnd
		return Event{Kind: StreamEnd}, nil
	}
	for {
		if d.s == nil {
			d.skipSpace()
			if len(d.in) == 0 {
				d.in = nil
				return Event{}, ErrMore
			}
		}
		ev, f := d.token()
		switch {
		case f == short:
			return Event{}, ErrMore
		case f != okay:
			return Event{}, d.err
		case ev.Kind != 0:
			return ev, nil
		}
	}
}

// skipSpace drops white space between top-level elements (RFC 6120 §4.6.1).
func (d *Decoder) skipSpace() {
	i := 0
	for i < len(d.in) && isSpace(d.in[i]) {
		i++
	}
	if i > 0 {
		if d.place != atRestart && d.place < inProlog {
			d.place = inProlog
		}
		d.consume(i)
	}
}

// token reads one token of the top level. Its event has no kind where there is nothing to tell.
func (d *Decoder) token() (Event, fault) {
	if d.s != nil {
		return d.resume()
	}
	s := newScanner(d.lim, d.scope)
	data := d.in[:min(len(d.in), d.lim.Bytes)]
	end, f := s.top1(data, d.place)
	switch f {
	case okay:
		ev, f := d.event(s, data[:end])
		if f != okay {
			return Event{}, d.fail(s, f, d.offset)
		}
		d.consume(end)
		s.free()
		return ev, okay
	case short:
		s.buf = append(room(s.buf[:0], len(data), s.lim.Bytes), data...)
		d.consume(len(data))
		if len(data) == s.lim.Bytes && !s.skip() {
			return Event{}, d.fail(s, faultBytes, d.offset-int64(len(s.buf)-s.pos))
		}
		d.s = s
		return d.resume()
	}
	return Event{}, d.fail(s, f, d.offset+int64(s.pos))
}

// resume goes on with the token that is kept.
func (d *Decoder) resume() (Event, fault) {
	s := d.s
	for len(d.in) > 0 {
		kept := len(s.buf)
		take := min(len(d.in), max(kept, minTake), s.lim.Bytes-kept)
		s.buf = append(room(s.buf, take, s.lim.Bytes), d.in[:take]...)
		end, f := s.top1(s.buf, d.place)
		switch f {
		case okay:
			ev, f := d.event(s, s.buf[:end])
			if f != okay {
				return Event{}, d.fail(s, f, d.offset-int64(kept))
			}
			d.consume(end - kept)
			d.release()
			return ev, okay
		case short:
			d.consume(take)
			if len(s.buf) < s.lim.Bytes || s.skip() {
				continue
			}
			return Event{}, d.fail(s, faultBytes, d.offset-int64(len(s.buf)-s.pos))
		}
		return Event{}, d.fail(s, f, d.offset+int64(s.pos-kept))
	}
	d.in = nil
	return Event{}, short
}

// minTake is how much is taken from the input at least to complete what is kept. Taking all of it would copy the elements
// that follow as well.
const minTake = 1 << 10

func (d *Decoder) fail(s *scanner, f fault, at int64) fault {
	d.err = f.at(at)
	d.in = nil
	d.s = nil
	s.free()
	return f
}

// event makes an event of the complete token that s read.
func (d *Decoder) event(s *scanner, data []byte) (Event, fault) {
	switch s.kind {
	case byteOrder, declaration:
		d.place = inProlog
		if s.kind == byteOrder {
			d.place = afterMark
		}
		return Event{}, okay
	case header:
		h := s.header(data)
		d.scope = newScope(h)
		d.place = inStream
		if s.top.empty {
			d.place = atEmptyEnd
		}
		return Event{Kind: StreamStart, Header: h}, okay
	case closing:
		d.place = afterEnd
		return Event{Kind: StreamEnd}, okay
	}
	if s.skipped > 0 {
		frame, f := s.startOnly(data)
		return Event{Kind: Oversize, Frame: frame}, f
	}
	frame, f := s.finish(data, "")
	return Event{Kind: FrameEvent, Frame: frame}, f
}
