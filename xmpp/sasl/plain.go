package sasl

import (
	"bytes"
	"context"
	"unicode/utf8"
)

// maxName is the greatest length of a user name or an authzid in bytes: a whole address (RFC 7622 §3.1).
const maxName = 3*1023 + 2

// splitPlain reads the message of PLAIN (RFC 4616 §2): authzid NUL authcid NUL passwd.
func splitPlain(msg []byte) (authzid, authcid, passwd string, f *Failure) {
	if len(msg) > maxMessage {
		return "", "", "", malformed("response too long")
	}
	if !utf8.Valid(msg) {
		return "", "", "", malformed("response is not UTF-8")
	}
	// Exactly two: a third one would be part of a password that some comparison might cut there.
	parts := bytes.Split(msg, []byte{0})
	if len(parts) != 3 {
		return "", "", "", malformed("response has not exactly two NUL")
	}
	// authcid and passwd are 1*SAFE. An empty password must not reach a directory, to which it says "anonymous" (RFC 4513
	// §5.1.2).
	if len(parts[1]) == 0 || len(parts[2]) == 0 {
		return "", "", "", malformed("user name or password is empty")
	}
	if len(parts[0]) > maxName || len(parts[1]) > maxName {
		return "", "", "", malformed("authzid or user name too long")
	}
	return string(parts[0]), string(parts[1]), string(parts[2]), nil
}

// plain evaluates the response of PLAIN.
func (x *exchange) plain(ctx context.Context, response []byte) *Failure {
	authzid, username, password, f := splitPlain(response)
	if f != nil {
		return f
	}
	check := x.checkVerifier
	if x.config.Passwords != nil {
		check = x.checkPassword
	}
	user, ok, f := check(ctx, username, password)
	if f != nil {
		return f
	}
	if !ok {
		return denied()
	}
	return x.authorize(ctx, user, authzid)
}

func (x *exchange) checkPassword(ctx context.Context, username, password string) (user string, ok bool, f *Failure) {
	user, ok = x.prepare(username)
	if !ok {
		return user, false, nil
	}
	ok, err := x.config.Passwords.CheckPassword(ctx, user, password)
	if err != nil {
		return user, false, failure(err)
	}
	return user, ok, nil
}

// checkVerifier checks a password against the first verifier that the user has. All are looked up and one derivation is done for
// every user, also for one who does not exist.
func (x *exchange) checkVerifier(ctx context.Context, username, password string) (user string, ok bool, f *Failure) {
	var found Verifier
	for i, h := range [...]Hash{SHA256, SHA512, SHA1} {
		u, v, has, f := x.lookup(ctx, username, h)
		if f != nil {
			return u, false, f
		}
		if i == 0 || has && !ok { // the first is a decoy unless the user has it
			user, found = u, v
		}
		ok = ok || has
	}
	return user, found.Verify(password) && ok, nil
}
