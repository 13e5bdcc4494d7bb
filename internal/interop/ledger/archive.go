package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// pageSize is how many messages are asked for at once.
const pageSize = "250"

// Archives tells whether the server keeps an archive for the device's account (XEP-0313#support).
func (d *Device) Archives(ctx context.Context) (bool, error) {
	info, err := d.request(ctx, stanza.TypeGet, d.account.JID, xmlstream.El(nsDisco, "query"))
	var refused *stanza.Error
	if errors.As(err, &refused) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for f := range info.Elements() {
		if f.Is(nsDisco, "feature") && f.Attr("var") == nsMAM {
			return true, nil
		}
	}
	return false, nil
}

// ReadArchive notes what the account's archive has beyond what was read before.
func (d *Device) ReadArchive(ctx context.Context) error {
	for {
		set := xmlstream.El(nsRSM, "set", xmlstream.El(nsRSM, "max", pageSize))
		if d.account.last != "" {
			set.Add(xmlstream.El(nsRSM, "after", d.account.last))
		}
		d.mu.Lock()
		d.page = nil
		d.mu.Unlock()
		fin, err := d.query(ctx, set)
		if err != nil {
			return fmt.Errorf("%s: the archive: %w", d.Name, err)
		}
		d.mu.Lock()
		page := d.page
		d.page = nil
		d.mu.Unlock()
		d.book.archived(d.account.JID.String(), page)
		last := fin.Child(nsRSM, "set").ChildText(nsRSM, "last")
		if last != "" {
			d.account.last = last
		}
		if c := fin.Attr("complete"); c == "true" || c == "1" || last == "" {
			return nil
		}
	}
}

// query asks for a page, again where the server answers with an error and the Play allows for that.
func (d *Device) query(ctx context.Context, set *xmlstream.Element) (*xmlstream.Element, error) {
	for try := 1; ; try++ {
		fin, err := d.request(ctx, stanza.TypeSet, jid.JID{}, xmlstream.El(nsMAM, "query", xmlstream.A("queryid", stanza.NewID()), set))
		var refused *stanza.Error
		if !errors.As(err, &refused) || try >= d.tries {
			return fin, err
		}
		rest(ctx, 2*time.Second)
		d.mu.Lock()
		d.page = nil
		d.mu.Unlock()
	}
}
