// Package register lets people make accounts on the stream (XEP-0077), which is closed unless the configuration opens it,
// and lets users change their password and remove their account, which is always possible on encrypted streams.
package register
