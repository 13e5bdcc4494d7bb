// Package version tells which software the host runs (XEP-0092).
package version
