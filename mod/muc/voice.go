package muc

import (
	"sabir/engine/room"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// takeForm takes a form that is sent to the room.
func (c *chat) takeForm(t *turn, s *stanza.Stanza, x *xmlstream.Element) error {
	f, err := dataform.Parse(x)
	if err == nil && f.FormType() == formRegister {
		return c.registerAnswer(t, s.From, f)
	}
	at, sat := c.seatOf(s.From)
	if sat != nil {
		return sat
	}
	if err != nil {
		return stanza.Err(stanza.BadRequest, err.Error())
	}
	return c.voiceForm(t, at, f)
}

// voiceForm takes a form of muc#request: a visitor asks for voice, or a moderator answers (XEP-0045#requestvoice, #voiceapprove).
func (c *chat) voiceForm(t *turn, at *seat, f *dataform.Form) error {
	if f.Type != dataform.TypeSubmit || f.FormType() != formRequest {
		return stanza.Err(stanza.BadRequest, "a room takes requests for voice and answers to them")
	}
	if f.Field("muc#request_allow") != nil {
		return c.voiceAnswer(t, at, f)
	}
	if role := f.Field("muc#role").Value(); role != room.Participant.String() {
		return stanza.Err(stanza.BadRequest, "one asks for the role of a participant")
	}
	if c.cfg.NoVoiceAsking {
		return stanza.Err(stanza.Forbidden, "this room takes no requests for voice")
	}
	if at.Role != room.Visitor {
		return stanza.Err(stanza.NotAllowed, "you have voice already")
	}
	if at.invites.take(bothering(), c.m.h.Clock().Now()) > 0 {
		return stanza.Err(stanza.PolicyViolation, "too many requests at once").OfType(stanza.Wait)
	}
	c.askModerators(t, at)
	return nil
}

// askModerators sends the form of a request to each moderator.
func (c *chat) askModerators(t *turn, at *seat) {
	f := dataform.New(dataform.TypeForm, formRequest,
		dataform.Field{Var: "muc#role", Type: dataform.ListSingle, Label: "Requested role", Values: []string{"participant"}, Options: options("participant")},
		dataform.Field{Var: "muc#jid", Type: dataform.JIDSingle, Label: "User", Values: []string{at.full.String()}},
		dataform.Field{Var: "muc#roomnick", Type: dataform.TextSingle, Label: "Nick", Values: []string{at.nick}},
		dataform.Field{Var: "muc#request_allow", Type: dataform.Boolean, Label: "Grant voice?", Values: []string{"false"}},
	)
	f.Title = "Request for voice"
	f.Instructions = []string{"Somebody asks to speak in this room."}
	m := stanza.New(stanza.Message, stanza.TypeNormal, f.Element())
	m.ID, m.From = stanza.NewID(), c.jid
	t.send(m, c.clients(func(o *occupant) bool { return o.Role == room.Moderator })...)
}

// voiceAnswer grants voice, or does not.
func (c *chat) voiceAnswer(t *turn, at *seat, f *dataform.Form) error {
	if at.Role != room.Moderator {
		return stanza.Err(stanza.Forbidden, "only moderators grant voice")
	}
	if yes, ok := f.Field("muc#request_allow").Bool(); !ok || !yes {
		return nil
	}
	o := c.nicks[nickKey(f.Field("muc#roomnick").Value())]
	if o == nil {
		return stanza.Err(stanza.ItemNotFound, "there is no such occupant any more")
	}
	if o.Role == room.Visitor {
		c.role(t, o, room.Standing{Affiliation: o.Affiliation, Role: room.Participant}, item{})
	}
	return nil
}
