package disco

import (
	"fmt"
	"net/url"
)

// addresses is one kind of contact addresses.
type addresses struct {
	kind string
	uris []string
}

// addresses returns all kinds in a fixed order: the hash over the form must not change (XEP-0115).
func (c *Config) addresses() []addresses {
	return []addresses{
		{"abuse", c.Abuse}, {"admin", c.Admin}, {"feedback", c.Feedback}, {"sales", c.Sales},
		{"security", c.Security}, {"status", c.Status}, {"support", c.Support},
	}
}

func checkURI(s string) error {
	u, err := url.Parse(s)
	if err == nil && u.Scheme == "" {
		err = fmt.Errorf("%q is no URI: write mailto:%s or xmpp:%s", s, s, s)
	}
	if err != nil {
		return fmt.Errorf("contact address: %w", err)
	}
	return nil
}
