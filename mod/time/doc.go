// Package entitytime tells the time of the host (XEP-0202) in the notation of XEP-0082.
package entitytime
