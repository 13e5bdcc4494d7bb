//go:build !race

package badinput

import "time"

// freshTime is how long a fresh client may take from connecting to the answer of its first ping.
const freshTime = time.Second

// patience multiplies the times within which a case must have its outcome.
const patience = 1
