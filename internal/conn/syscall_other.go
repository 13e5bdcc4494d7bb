//go:build unix && (!linux || race)

package conn

import "syscall"

// readSocket and writeSocket make the system call as the standard library does; the race detector wants to see it.

func readSocket(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

func writeSocket(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
