package fault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// wire is a network between two programs of this machine, made of one TUN device: who connects to far gets to what listens at near. Packets
// pass through here, so they can be lost, late and out of order, in one direction or both, as TCP meets it in the world.
type wire struct {
	near, far string
	tun       *os.File

	mu    sync.Mutex
	to    map[uint16]direction // the ports at which somebody listens
	ways  [2]way
	dice  *rand.Rand
	queue chan packet
	done  chan struct{}
}

// direction is one of two: 0 towards the first server, 1 towards the second.
type direction int

// way is what happens to packets in one direction.
type way struct {
	cut   bool
	loss  float64       // of each packet
	delay time.Duration // of each
	extra time.Duration // of some, at random up to this: they are overtaken
	rate  int           // bytes a second; 0 for no bound
	free  time.Time     // when the bytes before have passed
}

type packet struct {
	at    time.Time
	bytes []byte
}

// Addresses of the wire, of the range that is kept for tests of networks.
const near, far = "198.18.151.1", "198.18.151.2"

// newWire opens a wire, or skips the test where the machine has no TUN devices.
func newWire(t *testing.T) *wire {
	t.Helper()
	enabled(t)
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("this machine has no TUN devices: %v", err)
	}
	var request struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	request.flags = 0x1 | 0x1000 // IFF_TUN | IFF_NO_PI
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), 0x400454ca /* TUNSETIFF */, uintptr(unsafe.Pointer(&request))); e != 0 {
		syscall.Close(fd)
		t.Skipf("this process may not make TUN devices: %v", e)
	}
	w := &wire{near: near, far: far, tun: os.NewFile(uintptr(fd), "tun"), to: make(map[uint16]direction), dice: rand.New(rand.NewPCG(1, 2)), queue: make(chan packet, 64<<10), done: make(chan struct{})}
	text, _, _ := bytes.Cut(request.name[:], []byte{0})
	name := string(text)
	for _, args := range [][]string{{"addr", "add", near + "/30", "dev", name}, {"link", "set", name, "mtu", "1500", "up"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			w.tun.Close()
			t.Skipf("ip %v: %v: %s", args, err, out)
		}
	}
	// BBR, where the machine has it, goes by what a connection has seen before: no two would be alike.
	if out, err := exec.Command("ip", "route", "replace", far, "dev", name, "congctl", "cubic").CombinedOutput(); err != nil {
		t.Logf("the machine's way to control congestion stays: %v: %s", err, out)
	}
	var both sync.WaitGroup
	both.Go(func() { w.read(t) })
	both.Go(w.write)
	t.Cleanup(func() {
		close(w.done)
		if err := w.tun.Close(); err != nil {
			t.Error(err)
		}
		both.Wait()
	})
	return w
}

// towards says in which direction packets go to what listens at an address, and in the other come from it: by its port it is known.
func (w *wire) towards(t *testing.T, d direction, address string) {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to[uint16(n)] = d
}

// set changes what happens in the given directions, all where there are none.
func (w *wire) set(change func(*way), in ...direction) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(in) == 0 {
		in = []direction{0, 1}
	}
	for _, d := range in {
		change(&w.ways[d])
	}
}

// read takes packets from the kernel.
func (w *wire) read(t *testing.T) {
	for {
		b := make([]byte, 2048)
		n, err := w.tun.Read(b)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("the wire: %v", err)
			}
			return
		}
		w.take(b[:n])
	}
}

// take decides what becomes of a packet. Its addresses change places: so the kernel takes it for one that comes from the far end. Checksums
// stay right, because they are sums.
func (w *wire) take(b []byte) {
	if len(b) < 24 || b[0]>>4 != 4 || b[9] != syscall.IPPROTO_TCP {
		return
	}
	head := int(b[0]&15) * 4
	from, to := binary.BigEndian.Uint16(b[head:]), binary.BigEndian.Uint16(b[head+2:])
	for i := range 4 {
		b[12+i], b[16+i] = b[16+i], b[12+i]
	}
	now := time.Now()
	w.mu.Lock()
	d, ok := w.to[to]
	if !ok {
		d = 1 - w.to[from]
	}
	x := &w.ways[d]
	lost := x.cut || x.loss > 0 && w.dice.Float64() < x.loss
	at := now.Add(x.delay)
	if x.extra > 0 && w.dice.IntN(4) == 0 {
		at = at.Add(time.Duration(w.dice.Int64N(int64(x.extra))))
	}
	if x.rate > 0 && !lost {
		if x.free.Before(now) {
			x.free = now
		}
		x.free = x.free.Add(time.Duration(len(b)) * time.Second / time.Duration(x.rate))
		at = at.Add(x.free.Sub(now))
		lost = x.free.Sub(now) > 500*time.Millisecond // no router keeps more
	}
	w.mu.Unlock()
	if !lost {
		select {
		case w.queue <- packet{at, b}:
		default: // as a router does that has no room
		}
	}
}

// write gives packets back when their time has come.
func (w *wire) write() {
	var waiting []packet // by time
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		for len(waiting) > 0 && !waiting[0].at.After(time.Now()) {
			if _, err := w.tun.Write(waiting[0].bytes); err != nil {
				return
			}
			waiting = waiting[1:]
		}
		if len(waiting) > 0 {
			t.Reset(time.Until(waiting[0].at))
		}
		select {
		case <-w.done:
			return
		case <-t.C:
		case p := <-w.queue:
			i := len(waiting)
			for i > 0 && waiting[i-1].at.After(p.at) {
				i--
			}
			waiting = append(waiting, packet{})
			copy(waiting[i+1:], waiting[i:])
			waiting[i] = p
		}
	}
}

// TestWire sees to it that the wire does what the other tests rely on.
func TestWire(t *testing.T) {
	w := newWire(t)
	l, err := net.Listen("tcp", w.near+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.towards(t, 1, l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "hello")
			c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(within time.Duration) (took time.Duration, err error) {
		start := time.Now()
		c, err := net.DialTimeout("tcp", net.JoinHostPort(w.far, port), within)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		if err := c.SetReadDeadline(start.Add(within)); err != nil {
			return 0, err
		}
		_, err = c.Read(make([]byte, 5))
		return time.Since(start), err
	}
	if _, err := ask(10 * time.Second); err != nil {
		t.Errorf("over a good wire: %v", err)
	}
	w.set(func(x *way) { x.delay = 50 * time.Millisecond })
	if took, err := ask(10 * time.Second); err != nil || took < 150*time.Millisecond {
		t.Errorf("over a long wire: %v, %v", took, err)
	}
	w.set(func(x *way) { x.delay = 0 })
	for _, d := range []direction{0, 1} {
		w.set(func(x *way) { x.cut = true }, d)
		if _, err := ask(300 * time.Millisecond); err == nil {
			t.Errorf("direction %d is cut, and yet an answer came", d)
		}
		w.set(func(x *way) { x.cut = false }, d)
	}
	w.set(func(x *way) { x.loss = 0.2 })
	if _, err := ask(30 * time.Second); err != nil {
		t.Errorf("over a bad wire: %v", err)
	}
}
