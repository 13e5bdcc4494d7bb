// Package ping answers pings to the host and to accounts (XEP-0199).
package ping
