package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// op is what a process has done to a file or a folder, as strace saw it. The kernel did it between start and end.
type op struct {
	kind       opKind
	path       string
	off        int64 // for truncate the new size
	data       []byte
	start, end time.Time // end is zero where the process was killed within
}

type opKind uint8

const (
	create opKind = iota
	write
	truncate
	remove
	syncs // of a file, or of the folder path
)

// traced are the calls that a record of SQLite's files needs.
const traced = "trace=open,openat,pwrite64,ftruncate,unlink,unlinkat,fsync,fdatasync"

// recorder is the command that records what the program that follows does to its files.
func recorder(file string) []string {
	return []string{"strace", "-D", "-f", "--seccomp-bpf", "-ttt", "-T", "-y", "-xx", "-s", "70000", "-e", traced, "-o", file}
}

var (
	straceLine = regexp.MustCompile(`^(\d+) +(\d+)\.(\d+) (.*)$`)
	straceEnd  = regexp.MustCompile(`^(.*)\) += (-?\d+)(?:<[^>]*>)?.* <(\d+)\.(\d+)>$`)
)

// readOps reads a record. Only calls on paths that keep accepts are returned, in the order in which they began.
func readOps(r io.Reader, keep func(path string) bool) ([]op, error) {
	type begun struct {
		text  string
		start time.Time
	}
	var all []op
	open := make(map[string]begun) // by thread
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // half a line is that of a call that has not ended
		}
		if err != nil {
			return nil, err
		}
		m := straceLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			return nil, fmt.Errorf("strace wrote %.200q", line)
		}
		b := begun{m[4], stamp(m[2], m[3])}
		switch {
		case strings.HasSuffix(b.text, "<unfinished ...>"):
			b.text = strings.TrimSpace(strings.TrimSuffix(b.text, "<unfinished ...>"))
			open[m[1]] = b
			continue
		case strings.HasPrefix(b.text, "<... "):
			_, rest, _ := strings.Cut(b.text, " resumed>")
			was, ok := open[m[1]]
			if !ok {
				return nil, fmt.Errorf("a call ends that has not begun: %.200q", line)
			}
			delete(open, m[1])
			b = begun{was.text + rest, was.start}
		}
		o, ok, err := parseCall(b.text, b.start)
		if err != nil {
			return nil, err
		}
		if ok && keep(o.path) {
			all = append(all, o)
		}
	}
	for _, b := range open {
		if o, ok, err := parseCall(b.text+") = "+whole(b.text)+" <0.0>", b.start); err == nil && ok && keep(o.path) {
			o.end = time.Time{}
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b op) int { return a.start.Compare(b.start) })
	return all, nil
}

// whole is what a call would return that has not ended and does all that it was asked to.
func whole(text string) string {
	a := strings.Split(text, ", ")
	if strings.HasPrefix(text, "pwrite64(") && len(a) == 4 {
		return a[2]
	}
	return "0"
}

func stamp(seconds, micros string) time.Time {
	s, err1 := strconv.ParseInt(seconds, 10, 64)
	us, err2 := strconv.ParseInt((micros + "000000")[:6], 10, 64)
	if err1 != nil || err2 != nil {
		return time.Time{}
	}
	return time.UnixMicro(s*1e6 + us)
}

// parseCall reads a call that has ended. ok is false where it failed or is of no interest.
func parseCall(text string, start time.Time) (o op, ok bool, err error) {
	m := straceEnd.FindStringSubmatch(text)
	if m == nil || strings.HasPrefix(m[2], "-") {
		return o, false, nil // a signal, an exit, or an error
	}
	took := stamp(m[3], m[4]).Sub(time.UnixMicro(0))
	o = op{start: start, end: start.Add(took)}
	name, args, _ := strings.Cut(m[1], "(")
	a := strings.Split(args, ", ")
	bad := fmt.Errorf("strace wrote %.80q … %.200q", text, text[max(0, len(text)-200):])
	switch name {
	case "pwrite64":
		if len(a) != 4 {
			return o, false, bad
		}
		o.kind, o.path, o.data = write, fdPath(a[0]), unhex(a[1])
		n, err1 := strconv.Atoi(m[2])
		off, err2 := strconv.ParseInt(a[3], 10, 64)
		if err1 != nil || err2 != nil || n > len(o.data) || strings.HasSuffix(a[1], "...") {
			return o, false, bad
		}
		o.off, o.data = off, o.data[:n]
	case "ftruncate":
		if len(a) != 2 {
			return o, false, bad
		}
		if o.off, err = strconv.ParseInt(a[1], 10, 64); err != nil {
			return o, false, bad
		}
		o.kind, o.path = truncate, fdPath(a[0])
	case "fsync", "fdatasync":
		o.kind, o.path = syncs, fdPath(a[0])
	case "open":
		if len(a) < 2 || !strings.Contains(a[1], "O_CREAT") {
			return o, false, nil
		}
		o.kind, o.path = create, string(unhex(a[0]))
	case "openat":
		if len(a) < 3 || !strings.Contains(a[2], "O_CREAT") {
			return o, false, nil
		}
		o.kind, o.path = create, string(unhex(a[1]))
	case "unlink":
		o.kind, o.path = remove, string(unhex(a[0]))
	case "unlinkat":
		if len(a) < 2 {
			return o, false, bad
		}
		o.kind, o.path = remove, string(unhex(a[1]))
	default:
		return o, false, nil
	}
	return o, true, nil
}

// fdPath reads `9<\x2f\x74>`.
func fdPath(s string) string {
	_, s, _ = strings.Cut(s, "<")
	return string(unhex(strings.TrimSuffix(s, ">")))
}

// unhex reads a string of \x00, with or without quotes.
func unhex(s string) []byte {
	s = strings.Trim(strings.TrimSuffix(s, "..."), `"`)
	b := make([]byte, 0, len(s)/4)
	for i := 0; i+4 <= len(s); i += 4 {
		n, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
		if err != nil {
			return nil
		}
		b = append(b, byte(n))
	}
	return b
}

// file is a file as the disk and the kernel have it.
type file struct {
	synced  []byte
	pending []op // what the kernel may have written or not: writes and truncations since
	named   bool // the folder was synced since it was made
	removed bool // the folder was not synced since
}

// machine is a machine whose power can be cut: of what was not synced anything may be on its disk. Its time goes forward.
type machine struct {
	files map[string]*file
	ops   []op // that begin later
	now   []op // syncs that have begun and not ended
}

// newMachine starts with the database files of the folder dir, all of which are on the disk, as if they were in the folder as.
func newMachine(dir, as string, ops []op) (*machine, error) {
	m := &machine{files: make(map[string]*file), ops: ops}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if !isDatabase(e.Name()) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		m.files[filepath.Join(as, e.Name())] = &file{synced: b, named: true}
	}
	return m, nil
}

// until lets the machine run up to a time.
func (m *machine) until(t time.Time) {
	for len(m.ops) > 0 && !m.ops[0].start.After(t) {
		o := m.ops[0]
		m.ops = m.ops[1:]
		m.synced(o.start)
		f := m.files[o.path]
		switch o.kind {
		case create:
			if f == nil || f.removed {
				m.files[o.path] = &file{}
			}
		case remove:
			if f != nil {
				f.removed = true
			}
		case syncs:
			m.now = append(m.now, o)
		default:
			if f != nil {
				f.pending = append(f.pending, o)
			}
		}
	}
	m.synced(t)
}

// synced takes note of the syncs that have ended by a time. A sync covers what had ended when it began.
func (m *machine) synced(t time.Time) {
	m.now = slices.DeleteFunc(m.now, func(s op) bool {
		if s.end.IsZero() || s.end.After(t) {
			return false
		}
		if f := m.files[s.path]; f != nil {
			f.sync(s.start)
		}
		for path, f := range m.files {
			if filepath.Dir(path) != s.path {
				continue
			}
			if f.removed {
				delete(m.files, path)
			}
			f.named = true
		}
		return true
	})
}

func (f *file) sync(began time.Time) {
	f.pending = slices.DeleteFunc(f.pending, func(o op) bool {
		if o.end.IsZero() || o.end.After(began) {
			return false
		}
		f.synced = o.apply(f.synced, nil)
		return true
	})
}

const sector = 512

// apply does an operation to the content of a file. kept tells which sectors of a write arrive; nil stands for all.
func (o op) apply(b []byte, kept func() bool) []byte {
	if o.kind == truncate {
		return resize(b, o.off)
	}
	end := o.off + int64(len(o.data))
	for at := o.off; at < end; {
		next := min(end, (at/sector+1)*sector)
		if kept == nil || kept() {
			if int64(len(b)) < next {
				b = resize(b, next)
			}
			copy(b[at:next], o.data[at-o.off:next-o.off])
		}
		at = next
	}
	return b
}

func resize(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return b[:n]
	}
	return append(b, make([]byte, n-int64(len(b)))...)
}

// cut says what becomes of what was not synced.
type cut struct {
	arrives int // percent of the operations that reach the disk
	torn    int // percent of those of which single sectors do not
}

// cuts are from the strictest disk to one that has written almost everything.
var cuts = []cut{{0, 0}, {30, 30}, {70, 50}, {95, 20}, {100, 5}}

// image writes what may be on the disk after the power was cut now into a folder.
func (m *machine) image(dir string, c cut, r *rand.Rand) error {
	percent := func(n int) bool { return r.IntN(100) < n }
	for _, path := range slices.Sorted(maps.Keys(m.files)) {
		f := m.files[path]
		if !f.named && !percent(c.arrives) || f.removed && percent(c.arrives) {
			continue // POSIX does not say that fsync of a new file keeps its name
		}
		b := slices.Clone(f.synced)
		for _, o := range f.pending {
			if !percent(c.arrives) {
				continue
			}
			var kept func() bool
			if percent(c.torn) {
				kept = func() bool { return percent(70) }
			}
			b = o.apply(b, kept)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}
