// Package disco answers what the host and its accounts are and can do (XEP-0030), with further data in forms (XEP-0128) and
// the addresses of those who run the host (XEP-0157).
package disco
