package s2s_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/listen"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
)

// envPeers asks for the tests against other servers, which need root, Debian's prosody and ejabberd, and the address
// 127.0.53.53:53; envPeersAlone for those that measure other servers. scripts/s2s-peers.sh runs them.
const (
	envPeers      = "SABIR_S2S_PEERS"
	envPeersAlone = "SABIR_S2S_PEERS_ALONE"
)

// foreignUsers have accounts on each foreign server.
var foreignUsers = []string{"romeo", "juliet", "nurse"}

// foreign is another server, in a mount namespace of its own where /etc/resolv.conf names the zone.
type foreign struct {
	w         *world
	name      string // prosody or ejabberd
	domain    string
	dir       string
	dialback  bool
	ports     map[config.Purpose]string
	cmd       *exec.Cmd
	cert, key string
}

// foreign starts another server for a domain. With dialback it shows a certificate that nobody trusts, and asks for none.
func (w *world) foreign(name, domain string, dialback bool) *foreign {
	t := w.t
	t.Helper()
	f := &foreign{w: w, name: name, domain: domain, dialback: dialback, dir: t.TempDir(), ports: make(map[config.Purpose]string)}
	for _, d := range []string{filepath.Dir(f.dir), f.dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := w.ca.Leaf(domain)
	if err != nil {
		t.Fatal(err)
	}
	f.cert, f.key = f.copy(pair.Certificate), f.copy(pair.Key)
	for _, p := range []config.Purpose{config.C2S, config.S2S, config.S2STLS} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f.ports[p] = ln.Addr().String()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f.up()
	w.Point(t, domain, f.ports[config.S2S], f.ports[config.S2STLS])
	t.Cleanup(func() {
		f.down(syscall.SIGTERM)
		if t.Failed() {
			for _, n := range []string{"out.log", "peer.log"} {
				if b, err := os.ReadFile(filepath.Join(f.dir, n)); err == nil {
					t.Logf("%s of %s:\n%s", n, domain, b[max(0, len(b)-20000):])
				}
			}
		}
	})
	return f
}

// copy puts a file where the user of the other server can read it.
func (f *foreign) copy(path string) string {
	f.w.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		f.w.t.Fatal(err)
	}
	return f.write(filepath.Base(path), string(b))
}

func (f *foreign) write(name, text string) string {
	f.w.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.w.t.Fatal(err)
	}
	return path
}

func (f *foreign) port(p config.Purpose) string {
	_, port, err := net.SplitHostPort(f.ports[p])
	if err != nil {
		f.w.t.Fatal(err)
	}
	return port
}

// up starts it and waits until it accepts connections.
func (f *foreign) up() {
	t := f.w.t
	t.Helper()
	host, _, err := net.SplitHostPort(f.w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	resolv := f.write("resolv.conf", "nameserver "+host+"\noptions timeout:1 attempts:2\n")
	trusted := f.w.ca
	if f.dialback { // another authority, of which nobody has a certificate
		if trusted, err = listen.OpenCA(filepath.Join(t.TempDir(), "other")); err != nil {
			t.Fatal(err)
		}
	}
	ca := f.copy(trusted.File())
	run := f.prosody(ca)
	if f.name == "ejabberd" {
		run = f.ejabberd(ca)
	}
	out, err := os.OpenFile(filepath.Join(f.dir, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := exec.Command("chown", "-R", f.name+":"+f.name, f.dir).Run(); err != nil {
		t.Fatal(err)
	}
	f.cmd = exec.Command("unshare", "-m", "sh", "-c", "mount --bind "+resolv+" /etc/resolv.conf && cd "+f.dir+" && exec setpriv --reuid "+f.name+" --regid "+f.name+" --init-groups -- "+run)
	f.cmd.Stdout, f.cmd.Stderr = out, out
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, f.name+" accepts connections", func() bool {
		for _, p := range []config.Purpose{config.C2S, config.S2S} {
			c, err := net.Dial("tcp", f.ports[p])
			if err != nil {
				return false
			}
			c.Close()
		}
		return f.name != "ejabberd" || exists(filepath.Join(f.dir, "ready"))
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// down ends it.
func (f *foreign) down(sig syscall.Signal) {
	t := f.w.t
	t.Helper()
	if f.cmd == nil {
		return
	}
	if err := syscall.Kill(-f.cmd.Process.Pid, sig); err != nil {
		t.Error(err)
	}
	late := time.AfterFunc(20*time.Second, func() { syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL) })
	f.cmd.Wait() // it ends by the signal
	late.Stop()
	f.cmd = nil
	os.Remove(filepath.Join(f.dir, "ready"))
}

func (f *foreign) prosody(ca string) string {
	for _, u := range foreignUsers {
		dir := filepath.Join(f.dir, "data", strings.ReplaceAll(f.domain, ".", "%2e"), "accounts")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			f.w.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, u+".dat"), []byte("return { [\"password\"] = \"secret\"; };\n"), 0o644); err != nil {
			f.w.t.Fatal(err)
		}
	}
	secure := "true"
	if f.dialback {
		secure = "false"
	}
	cfg := f.write("prosody.cfg.lua", fmt.Sprintf(`data_path = %q
modules_enabled = { "disco"; "roster"; "saslauth"; "tls"; "dialback"; "smacks"; "ping"; "vcard_legacy"; "offline"; "s2s_bidi"; }
authentication = "internal_plain"
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = %s
interfaces = { "127.0.0.1" }
c2s_ports = { %s }
c2s_direct_tls_ports = { }
s2s_ports = { %s }
s2s_direct_tls_ports = { %s }
http_ports = { }
https_ports = { }
ssl = { certificate = %q; key = %q; cafile = %q }
log = { debug = %q }
VirtualHost %q
Component %q "muc"
`, filepath.Join(f.dir, "data"), secure, f.port(config.C2S), f.port(config.S2S), f.port(config.S2STLS), f.cert, f.key, ca, f.log(), f.domain, f.rooms()))
	return "prosody --config " + cfg + " -F"
}

func (f *foreign) ejabberd(ca string) string {
	both := f.write("both.pem", read(f.w.t, f.cert)+read(f.w.t, f.key))
	dialback := ""
	if f.dialback {
		dialback = "\n  mod_s2s_dialback: {}"
	}
	cfg := f.write("ejabberd.yml", fmt.Sprintf(`loglevel: info
hosts: [%q]
certfiles: [%q]
ca_file: %q
s2s_cafile: %q
s2s_use_starttls: required
listen:
  -
    port: %s
    ip: "127.0.0.1"
    module: ejabberd_c2s
    starttls_required: true
  -
    port: %s
    ip: "127.0.0.1"
    module: ejabberd_s2s_in
  -
    port: %s
    ip: "127.0.0.1"
    module: ejabberd_s2s_in
    tls: true
auth_password_format: plain
shaper_rules:
  many: infinity
modules:
  mod_disco: {}
  mod_ping: {}
  mod_roster: {}
  mod_offline:
    access_max_user_messages: many
  mod_stream_mgmt: {}
  mod_muc: {}
  mod_vcard: {}%s
`, f.domain, both, ca, ca, f.port(config.C2S), f.port(config.S2S), f.port(config.S2STLS), dialback))
	beams, err := filepath.Glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.beam")
	if err != nil || len(beams) == 0 {
		f.w.t.Fatal("ejabberd is not installed")
	}
	libs := filepath.Dir(filepath.Dir(filepath.Dir(beams[0])))
	spool := filepath.Join(f.dir, "spool")
	if err := os.MkdirAll(spool, 0o755); err != nil {
		f.w.t.Fatal(err)
	}
	erl := f.journalHooks() + `[ejabberd_auth:try_register(U, <<"` + f.domain + `">>, <<"secret">>) || U <- [<<"` + strings.Join(foreignUsers, `">>, <<"`) + `">>]], ok = file:write_file("` + filepath.Join(f.dir, "ready") + `", <<"ok">>).`
	script := f.write("run.sh", fmt.Sprintf("#!/bin/sh\nexport HOME=%s EJABBERD_CONFIG_PATH=%s EJABBERD_LOG_PATH=%s ERL_LIBS=%s ERL_CRASH_DUMP_BYTES=0\ncd %s\nexec erl -noinput -mnesia dir '\"%s\"' -s ejabberd -eval '%s'\n",
		f.dir, cfg, filepath.Join(f.dir, "peer.log"), libs, spool, spool, erl))
	return "sh " + script
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (f *foreign) log() string { return filepath.Join(f.dir, "peer.log") }

// rooms is the domain of its rooms.
func (f *foreign) rooms() string { return "conference." + f.domain }

// restart ends it as a service manager does, and starts it again.
func (f *foreign) restart() {
	f.w.t.Helper()
	f.down(syscall.SIGTERM)
	f.up()
}

// arrive returns what logs a user in and sends initial presence.
func (f *foreign) arrive(local string) func(resource string) *user {
	return func(resource string) *user {
		f.w.t.Helper()
		u := f.connect(local + "@" + f.domain + "/" + resource)
		u.arrive()
		return u
	}
}

// connect logs in to the other server.
func (f *foreign) connect(address string) *user {
	t := f.w.t
	t.Helper()
	j := jid.MustParse(address)
	cfg := client.Config{Via: client.STARTTLS, Address: f.ports[config.C2S], JID: j, Password: "secret", Keys: f.w.keys, Timeout: patience}
	cfg.TLS, cfg.Mechanisms = tlsFor(f.w.pool, j.Domain()), []string{sasl.ScramSHA1}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.Dial(ctx, &cfg)
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	return watch(t, c)
}
