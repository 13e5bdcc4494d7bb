package incoming

import (
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"sabir/internal/conn"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// waiter promises TLS to whoever asks, and waits in the handshake.
type waiter struct {
	TCP
	there chan struct{} // sent to by each that waits
	quit  chan struct{}
}

func (*waiter) Ended() bool                               { return false }
func (*waiter) Came(time.Time)                            {}
func (*waiter) Header(stream.Header, *stream.Error) error { return nil }
func (w *waiter) Element(*xmlstream.Frame) error          { w.Proceed(); return nil }
func (*waiter) Oversize(*xmlstream.Frame) error           { return ErrEnd }
func (*waiter) Flush()                                    {}
func (*waiter) Handled(int, time.Time) error              { return nil }
func (*waiter) Failed(err error) error                    { return err }
func (w *waiter) StartTLS() error {
	select {
	case w.there <- struct{}{}:
	case <-w.quit:
	}
	<-w.quit
	return ErrEnd
}

// TestHandshakeBorrowsNothing: who waits for a handshake holds no buffer, as all clients may at once.
func TestHandshakeBorrowsNothing(t *testing.T) {
	const clients = 200
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there, quit := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(quit)
	before := heap()
	for range clients {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		w := &waiter{there: there, quit: quit}
		w.h, w.ns, w.log, w.Dec = w, stanza.NSClient, slog.New(slog.DiscardHandler), xmlstream.NewDecoder(xmlstream.Limits{})
		if w.Conn, err = conn.New(server, time.Minute); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for err := error(nil); err == nil; {
				err = w.Step()
			}
		})
		if _, err := client.Write([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>" +
			"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")); err != nil {
			t.Fatal(err)
		}
		<-there
	}
	if each := (heap() - before) / clients; each > longBuffer/2 {
		t.Errorf("each that waits keeps %d bytes", each)
	}
}

// heap returns how much memory is in use.
func heap() int {
	runtime.GC()
	runtime.GC() // what was in pools goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
