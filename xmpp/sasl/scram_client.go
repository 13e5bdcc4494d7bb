package sasl

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// scramClient is the client side of SCRAM (RFC 5802).
type scramClient struct {
	name     string
	hash     Hash
	config   *ClientConfig
	binding  ChannelBinding // zero without -PLUS
	flag     string         // gs2-cbind-flag
	newNonce func() string

	step   int
	header string // gs2-header
	nonce  string // our part
	bare   string // client-first-message-bare
	keys   Keys
	cached keyID  // where keys go once the server has shown that they are right
	auth   string // AuthMessage
}

func (s *scramClient) Name() string { return s.name }

func (s *scramClient) Start() ([]byte, bool, error) {
	if s.step != scramStart {
		return nil, false, ErrUnexpected
	}
	for _, name := range [...]string{s.config.Username, s.config.Authzid} {
		if !utf8.ValidString(name) || strings.ContainsRune(name, 0) || len(name) > maxName {
			return nil, false, errors.New("sasl: a name that cannot be sent")
		}
	}
	authz := ""
	if s.config.Authzid != "" {
		authz = "a=" + escapeName(s.config.Authzid)
	}
	s.header = s.flag + "," + authz + ","
	s.nonce = s.newNonce()
	s.bare = "n=" + escapeName(s.config.Username) + ",r=" + s.nonce
	s.step = scramFirst
	return []byte(s.header + s.bare), true, nil
}

func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	step := s.step
	s.step = scramStart // an error leaves nothing to go on with
	switch step {
	case scramFirst:
		r, err := s.prove(challenge)
		if err != nil {
			return nil, err
		}
		s.step = scramFinal
		return r, nil
	case scramFinal: // the signature may come as a challenge, with an empty <success/> after it
		if err := s.verify(challenge); err != nil {
			return nil, err
		}
		s.step = scramOver
		return []byte{}, nil
	default:
		return nil, ErrUnexpected
	}
}

func (s *scramClient) Success(data []byte) error {
	step := s.step
	s.step = scramStart
	switch {
	case step == scramFinal && data != nil:
		if err := s.verify(data); err != nil {
			return err
		}
	case step == scramOver && len(data) == 0:
	default:
		return ErrServerUnproven
	}
	s.step = scramOver
	return nil
}

// prove answers the server's first message.
func (s *scramClient) prove(challenge []byte) ([]byte, error) {
	m, wrong := parseServerFirst(challenge)
	if wrong != "" {
		return nil, fmt.Errorf("%w: %s", ErrUnexpected, wrong)
	}
	if !strings.HasPrefix(m.nonce, s.nonce) || len(m.nonce) == len(s.nonce) {
		return nil, fmt.Errorf("%w: nonce does not extend ours", ErrUnexpected)
	}
	least, most := s.config.MinIterations, s.config.MaxIterations
	if least == 0 {
		least = MinIterations
	}
	if most == 0 {
		most = MaxIterations
	}
	if m.iterations < least || m.iterations > most {
		return nil, fmt.Errorf("%w: %d", ErrIterations, m.iterations)
	}
	if check := s.config.CheckFirst; check != nil {
		if err := check(s.hash, m.attributes); err != nil {
			return nil, err
		}
	}
	s.cached = newKeyID(s.hash, s.config.Password, m.salt, m.iterations)
	keys, ok := s.config.Cache.get(s.cached)
	if !ok {
		var err error
		if keys, err = DeriveKeys(s.hash, s.config.Password, m.salt, m.iterations); err != nil {
			return nil, err
		}
	}
	s.keys = keys
	final := "c=" + encode64(append([]byte(s.header), s.binding.Data...)) + ",r=" + m.nonce
	s.auth = s.bare + "," + string(challenge) + "," + final
	return []byte(final + ",p=" + encode64(keys.proof(s.auth))), nil
}

// verify checks the server's last message.
func (s *scramClient) verify(msg []byte) error {
	m, wrong := parseServerFinal(msg)
	switch {
	case wrong != "":
		return fmt.Errorf("%w: %s", ErrUnexpected, wrong)
	case m.err != "":
		return fmt.Errorf("%w: it reports %.64q", ErrServerUnproven, m.err)
	case !s.keys.proves(m.signature, s.auth):
		return ErrServerUnproven
	}
	s.config.Cache.put(s.cached, s.keys)
	return nil
}

// KeyCache remembers the keys that clients have derived, so that logging in again, or many times, costs no derivation. Only keys that a
// server has accepted get in. It is safe for concurrent use; a nil *KeyCache remembers nothing.
type KeyCache struct {
	max int
	mu  sync.Mutex
	m   map[keyID]Keys
}

// NewKeyCache returns a cache of at most max entries; at max it starts anew.
func NewKeyCache(max int) *KeyCache { return &KeyCache{max: max, m: make(map[keyID]Keys)} }

// Put adds keys that were derived elsewhere, by DeriveKeys with the same arguments.
func (c *KeyCache) Put(password string, salt []byte, iterations int, k Keys) {
	c.put(newKeyID(k.Hash, password, salt, iterations), k)
}

// keyID is what keys are derived from. The password is part of it, or a wrong one would do once the right one was used.
type keyID struct {
	hash       Hash
	iterations int
	salt       string
	password   [sha256.Size]byte
}

func newKeyID(h Hash, password string, salt []byte, iterations int) keyID {
	return keyID{h, iterations, string(salt), sha256.Sum256([]byte(password))}
}

func (c *KeyCache) get(id keyID) (Keys, bool) {
	if c == nil {
		return Keys{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.m[id]
	return k, ok
}

func (c *KeyCache) put(id keyID, k Keys) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= c.max {
		clear(c.m)
	}
	c.m[id] = k
}
