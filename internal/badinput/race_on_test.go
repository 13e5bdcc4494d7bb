//go:build race

package badinput

import "time"

// freshTime is how long a fresh client may take from connecting to the answer of its first ping. The race detector makes
// TLS handshakes and the derivation of keys several times slower; without it the time is 1 second.
const freshTime = 5 * time.Second
