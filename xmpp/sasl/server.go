package sasl

import (
	"context"
	"errors"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// Server is the receiving side of one handshake. It is used by one goroutine and for one handshake only; a client that starts again
// gets a new one (RFC 6120 §6.4.2).
type Server interface {
	// Mechanism returns the name of the mechanism.
	Mechanism() string
	// Next takes a response of the client and returns what to answer: a challenge while done is false, the additional data
	// of <success/> once done is true, a *Failure if err is not nil. The first response is the initial response; nil says
	// that <auth/> had none, which is not the same as an empty one. A challenge may be empty; additional data is nil if there is none.
	// After done or an error the handshake is over, and every further call is a failure.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Identity returns who has logged in. It is the zero Identity until Next has returned done.
	Identity() Identity
}

// Identity is the outcome of a handshake.
type Identity struct {
	// Username is the simple user name that was authenticated, as ServerConfig.Prepare gave it. For EXTERNAL and ANONYMOUS it is what
	// the callback returned.
	Username string
	// Authzid is the identity that the client asked to act as, which ServerConfig.Authorize has allowed; mostly empty, which means that of
	// the user.
	Authzid string
}

// Credentials looks up verifiers.
type Credentials interface {
	// Verifier returns the verifier of a user for a hash, or false if there is none. user is prepared. It should take the same time for
	// users that exist and those that do not. An error that is no *Failure becomes temporary-auth-failure.
	Verifier(ctx context.Context, user string, h Hash) (Verifier, bool, error)
}

// Passwords checks a password where only another system can, such as LDAP.
type Passwords interface {
	// CheckPassword reports whether the user exists and has this password, which is never empty. An error that is no *Failure becomes
	// temporary-auth-failure.
	CheckPassword(ctx context.Context, user, password string) (bool, error)
}

// Decoy makes verifiers for users that do not exist, so that nobody learns from a challenge who does (RFC 6120 §13.11). The
// other fields should be those of new accounts.
type Decoy struct {
	// Secret is at least 16 random bytes that outlive a restart and are the same on all nodes; else a salt that changes gives the
	// decoy away.
	Secret     []byte
	Iterations int // MinIterations if zero
	SaltLen    int // 16 if zero, at most 20
}

// verifier returns the verifier of an unknown user: always the same for the same user and hash.
func (d Decoy) verifier(user string, h Hash) Verifier {
	v := Verifier{Hash: h, Iterations: d.Iterations}
	if v.Iterations == 0 {
		v.Iterations = MinIterations
	}
	n := d.SaltLen
	if n <= 0 || n > SHA1.Size() {
		n = 16
	}
	v.Salt = h.mac(d.Secret, "salt\x00"+user)[:n]
	v.StoredKey = h.mac(d.Secret, "stored\x00"+user)
	v.ServerKey = h.mac(d.Secret, "server\x00"+user)
	return v
}

// Attribute is an extension of a SCRAM message: a letter and a value, which is not empty, has no comma and no NUL.
type Attribute struct {
	Name  byte
	Value string
}

// ServerConfig says how clients log in on one connection. It is not changed by the package and may be shared by handshakes.
type ServerConfig struct {
	// Allowed names the mechanisms that policy allows, in any order. Nil means all of SCRAM, and EXTERNAL if its callback is set.
	Allowed []string
	// Encrypted says that TLS protects the connection. PLAIN is refused without it unless PlainUnencrypted is set, which is for
	// tests on loopback.
	Encrypted        bool
	PlainUnencrypted bool
	// Bindings are those of the connection; without one there is no -PLUS.
	Bindings []ChannelBinding

	// Prepare makes the canonical form of a user name; nil means the PRECIS profile UsernameCaseMapped. A name that it refuses is that
	// of an unknown user.
	Prepare func(username string) (string, error)
	// Credentials serves SCRAM, and PLAIN if Passwords is nil. Only mechanisms whose hash is kept for all accounts should be allowed: for an
	// account that lacks it the client gets the answer of an unknown user.
	Credentials Credentials
	Passwords   Passwords
	// Decoy is required with Credentials.
	Decoy Decoy
	// Authorize is called after the credentials were found right, and decides whether the user may log in and act as authzid, which
	// may be empty. Its errors are *Failures such as invalid-authzid or account-disabled; others become temporary-auth-failure. Nil
	// allows every user as himself, that is with an empty authzid.
	Authorize func(ctx context.Context, username, authzid string) error
	// External returns the identity that the client's certificate proves and authzid, which may be empty, asks for (XEP-0178). It
	// replaces Authorize.
	External func(ctx context.Context, authzid string) (username string, err error)
	// Anonymous returns the name of a new temporary identity. trace is what the client said about itself, at most 255 characters, mostly
	// empty; it is no evidence of anything.
	Anonymous func(ctx context.Context, trace string) (username string, err error)
	// FirstAttributes returns extensions for the server's first SCRAM message, such as the downgrade protection of XEP-0474.
	FirstAttributes func(h Hash) []Attribute
}

// Mechanisms returns the names to offer on this connection, the strongest first.
func (c *ServerConfig) Mechanisms() []string {
	var names []string
	for _, m := range byStrength {
		if c.offers(m) == nil {
			names = append(names, m)
		}
	}
	return names
}

// BindingTypes returns the types of channel binding to announce (XEP-0440), the preferred first: none where no mechanism uses one, which
// clients would take for a list that somebody has shortened (XEP-0440#business-rules).
func (c *ServerConfig) BindingTypes() []string {
	if !slices.ContainsFunc(c.Mechanisms(), isPlus) {
		return nil
	}
	var types []string
	for _, b := range usableBindings(c.Bindings) {
		types = append(types, b.Type)
	}
	return types
}

// offers returns why the mechanism is not offered, or nil.
func (c *ServerConfig) offers(m string) *Failure {
	h, scram := scramHash(m)
	if c.Allowed != nil && !slices.Contains(c.Allowed, m) || c.Allowed == nil && !scram && m != External {
		return &Failure{Condition: InvalidMechanism}
	}
	ok := false
	switch {
	case scram:
		ok = h.valid() && c.Credentials != nil && (!isPlus(m) || len(usableBindings(c.Bindings)) > 0)
	case m == External:
		ok = c.External != nil
	case m == Plain:
		ok = c.Credentials != nil || c.Passwords != nil
		if ok && !c.Encrypted && !c.PlainUnencrypted {
			return &Failure{Condition: EncryptionRequired} // RFC 6120 §6.5.4
		}
	case m == Anonymous:
		ok = c.Anonymous != nil
	}
	if !ok {
		return &Failure{Condition: InvalidMechanism}
	}
	return nil
}

// NewServer starts a handshake with the mechanism that the client has chosen. The error is a *Failure: invalid-mechanism for a
// name that Mechanisms does not list, encryption-required for PLAIN that only lacks TLS.
func NewServer(mechanism string, c *ServerConfig) (Server, error) {
	if !known(mechanism) { // names are compared as they are: RFC 4422 §3.1 knows capitals only
		return nil, &Failure{Condition: InvalidMechanism}
	}
	if f := c.offers(mechanism); f != nil {
		return nil, f
	}
	if c.Credentials != nil && len(c.Decoy.Secret) < 16 {
		return nil, &Failure{Condition: TemporaryAuthFailure, Err: errors.New("sasl: ServerConfig.Decoy.Secret is too short")}
	}
	base := exchange{mechanism: mechanism, config: c}
	if h, ok := scramHash(mechanism); ok {
		return newScramServer(base, h), nil
	}
	switch mechanism {
	case Plain:
		return &simpleServer{exchange: base, eval: (*exchange).plain}, nil
	case External:
		return &simpleServer{exchange: base, eval: (*exchange).external}, nil
	default:
		return &simpleServer{exchange: base, eval: (*exchange).anonymous}, nil
	}
}

// exchange is what the server sides of all mechanisms have.
type exchange struct {
	mechanism string
	config    *ServerConfig
	identity  Identity
}

func (x *exchange) Mechanism() string  { return x.mechanism }
func (x *exchange) Identity() Identity { return x.identity }

// prepare returns the canonical form of a user name, or false if it is not one and no user can have it.
func (x *exchange) prepare(username string) (string, bool) {
	p := x.config.Prepare
	if p == nil {
		p = precis.UsernameCaseMapped.String
	}
	u, err := p(username)
	if err != nil || u == "" {
		return username, false
	}
	return u, true
}

// lookup returns the verifier of the user, or a decoy and false. The decoy is made in both cases, so that both take the same time.
func (x *exchange) lookup(ctx context.Context, username string, h Hash) (user string, v Verifier, ok bool, f *Failure) {
	user, wellFormed := x.prepare(username)
	decoy := x.config.Decoy.verifier(user, h)
	if !wellFormed {
		return user, decoy, false, nil
	}
	v, ok, err := x.config.Credentials.Verifier(ctx, user, h)
	if err != nil {
		return user, decoy, false, failure(err)
	}
	if !ok {
		return user, decoy, false, nil
	}
	if v.Hash != h || !v.valid() {
		return user, decoy, false, failure(errors.New("sasl: the stored verifier of a user is broken"))
	}
	return user, v, true, nil
}

// authorize asks whether the authenticated user may act as authzid, and notes who has logged in.
func (x *exchange) authorize(ctx context.Context, user, authzid string) *Failure {
	if a := x.config.Authorize; a != nil {
		if err := a(ctx, user, authzid); err != nil {
			return failure(err)
		}
	} else if authzid != "" {
		return &Failure{Condition: InvalidAuthzid}
	}
	x.identity = Identity{Username: user, Authzid: authzid}
	return nil
}

// errOver answers a response to a handshake that is over.
func errOver() *Failure { return malformed("the handshake is over") }

// simpleServer is the server side of a mechanism in which the client speaks once.
type simpleServer struct {
	exchange
	eval        func(x *exchange, ctx context.Context, response []byte) *Failure
	asked, over bool
}

func (s *simpleServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if s.over {
		return nil, false, errOver()
	}
	if response == nil && !s.asked { // RFC 4422 §3: a mechanism in which the client speaks first begins with an empty challenge
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	if f := s.eval(&s.exchange, ctx, response); f != nil {
		return nil, false, f
	}
	return nil, true, nil
}

// external evaluates the response of EXTERNAL: an authzid or nothing (RFC 4422 Appendix A).
func (x *exchange) external(ctx context.Context, response []byte) *Failure {
	if f := checkText(response); f != nil {
		return f
	}
	authzid := string(response)
	user, err := x.config.External(ctx, authzid)
	if err != nil {
		return failure(err)
	}
	x.identity = Identity{Username: user, Authzid: authzid}
	return nil
}

// anonymous evaluates the response of ANONYMOUS: trace information or nothing (RFC 4505 §2).
func (x *exchange) anonymous(ctx context.Context, response []byte) *Failure {
	if f := checkText(response); f != nil {
		return f
	}
	if utf8.RuneCount(response) > maxTrace {
		return malformed("trace information of more than 255 characters")
	}
	user, err := x.config.Anonymous(ctx, string(response))
	if err != nil {
		return failure(err)
	}
	x.identity = Identity{Username: user}
	return nil
}

// maxTrace is the greatest length of trace information in characters (RFC 4505 §2).
const maxTrace = 255

// checkText refuses what is no text of a sane length.
func checkText(b []byte) *Failure {
	switch {
	case len(b) > maxMessage:
		return malformed("response too long")
	case !utf8.Valid(b) || slices.Contains(b, 0):
		return malformed("response is not UTF-8 without NUL")
	}
	return nil
}
