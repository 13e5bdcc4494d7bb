package sasl

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// Client is the initiating side of one handshake. It is used by one goroutine and for one handshake only.
type Client interface {
	// Name returns the name of the mechanism.
	Name() string
	// Start returns the initial response for <auth/>; has is false if there is none, which is not the same as an empty one.
	Start() (initial []byte, has bool, err error)
	// Next answers a challenge. The response may be empty.
	Next(challenge []byte) (response []byte, err error)
	// Success takes the additional data of <success/>, nil if it had none. It must be called before the stream is trusted: it fails
	// if the mechanism lets the server prove that it knows the password, and the server has not done so.
	Success(data []byte) error
}

// What a client's side may end with. None of them is an answer of the server, which comes as <failure/>.
var (
	// ErrNoMechanism says that the server offers no mechanism that the configuration allows.
	ErrNoMechanism = errors.New("sasl: the server offers no mechanism that may be used")
	// ErrUnexpected says that the server has sent something at a wrong time or in a wrong form.
	ErrUnexpected = errors.New("sasl: unexpected message of the server")
	// ErrServerUnproven says that the server has not proven that it knows the password, so it may be another one.
	ErrServerUnproven = errors.New("sasl: the server has not proven who it is")
	// ErrIterations says that the server asks for too few iterations, which would give the password away, or for too many.
	ErrIterations = errors.New("sasl: iteration count of the server is out of bounds")
)

// ClientConfig says how to log in on one connection. It is not changed by the package and may be shared by handshakes.
type ClientConfig struct {
	Username string // simple user name, prepared
	Password string
	Authzid  string // mostly empty: act as oneself

	// Mechanisms, if not nil, are the only ones to use.
	Mechanisms []string
	// Encrypted says that TLS protects the connection and the server's certificate was checked. PLAIN is used only with AllowPlain,
	// and only encrypted unless PlainUnencrypted is set, which is for tests on loopback.
	Encrypted        bool
	AllowPlain       bool
	PlainUnencrypted bool
	// External allows EXTERNAL: a client certificate was given to TLS. Anonymous allows ANONYMOUS, with Trace as what to say about oneself.
	External  bool
	Anonymous bool
	Trace     string

	// Bindings are those of the connection, the preferred first. BindingTypes are the types that the server says it supports
	// (XEP-0440), nil if it does not say.
	Bindings     []ChannelBinding
	BindingTypes []string
	// MinIterations and MaxIterations bound the count that a server may ask for; zero means the constants of the same name.
	MinIterations int
	MaxIterations int
	// Cache, if not nil, spares the derivation of keys that were derived before.
	Cache *KeyCache
	// CheckFirst, if not nil, sees the extensions of the server's first SCRAM message (XEP-0474) and ends the handshake by an error.
	CheckFirst func(h Hash, attributes []Attribute) error
}

// NewClient starts a handshake with the strongest of the offered mechanisms that c allows: EXTERNAL, then SCRAM with channel binding,
// then without, each with the largest hash first, then PLAIN, then ANONYMOUS. It returns ErrNoMechanism if there is none.
func NewClient(offered []string, c *ClientConfig) (Client, error) {
	binding, plusOffered := c.choose(offered)
	for _, m := range byStrength {
		if !slices.Contains(offered, m) || c.Mechanisms != nil && !slices.Contains(c.Mechanisms, m) {
			continue
		}
		h, scram := scramHash(m)
		hasPassword := c.Username != "" && c.Password != ""
		switch {
		case scram && hasPassword && isPlus(m):
			if binding.usable() {
				return &scramClient{name: m, hash: h, config: c, binding: binding, flag: "p=" + binding.Type, newNonce: newNonce}, nil
			}
		case scram && hasPassword:
			flag := "n"
			if len(usableBindings(c.Bindings)) > 0 && !plusOffered {
				flag = "y" // RFC 5802 §6: we could, but the server seems unable; it will object if it is not
			}
			return &scramClient{name: m, hash: h, config: c, flag: flag, newNonce: newNonce}, nil
		case m == External && c.External:
			return c.simple(m, c.Authzid)
		case m == Plain && hasPassword && c.AllowPlain && (c.Encrypted || c.PlainUnencrypted):
			p, err := preparePassword(c.Password)
			if err != nil {
				return nil, err
			}
			if strings.ContainsRune(c.Username+c.Authzid, 0) {
				return nil, errors.New("sasl: NUL in a name")
			}
			return c.simple(m, c.Authzid+"\x00"+c.Username+"\x00"+p)
		case m == Anonymous && c.Anonymous:
			if utf8.RuneCountInString(c.Trace) > maxTrace {
				return nil, errors.New("sasl: trace information of more than 255 characters")
			}
			return c.simple(m, c.Trace)
		}
	}
	return nil, ErrNoMechanism
}

// choose returns the binding that both sides support, and whether the server offers binding at all.
func (c *ClientConfig) choose(offered []string) (b ChannelBinding, plusOffered bool) {
	for _, u := range usableBindings(c.Bindings) {
		if c.BindingTypes == nil || slices.Contains(c.BindingTypes, u.Type) {
			b = u
			break
		}
	}
	return b, slices.ContainsFunc(offered, func(m string) bool { return isPlus(m) && known(m) })
}

func (c *ClientConfig) simple(name, message string) (Client, error) {
	if !utf8.ValidString(message) {
		return nil, errors.New("sasl: text that is not UTF-8")
	}
	return &simpleClient{name, message}, nil
}

// simpleClient is the client side of a mechanism in which the client speaks once.
type simpleClient struct{ name, message string }

func (s *simpleClient) Name() string                  { return s.name }
func (s *simpleClient) Start() ([]byte, bool, error)  { return []byte(s.message), true, nil }
func (s *simpleClient) Next(_ []byte) ([]byte, error) { return nil, ErrUnexpected }

// Success accepts everything: the server proves nothing in these mechanisms.
func (s *simpleClient) Success(_ []byte) error { return nil }
