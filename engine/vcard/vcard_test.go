package vcard

import (
	"strings"
	"testing"

	"sabir/xmpp/xmlstream"
)

func tree(t *testing.T, s string) *xmlstream.Element {
	t.Helper()
	e, err := xmlstream.Parse(s, xmlstream.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Each pair is the same in both forms; what stands behind an arrow is what comes back where that differs.
func TestConvert(t *testing.T) {
	for _, c := range []struct{ temp, four, back string }{
		{"<FN>Peter Saint-Andre</FN>", "<fn><text>Peter Saint-Andre</text></fn>", ""},
		{"<N><FAMILY>Saint-Andre</FAMILY><GIVEN>Peter</GIVEN></N>", "<n><surname>Saint-Andre</surname><given>Peter</given></n>", ""},
		{"<N><MIDDLE/></N>", "", "-"},
		{"<BDAY>1966-08-06</BDAY>", "<bday><date>1966-08-06</date></bday>", ""},
		{"<BDAY>1966-08-06T10:00:00Z</BDAY>", "<bday><date-time>1966-08-06T10:00:00Z</date-time></bday>", ""},
		{"<BDAY>summer</BDAY>", "<bday><text>summer</text></bday>", ""},
		{"<ADR><WORK/><PREF/><STREET>1899 Wynkoop</STREET><LOCALITY>Denver</LOCALITY><PCODE>80202</PCODE><CTRY>USA</CTRY></ADR>",
			"<adr><parameters><type><text>work</text></type><pref><integer>1</integer></pref></parameters><street>1899 Wynkoop</street><locality>Denver</locality><code>80202</code><country>USA</country></adr>", ""},
		{"<TEL><HOME/><CELL/><NUMBER>+1-303-308-3282</NUMBER></TEL>", "<tel><parameters><type><text>home</text><text>cell</text></type></parameters><uri>tel:+1-303-308-3282</uri></tel>", ""},
		{"<TEL><BBS/><NUMBER>303 308</NUMBER></TEL>", "<tel><text>303 308</text></tel>", "<TEL><NUMBER>303 308</NUMBER></TEL>"},
		{"<EMAIL><WORK/><USERID>a@example.org</USERID></EMAIL>", "<email><parameters><type><text>work</text></type></parameters><text>a@example.org</text></email>", ""},
		{"<JABBERID>a@example.org</JABBERID>", "<impp><uri>xmpp:a@example.org</uri></impp>", ""},
		{"<GEO><LAT>39.59</LAT><LON>-105.01</LON></GEO>", "<geo><uri>geo:39.59,-105.01</uri></geo>", ""},
		{"<ORG><ORGNAME>XSF</ORGNAME><ORGUNIT>Board</ORGUNIT></ORG>", "<org><text>XSF</text><text>Board</text></org>", ""},
		{"<CATEGORIES><KEYWORD>a</KEYWORD><KEYWORD>b</KEYWORD></CATEGORIES>", "<categories><text>a</text><text>b</text></categories>", ""},
		{"<DESC>x</DESC>", "<note><text>x</text></note>", ""},
		{"<NOTE>x</NOTE>", "<note><text>x</text></note>", "<DESC>x</DESC>"},
		{"<REV>20200101T000000Z</REV>", "<rev><timestamp>20200101T000000Z</timestamp></rev>", ""},
		{"<URL>https://stpeter.im/</URL>", "<url><uri>https://stpeter.im/</uri></url>", ""},
		{"<LOGO><TYPE>image/png</TYPE><BINVAL>AAEC\n AwQ=</BINVAL></LOGO>", "<logo><uri>data:image/png;base64,AAECAwQ=</uri></logo>", "<LOGO><TYPE>image/png</TYPE><BINVAL>AAECAwQ=</BINVAL></LOGO>"},
		{"<LOGO><EXTVAL>https://example.org/l.png</EXTVAL></LOGO>", "<logo><uri>https://example.org/l.png</uri></logo>", ""},
		{"<KEY><TYPE>x</TYPE><CRED>abc</CRED></KEY>", "<key><text>abc</text></key>", "<KEY><CRED>abc</CRED></KEY>"},
		{"<PHOTO><TYPE>image/png</TYPE><BINVAL>AAEC</BINVAL></PHOTO><MAILER>m</MAILER><CLASS><PUBLIC/></CLASS><x xmlns='u'/>", "", "-"},
	} {
		temp, want := tree(t, "<vCard xmlns='vcard-temp'>"+c.temp+"</vCard>"), "<vcard xmlns='"+NS4+"'>"+c.four+"</vcard>"
		got := To4(temp)
		if c.four == "" {
			if got != nil {
				t.Errorf("%s becomes %s", c.temp, got)
			}
			continue
		}
		if !got.Equal(tree(t, want)) {
			t.Errorf("%s becomes\n%s, want\n%s", c.temp, got, want)
			continue
		}
		if c.back == "" {
			c.back = c.temp
		}
		if back := From4(got); !back.Equal(tree(t, "<vCard xmlns='vcard-temp'>"+c.back+"</vCard>")) {
			t.Errorf("%s comes back as\n%s, want\n%s", c.temp, back, c.back)
		}
	}
}

// What vCard4 has beyond vcard-temp is left out, and so is what is wrong.
func TestFrom4(t *testing.T) {
	got := From4(tree(t, "<vcard xmlns='"+NS4+"'><fn><parameters><language><language-tag>en</language-tag></language></parameters><text>A</text></fn><gender><sex>F</sex></gender>"+
		"<impp><uri>sip:a@example.org</uri></impp><geo><uri>geo:1,2,3;u=5</uri></geo><geo><uri>nowhere</uri></geo><key><uri>https://k.example</uri></key><fn/><x xmlns='u'/>"+
		"<tel><parameters><type><text>text</text><text>Fax</text><text>fax</text></type></parameters><uri>tel:1</uri></tel></vcard>"))
	if want := "<vCard xmlns='vcard-temp'><FN>A</FN><GEO><LAT>1</LAT><LON>2</LON></GEO><TEL><FAX/><NUMBER>1</NUMBER></TEL></vCard>"; !got.Equal(tree(t, want)) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAvatar(t *testing.T) {
	card := tree(t, "<vCard xmlns='vcard-temp'><FN>A</FN><PHOTO><BINVAL>iVBORw0K\n GgoAAAANSUhEUg==</BINVAL></PHOTO><URL>u</URL></vCard>")
	a := PhotoOf(card)
	if a == nil || a.Type != "image/png" || len(a.Data) != 16 {
		t.Fatalf("the picture is %+v", a)
	}
	id, typ := Current(a.MetadataElement())
	if id != a.ID() || typ != a.Type || Held(id, typ, a.DataElement()) == nil || Held(strings.Repeat("0", 40), typ, a.DataElement()) != nil {
		t.Errorf("id %s, type %s", id, typ)
	}
	bare := Placeholder(card)
	if want := "<vCard xmlns='vcard-temp'><FN>A</FN><PHOTO/><URL>u</URL></vCard>"; !bare.Equal(tree(t, want)) {
		t.Errorf("got %s", bare)
	}
	if got := WithPhoto(bare, a).String(); !strings.Contains(got, "</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>iVBORw0KGgoAAAANSUhEUg==</BINVAL></PHOTO><URL>") {
		t.Errorf("got %s", got)
	}
	if got := WithPhoto(bare, nil); !got.Equal(tree(t, "<vCard xmlns='vcard-temp'><FN>A</FN><URL>u</URL></vCard>")) {
		t.Errorf("got %s", got)
	}
	if WithPhoto(nil, nil) != nil || WithPhoto(nil, a).Child(NS, "PHOTO") == nil {
		t.Error("without a vCard")
	}
	meta := tree(t, "<metadata xmlns='"+AvatarMetadata+"'><info id='1' url='https://x.example/' type='a'/><info id='2' type='b'/></metadata>")
	if id, typ := Current(meta); id != "2" || typ != "b" {
		t.Errorf("of several pictures %s is taken", id)
	}
	if id, _ := Current(tree(t, "<metadata xmlns='"+AvatarMetadata+"'/>")); id != "" {
		t.Errorf("of none %s is taken", id)
	}
}
