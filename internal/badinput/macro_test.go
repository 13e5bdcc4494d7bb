package badinput

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// node is a piece of an input: literal text (name ""), or a macro with its argument, which may hold macros itself.
type node struct {
	name, arg string
}

// textMacros expand to bytes, actionMacros do something. All other names are values, such as {victim}.
var (
	textMacros   = []string{"rep", "seq", "hex", "b64", "utf16le", "NUL", "CRLF", "LF", "guess", "fast_ir"}
	actionMacros = []string{"split", "drip", "conns", "parallel", "tls-handshake", "tls-hello", "tls-renegotiate", "tls-0rtt", "wsframe", "ws-open", "ws-bound", "scram_final", "scram_replay", "fin", "rst"}
)

// parse splits an input at its macros. A brace that begins none stands for itself.
func parse(s string, value func(name string) (string, bool)) ([]node, error) {
	var nodes []node
	lit := 0
	for i := 0; i < len(s); i++ {
		if s[i] != '{' {
			continue
		}
		end := i + 1
		for end < len(s) && isNameByte(s[end]) {
			end++
		}
		name := s[i+1 : end]
		_, isValue := value(name)
		if name == "" || end == len(s) || s[end] != ':' && s[end] != '}' || !isValue && !slices.Contains(textMacros, name) && !slices.Contains(actionMacros, name) {
			if end < len(s) && s[end] == '}' && name != "" && name != "i" {
				return nil, fmt.Errorf("the macro {%s} is unknown", name)
			}
			continue
		}
		stop, ok := closing(s, i)
		if !ok {
			return nil, fmt.Errorf("the macro {%s has no end", name)
		}
		if i > lit {
			nodes = append(nodes, node{arg: s[lit:i]})
		}
		nodes = append(nodes, node{name: name, arg: strings.TrimPrefix(s[end:stop], ":")})
		i, lit = stop, stop+1
	}
	if lit < len(s) {
		nodes = append(nodes, node{arg: s[lit:]})
	}
	return nodes, nil
}

func isNameByte(c byte) bool {
	return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// closing finds the brace that ends the one at i.
func closing(s string, i int) (int, bool) {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i, true
			}
		}
	}
	return 0, false
}

// expander makes bytes of macros.
type expander struct {
	value func(name string) (string, bool)
	fast  func(what string) ([]byte, error) // the message of a login by token
}

// text expands an input that has no actions to a string.
func (e expander) text(s string) (string, error) {
	var b strings.Builder
	w := bufio.NewWriter(&b)
	if err := e.write(w, s); err != nil {
		return "", err
	}
	err := w.Flush()
	return b.String(), err
}

// write expands an input that has no actions, without holding it in memory.
func (e expander) write(w io.Writer, s string) error {
	nodes, err := parse(s, e.value)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := e.node(w, n); err != nil {
			return err
		}
	}
	return nil
}

func (e expander) node(w io.Writer, n node) error {
	if n.name == "" {
		_, err := io.WriteString(w, n.arg)
		return err
	}
	if v, ok := e.value(n.name); ok {
		_, err := io.WriteString(w, v)
		return err
	}
	switch n.name {
	case "rep", "seq":
		return e.repeat(w, n)
	case "NUL":
		_, err := w.Write([]byte{0})
		return err
	case "CRLF":
		_, err := io.WriteString(w, "\r\n")
		return err
	case "LF":
		_, err := io.WriteString(w, "\n")
		return err
	}
	arg, err := e.text(n.arg)
	if err != nil {
		return err
	}
	var b []byte
	switch n.name {
	case "hex":
		b, err = hex.DecodeString(arg)
	case "b64":
		b = base64.StdEncoding.AppendEncode(nil, []byte(arg))
	case "utf16le":
		for _, u := range utf16.Encode([]rune(arg)) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
	case "fast_ir": // in base64: right, "expired", "wrong", or "user=NAME" for that of another user
		if e.fast == nil {
			err = errors.New("there is nobody to give a token to")
		} else if b, err = e.fast(arg); err == nil {
			b = base64.StdEncoding.AppendEncode(nil, b)
		}
	case "guess": // an id such as somebody makes up who cannot see those of the server
		b = []byte("1")
	default:
		err = fmt.Errorf("the macro {%s} stands for no text", n.name)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// repeat expands {rep:N:s}, and {seq:N:s} where {i} in s counts from 0.
func (e expander) repeat(w io.Writer, n node) error {
	num, s, ok := strings.Cut(n.arg, ":")
	count, err := strconv.Atoi(num)
	if err != nil || !ok {
		return fmt.Errorf("{%s:%s} is to be {%s:count:text}", n.name, num, n.name)
	}
	if n.name == "rep" {
		if s, err = e.text(s); err != nil {
			return err
		}
		for range count {
			if _, err := io.WriteString(w, s); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range count {
		if err := e.write(w, strings.ReplaceAll(s, "{i}", strconv.Itoa(i))); err != nil {
			return err
		}
	}
	return nil
}

// isText tells whether an input has no actions.
func (e expander) isText(nodes []node) bool {
	return !slices.ContainsFunc(nodes, func(n node) bool { return slices.Contains(actionMacros, n.name) })
}
