package main

import (
	"bytes"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/listen"
)

// TestDoctorCertificates has the doctor look at a certificate at several times of its life, and at one whose chain is missing.
func TestDoctorCertificates(t *testing.T) {
	ca, err := listen.OpenCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.Leaf("example.org")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("sabir.toml", []byte("data_dir = \"/nowhere\"\n[[host]]\ndomain = \"example.org\"\ncertificate = \""+p.Certificate+"\"\nkey = \""+p.Key+"\"\n[outbound]\nca = \""+ca.File()+"\"\n"), sections())
	if err != nil {
		t.Fatal(err)
	}
	look := func(after time.Duration) []finding {
		d := &doctor{cfg: cfg, now: time.Now().Add(after)}
		d.certificates(t.Context())
		return d.findings
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		after  time.Duration
		status status
		text   string
	}{
		{0, good, "is good for 89 days"}, {61 * day, warning, "ends in 28 days"}, {80 * day, warning, "ends in 9 days"},
		{90*day - time.Hour, bad, "ends on"}, {91 * day, bad, "has expired on"},
	} {
		got := look(c.after)
		if len(got) != 1 || got[0].Status != c.status || !strings.Contains(got[0].Text, c.text) || c.status != good && got[0].Cure == "" {
			t.Errorf("after %v: %+v", c.after, got)
		}
	}

	text, err := os.ReadFile(p.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := pem.Decode(text)
	var alone bytes.Buffer
	if err := pem.Encode(&alone, leaf); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Certificate, alone.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Outbound.CA = "" // nobody knows the authority, and its certificate is not sent
	got := look(0)
	if len(got) != 2 || got[1].Status != warning || !strings.Contains(got[1].Text, "the chain to it was not sent") || !strings.Contains(got[1].Cure, "fullchain") {
		t.Errorf("without the chain: %+v", got)
	}
}
