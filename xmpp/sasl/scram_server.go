package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"strconv"
)

// The steps of a SCRAM handshake.
const (
	scramStart = iota // nothing said yet
	scramAsked        // server: an empty challenge asked for the first message
	scramFirst        // the first messages are exchanged (server) or the client's is sent (client)
	scramFinal        // client: the proof is sent
	scramOver
)

// scramServer is the server side of SCRAM (RFC 5802).
type scramServer struct {
	exchange
	hash     Hash
	step     int
	newNonce func() string

	authzid string
	user    string
	v       Verifier
	exists  bool   // v is that of a user and no decoy
	binding []byte // cbind-input that must come back
	nonce   string // both parts
	bare    string // client-first-message-bare
	first   string // server-first-message
}

func newScramServer(x exchange, h Hash) *scramServer {
	return &scramServer{exchange: x, hash: h, newNonce: newNonce}
}

// newNonce returns 144 random bits in printable form.
func newNonce() string {
	var b [18]byte
	rand.Read(b[:]) // never fails, by its contract
	return encode64(b[:])
}

func (s *scramServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && s.step == scramStart {
		s.step = scramAsked
		return []byte{}, false, nil
	}
	step := s.step
	s.step = scramOver
	switch step {
	case scramStart, scramAsked:
		challenge, f := s.answerFirst(ctx, response)
		if f != nil {
			return nil, false, f
		}
		s.step = scramFirst
		return challenge, false, nil
	case scramFirst:
		data, f := s.answerFinal(ctx, response)
		if f != nil {
			return nil, false, f
		}
		return data, true, nil
	default:
		return nil, false, errOver()
	}
}

// answerFirst reads the client's first message and makes the server's.
func (s *scramServer) answerFirst(ctx context.Context, msg []byte) ([]byte, *Failure) {
	m, wrong := parseClientFirst(msg)
	if wrong != "" {
		return nil, malformed(wrong)
	}
	data, f := s.chooseBinding(m)
	if f != nil {
		return nil, f
	}
	s.binding = append([]byte(m.header), data...)
	s.authzid, s.bare = m.authzid, m.bare
	if s.user, s.v, s.exists, f = s.lookup(ctx, m.username, s.hash); f != nil {
		return nil, f
	}
	s.nonce = m.nonce + s.newNonce()
	s.first = "r=" + s.nonce + ",s=" + encode64(s.v.Salt) + ",i=" + strconv.Itoa(s.v.Iterations)
	if more := s.config.FirstAttributes; more != nil {
		for _, a := range more(s.hash) {
			if !a.valid() {
				return nil, failure(errors.New("sasl: ServerConfig.FirstAttributes returned an attribute that cannot be sent"))
			}
			s.first += "," + string(a.Name) + "=" + a.Value
		}
	}
	return []byte(s.first), nil
}

// chooseBinding returns the data of the channel binding that the client's flag asks for (RFC 5802 §6).
func (s *scramServer) chooseBinding(m clientFirst) ([]byte, *Failure) {
	switch {
	case isPlus(s.mechanism) != (m.flag == 'p'):
		return nil, malformed("flag of the channel binding does not fit the mechanism")
	case m.flag == 'p':
		for _, b := range usableBindings(s.config.Bindings) {
			if b.Type == m.binding {
				return b.Data, nil
			}
		}
		return nil, &Failure{Condition: NotAuthorized, Text: "type of channel binding is not supported"}
	case m.flag == 'y':
		// The client could bind but saw no -PLUS. If we offered one, somebody in between took it away.
		for _, name := range byStrength {
			if isPlus(name) && s.config.offers(name) == nil {
				return nil, &Failure{Condition: NotAuthorized, Text: "channel binding was offered but not seen"}
			}
		}
	}
	return nil, nil
}

// answerFinal reads the client's proof and makes the server's signature. Everything is computed for a decoy as well.
func (s *scramServer) answerFinal(ctx context.Context, msg []byte) ([]byte, *Failure) {
	m, wrong := parseClientFinal(msg)
	if wrong != "" {
		return nil, malformed(wrong)
	}
	if len(m.proof) != s.hash.Size() {
		return nil, malformed("proof has the wrong length")
	}
	auth := s.bare + "," + s.first + "," + m.withoutProof
	// RFC 5802 §3: ClientKey := ClientProof XOR HMAC(StoredKey, AuthMessage), and H(ClientKey) must be StoredKey.
	key := s.hash.mac(s.v.StoredKey, auth)
	subtle.XORBytes(key, key, m.proof)
	right := subtle.ConstantTimeCompare(s.hash.sum(key), s.v.StoredKey)
	right &= subtle.ConstantTimeCompare([]byte(m.nonce), []byte(s.nonce))
	right &= subtle.ConstantTimeCompare(m.binding, s.binding)
	signature := s.hash.mac(s.v.ServerKey, auth)
	if right != 1 || !s.exists {
		return nil, denied()
	}
	if f := s.authorize(ctx, s.user, s.authzid); f != nil {
		return nil, f
	}
	return []byte("v=" + encode64(signature)), nil
}

// proves reports whether signature is the server's over the message auth.
func (k Keys) proves(signature []byte, auth string) bool {
	return hmac.Equal(signature, k.Hash.mac(k.ServerKey, auth))
}

// proof makes the client's proof over the message auth.
func (k Keys) proof(auth string) []byte {
	p := k.Hash.mac(k.Hash.sum(k.ClientKey), auth)
	subtle.XORBytes(p, p, k.ClientKey)
	return p
}
