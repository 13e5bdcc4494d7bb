package load

import (
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestElementEnd(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int // length of the first element, 0 for not whole
	}{
		{"<a/>", 4},
		{"<a/><b/>", 4},
		{" \n<a/>", 6},
		{"<a><b/></a><c/>", 11},
		{"<a><b></b>", 0},
		{"<a x='>'/>", 10},
		{`<a x="/>"><b/></a>`, 18},
		{"<a", 0},
		{"", 0},
		{"</stream:stream>", 16},
		{"<a>text</a", 0},
	} {
		if got := elementEnd([]byte(tt.in)); got != tt.want {
			t.Errorf("elementEnd(%q) = %d, want %d", tt.in, got, tt.want)
		}
	}
}

func TestAttribute(t *testing.T) {
	el := []byte(`<iq id='b1' from="a@b/c" xml:id='no' type='result'><x id='other' to='y'/></iq>`)
	for name, want := range map[string]string{"id": "b1", "from": "a@b/c", "type": "result", "to": ""} {
		if got := attribute(el, name); got != want {
			t.Errorf("attribute %s is %q, want %q", name, got, want)
		}
	}
	if got := textOf([]byte("<success xmlns='x'>dj0=</success>")); got != "dj0=" {
		t.Errorf("text is %q", got)
	}
	if got := textOf([]byte("<success/>")); got != "" {
		t.Errorf("text of an empty element is %q", got)
	}
}

// TestTagCounterCutAnywhere cuts a stream into pieces of every size.
func TestTagCounterCutAnywhere(t *testing.T) {
	const n = 7
	stream := strings.Repeat("<message><body>x</body></message>", n) + "</messag"
	for size := 1; size <= len(stream); size++ {
		tags := tagCounter{tag: []byte("</message>")}
		got := 0
		for rest := []byte(stream); len(rest) > 0; {
			k := min(size, len(rest))
			got += tags.count(rest[:k])
			rest = rest[k:]
		}
		if got != n {
			t.Errorf("in pieces of %d: counted %d, want %d", size, got, n)
		}
	}
}

// TestScram is the exchange of RFC 5802 §5.
func TestScram(t *testing.T) {
	x, _, err := newScram("user", "pencil")
	if err != nil {
		t.Fatal(err)
	}
	x.nonce = "fyko+d2lbbFgONRv9qkxdawL"
	x.bare = "n=user,r=" + x.nonce
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	final, err := x.respond(encode("r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"))
	if err != nil {
		t.Fatal(err)
	}
	if want := encode("c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="); final != want {
		t.Errorf("final message %s, want %s", final, want)
	}
	if err := x.verify(encode("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")); err != nil {
		t.Error(err)
	}
	if err := x.verify(encode("v=rmF9pqV8S7suAoZWja4dJRkFsKA=")); err == nil {
		t.Error("a wrong signature was accepted")
	}
	if _, err := x.respond(encode("r=other,s=QSXCR+Q6sek8bf92,i=4096")); err == nil {
		t.Error("a nonce that is not ours was accepted")
	}
	if _, err := x.respond(encode("r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=999999999")); err == nil {
		t.Error("a thousand million iterations were accepted")
	}
}

func TestMessageNumbers(t *testing.T) {
	m := newMessage(&Running{Floor: true}, "a@x/r", "b@x/r", Options{Body: 100})
	got := string(m.append(nil, 12345678901))
	if !strings.Contains(got, "id='45678901'>") || strings.Count(got, "x</body>") != 1 || m.text[m.body] != 'x' {
		t.Errorf("%s", got)
	}
	if !strings.Contains(string(m.text), "id='00000000'") {
		t.Error("the template was changed")
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	before, err := usage([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	if before.RSS < 1<<20 {
		t.Errorf("resident memory of this process: %d bytes", before.RSS)
	}
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
		if strings.Count("busy busy", "b") != 2 {
			t.Fatal("two are two")
		}
	}
	after, err := usage([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	if after.CPU <= before.CPU {
		t.Errorf("100 ms of work cost %v", after.CPU-before.CPU)
	}
	// A child's use counts with its parent's.
	child := exec.Command("sleep", "10")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stopChild(child); err != nil {
			t.Error(err)
		}
	}()
	found := false
	for _, pid := range children(os.Getpid()) {
		found = found || pid == child.Process.Pid
	}
	if !found {
		t.Errorf("children of %d: %v, without %d", os.Getpid(), children(os.Getpid()), child.Process.Pid)
	}
	if _, err := usage([]int{1 << 30}); err == nil {
		t.Error("a process that is not there has a usage")
	}
}

func TestTableVerdicts(t *testing.T) {
	row := Row{Key: "chat", Title: "chat", Unit: Micros, Must: 15, Aim: 10}
	for value, want := range map[float64]string{9: "aim reached", 12: "holds", 16: "misses"} {
		table := Table{Rows: []Row{row}, Servers: []string{"prosody", "sabir", "ejabberd"}}
		for _, v := range []float64{value, value / 2, value * 2} {
			table.Add("chat", "sabir", Result{Value: v})
		}
		table.Add("chat", "prosody", Result{Value: 3 * value})
		table.Fail("chat", "ejabberd", os.ErrNotExist)
		var b strings.Builder
		if err := table.Write(&b); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{want, "(×3.0)", "failed", "≤ 15.0 µs", os.ErrNotExist.Error()} {
			if !strings.Contains(b.String(), part) {
				t.Errorf("%v: the table lacks %q:\n%s", value, part, b.String())
			}
		}
	}
}

// TestTableShare is the verdict of a row whose threshold is what the best other server takes.
func TestTableShare(t *testing.T) {
	row := Row{Key: "s2s", Title: "s2s", Unit: Micros, MustShare: 1.0 / 3}
	for value, want := range map[float64]string{29: "| holds |", 31: "| misses |"} {
		table := Table{Rows: []Row{row}, Servers: []string{"prosody", "sabir", "ejabberd"}}
		table.Add("s2s", "sabir", Result{Value: value})
		table.Add("s2s", "prosody", Result{Value: 90})
		table.Add("s2s", "ejabberd", Result{Value: 120})
		var b strings.Builder
		if err := table.Write(&b); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{want, "≤ 0.33 of the best other"} {
			if !strings.Contains(b.String(), part) {
				t.Errorf("%v: the table lacks %q:\n%s", value, part, b.String())
			}
		}
	}
}

// TestAgainstFloor runs the rows that the floor can do, small.
func TestAgainstFloor(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "floor")
	if out, err := exec.Command("go", "build", "-o", binary, "../floor").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := startFloor(ctx, binary, Setup{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	o := Defaults
	o.Pairs, o.Warm, o.Time, o.Rate, o.Logins, o.Settle = 5, 100*time.Millisecond, 400*time.Millisecond, 500, 40, 0
	for _, row := range Rows() {
		if !row.Floor || row.Alone {
			continue
		}
		r, err := row.Run(ctx, s, o)
		if err != nil {
			t.Errorf("%s: %v", row.Key, err)
			continue
		}
		if r.Done == 0 || r.PerSecond == 0 {
			t.Errorf("%s: %+v", row.Key, r)
		}
		if row.Key == "rate" && (r.P50 <= 0 || r.P99 < r.P50) {
			t.Errorf("latencies %v, %v", r.P50, r.P99)
		}
	}
}
