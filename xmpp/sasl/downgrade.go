package sasl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrDowngrade says that client and server do not agree on what the server offers: somebody in between has changed it.
var ErrDowngrade = errors.New("sasl: the server did not offer what came here: somebody is in between")

// CheckOffer returns ErrDowngrade where a server has announced mechanisms with channel binding and no types of it, or types and no such
// mechanism: with SASL2 there are both or neither (XEP-0440#business-rules).
func CheckOffer(mechanisms, types []string) error {
	if slices.ContainsFunc(mechanisms, isPlus) != (len(types) > 0) {
		return ErrDowngrade
	}
	return nil
}

// DowngradeHash returns the attribute of the server's first message by which a client notices that mechanisms or types of channel
// binding were taken from the offer (XEP-0474#hash). types is what was announced by XEP-0440, nil where nothing was.
func DowngradeHash(h Hash, mechanisms, types []string) Attribute {
	list := func(names []string) string {
		names = slices.Clone(names)
		slices.Sort(names) // by bytes, as i;octet
		return strings.Join(names, "\x1e")
	}
	s := list(mechanisms)
	if len(types) > 0 {
		s += "\x1f" + list(types)
	}
	return Attribute{Name: 'h', Value: encode64(h.sum([]byte(s)))}
}

// TLSVersion returns the attribute of the server's first message by which a client notices that its connection does not end where
// the server's begins (XEP-0515#hex). version is that of crypto/tls.
func TLSVersion(version uint16) Attribute {
	return Attribute{Name: 't', Value: fmt.Sprintf("%04x", version)}
}

// CheckDowngrade returns a function for ClientConfig.CheckFirst that compares the attributes with what came to the client
// (XEP-0474#verification, XEP-0515#verification). An attribute that the server does not send is not checked. version is that of
// crypto/tls, 0 without TLS.
func CheckDowngrade(mechanisms, types []string, version uint16) func(h Hash, attributes []Attribute) error {
	return func(h Hash, attributes []Attribute) error {
		for _, a := range attributes {
			switch {
			case a.Name == 'h' && a != DowngradeHash(h, mechanisms, types),
				a.Name == 't' && version != 0 && a != TLSVersion(version):
				return ErrDowngrade
			}
		}
		return nil
	}
}
