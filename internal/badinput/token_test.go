package badinput

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"sabir/internal/auth"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// clientID is what clients of the cases call themselves.
const clientID = "d4565fa7-4d72-4749-b3d3-740edbf87770"

// shifted is a clock that can be put back for a while.
type shifted struct{ by atomic.Int64 }

func (c *shifted) Now() time.Time { return time.Now().Add(time.Duration(c.by.Load())) }

// fast gives self a token for HT-SHA-256-NONE and returns the message that shows it.
func (x *exec) fast(what string) ([]byte, error) {
	self := x.accs["self"]
	if what == "expired" {
		x.h.clock.by.Store(int64(-30 * 24 * time.Hour))
		defer x.h.clock.by.Store(0)
	}
	token, err := x.h.token(self)
	if err != nil {
		return nil, err
	}
	user := self.local
	if name, ok := strings.CutPrefix(what, "user="); ok {
		user = name
	}
	if what == "wrong" {
		token = "c" + token[1:] + "c"
	}
	c, err := sasl.NewTokenClient(sasl.HTNone, token, &sasl.ClientConfig{Username: user, Encrypted: true})
	if err != nil {
		return nil, err
	}
	msg, _, err := c.Start()
	return msg, err
}

// token is what a client of the account is given after it has shown the password.
func (h *harness) token(a account) (string, error) {
	ctx := context.Background()
	host := h.srv.Auth().Accounts(jid.MustParse(domain))
	r := auth.Request{Agent: auth.Agent{ID: clientID}}
	e, err := host.Start2(sasl.Plain, auth.Conn{Secured: true}, r)
	if err != nil {
		return "", err
	}
	_, p, err := e.Next(ctx, []byte("\x00"+a.local+"\x00"+a.password))
	if err != nil {
		return "", err
	}
	t, err := host.Settle(ctx, p, r, sasl.HTNone)
	if err != nil {
		return "", err
	}
	h.log.mu.Lock()
	h.log.secrets = append(h.log.secrets, t.Value.Reveal(), clientID)
	h.log.mu.Unlock()
	return t.Value.Reveal(), nil
}

// victimsSession checks that what was asked for in the victim's name did nothing to its session.
func victimsSession(x *exec, _ *outcome) error {
	return x.actors["victim"].ping(domain, "harness-untouched", 5*time.Second)
}
