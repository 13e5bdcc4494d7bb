package base

import "sabir/mod"

// Gathered is what Writes of a transaction have gathered, by key. The zero value is ready.
type Gathered struct {
	groups []group
}

type group struct {
	key   any
	all   []any
	write func(tx mod.Tx, all []any) error
}

// Add implements mod.Tx.Gather.
func (g *Gathered) Add(key, v any, write func(tx mod.Tx, all []any) error) {
	g.add(group{key: key, all: []any{v}, write: write})
}

func (g *Gathered) add(n group) {
	for i := range g.groups {
		if g.groups[i].key == n.key {
			g.groups[i].all = append(g.groups[i].all, n.all...)
			return
		}
	}
	g.groups = append(g.groups, n)
}

// Take adds what one Write has gathered, after it has succeeded.
func (g *Gathered) Take(from *Gathered) {
	for _, n := range from.groups {
		g.add(n)
	}
	from.Reset()
}

// Empty tells whether there is nothing to write.
func (g *Gathered) Empty() bool { return len(g.groups) == 0 }

// Write writes all groups.
func (g *Gathered) Write(tx mod.Tx) error {
	for _, n := range g.groups {
		if err := n.write(tx, n.all); err != nil {
			return err
		}
	}
	return nil
}

// Reset forgets everything.
func (g *Gathered) Reset() {
	clear(g.groups)
	g.groups = g.groups[:0]
}
