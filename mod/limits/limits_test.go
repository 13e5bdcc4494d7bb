package limits

import (
	"testing"
	"time"

	"sabir/mod/modtest"
)

func TestFeatures(t *testing.T) {
	h := modtest.New(t, Info)
	want := map[bool]string{
		false: "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes><idle-seconds>300</idle-seconds></limits>",
		true:  "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>20000</max-bytes><idle-seconds>300</idle-seconds></limits>",
	}
	for _, f := range h.Hooks.StreamFeatures {
		if got := f.Func().String(); got != want[f.Auth] {
			t.Errorf("after authentication %v: %s", f.Auth, got)
		}
		delete(want, f.Auth)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestUnknown(t *testing.T) {
	if got := feature(0, 0); got != nil {
		t.Errorf("nothing is known, yet %s", got)
	}
	if got, want := feature(0, 90*time.Second).String(), "<limits xmlns='urn:xmpp:stream-limits:0'><idle-seconds>90</idle-seconds></limits>"; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := feature(1, time.Millisecond).String(), "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>1</max-bytes></limits>"; got != want {
		t.Errorf("got %s", got)
	}
}
