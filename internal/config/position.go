package config

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// position is a place in the file; both numbers start at 1.
type position struct{ line, column int }

// positions tells where each key of a document stands. Keys are written as in the messages: "limits.resources", "host[0].domain".
type positions map[string]position

// locate finds the keys of a document that is known to be well formed.
func locate(data []byte) positions {
	l := locator{at: make(positions), data: data, count: make(map[string]int)}
	p := &l.parser
	p.Reset(data)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			table = l.header(e, false)
		case unstable.ArrayTable:
			table = l.header(e, true)
		case unstable.KeyValue:
			l.keyValue(table, e)
		}
	}
	return l.at
}

type locator struct {
	parser unstable.Parser
	data   []byte
	at     positions
	count  map[string]int // elements so far of each array of tables
}

// header notes the keys of a [table] or an [[array of tables]] and returns the prefix of what follows. A header within an array of
// tables means its last element.
func (l *locator) header(e *unstable.Node, array bool) string {
	path := ""
	for it := e.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		where := l.position(it.Node())
		l.note(path, where)
		if array && it.IsLast() {
			l.count[path]++
		}
		if n := l.count[path]; n > 0 {
			path += "[" + strconv.Itoa(n-1) + "]"
			l.note(path, where)
		}
	}
	return path
}

func (l *locator) keyValue(path string, e *unstable.Node) {
	for it := e.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		l.note(path, l.position(it.Node()))
	}
	l.value(path, e.Value())
}

// value notes the keys within inline tables.
func (l *locator) value(path string, v *unstable.Node) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				l.keyValue(path, it.Node())
			}
		}
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			l.value(path+"["+strconv.Itoa(i)+"]", it.Node())
			i++
		}
	}
}

func (l *locator) note(path string, where position) {
	if _, ok := l.at[path]; !ok {
		l.at[path] = where
	}
}

func (l *locator) position(n *unstable.Node) position {
	before := l.data[:min(int(n.Raw.Offset), len(l.data))]
	return position{
		line:   bytes.Count(before, []byte("\n")) + 1,
		column: len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1,
	}
}

// find returns the position of a key, or where it has none that of the closest one around it.
func (p positions) find(path string) position {
	for path != "" {
		if at, ok := p[path]; ok {
			return at
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return position{1, 1}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
