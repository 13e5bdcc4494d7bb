package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sabir/internal/admin"
	"sabir/internal/config"
	"sabir/internal/disk"
	"sabir/internal/listen"
	"sabir/internal/server"
	"sabir/xmpp/certname"
)

func newCertificate() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "certificate",
		Short: "See the certificates of a running server",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	configFlag(c, &path)
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print one line of JSON")
	c.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List the certificates in use, and why files that would replace one are refused",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []listen.CertificateStatus
			if err := giveRunning(c, path, "certificate list", admin.NoArgs{}, &list); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			for _, s := range list {
				fmt.Fprintf(c.OutOrStdout(), "%s  until %s  for %s  by %s  %s\n", s.Domain, s.NotAfter.UTC().Format(time.DateTime), strings.Join(s.Names, ", "), s.Issuer, s.SHA256)
				if s.Refused != "" {
					fmt.Fprintf(c.OutOrStdout(), "  the files that are there now are refused: %s\n", s.Refused)
				}
			}
			return nil
		},
	})
	return c
}

// certificates looks at the files of each host, and at what the running server makes of them.
func (d *doctor) certificates(ctx context.Context) {
	used := make(map[string]listen.CertificateStatus)
	if d.door != nil {
		var list []listen.CertificateStatus
		if err := d.door.Run(ctx, "certificate list", admin.NoArgs{}, &list); err != nil {
			d.say("certificate", warning, "look at the log of the server", "asking for the certificates in use: %v", err)
		}
		for _, s := range list {
			used[s.Domain] = s
		}
	}
	roots, err := server.Authorities(disk.OS{}, d.cfg.Outbound.CA)
	if err != nil {
		d.say("certificate", warning, "see outbound.ca", "%v", err)
	}
	for i := range d.cfg.Hosts {
		h := &d.cfg.Hosts[i]
		domain := h.JID().Domain()
		leaf := d.files(h, roots)
		switch now, running := used[domain]; {
		case !running:
		case now.Refused != "":
			d.say("certificate", bad, "mend the files; they are read again by themselves", "the server refuses the files of %s, and uses the certificate before, which ends on %s: %s", domain, now.NotAfter.UTC().Format(time.DateOnly), now.Refused)
		case leaf != nil && certname.Fingerprint(leaf) != now.SHA256:
			d.say("certificate", warning, fmt.Sprintf("wait %v, or `sabir reload`", listen.WatchEvery), "the server uses another certificate of %s than the one in %s, until %s", domain, h.Certificate, now.NotAfter.UTC().Format(time.DateOnly))
		}
		if fi, err := os.Stat(h.Key); err == nil && fi.Mode().Perm()&0o007 != 0 {
			d.say("certificate", warning, "chmod o-rwx "+h.Key, "everybody on this machine may read the key %s", h.Key)
		}
	}
}

// files looks at the pair of a host as it is on the disk. It returns nil where that is no good.
func (d *doctor) files(h *config.Host, roots *x509.CertPool) *x509.Certificate {
	domain := h.JID().Domain()
	c, err := listen.LoadPair(disk.OS{}, listen.Pair{Domain: domain, Certificate: h.Certificate, Key: h.Key}, d.now)
	if err != nil {
		d.say("certificate", bad, "get one for the domain, and name its chain and key in host[].certificate and host[].key", "%v", err)
		return nil
	}
	left := int(c.Leaf.NotAfter.Sub(d.now).Hours() / 24)
	switch soon, urgent := listen.Soon(c.Leaf.NotBefore, c.Leaf.NotAfter, d.now); {
	case urgent:
		d.say("certificate", bad, "renew it now; the server reads it again by itself", "that of %s ends on %s", domain, c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case soon:
		d.say("certificate", warning, "renew it; the server reads it again by itself", "that of %s ends in %d days", domain, left)
	default:
		d.say("certificate", good, "", "that of %s is good for %d days", domain, left)
	}
	if problem, cure := listen.Doubts(c, roots, d.now); problem != "" {
		d.say("certificate", warning, cure, "others may refuse that of %s (%s): %s", domain, h.Certificate, problem)
	}
	return c.Leaf
}
