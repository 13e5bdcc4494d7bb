//go:build !race

package badinput

import "time"

// freshTime is how long a fresh client may take from connecting to the answer of its first ping.
const freshTime = time.Second
