package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	toml "github.com/pelletier/go-toml/v2"

	"sabir/internal/disk"
	"sabir/internal/observe"
)

// Load reads a file and checks all of it: the settings of the server and, by their sections, those of the extensions. The error holds
// Errors where the file could be read, one for each thing that is wrong; then there is no configuration, not even a part of one.
func Load(path string, sections []Section) (*Config, error) { return LoadFS(disk.OS{}, path, sections) }

// LoadFS is Load for files on another disk.
func LoadFS(files disk.FS, path string, sections []Section) (*Config, error) {
	data, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration file %s: `sabir config example` prints one to start from", path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return parse(files, path, data, sections)
}

// Parse is Load for a file that was read already. path is that of the file, for messages and relative paths.
func Parse(path string, data []byte, sections []Section) (*Config, error) {
	return parse(disk.OS{}, path, data, sections)
}

func parse(files disk.FS, path string, data []byte, sections []Section) (*Config, error) {
	r := &reader{file: path, files: files}
	doc := make(map[string]any)
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, r.syntax(err)
	}
	r.at = locate(data)

	mods := r.takeSections(doc, "", sections)
	hosts, _ := doc["host"].([]any)
	hostMods := make([]map[string]map[string]any, len(hosts))
	hostLimits := make([]map[string]any, len(hosts))
	for i := range hosts {
		if h, ok := hosts[i].(map[string]any); ok {
			hostMods[i] = r.takeSections(h, hostKey(i), sections)
			hostLimits[i] = r.takeLimits(h, hostKey(i))
		}
	}
	r.checkStruct("", doc, reflect.TypeFor[Config]())
	if err := r.err(); err != nil {
		return nil, err
	}

	c := Default()
	if err := r.decode("", doc, c); err != nil {
		return nil, err
	}
	c.path = path
	if err := r.decodeLimits(c, hostLimits); err != nil {
		return nil, err
	}
	r.resolve(c)
	r.validate(c, sections)
	if err := r.err(); err != nil {
		return nil, err
	}
	r.decodeSections(c, mods, hostMods, sections)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// syntax turns an error of the TOML parser into one of ours.
func (r *reader) syntax(err error) error {
	e := &Error{File: r.file, Line: 1, Column: 1, Problem: strings.TrimPrefix(err.Error(), "toml: ")}
	var d *toml.DecodeError
	if errors.As(err, &d) {
		e.Line, e.Column = d.Position()
	}
	return Errors{e}
}

// decode reads a table that was checked into a struct. An error that the check did not foresee is one of the whole table.
func (r *reader) decode(key string, table map[string]any, v any) error {
	text, err := toml.Marshal(table)
	if err == nil {
		err = toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(v)
	}
	if err == nil {
		return nil
	}
	var d *toml.DecodeError
	if errors.As(err, &d) && len(d.Key()) > 0 {
		key = join(key, strings.Join(d.Key(), "."))
	}
	r.problem(key, "", "%s", strings.TrimPrefix(err.Error(), "toml: "))
	return r.err()
}

func hostKey(i int) string { return "host[" + strconv.Itoa(i) + "]" }

// takeLimits removes the table `limits` from that of a host, and returns it checked.
func (r *reader) takeLimits(host map[string]any, key string) map[string]any {
	v, ok := host["limits"]
	delete(host, "limits")
	if !ok {
		return nil
	}
	key = join(key, "limits")
	m, ok := r.table(key, v)
	if !ok {
		return nil
	}
	own := keys(reflect.TypeFor[HostLimits]())
	for _, k := range keys(reflect.TypeFor[Limits]()) {
		if _, ok := m[k]; ok && !slices.Contains(own, k) {
			r.problem(join(key, k), "write it in [limits]", "this limit is one of the whole server")
			delete(m, k)
		}
	}
	r.checkStruct(key, m, reflect.TypeFor[HostLimits]())
	return m
}

// decodeLimits gives each host the limits of the server, overlaid by its own.
func (r *reader) decodeLimits(c *Config, own []map[string]any) error {
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.Limits, h.ownLimits = c.Limits.HostLimits, own[i] != nil
		if !h.ownLimits {
			continue
		}
		if err := r.decode(join(hostKey(i), "limits"), own[i], &h.Limits); err != nil {
			return err
		}
	}
	return nil
}

// takeSections removes the table `mod` from a table, checks each section in it, and returns them by name.
func (r *reader) takeSections(table map[string]any, key string, sections []Section) map[string]map[string]any {
	v, ok := table["mod"]
	delete(table, "mod")
	if !ok {
		return nil
	}
	key = join(key, "mod")
	m, ok := r.table(key, v)
	if !ok {
		return nil
	}
	found := make(map[string]map[string]any)
	for _, name := range sortedKeys(m) {
		at := join(key, name)
		s := section(sections, name)
		if s == nil {
			r.unknown(at, name, names(sections), "extension")
			continue
		}
		sub, ok := r.table(at, m[name])
		if !ok {
			continue
		}
		if s.New == nil {
			for _, k := range sortedKeys(sub) {
				r.problem(join(at, k), "remove it; to switch the extension off, name it in `disabled` of a [[host]]", "the extension %s has no settings", name)
			}
			continue
		}
		r.checkStruct(at, sub, reflect.TypeOf(s.New()).Elem())
		found[name] = sub
	}
	return found
}

// decodeSections makes the settings of each extension, for the whole server and for the hosts that differ.
func (r *reader) decodeSections(c *Config, mods map[string]map[string]any, hostMods []map[string]map[string]any, sections []Section) {
	c.mods = map[string]map[string]any{"": {}}
	for _, s := range sections {
		if s.New == nil {
			continue
		}
		c.mods[""][s.Name] = r.section("mod."+s.Name, s, mods[s.Name])
		for i := range c.Hosts {
			own, ok := hostMods[i][s.Name]
			if !ok {
				continue
			}
			domain := c.Hosts[i].jid.Domain()
			if c.mods[domain] == nil {
				c.mods[domain] = make(map[string]any)
			}
			c.mods[domain][s.Name] = r.section(hostKey(i)+".mod."+s.Name, s, mods[s.Name], own)
		}
	}
}

// section makes the settings of one extension: its defaults, overlaid by tables one after the other.
func (r *reader) section(key string, s Section, tables ...map[string]any) any {
	v := s.New()
	for _, t := range tables {
		if t == nil {
			continue
		}
		if err := r.decode(key, t, v); err != nil {
			return nil
		}
	}
	if c, ok := v.(interface{ Validate() error }); ok {
		if err := c.Validate(); err != nil {
			r.problem(key, "", "%v", err)
		}
	}
	return v
}

func section(sections []Section, name string) *Section {
	i := slices.IndexFunc(sections, func(s Section) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &sections[i]
}

func names(sections []Section) []string {
	ns := make([]string, len(sections))
	for i, s := range sections {
		ns[i] = s.Name
	}
	return ns
}

// resolve makes paths independent of the working directory and fills in what follows from other settings.
func (r *reader) resolve(c *Config) {
	folder := filepath.Dir(c.path)
	abs := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(folder, *p)
		}
	}
	abs(&c.DataDir)
	abs(&c.Auth.ClientCA)
	abs(&c.Outbound.CA)
	abs(&c.Database.URLFile)
	for i := range c.Hosts {
		abs(&c.Hosts[i].Certificate)
		abs(&c.Hosts[i].Key)
	}
	if f := c.Database.URLFile; f != "" {
		if c.Database.URL != "" {
			r.problem("database.url_file", "remove one of them", "url is given too")
		}
		text, err := r.files.ReadFile(f)
		if err != nil {
			r.problem("database.url_file", "", "%v", err)
		}
		c.Database.URL = observe.Secret(strings.TrimSpace(string(text)))
	}
	if c.Database.URL == "" {
		c.Database.URL = observe.Secret("sqlite:" + filepath.Join(c.DataDir, "sabir.db"))
	}
	if path, ok := strings.CutPrefix(c.Database.URL.Reveal(), "sqlite:"); ok {
		abs(&path)
		c.Database.URL = observe.Secret("sqlite:" + path)
	}
	if len(c.Listen) == 0 {
		c.Listen = defaultSockets()
	}
}

// defaultSockets are those of a file that names none.
func defaultSockets() []Listen {
	var ls []Listen
	for _, p := range []Purpose{C2S, C2STLS, HTTPS, S2S, S2STLS} {
		ls = append(ls, Listen{Address: fmt.Sprintf("[::]:%d", p.Port()), Purpose: p})
	}
	return append(ls, Listen{Address: fmt.Sprintf("127.0.0.1:%d", Admin.Port()), Purpose: Admin})
}
