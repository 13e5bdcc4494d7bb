package load

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// neverArchive sets the preferences of the account's archive (XEP-0441#prefs). A
// server without them archives nothing that we could turn off.
func (c *Conn) neverArchive() error {
	if err := c.c.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return err
	}
	_, err := c.request("prefs", "set", "", "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>")
	if err != nil && !unsupported(err) {
		return err
	}
	return c.c.SetDeadline(time.Time{})
}

// checkArchive looks into the archive of account 0, which has just sent and
// received chatted messages. A server that stored nothing has not done the work of the row
// with archives, and one that stored something has done more than that of the
// row without.
func checkArchive(ctx context.Context, s *Running, chatted int64) error {
	if s.Floor {
		return nil
	}
	c, err := Login(ctx, s, 0, 0, false)
	if err != nil {
		return err
	}
	found, count, err := c.archived()
	if closeErr := c.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return err
	case s.Archive && !found:
		return fmt.Errorf("%s has archived nothing of the chat", s.Name)
	case s.Archive && count >= 0 && count < chatted:
		return fmt.Errorf("%s has archived %d messages of %d", s.Name, count, chatted)
	case !s.Archive && found:
		return fmt.Errorf("%s has archived the chat, which it was told not to", s.Name)
	}
	return nil
}

// archived says whether the account's archive holds any message (XEP-0313#query),
// and how many, or -1 where the server does not count them (XEP-0059#count).
func (c *Conn) archived() (found bool, count int64, err error) {
	if err := c.c.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return false, 0, err
	}
	if err := c.write("<iq type='set' id='newest'><query xmlns='urn:xmpp:mam:2' queryid='newest'>" +
		"<set xmlns='http://jabber.org/protocol/rsm'><max>1</max><before/></set></query></iq>"); err != nil {
		return false, 0, err
	}
	for {
		el, err := c.element()
		if err != nil {
			return false, 0, err
		}
		switch {
		case bytes.HasPrefix(el, []byte("<message")) && bytes.Contains(el, []byte("urn:xmpp:mam:2")):
			found = true
		case !bytes.HasPrefix(el, []byte("<iq")) || attribute(el, "id") != "newest":
		case attribute(el, "type") == "result":
			_, rest, ok := strings.Cut(string(el), "<count>")
			if !ok {
				return found, -1, nil
			}
			digits, _, _ := strings.Cut(rest, "<")
			count, err := strconv.ParseInt(digits, 10, 64)
			return found, count, err
		default:
			if err := fmt.Errorf("%w: %.300q", errRefused, el); !unsupported(err) {
				return false, 0, err
			}
			return false, -1, nil
		}
	}
}
