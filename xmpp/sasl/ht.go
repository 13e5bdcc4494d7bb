package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"
	"unicode/utf8"
)

// The names of the mechanisms by which a client logs in again with a token that the server gave it (XEP-0484;
// draft-schmaus-kitten-sasl-ht). The last part names the channel binding: tls-exporter, tls-server-end-point or none. There is
// no HT-SHA-256-UNIQ, since there is no tls-unique: see TLSExporter.
const (
	HTExporter = "HT-SHA-256-EXPR"
	HTEndPoint = "HT-SHA-256-ENDP"
	HTNone     = "HT-SHA-256-NONE"
)

// htByStrength lists the mechanisms of tokens, the strongest first.
var htByStrength = [...]string{HTExporter, HTEndPoint, HTNone}

// maxToken is the greatest length of a token in bytes.
const maxToken = 1024

// IsHT reports whether a mechanism is one of tokens. These are never among those of Mechanisms: they are offered apart
// (XEP-0484#support).
func IsHT(mechanism string) bool {
	return mechanism == HTExporter || mechanism == HTEndPoint || mechanism == HTNone
}

// HTMechanisms returns the mechanisms of tokens that a connection with these bindings has, the strongest first.
func HTMechanisms(bindings []ChannelBinding) []string {
	var names []string
	for _, m := range htByStrength {
		if _, ok := htBinding(m, bindings); ok {
			names = append(names, m)
		}
	}
	return names
}

// htBinding returns the data of the channel binding of a mechanism, nil for none, or false where the connection lacks it.
func htBinding(mechanism string, bindings []ChannelBinding) ([]byte, bool) {
	typ := ""
	switch mechanism {
	case HTExporter:
		typ = TLSExporter
	case HTEndPoint:
		typ = TLSServerEndPoint
	case HTNone:
		return nil, true
	}
	for _, b := range usableBindings(bindings) {
		if b.Type == typ {
			return b.Data, true
		}
	}
	return nil, false
}

// htHash is what one side shows of a token: HMAC(token, side || cb-data).
func htHash(token, side string, binding []byte) []byte {
	h := hmac.New(sha256.New, []byte(token))
	h.Write([]byte(side))
	h.Write(binding)
	return h.Sum(nil)
}

// The sides, as the hashes name them.
const (
	htInitiator = "Initiator"
	htResponder = "Responder"
)

// Tokens are the tokens of a client, on the side of the server.
type Tokens interface {
	// Tokens returns those with which a user may log in by this mechanism, at most a few; none for a user that does not
	// exist. user is prepared. An error that is no *Failure becomes temporary-auth-failure.
	Tokens(ctx context.Context, user, mechanism string) ([]string, error)
	// Used is called with the index of the token that the client has shown to have, before the user is authorized. It may
	// refuse it still, by a *Failure such as credentials-expired.
	Used(ctx context.Context, user string, i int) error
}

// NewTokenServer starts a handshake by a token. The error is a *Failure: invalid-mechanism for one that HTMechanisms does not list.
// Of c it uses Encrypted, PlainUnencrypted, Bindings, Prepare and Authorize.
func NewTokenServer(mechanism string, c *ServerConfig, tokens Tokens) (Server, error) {
	binding, ok := htBinding(mechanism, c.Bindings)
	switch {
	case !IsHT(mechanism) || !ok:
		return nil, &Failure{Condition: InvalidMechanism}
	case !c.Encrypted && !c.PlainUnencrypted: // XEP-0484#security
		return nil, &Failure{Condition: EncryptionRequired}
	}
	s := &tokenServer{exchange: exchange{mechanism: mechanism, config: c}, tokens: tokens, binding: binding}
	return s, nil
}

// tokenServer is the server side of HT.
type tokenServer struct {
	exchange
	tokens      Tokens
	binding     []byte
	asked, over bool
}

func (s *tokenServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if s.over {
		return nil, false, errOver()
	}
	if response == nil && !s.asked {
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	data, f := s.check(ctx, response)
	if f != nil {
		return nil, false, f
	}
	return data, true, nil
}

// check evaluates the client's only message, and returns what proves that the server has the token too.
func (s *tokenServer) check(ctx context.Context, msg []byte) ([]byte, *Failure) {
	username, hash, f := splitHT(msg)
	if f != nil {
		return nil, f
	}
	user, wellFormed := s.prepare(username)
	var tokens []string
	if wellFormed {
		var err error
		if tokens, err = s.tokens.Tokens(ctx, user, s.mechanism); err != nil {
			return nil, failure(err)
		}
	}
	// At least one hash is computed and all are compared, so that the time tells nothing of which is right.
	found := -1
	for i, t := range append(tokens, "") {
		if subtle.ConstantTimeCompare(htHash(t, htInitiator, s.binding), hash) == 1 && i < len(tokens) && found < 0 {
			found = i
		}
	}
	if found < 0 {
		return nil, denied()
	}
	if err := s.tokens.Used(ctx, user, found); err != nil {
		return nil, failure(err)
	}
	if f := s.authorize(ctx, user, ""); f != nil {
		return nil, f
	}
	return htHash(tokens[found], htResponder, s.binding), nil
}

// splitHT reads the message: authcid NUL hash. The hash may have any bytes in it, NUL as well.
func splitHT(msg []byte) (username string, hash []byte, f *Failure) {
	if len(msg) > maxMessage {
		return "", nil, malformed("response too long")
	}
	name, hash, ok := bytes.Cut(msg, []byte{0})
	switch {
	case !ok:
		return "", nil, malformed("response has no NUL")
	case len(name) == 0 || len(name) > maxName || !utf8.Valid(name):
		return "", nil, malformed("user name is wrong")
	case len(hash) != sha256.Size:
		return "", nil, malformed("hash has the wrong length")
	}
	return string(name), hash, nil
}

// NewTokenClient starts a handshake by a token that the server gave for this mechanism. Of c it uses Username, Encrypted,
// PlainUnencrypted and Bindings.
func NewTokenClient(mechanism, token string, c *ClientConfig) (Client, error) {
	binding, ok := htBinding(mechanism, c.Bindings)
	switch {
	case !IsHT(mechanism) || !ok:
		return nil, ErrNoMechanism
	case !c.Encrypted && !c.PlainUnencrypted:
		return nil, errors.New("sasl: a token is shown under TLS only")
	case c.Username == "" || !utf8.ValidString(c.Username) || strings.ContainsRune(c.Username, 0) || len(c.Username) > maxName:
		return nil, errors.New("sasl: a name that cannot be sent")
	case token == "" || len(token) > maxToken:
		return nil, errors.New("sasl: a token of the wrong length")
	}
	return &tokenClient{name: mechanism, token: token, binding: binding, username: c.Username}, nil
}

// tokenClient is the client side of HT.
type tokenClient struct {
	name, token, username string
	binding               []byte
	started               bool
}

func (t *tokenClient) Name() string { return t.name }

func (t *tokenClient) Start() ([]byte, bool, error) {
	if t.started {
		return nil, false, ErrUnexpected
	}
	t.started = true
	return append([]byte(t.username+"\x00"), htHash(t.token, htInitiator, t.binding)...), true, nil
}

func (t *tokenClient) Next(_ []byte) ([]byte, error) { return nil, ErrUnexpected }

// Success checks that the server has the token.
func (t *tokenClient) Success(data []byte) error {
	if !t.started || !hmac.Equal(data, htHash(t.token, htResponder, t.binding)) {
		return ErrServerUnproven
	}
	return nil
}
