package s2s

import (
	"errors"
	"net"

	"sabir/xmpp/dial"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
)

// failure says why a domain cannot be reached.
type failure struct {
	condition stanza.Condition
	text      string
	// final says that another try within the next seconds is of no use.
	final bool
	err   error
}

func (f *failure) Error() string {
	if f.err == nil {
		return f.text
	}
	return f.text + ": " + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// stanza returns what the senders are told.
func (f *failure) stanza() *stanza.Error { return stanza.Err(f.condition, f.text) }

// final is a failure that another try does not mend.
func final(text string, err error) *failure {
	return &failure{condition: stanza.RemoteServerNotFound, text: text, final: true, err: err}
}

// failureOf finds out what an error means for those who wait (RFC 6120 §8.3.3.15, §8.3.3.16).
func failureOf(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var se *stream.Error
	if errors.As(err, &se) {
		switch se.Condition {
		case stream.HostUnknown, stream.HostGone:
			return final("the server there does not know that domain", err)
		case stream.UnsupportedVersion: // RFC 6120 §4.7.5: neither TLS nor SASL without XMPP 1.0
			return final("that server does not speak XMPP 1.0", err)
		}
	}
	switch {
	case errors.Is(err, dial.ErrNotOffered):
		return final("that domain has no server", err)
	case all(err, nameless):
		return final("that domain has no address", err)
	case all(err, func(e error) bool { return nameless(e) || forbidden(e) }):
		return final("that domain has an address that this server does not connect to", err)
	}
	return &failure{condition: stanza.RemoteServerTimeout, text: "that server cannot be reached now", err: err}
}

// nameless tells whether DNS says that a name or its addresses do not exist.
func nameless(err error) bool {
	e, ok := err.(*net.DNSError)
	return ok && e.IsNotFound
}

// forbidden tells whether the policy denies an address.
func forbidden(err error) bool {
	_, ok := err.(*dial.DeniedError)
	return ok
}

// all tells whether every error within err is of a kind: what was joined is looked at one by one.
func all(err error, is func(error) bool) bool {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if j, ok := e.(interface{ Unwrap() []error }); ok {
			some := false
			for _, k := range j.Unwrap() {
				if !all(k, is) {
					return false
				}
				some = true
			}
			return some
		}
		if is(e) {
			return true
		}
	}
	return false
}
