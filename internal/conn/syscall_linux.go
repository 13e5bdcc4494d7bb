//go:build !race

package conn

import (
	"syscall"
	"unsafe"
)

// readSocket and writeSocket make the system call without telling Go's scheduler (docs/adr/0018-raw-syscalls.md): the
// descriptor is that of a socket that never blocks. p is not empty.

func readSocket(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func writeSocket(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
