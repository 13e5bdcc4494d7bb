// Package arch owns the rules of the house: which package may import which, and what no package does. They are kept by
// its tests, which read the files of the tree themselves with go/parser; the package has no code of its own.
package arch
