package c2s

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sabir/internal/auth"
	"sabir/internal/incoming"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/datetime"
	"sabir/xmpp/sasl"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// login2 is a login by SASL2 that is under way (XEP-0388), with what the client wants after it.
type login2 struct {
	request  auth.Request
	token    string   // the mechanism for which a token is asked for, or ""
	upgrades []string // the upgrade tasks that are asked for
	bind     *xmlstream.Element
	resume   *xmlstream.Element

	principal *auth.Principal // once the mechanism has succeeded
	data      []byte          // its additional data, until it was sent; nil for none
	upgrade   *auth.Upgrade   // the task that was offered, or is under way
	started   bool            // that task
}

// maxAgent bounds what a client says of its software and device, in bytes each.
const maxAgent = 256

// uuid is the form of the id of a client (XEP-0388, schema).
var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// authenticationFeature is <authentication/> (XEP-0388#feature), or nil where SASL2 is not to be used: before TLS
// (XEP-0388#security), or where there is no mechanism.
func (c *clientStream) authenticationFeature() *xmlstream.Element {
	if !c.t.secure() {
		return nil
	}
	conn := c.authConn()
	names := c.mechanisms()
	if len(names) == 0 {
		return nil
	}
	x := xmlstream.El(stream.NSSASL2, "authentication")
	for _, n := range names {
		x.Add(xmlstream.El(stream.NSSASL2, "mechanism", n))
	}
	x.Add(c.inlineFeatures(conn))
	for _, task := range c.authn.Upgrades() { // XEP-0480#disco
		x.Add(xmlstream.El(stream.NSUpgrade, "upgrade", task))
	}
	return x
}

func (c *clientStream) inlineFeatures(conn auth.Conn) *xmlstream.Element {
	in := xmlstream.El(stream.NSSASL2, "inline", c.bind2Feature(), sm.Feature()) // XEP-0198#inline-resume
	if names := c.authn.TokenMechanisms(conn); len(names) > 0 {                  // XEP-0484#support
		fast := xmlstream.El(stream.NSFAST, "fast")
		for _, n := range names {
			fast.Add(xmlstream.El(stream.NSFAST, "mechanism", n))
		}
		in.Add(fast)
	}
	return in
}

// configVersion adds <config-version/> to features before authentication (XEP-0509#feature): a hash of the others, so that
// it changes whenever they do.
func configVersion(features *xmlstream.Element) (version string) {
	sum := sha256.Sum256(features.Append(nil, ""))
	version = base64.StdEncoding.EncodeToString(sum[:18])
	features.Add(xmlstream.El(stream.NSIAP, "config-version", xmlstream.A("scheme", "opaque"), xmlstream.A("value", version)))
	return version
}

// sasl2 handles the elements of a login by SASL2.
func (c *clientStream) sasl2(f *xmlstream.Frame) error {
	e := f.Element()
	switch e.Name.Local {
	case "authenticate":
		if c.login == nil {
			c.exchange = nil // one of SASL that was begun is given up
			return c.authenticate(e)
		}
	case "response":
		if c.login != nil && c.login.principal == nil {
			response, err := decode2(e)
			if err != nil {
				return c.fail2(err)
			}
			return c.step2(response)
		}
	case "abort":
		if c.login != nil {
			return c.fail2(&sasl.Failure{Condition: sasl.Aborted})
		}
	case "next":
		if c.login != nil && c.login.upgrade != nil && !c.login.started {
			return c.startTask(e)
		}
	case "task-data":
		if c.login != nil && c.login.started {
			return c.endTask(e)
		}
	default:
		return stream.Err(stream.UnsupportedStanzaType, "")
	}
	// XEP-0388 leaves no room for anything out of turn: a client that does not know where it is cannot go on.
	return stream.Err(stream.PolicyViolation, "<"+e.Name.Local+"/> out of turn")
}

// decode2 decodes the data of an element. An empty one is data of length zero (XEP-0388: "=" has no special meaning).
func decode2(e *xmlstream.Element) ([]byte, error) {
	text := strings.TrimSpace(e.Text())
	switch text {
	case "":
		return []byte{}, nil
	case "=":
		return nil, &sasl.Failure{Condition: sasl.IncorrectEncoding}
	}
	return sasl.DecodeBase64(text)
}

// authenticate begins a login (XEP-0388#initiation).
func (c *clientStream) authenticate(e *xmlstream.Element) error {
	if !c.t.secure() {
		return c.fail2(&sasl.Failure{Condition: sasl.EncryptionRequired, Text: "start TLS first"})
	}
	if v := e.Child(stream.NSIAP, "config-version"); v != nil {
		if s := v.Attr("scheme"); v.Attr("value") != c.version || s != "" && s != "opaque" {
			return c.mismatch()
		}
	}
	l, err := c.readLogin(e)
	if err != nil {
		return c.fail2(err)
	}
	x, err := c.authn.Start2(e.Attr("mechanism"), c.authConn(), l.request)
	if err != nil {
		return c.fail2(err)
	}
	var initial []byte // nil: none
	if r := e.Child(stream.NSSASL2, "initial-response"); r != nil {
		if initial, err = decode2(r); err != nil {
			return c.fail2(err)
		}
	}
	c.exchange, c.login = x, l
	return c.step2(initial)
}

// readLogin reads what stands beside the mechanism.
func (c *clientStream) readLogin(e *xmlstream.Element) (*login2, error) {
	l := &login2{bind: e.Child(stream.NSBind2, "bind"), resume: e.Child(sm.NS, "resume")}
	l.request.From = c.from
	if a := e.Child(stream.NSSASL2, "user-agent"); a != nil {
		l.request.Agent = auth.Agent{
			ID:       strings.ToLower(a.Attr("id")),
			Software: clip(a.ChildText(stream.NSSASL2, "software")), Device: clip(a.ChildText(stream.NSSASL2, "device")),
		}
		if id := l.request.Agent.ID; id != "" && !uuid.MatchString(id) {
			return nil, &sasl.Failure{Condition: sasl.MalformedRequest, Text: "the id of a client is a UUID"}
		}
	}
	if f := e.Child(stream.NSFAST, "fast"); f != nil {
		fast, err := readFAST(f)
		if err != nil {
			return nil, err
		}
		l.request.FAST = fast
	}
	if t := e.Child(stream.NSFAST, "request-token"); t != nil {
		l.token = t.Attr("mechanism")
		if l.request.Agent.ID == "" { // XEP-0484#rules-clients
			return nil, &sasl.Failure{Condition: sasl.MalformedRequest, Text: "a client that wants a token says which client it is"}
		}
		if !slices.Contains(c.authn.TokenMechanisms(c.authConn()), l.token) { // XEP-0484#initial-auth
			return nil, &sasl.Failure{Condition: sasl.MalformedRequest, Text: "there are no tokens for that mechanism"}
		}
	}
	for k := range e.Elements() {
		if k.Is(stream.NSUpgrade, "upgrade") && len(l.upgrades) < 8 {
			l.upgrades = append(l.upgrades, strings.TrimSpace(k.Text()))
		}
	}
	return l, nil
}

func readFAST(f *xmlstream.Element) (*auth.FAST, error) {
	fast := &auth.FAST{}
	if s, ok := f.LookupAttr(xmlstream.Name{Local: "count"}); ok {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil || n <= 0 { // XEP-0484#fast-auth: a positive integer
			return nil, &sasl.Failure{Condition: sasl.MalformedRequest, Text: "the count is a positive number"}
		}
		fast.Count = n
	}
	switch f.Attr("invalidate") {
	case "", "0", "false":
	case "1", "true":
		fast.Invalidate = true
	default:
		return nil, &sasl.Failure{Condition: sasl.MalformedRequest, Text: "invalidate is true or false"}
	}
	return fast, nil
}

// clip bounds what a client says of itself. It comes to light in lists and logs, where it is one line.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxAgent {
		return s
	}
	s = s[:maxAgent]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// step2 takes a response.
func (c *clientStream) step2(response []byte) error {
	data, p, err := c.exchange.Next(c.ctx, response)
	if err != nil {
		return c.fail2(err)
	}
	if p == nil {
		return c.writeElement(xmlstream.El(stream.NSSASL2, "challenge", base64.StdEncoding.EncodeToString(data)))
	}
	c.exchange = nil
	c.login.principal, c.login.data = p, data
	return c.tasks()
}

// additional takes the data that is still to be sent in <continue/> or <success/>.
func (l *login2) additional() *xmlstream.Element {
	if l.data == nil {
		return nil
	}
	x := xmlstream.El(stream.NSSASL2, "additional-data", base64.StdEncoding.EncodeToString(l.data))
	l.data = nil
	return x
}

// tasks has the client do the next task that is left (XEP-0388#continue), or ends the login.
func (c *clientStream) tasks() error {
	l := c.login
	u, err := c.authn.Upgrade(c.ctx, l.principal, l.upgrades)
	if err != nil {
		return c.fail2(err)
	}
	l.upgrade, l.started = u, false
	if u == nil {
		return c.succeed2()
	}
	x := xmlstream.El(stream.NSSASL2, "continue", l.additional())
	x.Add(xmlstream.El(stream.NSSASL2, "tasks", xmlstream.El(stream.NSSASL2, "task", u.Task)))
	return c.writeElement(x)
}

// startTask gives the client what it derives its answer with (XEP-0480#scram).
func (c *clientStream) startTask(e *xmlstream.Element) error {
	u := c.login.upgrade
	if e.Attr("task") != u.Task {
		return c.fail2(&sasl.Failure{Condition: sasl.MalformedRequest, Text: "that task was not offered"})
	}
	c.login.started = true
	salt := xmlstream.El(stream.NSSCRAMUp, "salt", xmlstream.A("iterations", strconv.Itoa(u.Iterations)), base64.StdEncoding.EncodeToString(u.Salt))
	return c.writeElement(xmlstream.El(stream.NSSASL2, "task-data", salt))
}

// endTask takes the client's answer.
func (c *clientStream) endTask(e *xmlstream.Element) error {
	l := c.login
	hash := e.Child(stream.NSSCRAMUp, "hash")
	if hash == nil {
		return c.fail2(&sasl.Failure{Condition: sasl.MalformedRequest, Text: "the answer is missing"})
	}
	salted, err := decode2(hash)
	if err == nil {
		err = l.upgrade.Finish(c.ctx, salted)
	}
	if err != nil {
		return c.fail2(err)
	}
	l.upgrades = slices.DeleteFunc(l.upgrades, func(t string) bool { return t == l.upgrade.Task })
	return c.tasks()
}

// succeed2 ends the login: what the client has asked for beside it is done now, and <success/> tells of it
// (XEP-0388#success).
func (c *clientStream) succeed2() error {
	l := c.login
	token, err := c.authn.Settle(c.ctx, l.principal, l.request, l.token)
	if err != nil {
		return c.fail2(err)
	}
	c.login, c.conn, c.principal, c.failures = nil, nil, l.principal, 0
	c.agent = l.request.Agent
	c.t.limit(incoming.Limits(c.limits().AfterAuth, 0))
	c.state = wantBind
	r := result2{success: xmlstream.El(stream.NSSASL2, "success", l.additional())}
	if token != nil { // XEP-0484#token-response
		r.token = xmlstream.El(stream.NSFAST, "token",
			xmlstream.A("expiry", datetime.Format(token.Expires.Truncate(time.Second).UTC())), xmlstream.A("token", token.Value.Reveal()))
	}
	if l.resume != nil { // first, and where it succeeds there is nothing to bind (XEP-0198#inline-resume)
		answer, attach, err := c.resume(l.resume)
		switch {
		case err != nil:
			return err
		case attach != nil:
			return attach(c.text(r.element(c.session.Load().JID(), answer, nil)))
		}
		r.failed = answer
	}
	if l.bind != nil {
		if done, err := c.bind2(l.bind, r); done || err != nil {
			return err
		}
	}
	features, _ := c.featureList()
	for _, b := range c.encoded(r.element(c.principal.JID(), nil, nil), features) {
		if err := c.write(b); err != nil {
			return err
		}
	}
	return nil
}

// result2 is what <success/> tells.
type result2 struct {
	success *xmlstream.Element
	failed  *xmlstream.Element // of a resumption, or nil
	token   *xmlstream.Element // or nil
}

// element completes <success/>: who the client is, bare or full, and what became of its session.
func (r result2) element(who jid.JID, resumed, bound *xmlstream.Element) *xmlstream.Element {
	return r.success.Add(xmlstream.El(stream.NSSASL2, "authorization-identifier", who.String()), resumed, r.failed, bound, r.token)
}

// encoded gives the wire form of <success/> and the features after it: one piece over TCP, two frames over WebSocket. No
// stream restarts in between.
func (c *clientStream) encoded(success, features *xmlstream.Element) [][]byte {
	if c.t.framed() {
		return [][]byte{success.Append(nil, ""), stream.AppendWS(nil, features)}
	}
	return [][]byte{stream.AppendTCP(success.Append(nil, stanza.NSClient), features, stanza.NSClient)}
}

// mismatch refuses a login that was sent before the features came, by others than these (XEP-0509#nego). It does not
// count as a failed one.
func (c *clientStream) mismatch() error {
	x := failure2(&sasl.Failure{Condition: sasl.Aborted, Text: "the features have changed"})
	x.Add(xmlstream.El(stream.NSIAP, "config-version-mismatch"))
	return c.writeElement(x)
}

func failure2(f *sasl.Failure) *xmlstream.Element {
	x := xmlstream.El(stream.NSSASL2, "failure", xmlstream.El(stream.NSSASL, string(f.Condition)))
	if f.Text != "" {
		x.Add(xmlstream.El(stream.NSSASL2, "text", f.Text))
	}
	return x
}

// fail2 answers a failed login (XEP-0388#failure): nothing of what it asked for was done. After too many the stream ends.
func (c *clientStream) fail2(err error) error {
	c.exchange, c.login = nil, nil
	var f *sasl.Failure
	if !errors.As(err, &f) {
		c.srv.o.Log.Error("authentication cannot be done", "error", err)
		f = &sasl.Failure{Condition: sasl.TemporaryAuthFailure}
	}
	if err := c.writeElement(failure2(f)); err != nil {
		return err
	}
	return c.failed()
}
