package xmlstream

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// bombs are inputs that cost their sender little and a careless reader much.
func bombs() map[string]string {
	var attrs, decls, kids, dups, escaped strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&attrs, " a%d=''", i)
		fmt.Fprintf(&decls, " xmlns:a%d='u'", i)
		fmt.Fprintf(&kids, "<a b%d=''/>", i)
	}
	for i := range 2000 {
		dups.WriteString("<a")
		for k := range 49 {
			fmt.Fprintf(&dups, " a%d=''", k+i)
		}
		dups.WriteString("/>")
	}
	for i := range 12000 {
		fmt.Fprintf(&escaped, "<a xmlns='&lt;%d'/>", i)
	}
	const n = 1 << 20
	return map[string]string{
		"depth":          strings.Repeat("<a>", n),
		"depth, ns":      strings.Repeat("<a xmlns='u'>", n/8),
		"depth, decl":    strings.Repeat("<a xmlns:a='u' xmlns:b='v' xmlns:c='w' xmlns:d='x'>", n/32),
		"attributes":     "<a" + attrs.String() + "/>",
		"many small":     "<a>" + dups.String(),
		"declared":       "<a" + decls.String() + "/>",
		"children":       "<a>" + strings.Repeat("<a/>", n) + "</a>",
		"children, most": "<a>" + strings.Repeat("<a/>", 10000) + "</a>",
		"children, attr": "<a>" + kids.String() + "</a>",
		"grandchildren":  "<a><b>" + strings.Repeat("<a/>", n) + "</b></a>",
		"name":           "<" + strings.Repeat("a", 4*n),
		"attr name":      "<a " + strings.Repeat("a", 4*n),
		"value":          "<a b='" + strings.Repeat("a", 4*n),
		"value refs":     "<a b='" + strings.Repeat("&lt;", n),
		"text":           "<a>" + strings.Repeat("a", 4*n),
		"refs":           "<a>" + strings.Repeat("&lt;", n),
		"zeros":          "<a>&#" + strings.Repeat("0", 4*n),
		"CDATA":          "<a><![CDATA[" + strings.Repeat("a", 4*n),
		"CDATA grows":    "<a><![CDATA[" + strings.Repeat("&", 80_000) + "]]></a>",
		"CDATA near":     "<a><![CDATA[" + strings.Repeat("&", 52_000) + "]]></a>",
		"CDATA many":     "<a>" + strings.Repeat("<![CDATA[&]]>", n/4),
		"CDATA fits":     "<a>" + strings.Repeat("<![CDATA[]]>", 20_000) + "</a>",
		"leaning":        "<a>" + strings.Repeat("<stream:a/>", 9000) + "</a>",
		"escaped ns":     "<a>" + escaped.String() + "</a>",
		"escaped nested": "<a><b>" + escaped.String() + "</b></a>",
		"escaped attrs":  "<a" + strings.Repeat(" b='&lt;'", 49) + ">",
		"comment":        "<a>" + strings.Repeat("<!--", n),
	}
}

// Whatever comes, reading it allocates four times the limit at most: kept bytes, the frame, scratch space, garbage.
func TestMemory(t *testing.T) {
	for name, bomb := range bombs() {
		for _, l := range []Limits{preAuth, DefaultLimits, {Bytes: 64 << 10, Children: 2500, Skip: 1 << 30}} {
			for _, size := range []int{len(bomb), 1000} {
				d := openStream(t, l)
				runtime.GC() // twice: pools keep what they hold over one
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				p := []byte(bomb)
				runtime.ReadMemStats(&before)
				var err error
				for err = ErrMore; err == ErrMore && len(p) > 0; {
					n := min(size, len(p))
					d.Feed(p[:n])
					p = p[n:]
					_, err = d.Next()
				}
				runtime.ReadMemStats(&after)
				if spent := after.TotalAlloc - before.TotalAlloc; spent > uint64(4*l.orDefault().Bytes) {
					t.Errorf("%s in pieces of %d: %d bytes, %.1f times the limit (%v)", name, size, spent, float64(spent)/float64(l.Bytes), err)
				}
			}
		}
	}
}
