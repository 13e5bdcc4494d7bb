//go:build race

package badinput

import "time"

// freshTime is how long a fresh client may take from connecting to the answer of its first ping. The race detector makes
// TLS handshakes, the derivation of keys and the database several times slower; without it the time is 1 second.
const freshTime = 5 * time.Second

// patience multiplies the times within which a case must have its outcome; it is 1 without the race detector.
const patience = 5
