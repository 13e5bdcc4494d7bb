package xmpptest_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/mod/all"
	"sabir/mod/pep"
	"sabir/mod/pubsub"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/disco"
	"sabir/xmpp/sasl"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const nsPubsub = "http://jabber.org/protocol/pubsub"

// notOffered are the features of XEP-0060#features that neither services nor accounts have, and why.
var notOffered = map[string]string{
	"access-authorize": "another access model is the default",
	"access-roster":    "another access model is the default",
	"access-whitelist": "another access model is the default",
	"multi-subscribe":  "see the comment of engine/pubsub",
}

// ofXEP0060 are all features of XEP-0060#features.
var ofXEP0060 = strings.Fields(`access-authorize access-open access-presence access-roster access-whitelist auto-create auto-subscribe
	config-node config-node-max create-and-configure create-nodes delete-items delete-nodes filtered-notifications get-pending instant-nodes
	item-ids last-published leased-subscription manage-subscriptions member-affiliation meta-data modify-affiliations multi-items
	multi-subscribe outcast-affiliation persistent-items presence-notifications presence-subscribe publish publish-node-full
	publish-only-affiliation publish-options publisher-affiliation purge-nodes retract-items retrieve-affiliations retrieve-default
	retrieve-default-sub retrieve-items retrieve-subscriptions rsm subscribe subscription-notifications subscription-options`)

// plain are features of the service that follow from being one: what service discovery itself and all requests of XEP-0060 are,
// and the commands that the feature get-pending brings.
var plain = []string{disco.NSInfo, disco.NSItems, nsPubsub, nsPubsub + "#owner", "http://jabber.org/protocol/commands"}

// TestPubsubFeatures takes away from services and accounts one feature of publish-subscribe after another, and wants the
// conversations to fail that claim to show it ("# feature: NAME"): so nothing is named that is not there, and no claim is
// empty. Of the features of XEP-0060 those are offered for which there is no reason against it.
func TestPubsubFeatures(t *testing.T) {
	claims := claimed(t, "../../mod/*/testdata/*.xt")
	// Each feature is missing at a host of its own.
	var missing []string
	at := make(map[string]jid.JID)
	hosts := make(map[string][]string)
	without := make(map[jid.JID][]string)
	for f := range claims {
		missing = append(missing, f)
	}
	slices.Sort(missing)
	for i, f := range missing {
		domain := fmt.Sprintf("without-%d.%s", i, xmpptest.Domain)
		at[f], hosts[domain] = jid.MustParse(domain), nil
		without[at[f]] = []string{f}
	}
	srv := xmpptest.NewServer(t, xmpptest.Options{Hosts: hosts, Extensions: lacking(func(host jid.JID) []string { return without[host] })})
	offered := advertised(t, srv, srv.JID())
	for _, f := range ofXEP0060 {
		has, why := slices.Contains(offered, nsPubsub+"#"+f), notOffered[f]
		if has == (why != "") {
			t.Errorf("XEP-0060 has the feature %s: offered %v, reason against it %q", f, has, why)
		}
	}
	for _, f := range offered {
		if name, ok := strings.CutPrefix(f, nsPubsub+"#"); ok && !slices.Contains(ofXEP0060, name) && name != "pubsub-on-a-jid" { // XEP-0060#presence
			t.Errorf("the feature %s is none of XEP-0060", f)
		}
		if len(claims[f]) == 0 {
			t.Errorf("no conversation claims to show the feature %s", f)
		}
	}
	for _, f := range missing {
		if !slices.Contains(offered, f) {
			t.Errorf("%s claims to show %s, which is not offered", claims[f][0].File, f)
			continue
		}
		t.Run(strings.TrimPrefix(f, nsPubsub+"#"), func(t *testing.T) {
			t.Parallel()
			if slices.Contains(advertised(t, srv, at[f]), f) {
				t.Errorf("%s is offered where it is not there", f)
			}
			for _, s := range claims[f] {
				err := transcript.Run(t.Context(), s, targetAt(srv, at[f]))
				var failed *transcript.Failure
				switch {
				case err == nil:
					t.Errorf("%s claims to show %s and passes without it", s.File, f)
				case !errors.As(err, &failed) || len(failed.Said) < 2:
					t.Errorf("%s did not come to the point: %v", s.File, err)
				}
			}
		})
	}
}

// claimed reads the scripts that claim to show features, by feature.
func claimed(t *testing.T, pattern string) map[string][]*transcript.Script {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	claims := make(map[string][]*transcript.Script)
	for _, file := range files {
		s, err := transcript.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Features) > 0 && len(s.Config())+len(s.Without()) > 0 {
			t.Errorf("%s claims to show features and needs a server of its own", s.File)
		}
		for _, f := range s.Features {
			claims[f] = append(claims[f], s)
		}
	}
	return claims
}

// lacking returns the extensions, of which those of publish-subscribe lack at each host the features that without returns.
func lacking(without func(host jid.JID) []string) []mod.Info {
	list := slices.Clone(all.Extensions)
	for i := range list {
		x := &list[i]
		make := x.New
		x.New = func(h mod.Host, cfg any) (*mod.Hooks, error) {
			switch c := cfg.(type) {
			case *pubsub.Config:
				own := *c
				own.Without = without(h.Domain())
				cfg = &own
			case *pep.Config:
				own := *c
				own.Without = without(h.Domain())
				cfg = &own
			}
			return make(h, cfg)
		}
	}
	return list
}

// targetAt is the target for scripts at one host of a server.
func targetAt(srv *xmpptest.Server, host jid.JID) *transcript.Target {
	cfg := srv.ClientConfig("tcp")
	cfg.Mechanisms = []string{sasl.ScramSHA1Plus, sasl.ScramSHA1}
	return &transcript.Target{
		// Most of what is missing never comes, so that nobody need wait for it long.
		Client: cfg, Domain: host.Domain(), Transport: "tcp", Timeout: 5 * time.Second, Quiet: 150 * time.Millisecond,
		Account: func(ctx context.Context, _ int, hint string) (transcript.Account, error) {
			return srv.AccountAt(ctx, host, hint)
		},
	}
}

// advertised returns the features of publish-subscribe that a host's service and accounts name.
func advertised(t *testing.T, srv *xmpptest.Server, host jid.JID) (out []string) {
	t.Helper()
	a, err := srv.AccountAt(t.Context(), host, "asker")
	if err != nil {
		t.Fatal(err)
	}
	c := srv.Dial(t, a, "")
	for _, to := range []jid.JID{jid.MustParse("pubsub." + host.Domain()), a.JID} {
		answer, err := c.Request(t.Context(), stanza.TypeGet, to, xmlstream.El(disco.NSInfo, "query"))
		if err != nil {
			t.Fatal(err)
		}
		for f := range answer.Elements() {
			v := f.Attr("var")
			switch {
			case v == "" || slices.Contains(out, v) || slices.Contains(plain, v):
			case to != a.JID, strings.HasPrefix(v, nsPubsub), strings.HasPrefix(v, "urn:xmpp:pubsub"), slices.Contains(ofAccounts, v):
				out = append(out, v)
			}
		}
	}
	return out
}

// ofAccounts are the features of accounts that mod/pep brings beside those whose names tell it.
var ofAccounts = []string{
	"urn:xmpp:pep-vcard-conversion:0", "urn:xmpp:bookmarks-conversion:0", "urn:xmpp:bookmarks:1#compat", "urn:xmpp:bookmarks:1#compat-pep",
	"urn:xmpp:mds:server-assist:0",
}
