//go:build unix

package xmlstream

import (
	"encoding/xml"
	"strings"
	"testing"
)

// cpu reports the processor time per operation since it was called.
func cpu(b *testing.B) func() {
	b.Helper()
	before := cpuTime(b)
	return func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkFrame(b *testing.B) {
	for _, m := range []struct{ name, xml string }{{"message", benchMessage}, {"cyrillic", benchCyrillic}, {"presence", benchPresence}} {
		b.Run(m.name, func(b *testing.B) {
			d := openStream(b, Limits{})
			p := []byte(m.xml)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				d.Feed(p)
				if _, err := d.Next(); err != nil {
					b.Fatal(err)
				}
				if _, err := d.Next(); err != ErrMore {
					b.Fatal(err)
				}
			}
		})
	}
}

// A frame that comes in two pieces is kept in between.
func BenchmarkFrameCut(b *testing.B) {
	d := openStream(b, Limits{})
	p := []byte(benchMessage)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		d.Feed(p[:200])
		if _, err := d.Next(); err != ErrMore {
			b.Fatal(err)
		}
		d.Feed(p[200:])
		if _, err := d.Next(); err != nil {
			b.Fatal(err)
		}
		if _, err := d.Next(); err != ErrMore {
			b.Fatal(err)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	f, err := ParseFrame(benchMessage, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		f.Element()
	}
}

func BenchmarkChild(b *testing.B) {
	f, err := ParseFrame(benchMessage, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		f.Child("urn:xmpp:sid:0", "origin-id")
	}
}

func BenchmarkAppend(b *testing.B) {
	e, err := Parse(benchMessage, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	defer cpu(b)()
	var dst []byte
	for b.Loop() {
		dst = e.Append(dst[:0], "")
	}
}

// A yardstick for the machine of the day: encoding/xml on the same message. On the machine where the aims were set it took
// 5.3 µs.
func BenchmarkYardstick(b *testing.B) {
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		d := xml.NewDecoder(strings.NewReader(benchMessage))
		for {
			if _, err := d.Token(); err != nil {
				break
			}
		}
	}
}
