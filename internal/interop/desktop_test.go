package interop

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// desktop is a display, a home and a bus for a client with a window.
type desktop struct{ env []string }

// newDesktop starts a display for somebody whose home is a folder.
func newDesktop(t *testing.T, home string) *desktop {
	t.Helper()
	d := &desktop{append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_CONFIG_HOME=", "XDG_DATA_HOME=", "XDG_CACHE_HOME=", "LC_ALL=C.UTF-8",
		"GDK_BACKEND=x11", "GSK_RENDERER=cairo", "QT_QPA_PLATFORM=xcb", "LIBGL_ALWAYS_SOFTWARE=1", "NO_AT_BRIDGE=1")}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d.start(t, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{w} }, "Xvfb", "-displayfd", "3", "-screen", "0", "1000x700x24")
	w.Close()
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb: %v", err)
	}
	d.env = append(d.env, "DISPLAY=:"+strings.TrimSpace(number))
	return d
}

// showFailure takes a picture before the programs that were started until now end, if the test has failed and its caller wants to know.
func (d *desktop) showFailure(t *testing.T) {
	t.Cleanup(func() {
		if dir := os.Getenv("SABIR_INTEROP_FAILED"); dir != "" && t.Failed() {
			d.shot(t, filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+".png"))
		}
	})
}

// shot takes a picture of the display. Only who asks for pictures needs the program (Debian: scrot), which more tells what part.
func (d *desktop) shot(t *testing.T, path string, more ...string) {
	t.Helper()
	c := exec.Command("scrot", append([]string{"--overwrite", path}, more...)...)
	c.Env = d.env
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("scrot: %v: %s", err, out)
	}
}

// background starts a program that ends with the test, or by stop.
func (d *desktop) background(t *testing.T, name string, argv ...string) (stop func()) {
	t.Helper()
	stop = d.start(t, func(*exec.Cmd) {}, name, argv...)
	d.showFailure(t)
	return stop
}

func (d *desktop) start(t *testing.T, prepare func(*exec.Cmd), name string, argv ...string) (stop func()) {
	t.Helper()
	c := exec.Command(name, argv...)
	c.Env = d.env
	var said tail
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	prepare(c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			endGroup(c)
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s: %s", name, said.String())
		}
	})
	return stop
}

// endGroup ends a program and what it has started.
func endGroup(c *exec.Cmd) {
	syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
	late := time.AfterFunc(10*time.Second, func() { syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	c.Wait() // it ends by the signal
}

// tryXdo does something with mouse, keys and windows.
func (d *desktop) tryXdo(argv ...string) (string, error) {
	c := exec.Command("xdotool", argv...)
	c.Env = d.env
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("xdotool %v: %w: %s", argv, err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func (d *desktop) xdo(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := d.tryXdo(argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// window waits for a window that is to be seen, does something meanwhile, and returns its number.
func (d *desktop) window(t *testing.T, name string, meanwhile ...string) (id string) {
	t.Helper()
	eventually(t, func() (err error) {
		if len(meanwhile) > 0 {
			if _, err := d.tryXdo(meanwhile...); err != nil {
				return err
			}
			time.Sleep(300 * time.Millisecond) // it opens
		}
		id, err = d.tryXdo("search", "--onlyvisible", "--name", name)
		return err
	})
	id, _, _ = strings.Cut(id, "\n")
	return id
}
