package load

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: Linux gives them in
// hundredths of a second to user space on every architecture.
const tick = time.Second / 100

// Usage is what a set of processes has used so far.
type Usage struct {
	// CPU is user and system time together.
	CPU time.Duration
	// RSS is resident memory in bytes; pages shared between the processes count in each.
	RSS int64
}

// usage reads what the processes of roots and all that descend from them use.
// A process that has ended meanwhile counts nothing.
func usage(roots []int) (Usage, error) {
	var u Usage
	seen := make(map[int]bool)
	queue := append([]int{}, roots...)
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		cpu, err := cpuOf(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return u, err
		}
		rss, err := rssOf(pid)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return u, err
		}
		u.CPU += cpu
		u.RSS += rss
		queue = append(queue, children(pid)...)
	}
	if u.CPU == 0 && u.RSS == 0 {
		return u, fmt.Errorf("none of the processes %v is there", roots)
	}
	return u, nil
}

// cpuOf reads utime and stime, fields 14 and 15 of proc_pid_stat(5).
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in field 2 may hold anything; count from its closing bracket.
	at := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[at+1:]))
	if at < 0 || len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	var ticks int64
	for _, s := range f[11:13] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// rssOf reads VmRSS in bytes; 0 for a process without memory, which a zombie is.
func rssOf(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n * 1024, err
		}
	}
	return 0, nil
}

// children returns the processes that pid started.
func children(pid int) []int {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var out []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for s := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(s); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}
