package disco

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sabir/xmpp/xmlstream"
)

func parse(t *testing.T, s string) (*Info, error) {
	t.Helper()
	x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return ParseInfo(x, "")
}

func mustParse(t *testing.T, s string) *Info {
	t.Helper()
	i, err := parse(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

const query = `<query xmlns='http://jabber.org/protocol/disco#info'`

func TestInfoRoundTrip(t *testing.T) {
	s := query + ` node='n'><identity category='client' type='pc' name='Psi' xml:lang='en'/><identity category='client' type='bot'/>` +
		`<feature var='a'/><feature var='b'/><x xmlns='jabber:x:data' type='result'/></query>`
	i := mustParse(t, s)
	if got := i.Element().String(); got != s {
		t.Errorf("\n got %s\nwant %s", got, s)
	}
	if !i.Has("b") || i.Has("c") || i.Node != "n" || i.Identities[0].Lang != "en" {
		t.Errorf("%+v", i)
	}
}

func TestItemsRoundTrip(t *testing.T) {
	s := `<query xmlns='http://jabber.org/protocol/disco#items' node='n'><item jid='a@b' node='x' name='A'/><item jid='c'/></query>`
	x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	i, err := ParseItems(x)
	if err != nil {
		t.Fatal(err)
	}
	if got := i.Element().String(); got != s {
		t.Errorf("\n got %s\nwant %s", got, s)
	}
	bad := xmlstream.El(NSItems, "query", xmlstream.El(NSItems, "item"))
	if _, err := ParseItems(bad); !errors.Is(err, ErrIllFormed) {
		t.Errorf("an item without jid: %v", err)
	}
}

func TestInfoRefuses(t *testing.T) {
	for _, s := range []string{
		`<query xmlns='jabber:iq:roster'/>`,
		query + `><identity category='client'/></query>`,
		query + `><identity type='pc'/></query>`,
		query + `><feature/></query>`,
	} {
		if _, err := parse(t, s); !errors.Is(err, ErrIllFormed) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// The examples of the specifications, with the hashes printed there.
func TestExamples(t *testing.T) {
	for _, c := range []struct {
		file       string
		node, algo string
		want       string
	}{
		{"exodus.xml", "http://code.google.com/p/exodus", "sha-1", "QgayPKawpkPSDYmwT/WM94uAlu0="}, // XEP-0115#ver-gen-simple
		{"psi.xml", "http://psi-im.org", "sha-1", "q07IKJEyjvHSyhy//CH0CxmKi8w="},                  // XEP-0115#ver-gen-complex
		{"bombus.xml", "", "sha-256", "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8="},              // XEP-0390#algorithm-example-simple
		{"bombus.xml", "", "sha3-256", "79mdYAfU9rEdTOcWDO7UEAt6E56SUzk/g6TnqUeuD9Q="},
		{"tkabber.xml", "", "sha-256", "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY="}, // XEP-0390#algorithm-examples-complex
		{"tkabber.xml", "", "sha3-256", "XpUJzLAc93258sMECZ3FJpebkzuyNXDzRNwQog8eycg="},
	} {
		b, err := os.ReadFile(filepath.Join("testdata", c.file))
		if err != nil {
			t.Fatal(err)
		}
		k := Caps{c.node, c.algo, c.want}
		i := mustParse(t, strings.TrimSpace(string(b)))
		if !k.Verify(i) {
			ver, err := i.Ver(c.algo)
			hash, err2 := i.Hash(c.algo)
			t.Errorf("%s %s: got %s (%v) and %s (%v), want %s", c.file, c.algo, ver, err, hash, err2, c.want)
		}
		k.Hash = "AAAA" + k.Hash[4:]
		if k.Verify(i) {
			t.Errorf("%s %s: a wrong hash passes", c.file, c.algo)
		}
	}
}

func TestVerIllFormed(t *testing.T) {
	const form = `<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:a</value></field><field var='f'><value>v</value></field></x>`
	for name, s := range map[string]string{
		"identity twice": `<identity category='a' type='b'/><identity category='a' type='b'/>`,
		"feature twice":  `<feature var='a'/><feature var='a'/>`,
		"form twice":     form + form,
		"two types":      `<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>a</value><value>b</value></field></x>`,
		"less-than":      `<feature var='a&lt;b'/>`,
		"in a form":      strings.Replace(form, ">v<", ">v&lt;w<", 1),
		"broken form":    `<x xmlns='jabber:x:data' type='result'><field/></x>`,
	} {
		if v, err := mustParse(t, query+">"+s+"</query>").Ver("sha-1"); !errors.Is(err, ErrIllFormed) {
			t.Errorf("%s: %s, %v", name, v, err)
		}
	}
	if _, err := (&Info{}).Ver("md5"); !errors.Is(err, ErrIllFormed) {
		t.Errorf("md5: %v", err)
	}
	plain := mustParse(t, query+"><feature var='a'/></query>")
	for name, s := range map[string]string{
		"without type": `<x xmlns='jabber:x:data' type='result'><field var='f'><value>v</value></field></x>`,
		"visible type": strings.Replace(form, "hidden", "text-single", 1),
	} {
		with := mustParse(t, query+"><feature var='a'/>"+s+"</query>")
		a, err := plain.Ver("sha-1")
		b, err2 := with.Ver("sha-1")
		if err != nil || err2 != nil || a != b {
			t.Errorf("%s: the form is not ignored: %s %s %v %v", name, a, b, err, err2)
		}
	}
}

func TestHashIllFormed(t *testing.T) {
	for name, s := range map[string]string{
		"foreign":      `<item xmlns='http://jabber.org/protocol/disco#items' jid='a'/>`,
		"table":        `<x xmlns='jabber:x:data' type='result'><reported><field var='a'/></reported></x>`,
		"without type": `<x xmlns='jabber:x:data' type='result'><field var='f'><value>v</value></field></x>`,
	} {
		if v, err := mustParse(t, query+">"+s+"</query>").Hash("sha-256"); !errors.Is(err, ErrIllFormed) {
			t.Errorf("%s: %s, %v", name, v, err)
		}
	}
	if _, err := (&Info{}).Hash("md5"); !errors.Is(err, ErrIllFormed) {
		t.Errorf("md5: %v", err)
	}
}

// The language around an identity is a part of the hash of XEP-0390, and only of that.
func TestInheritedLang(t *testing.T) {
	id := `<identity category='client' type='pc' name='Psi'/></query>`
	outside := mustParse(t, query+" xml:lang='en'>"+id)
	inside := mustParse(t, query+">"+strings.Replace(id, "/>", " xml:lang='en'/>", 1))
	none := mustParse(t, query+">"+id)
	hash := func(i *Info) string { h, _ := i.Hash("sha-256"); return h }
	ver := func(i *Info) string { h, _ := i.Ver("sha-1"); return h }
	if hash(outside) != hash(inside) || hash(outside) == hash(none) {
		t.Error("the inherited language does not count in XEP-0390")
	}
	if ver(outside) != ver(none) || ver(outside) == ver(inside) {
		t.Error("the inherited language counts in XEP-0115")
	}
}

// An attacker who turns the last features into a form gets the same hash.
func TestAmbiguous(t *testing.T) {
	honest := mustParse(t, query+`><identity category='client' type='pc'/><feature var='urn:a'/><feature var='urn:b'/><feature var='urn:c'/></query>`)
	forged := mustParse(t, query+`><identity category='client' type='pc'/><feature var='urn:a'/><x xmlns='jabber:x:data' type='result'>`+
		`<field var='FORM_TYPE' type='hidden'><value>urn:b</value></field><field var='urn:c'/></x></query>`)
	a, err := honest.Ver("sha-1")
	b, err2 := forged.Ver("sha-1")
	if err != nil || err2 != nil || a != b {
		t.Fatalf("the attack does not work: %s %s", a, b)
	}
	if honest.Ambiguous() || !forged.Ambiguous() {
		t.Errorf("honest %v, forged %v", honest.Ambiguous(), forged.Ambiguous())
	}
}

func TestParseCaps(t *testing.T) {
	for s, want := range map[string][]string{
		`<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://psi-im.org' ver='abc='/>`:                                                                                                    {"http://psi-im.org#abc="},
		`<c xmlns='http://jabber.org/protocol/caps' node='http://psi-im.org' ver='0.9' ext='a b'/>`:                                                                                                        nil, // legacy
		`<c xmlns='http://jabber.org/protocol/caps' hash='md5' node='http://psi-im.org' ver='abc='/>`:                                                                                                      nil,
		`<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' ver='abc='/>`:                                                                                                                             nil,
		`<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>a=</hash><hash xmlns='urn:xmpp:hashes:2' algo='md5'>b</hash><hash xmlns='urn:xmpp:hashes:2' algo='sha3-256'>c</hash></c>`: {"urn:xmpp:caps#sha-256.a=", "urn:xmpp:caps#sha3-256.c"},
		`<c xmlns='urn:x'/>`: nil,
	} {
		x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range ParseCaps(x) {
			got = append(got, c.Query())
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func TestCapsElements(t *testing.T) {
	if got, want := (Caps{"http://n", "sha-1", "v="}).Element().String(), "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://n' ver='v='/>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got := Caps2Element(Caps{Algo: "sha-256", Hash: "a="}).String()
	if want := "<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>a=</hash></c>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
