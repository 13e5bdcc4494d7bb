package disco

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strings"

	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/xmlstream"
)

// The namespaces of entity capabilities.
const (
	NSCaps   = "http://jabber.org/protocol/caps" // XEP-0115
	NSCaps2  = "urn:xmpp:caps"                   // XEP-0390
	NSHashes = "urn:xmpp:hashes:2"               // XEP-0300
)

// newHash returns a hash function by its name in XEP-0300, or nil.
func newHash(name string) hash.Hash {
	switch name {
	case "sha-1":
		return sha1.New()
	case "sha-224":
		return sha256.New224()
	case "sha-256":
		return sha256.New()
	case "sha-384":
		return sha512.New384()
	case "sha-512":
		return sha512.New()
	case "sha3-256":
		return sha3.New256()
	case "sha3-512":
		return sha3.New512()
	}
	return nil
}

// KnowsHash tells whether a hash function is known by this name of XEP-0300.
func KnowsHash(name string) bool { return newHash(name) != nil }

// Ver computes the verification string of XEP-0115#ver-gen with a hash function, named as in XEP-0300. The error is
// ErrIllFormed for what XEP-0115#ver-proc calls ill-formed, and for an unknown hash function.
func (i *Info) Ver(algo string) (string, error) {
	h := newHash(algo)
	if h == nil {
		return "", fmt.Errorf("%w: no hash function %.40q", ErrIllFormed, algo)
	}
	s, err := i.verInput()
	if err != nil {
		return "", err
	}
	h.Write(s)
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

func (i *Info) verInput() ([]byte, error) {
	var b bytes.Buffer
	ids := make([]string, len(i.Identities))
	for n, id := range i.Identities {
		ids[n] = id.Category + "/" + id.Type + "/" + id.Lang + "/" + id.Name
	}
	if err := writeSorted(&b, "identity", ids); err != nil {
		return nil, err
	}
	if err := writeSorted(&b, "feature", slices.Clone(i.Features)); err != nil {
		return nil, err
	}
	var forms []verForm
	for _, x := range i.Forms {
		f, ok, err := readVerForm(x)
		if err != nil {
			return nil, err
		}
		if ok {
			forms = append(forms, f)
		}
	}
	slices.SortFunc(forms, func(a, b verForm) int { return strings.Compare(a.typ, b.typ) })
	for n, f := range forms {
		if n > 0 && forms[n-1].typ == f.typ {
			return nil, fmt.Errorf("%w: two forms of the type %.80q", ErrIllFormed, f.typ)
		}
		b.WriteString(f.typ + "<")
		for _, fd := range f.fields {
			b.WriteString(fd.Var + "<")
			for _, v := range slices.Sorted(slices.Values(fd.Values)) {
				b.WriteString(v + "<")
			}
		}
	}
	return b.Bytes(), nil
}

// writeSorted writes strings in the order of their octets, each followed by <. One that is there twice, or that holds a <
// itself, makes the whole ill-formed: the former by XEP-0115#ver-proc, the latter because it could stand for several
// (XEP-0115#security-preimage).
func writeSorted(b *bytes.Buffer, what string, all []string) error {
	slices.Sort(all)
	for n, s := range all {
		if n > 0 && all[n-1] == s {
			return fmt.Errorf("%w: the %s %.80q is there twice", ErrIllFormed, what, s)
		}
		if strings.Contains(s, "<") {
			return fmt.Errorf("%w: the %s %.80q holds a <", ErrIllFormed, what, s)
		}
		b.WriteString(s + "<")
	}
	return nil
}

// Ambiguous tells whether Ver also fits another answer that lists more features and fewer forms: whoever answers first for a
// hash could pass the last features of others off as a form. Such an answer holds for its sender alone.
func (i *Info) Ambiguous() bool {
	last := ""
	for _, f := range i.Features {
		last = max(last, f)
	}
	for _, x := range i.Forms {
		if f, ok, err := readVerForm(x); err == nil && ok && f.typ >= last {
			return true
		}
	}
	return false
}

type verForm struct {
	typ    string
	fields []dataform.Field // without FORM_TYPE, sorted
}

// readVerForm reads a form as XEP-0115#ver-proc asks. ok is false where it has no hidden FORM_TYPE: it is then ignored.
func readVerForm(x *xmlstream.Element) (f verForm, ok bool, err error) {
	form, err := dataform.Parse(x)
	if err != nil {
		return f, false, fmt.Errorf("%w: %w", ErrIllFormed, err)
	}
	t := form.Field(dataform.FormType)
	if t == nil || t.Type != dataform.Hidden || len(t.Values) == 0 {
		return f, false, nil
	}
	for _, v := range t.Values[1:] {
		if v != t.Values[0] {
			return f, false, fmt.Errorf("%w: a form has two types", ErrIllFormed)
		}
	}
	f.typ = t.Values[0]
	for _, fd := range form.Fields {
		if fd.Var != dataform.FormType && fd.Var != "" {
			f.fields = append(f.fields, fd)
		}
	}
	slices.SortFunc(f.fields, func(a, b dataform.Field) int { return strings.Compare(a.Var, b.Var) })
	for _, s := range append([]string{f.typ}, fieldStrings(f.fields)...) {
		if strings.Contains(s, "<") {
			return f, false, fmt.Errorf("%w: the form %.80q holds a <", ErrIllFormed, f.typ)
		}
	}
	return f, true, nil
}

func fieldStrings(fields []dataform.Field) (all []string) {
	for _, f := range fields {
		all = append(append(all, f.Var), f.Values...)
	}
	return all
}

// Hash computes the capability hash of XEP-0390#algorithm-hashsets in Base64, with a hash function named as in XEP-0300.
func (i *Info) Hash(algo string) (string, error) {
	h := newHash(algo)
	if h == nil {
		return "", fmt.Errorf("%w: no hash function %.40q", ErrIllFormed, algo)
	}
	s, err := i.hashInput()
	if err != nil {
		return "", err
	}
	h.Write(s)
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

// hashInput is the octet string of XEP-0390#algorithm-input.
func (i *Info) hashInput() ([]byte, error) {
	if i.foreign {
		return nil, fmt.Errorf("%w: a child that is neither identity, feature nor form", ErrIllFormed)
	}
	var features, identities, forms []string
	for _, f := range i.Features {
		features = append(features, f+"\x1f")
	}
	for _, id := range i.Identities {
		identities = append(identities, id.Category+"\x1f"+id.Type+"\x1f"+cmp.Or(id.Lang, i.Lang)+"\x1f"+id.Name+"\x1f\x1e")
	}
	for _, x := range i.Forms {
		f, err := dataform.Parse(x)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrIllFormed, err)
		}
		if x.Child(dataform.NS, "reported") != nil || x.Child(dataform.NS, "item") != nil {
			return nil, fmt.Errorf("%w: a form is a table", ErrIllFormed)
		}
		if f.FormType() == "" {
			return nil, fmt.Errorf("%w: a form has no FORM_TYPE", ErrIllFormed)
		}
		var fields []string
		for _, fd := range f.Fields {
			var values []string
			for _, v := range fd.Values {
				values = append(values, v+"\x1f")
			}
			fields = append(fields, fd.Var+"\x1f"+joinSorted(values)+"\x1e")
		}
		forms = append(forms, joinSorted(fields)+"\x1d")
	}
	return []byte(joinSorted(features) + "\x1c" + joinSorted(identities) + "\x1c" + joinSorted(forms) + "\x1c"), nil
}

func joinSorted(all []string) string {
	slices.Sort(all)
	return strings.Join(all, "")
}

// Caps is what an entity announces of its capabilities in presence or as a stream feature: of XEP-0115 where Node is not
// "", of XEP-0390 otherwise.
type Caps struct {
	Node string // a URI for the software; XEP-0115 only
	Algo string // the hash function, named as in XEP-0300
	Hash string // in Base64; ver of XEP-0115
}

// Query returns the node under which the information is asked (XEP-0115#discover, XEP-0390#algorithm-hashnodes).
func (c Caps) Query() string {
	if c.Node != "" {
		return c.Node + "#" + c.Hash
	}
	return NSCaps2 + "#" + c.Algo + "." + c.Hash
}

// Verify tells whether info is what c announces.
func (c Caps) Verify(info *Info) bool {
	var got string
	var err error
	if c.Node != "" {
		got, err = info.Ver(c.Algo)
	} else {
		got, err = info.Hash(c.Algo)
	}
	return err == nil && got == c.Hash
}

// ParseCaps reads a <c/> of XEP-0115 or of XEP-0390. It returns what can be verified: nothing for the legacy format without
// a hash attribute, nor for unknown hash functions. Those of XEP-0390 come in the order of the wire.
func ParseCaps(c *xmlstream.Element) []Caps {
	switch {
	case c.Is(NSCaps, "c"):
		k := Caps{c.Attr("node"), c.Attr("hash"), c.Attr("ver")}
		if k.Node != "" && k.Hash != "" && KnowsHash(k.Algo) {
			return []Caps{k}
		}
	case c.Is(NSCaps2, "c"):
		var all []Caps
		for h := range c.Elements() {
			k := Caps{"", h.Attr("algo"), strings.TrimSpace(h.Text())}
			if h.Is(NSHashes, "hash") && k.Hash != "" && KnowsHash(k.Algo) {
				all = append(all, k)
			}
		}
		return all
	}
	return nil
}

// Element returns the <c/> of XEP-0115.
func (c Caps) Element() *xmlstream.Element {
	return xmlstream.El(NSCaps, "c", xmlstream.A("hash", c.Algo), xmlstream.A("node", c.Node), xmlstream.A("ver", c.Hash))
}

// Caps2Element returns the <c/> of XEP-0390 that holds all of these hashes.
func Caps2Element(all ...Caps) *xmlstream.Element {
	x := xmlstream.El(NSCaps2, "c")
	for _, c := range all {
		x.Add(xmlstream.El(NSHashes, "hash", xmlstream.A("algo", c.Algo), c.Hash))
	}
	return x
}
