package listen

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sabir/internal/config"
)

// TestOutOfDescriptors runs itself in a process with few descriptors, uses them up, and shows that waiting clients are sent away instead
// of hanging, and that the next one is served once there is room.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv("SABIR_TEST_DESCRIPTORS") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), "SABIR_TEST_DESCRIPTORS=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	addr := serve(t, config.Listen{}, nil, tell)
	ask(t, addr, "")
	// The client is there before the descriptors are gone.
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	limit.Cur = 64
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	c, err := net.Dial("tcp", addr) // accepted
	must(t, err)
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(t, err)
	var used []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		used = append(used, f)
	}
	a, err := net.ResolveTCPAddr("tcp", addr)
	must(t, err)
	must(t, syscall.Connect(fd, &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}))
	must(t, syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 5}))
	if n, err := syscall.Read(fd, make([]byte, 100)); n > 0 || err == syscall.EAGAIN {
		t.Errorf("the client got %d bytes, error %v: it hangs or was served", n, err)
	}
	for _, f := range used {
		must(t, f.Close())
	}
	must(t, c.Close())
	must(t, syscall.Close(fd))
	eventually(t, "somebody is served again", func() bool { return ask(t, addr, "") != "" })
}
