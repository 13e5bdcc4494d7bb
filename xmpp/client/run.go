package client

import (
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	"time"

	"sabir/xmpp/sasl"
	"sabir/xmpp/stream"
)

// Backoff says how long to wait between attempts to connect: at first Min, then twice as long each time up to Max, of
// which up to a half is left to chance, so that thousands of clients do not come back in one moment.
type Backoff struct {
	Min, Max time.Duration // 0 means one second and two minutes
	// Stable is how long a session lasts for the next wait to start from Min again; 0 means Max.
	Stable time.Duration
}

func (b Backoff) bounds() (low, high, stable time.Duration) {
	low, high, stable = b.Min, b.Max, b.Stable
	if low <= 0 {
		low = time.Second
	}
	if high <= 0 {
		high = 2 * time.Minute
	}
	high = max(high, low)
	if stable <= 0 {
		stable = high
	}
	return low, high, stable
}

// wait returns the time before attempt n, counted from 0.
func (b Backoff) wait(n int) time.Duration {
	low, high, _ := b.bounds()
	d := high
	if n < 30 && low<<n > 0 {
		d = min(low<<n, high)
	}
	j, err := rand.Int(rand.Reader, big.NewInt(int64(d/2)+1))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return d - time.Duration(j.Int64())
}

// Permanent tells whether trying again cannot help: the credentials are wrong, the resource was taken by another client
// of the account, the host is not served any more.
func Permanent(err error) bool {
	var auth *AuthError
	if errors.As(err, &auth) {
		return auth.Condition != sasl.TemporaryAuthFailure
	}
	var bad *stream.Error
	if errors.As(err, &bad) {
		switch bad.Condition {
		case stream.Conflict, stream.HostGone, stream.HostUnknown, stream.NotAuthorized, stream.PolicyViolation:
			return true
		}
	}
	return errors.Is(err, sasl.ErrNoMechanism) || errors.Is(err, sasl.ErrServerUnproven) || errors.Is(err, ErrNoTLS)
}

// Run keeps a session: it connects, calls up with each new Client, waits for its end and connects again after a pause. It
// returns when ctx ends, after closing the session, or with an error that is Permanent. An error of up ends it as well.
//
// With Config.Manage it resumes the session of before where that can be: Client.Resumed then tells so, and what was not
// acknowledged has been sent again. Otherwise Client.Lost has what the server may not have got.
func Run(ctx context.Context, cfg *Config, b Backoff, up func(ctx context.Context, c *Client) error) error {
	_, _, stable := b.bounds()
	var before *Managed
	for n := 0; ; n++ {
		start := time.Now()
		c, err := comeBack(ctx, cfg, before)
		if err == nil {
			before = c.m
			if err := up(ctx, c); err != nil {
				return errors.Join(err, closeSoon(ctx, c))
			}
			select {
			case <-c.Done():
				err = c.Err()
			case <-ctx.Done():
				return errors.Join(context.Cause(ctx), closeSoon(ctx, c))
			}
			if time.Since(start) >= stable {
				n = 0
			}
		}
		if Permanent(err) || errors.Is(err, ErrClosed) {
			return err
		}
		wait := b.wait(n)
		cfg.log().Info("the session ended; connecting again", "err", err, "in", wait)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// comeBack resumes a session, or makes a new one where there is none or the server does not know it any more.
func comeBack(ctx context.Context, cfg *Config, before *Managed) (*Client, error) {
	if before == nil {
		return Dial(ctx, cfg)
	}
	if before.ID() != "" {
		c, err := Resume(ctx, cfg, before)
		var refused *SMError
		if !errors.As(err, &refused) {
			return c, err
		}
	}
	c, err := Dial(ctx, cfg)
	if err == nil {
		c.lost = before.Unacked()
	}
	return c, err
}

// closeSoon closes a session in good order, though ctx may have ended.
func closeSoon(ctx context.Context, c *Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return c.Close(ctx)
}
