package pubsub

import (
	"slices"
	"strconv"
	"strings"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
)

// AccessModel says who may subscribe to a node and read it (XEP-0060#accessmodels).
type AccessModel string

// The access models.
const (
	AccessOpen      AccessModel = "open"
	AccessPresence  AccessModel = "presence"
	AccessRoster    AccessModel = "roster"
	AccessAuthorize AccessModel = "authorize"
	AccessWhitelist AccessModel = "whitelist"
)

// PublishModel says who may publish besides owners and publishers.
type PublishModel string

// The publish models.
const (
	PublishPublishers  PublishModel = "publishers"
	PublishSubscribers PublishModel = "subscribers"
	PublishOpen        PublishModel = "open"
)

// Values of Config.SendLast.
const (
	SendNever         = "never"
	SendOnSub         = "on_sub"
	SendOnSubPresence = "on_sub_and_presence"
)

// Values of Config.ItemReply (XEP-0060#impl-association). With ReplyNone nobody is told who published an item.
const (
	ReplyNone      = "none"
	ReplyOwner     = "owner"
	ReplyPublisher = "publisher"
)

// Values of Config.NodeFull (XEP-0060#publisher-publish-success-nodefull).
const (
	FullRetract = "retract-oldest"
	FullDiscard = "discard-oldest"
	FullReject  = "reject"
)

// Config is the configuration of a node (XEP-0060#registrar-formtypes-config).
type Config struct {
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description,omitempty"`
	Type        string   `json:"type,omitempty"` // of the payloads, most often their namespace
	Language    string   `json:"language,omitempty"`
	Contacts    []string `json:"contacts,omitempty"`

	Access       AccessModel  `json:"access"`
	RosterGroups []string     `json:"roster_groups,omitempty"`
	Publish      PublishModel `json:"publish"`
	Subscribe    bool         `json:"subscribe"` // subscriptions are possible

	Persist    bool   `json:"persist"`
	MaxItems   int    `json:"max_items"`             // 0: as many as the service allows
	ItemExpire int    `json:"item_expire,omitempty"` // seconds; 0: never
	MaxPayload int    `json:"max_payload,omitempty"` // bytes; 0: as many as the service allows
	NodeFull   string `json:"node_full"`

	Notify           bool   `json:"notify"`
	Payloads         bool   `json:"payloads"`
	PresenceBased    bool   `json:"presence_based"`
	NotificationType string `json:"notification_type"` // headline or normal
	NotifyConfig     bool   `json:"notify_config"`
	NotifyDelete     bool   `json:"notify_delete"`
	NotifyRetract    bool   `json:"notify_retract"`
	NotifySub        bool   `json:"notify_sub"`
	SendLast         string `json:"send_last"`
	PurgeOffline     bool   `json:"purge_offline"`        // items go when their publisher goes offline
	ItemReply        string `json:"item_reply,omitempty"` // "" where nobody has said to whom

	// Link and Parent are names of other nodes of the service (XEP-0496).
	Link   string `json:"link,omitempty"`
	Parent string `json:"parent,omitempty"`
}

// Default is the configuration of a node that nobody configured, at a service of its own.
func Default() Config {
	return Config{
		Access: AccessOpen, Publish: PublishPublishers, Subscribe: true, Persist: true, NodeFull: FullRetract,
		Notify: true, Payloads: true, NotificationType: stanza.TypeHeadline, NotifyDelete: true, NotifyRetract: true,
		SendLast: SendOnSub,
	}
}

// DefaultPEP is that of a node of an account: contacts see the one item that it has (XEP-0163#defaults).
func DefaultPEP() Config {
	c := Default()
	c.Access, c.MaxItems, c.SendLast, c.PresenceBased = AccessPresence, 1, SendOnSubPresence, true
	return c
}

// maxTexts bounds what the texts of a configuration are together, in bytes: no quota counts them.
const maxTexts = 16 << 10

// bounded returns nil where the texts of a configuration are not too much, or the error that is owed.
func (c *Config) bounded() error {
	size := len(c.Title) + len(c.Description) + len(c.Type) + len(c.Language) + len(c.Link) + len(c.Parent)
	for _, s := range slices.Concat(c.Contacts, c.RosterGroups) {
		size += len(s)
	}
	if size > maxTexts {
		return stanza.Errf(stanza.NotAcceptable, "the texts of a configuration have up to %d bytes together", maxTexts)
	}
	return nil
}

// unlimited is how max_items names the most that the service allows.
const unlimited = "max"

// field is one field of the form.
type field struct {
	name  string // behind pubsub#, or with a namespace of its own in braces
	typ   dataform.FieldType
	label string
	// options are the values of a list.
	options []string
	// feature is that by which the field is there; "" for one that always is.
	feature string
	// most says that there is a value for as much as the service allows.
	most bool
	get  func(c *Config) []string
	set  func(c *Config, values []string) error
}

// of returns the field as one that is there by a feature.
func (x field) of(feature string) field {
	x.feature = feature
	return x
}

// withoutMost returns the field as one that knows no value for as much as the service allows (config-node-max of XEP-0060#features).
func (x field) withoutMost() field {
	set := x.set
	x.set = func(c *Config, v []string) error {
		if first(v) == unlimited {
			return stanza.Errf(stanza.NotAcceptable, "the field %s is a number", x.variable())
		}
		return set(c, v)
	}
	return x
}

// fieldset are fields of the node configuration form.
type fieldset []field

// fieldsOf returns those of a service that has some features.
func fieldsOf(has func(feature string) bool) (out fieldset) {
	for _, x := range fields {
		switch {
		case x.feature != "" && !has(x.feature):
			continue
		case x.most && !has(featureConfigNodeMax):
			x = x.withoutMost()
		}
		out = append(out, x)
	}
	return out
}

// fields are all that there are, in the order in which people are asked.
var fields = fieldset{
	text("title", "A short name for the node", func(c *Config) *string { return &c.Title }),
	text("description", "What the node is about", func(c *Config) *string { return &c.Description }),
	text("type", "The kind of payload, most often its namespace", func(c *Config) *string { return &c.Type }),
	text("language", "The language of the payloads", func(c *Config) *string { return &c.Language }),
	{
		name: "contact", typ: dataform.JIDMulti, label: "Addresses of those to ask with questions",
		get: func(c *Config) []string { return c.Contacts },
		set: func(c *Config, v []string) error { c.Contacts = v; return nil },
	},
	choice("access_model", "Who may subscribe and read",
		[]AccessModel{AccessOpen, AccessPresence, AccessRoster, AccessAuthorize, AccessWhitelist}, func(c *Config) *AccessModel { return &c.Access }),
	{
		name: "roster_groups_allowed", typ: dataform.TextMulti, label: "Groups of the roster that may, with the access model roster",
		get: func(c *Config) []string { return c.RosterGroups },
		set: func(c *Config, v []string) error {
			c.RosterGroups = slices.DeleteFunc(slices.Clone(v), func(g string) bool { return g == "" })
			return nil
		},
	},
	choice("publish_model", "Who may publish",
		[]PublishModel{PublishPublishers, PublishSubscribers, PublishOpen}, func(c *Config) *PublishModel { return &c.Publish }),
	flag("subscribe", "Subscriptions are possible", func(c *Config) *bool { return &c.Subscribe }),
	flag("persist_items", "Items are kept", func(c *Config) *bool { return &c.Persist }).of(featurePersistentItems),
	number("max_items", "How many items are kept; \"max\" for as many as the service allows", unlimited, func(c *Config) *int { return &c.MaxItems }).of(featureMultiItems),
	number("item_expire", "Seconds after which an item is deleted; \"max\" or 0 for never", unlimited, func(c *Config) *int { return &c.ItemExpire }),
	number("max_payload_size", "Bytes of a payload; 0 for as many as the service allows", "0", func(c *Config) *int { return &c.MaxPayload }),
	choice("publish_node_full", "What happens when there is an item too many",
		[]string{FullRetract, FullDiscard, FullReject}, func(c *Config) *string { return &c.NodeFull }).of(featurePublishNodeFull),
	flag("deliver_notifications", "Subscribers are told of new items", func(c *Config) *bool { return &c.Notify }),
	flag("deliver_payloads", "They get the payloads with it", func(c *Config) *bool { return &c.Payloads }),
	flag("presence_based_delivery", "Only those who are available are told", func(c *Config) *bool { return &c.PresenceBased }).of(featurePresenceNotifications),
	choice("notification_type", "The type of the messages",
		[]string{stanza.TypeHeadline, stanza.TypeNormal}, func(c *Config) *string { return &c.NotificationType }),
	flag("notify_config", "Subscribers are told when the configuration changes", func(c *Config) *bool { return &c.NotifyConfig }),
	flag("notify_delete", "Subscribers are told when the node is deleted", func(c *Config) *bool { return &c.NotifyDelete }),
	flag("notify_retract", "Subscribers are told when items are deleted", func(c *Config) *bool { return &c.NotifyRetract }).of(featureRetractItems),
	flag("notify_sub", "Owners are told of subscribers that come and go", func(c *Config) *bool { return &c.NotifySub }),
	choice("send_last_published_item", "When the last item is sent",
		[]string{SendNever, SendOnSub, SendOnSubPresence}, func(c *Config) *string { return &c.SendLast }),
	flag("purge_offline", "Items are deleted when their publisher goes offline", func(c *Config) *bool { return &c.PurgeOffline }),
	choice("itemreply", "To whom replies to an item go",
		[]string{"", ReplyNone, ReplyOwner, ReplyPublisher}, func(c *Config) *string { return &c.ItemReply }),
	text("{"+nsRelations+"}link", "The node to which this one links, and with which it is deleted", func(c *Config) *string { return &c.Link }).of(nsRelations),
	text("{"+nsRelations+"}parent", "The node below which this one stands", func(c *Config) *string { return &c.Parent }).of(nsRelations),
}

// variable returns the name of the field in a form.
func (x *field) variable() string {
	if strings.HasPrefix(x.name, "{") {
		return x.name
	}
	return prefix + x.name
}

func text(name, label string, at func(*Config) *string) field {
	return field{
		name: name, typ: dataform.TextSingle, label: label,
		get: func(c *Config) []string { return []string{*at(c)} },
		set: func(c *Config, v []string) error { *at(c) = first(v); return nil },
	}
}

func flag(name, label string, at func(*Config) *bool) field {
	return field{
		name: name, typ: dataform.Boolean, label: label,
		get: func(c *Config) []string {
			if *at(c) {
				return []string{"1"}
			}
			return []string{"0"}
		},
		set: func(c *Config, v []string) error {
			b, ok := (&dataform.Field{Values: v}).Bool()
			if !ok {
				return stanza.Errf(stanza.NotAcceptable, "the field pubsub#%s is true or false", name)
			}
			*at(c) = b
			return nil
		},
	}
}

func choice[S ~string](name, label string, options []S, at func(*Config) *S) field {
	f := field{
		name: name, typ: dataform.ListSingle, label: label,
		get: func(c *Config) []string {
			if *at(c) == "" {
				return nil
			}
			return []string{string(*at(c))}
		},
	}
	for _, o := range options {
		if o != "" {
			f.options = append(f.options, string(o))
		}
	}
	f.set = func(c *Config, v []string) error {
		if !slices.Contains(options, S(first(v))) {
			if name == "access_model" { // XEP-0060#owner-create-and-configure
				return fault(stanza.NotAcceptable, "unsupported-access-model")
			}
			return stanza.Errf(stanza.NotAcceptable, "the field pubsub#%s is one of: %s", name, strings.Join(f.options, ", "))
		}
		*at(c) = S(first(v))
		return nil
	}
	return f
}

// number is a field of a number of which 0 stands for no limit of the node's own, written as none.
func number(name, label, none string, at func(*Config) *int) field {
	return field{
		name: name, typ: dataform.TextSingle, label: label, most: none == unlimited,
		get: func(c *Config) []string {
			if *at(c) == 0 {
				return []string{none}
			}
			return []string{strconv.Itoa(*at(c))}
		},
		set: func(c *Config, v []string) error {
			s := first(v)
			if s == unlimited || s == "" {
				*at(c) = 0
				return nil
			}
			n, err := strconv.ParseUint(s, 10, 31)
			if err != nil {
				return stanza.Errf(stanza.NotAcceptable, "the field pubsub#%s is a number or %q", name, unlimited)
			}
			*at(c) = int(n)
			return nil
		},
	}
}

func first(v []string) string {
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

// prefix stands before the names of the fields.
const prefix = "pubsub#"

// nodeType is the one kind of nodes that there is: collections (XEP-0248) are not.
const nodeType = "leaf"

// form returns a configuration as a form: of type form to be filled in, or of type result.
func (fs fieldset) form(c *Config, t dataform.Type, formType string) *dataform.Form {
	f := dataform.New(t, formType)
	for _, x := range fs {
		d := dataform.Field{Var: x.variable(), Type: x.typ, Values: x.get(c)}
		if t == dataform.TypeForm {
			d.Label = x.label
			for _, o := range x.options {
				d.Options = append(d.Options, dataform.Option{Value: o})
			}
		}
		f.Fields = append(f.Fields, d)
	}
	d := dataform.Field{Var: prefix + "node_type", Type: dataform.ListSingle, Values: []string{nodeType}}
	if t == dataform.TypeForm {
		d.Label, d.Options = "The kind of node", []dataform.Option{{Value: nodeType}}
	}
	f.Fields = append(f.Fields, d)
	return f
}

// submit returns a configuration as changed by a form of type submit. What the form leaves out keeps its value, and what
// is no option of a node is ignored (XEP-0004#protocol-formtypes).
func (fs fieldset) submit(c *Config, f *dataform.Form) (Config, error) {
	out := *c
	in, err := fs.form(c, dataform.TypeForm, nsNodeConfig).Submit(f)
	if a := f.Field(prefix + "access_model"); err != nil && a != nil {
		if e := fs.set(&out, "access_model", a.Values); e != nil {
			return out, e // it has a condition of its own
		}
	}
	if err != nil {
		return out, err
	}
	for i := range in.Fields {
		name := strings.TrimPrefix(in.Fields[i].Var, prefix)
		if err := fs.set(&out, name, in.Fields[i].Values); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (fs fieldset) set(c *Config, name string, values []string) error {
	for _, x := range fs {
		if x.name == name {
			return x.set(c, values)
		}
	}
	return nil // FORM_TYPE, node_type
}

// precondition applies the options of a publication to a configuration: to that of a new node, or to a copy of that of a
// node that exists, which must not change by it (XEP-0060#publisher-publish-options). A field that is no option of a node
// is not met.
func (fs fieldset) precondition(c *Config, f *dataform.Form) (out Config, met bool, err error) {
	out = *c
	for i := range f.Fields {
		d := &f.Fields[i]
		if d.Var == dataform.FormType {
			continue
		}
		at := slices.IndexFunc(fs, func(x field) bool { return x.variable() == d.Var })
		switch {
		case d.Var == prefix+"node_type" && d.Value() == nodeType:
			continue
		case at < 0:
			return out, false, fault(stanza.Conflict, "precondition-not-met")
		}
		values := d.Values
		if fs[at].typ == dataform.JIDMulti {
			if values, err = addresses(values); err != nil {
				return out, false, err
			}
		}
		if err := fs[at].set(&out, values); err != nil {
			return out, false, err
		}
	}
	for _, x := range fs {
		if !slices.Equal(x.get(c), x.get(&out)) {
			return out, false, nil
		}
	}
	return out, true, nil
}

func addresses(values []string) ([]string, error) {
	var out []string
	for _, v := range values {
		j, err := jid.Parse(v)
		if err != nil {
			return nil, stanza.Errf(stanza.NotAcceptable, "%v", err)
		}
		out = append(out, j.String())
	}
	return out, nil
}
