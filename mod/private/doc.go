// Package private keeps XML that clients store for themselves (XEP-0049), one element for each namespace and name.
package private
