package load

import (
	"context"
	"fmt"
	"time"
)

// logins opens and closes Logins sessions, a few at a time.
func logins(ctx context.Context, s *Running, o Options) (Result, error) {
	login := func(ctx context.Context, i int) error {
		c, err := Login(ctx, s, i, i, true)
		if err != nil {
			return err
		}
		return c.Close()
	}
	// A few first, so that nothing is measured that happens once.
	if err := each(ctx, min(o.Logins, 20), o.LoginWorkers, login); err != nil {
		return Result{}, err
	}
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	span, err := begin(s, 0)
	if err != nil {
		return Result{}, err
	}
	if err := each(ctx, o.Logins, o.LoginWorkers, login); err != nil {
		return Result{}, err
	}
	took := time.Since(span.begin)
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	r, err := span.end(s, int64(o.Logins), time.Millisecond)
	r.PerSecond = float64(o.Logins) / took.Seconds()
	return r, err
}

// idle opens n sessions that then do nothing, and divides what the server has
// grown by.
func idle(n int) func(context.Context, *Running, Options) (Result, error) {
	return func(ctx context.Context, s *Running, o Options) (Result, error) {
		// One login first: what a server sets up once is not a session's.
		warm, err := Login(ctx, s, 0, 0, true)
		if err != nil {
			return Result{}, err
		}
		if err := warm.Close(); err != nil {
			return Result{}, err
		}
		if err := quiet(ctx, s); err != nil {
			return Result{}, err
		}
		before, err := usage(s.PIDs)
		if err != nil {
			return Result{}, err
		}
		conns, err := loginAll(ctx, s, n, o, func(i int) int { return i })
		if err != nil {
			return Result{}, err
		}
		defer closeAll(conns)
		for _, c := range conns {
			c.slim()
		}
		if err := sleep(ctx, o.Settle); err != nil {
			return Result{}, err
		}
		after, err := usage(s.PIDs)
		if err != nil {
			return Result{}, err
		}
		grown := after.RSS - before.RSS
		if grown <= 0 {
			return Result{}, fmt.Errorf("%s did not grow with %d sessions", s.Name, n)
		}
		return Result{Value: float64(grown) / float64(n) / 1024, Done: int64(n)}, nil
	}
}

// empty is the memory of a server that nobody has used.
func empty(ctx context.Context, s *Running, o Options) (Result, error) {
	if err := quiet(ctx, s); err != nil {
		return Result{}, err
	}
	if err := sleep(ctx, min(o.Settle, 3*time.Second)); err != nil {
		return Result{}, err
	}
	u, err := usage(s.PIDs)
	return Result{Value: float64(u.RSS) / (1 << 20), Done: 1}, err
}
