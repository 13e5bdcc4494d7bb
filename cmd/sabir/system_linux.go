package main

import "golang.org/x/sys/unix"

// room returns the bytes and the files that still fit into a file system.
func room(dir string) (bytes, files uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	files = s.Ffree
	if s.Files == 0 { // file systems without a fixed number of them
		files = 1 << 32
	}
	return s.Bavail * uint64(s.Bsize), files, nil
}

// descriptors returns how many descriptors the process may have. Go has raised the soft limit to the hard one.
func descriptors() (uint64, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return l.Max, err
}

// synchronised tells whether the kernel's clock is kept right by somebody (adjtimex(2)).
func synchronised() answer {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		return unknown
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return no
	}
	return yes
}
