// Package last tells how long the host runs and how long ago an account was last online, to those who may see its presence
// (XEP-0012).
package last
