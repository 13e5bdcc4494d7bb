package pubsub

import (
	"strings"

	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// fieldBody is the option of a subscription by which notifications have a text for clients that do not know the payload. It is there
// for nodes of posts, whose payloads have one (XEP-0060#impl-body).
const fieldBody = prefix + "include_body"

// bodied tells whether the payloads of a node have a text.
func bodied(n *node) bool { return n != nil && Social(n.name, n.config.Type) }

func bodyField(t dataform.Type, x subscription) dataform.Field {
	f := dataform.Field{Var: fieldBody, Type: dataform.Boolean, Values: []string{"0"}}
	if x.wants&wantBody != 0 {
		f.Values = []string{"1"}
	}
	if t == dataform.TypeForm {
		f.Label = "Send a text with what is new"
	}
	return f
}

// withBody returns a notification of an item with a text in it, or as it is where the item has none.
func withBody(m *stanza.Stanza, i *item) (*stanza.Stanza, error) {
	if i == nil || i.payload == "" {
		return m, nil
	}
	payload, err := xmlstream.Parse(i.payload, parse)
	if err != nil {
		return m, err
	}
	text := atomText(payload)
	if text == "" {
		return m, nil
	}
	return m.Clone().Add(xmlstream.El(stanza.NSClient, "body", text)), nil
}

// atomText returns what a post says: its title, and its summary or content below where that says more. Markup is left to
// clients that know the payload (RFC 4287 §3.1.1).
func atomText(entry *xmlstream.Element) string {
	if !entry.Is(NSAtom, "entry") {
		return ""
	}
	var parts []string
	for _, name := range []string{"title", "summary", "content"} {
		for k := range entry.Elements() {
			if !k.Is(NSAtom, name) || k.Attr("type") != "" && k.Attr("type") != "text" {
				continue
			}
			if v := strings.TrimSpace(k.Text()); v != "" && (len(parts) == 0 || parts[0] != v) {
				parts = append(parts, v)
			}
			break
		}
		if len(parts) == 2 {
			break
		}
	}
	return strings.Join(parts, "\n\n")
}
