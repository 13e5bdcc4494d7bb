package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"sabir/internal/observe"
)

// Change is a setting in which two configurations differ.
type Change struct {
	Key string `json:"key"` // "limits.resources", "host[example.org].certificate"
	// Old and New are the values as TOML, "" where there is none; those of secrets are not shown.
	Old string `json:"old"`
	New string `json:"new"`
	// Restart says that the change takes effect at the next start only.
	Restart bool `json:"restart"`
}

func (c Change) String() string {
	s := fmt.Sprintf("%s: %s → %s", c.Key, c.Old, c.New)
	if c.Restart {
		s += " (needs a restart)"
	}
	return s
}

// Diff tells what changes when now takes the place of before, in the order of the reference.
func Diff(before, now *Config) []Change {
	d := &differ{}
	d.compare("", reflect.ValueOf(before).Elem(), reflect.ValueOf(now).Elem(), false)
	for i := range before.Hosts {
		h := &before.Hosts[i]
		if n := now.Host(h.jid.Domain()); n != nil {
			key := "host[" + h.jid.Domain() + "]"
			d.compare(key, reflect.ValueOf(h).Elem(), reflect.ValueOf(n).Elem(), false)
			if h.ownLimits || n.ownLimits {
				d.compare(key+".limits", reflect.ValueOf(h.Limits), reflect.ValueOf(n.Limits), false)
			}
		} else {
			d.add("host["+h.jid.Domain()+"]", "served", "not served", false)
		}
	}
	for i := range now.Hosts {
		if domain := now.Hosts[i].jid.Domain(); before.Host(domain) == nil {
			d.add("host["+domain+"]", "not served", "served", false)
		}
	}
	d.sockets(before.Listen, now.Listen)
	d.mods(before, now)
	return d.changes
}

type differ struct{ changes []Change }

func (d *differ) add(key, before, now string, restart bool) {
	d.changes = append(d.changes, Change{Key: key, Old: before, New: now, Restart: restart})
}

// compare looks at all settings of two structs but those of blocks.
func (d *differ) compare(key string, before, now reflect.Value, restart bool) {
	for _, f := range fields(before.Type()) {
		at, late := join(key, f.key), restart || f.Tag.Get("reload") == "restart"
		b, n := before.FieldByIndex(f.Index), now.FieldByIndex(f.Index)
		switch {
		case f.key == "host" && key == "", f.key == "listen" && key == "", f.Type == reflect.TypeFor[HostLimits](): // see Diff
		case f.Type.Kind() == reflect.Struct && !plain(f.Type):
			d.compare(at, b, n, late)
		case f.Type.Kind() == reflect.Slice && b.Len() == 0 && n.Len() == 0, reflect.DeepEqual(b.Interface(), n.Interface()):
		default:
			d.add(at, show(b), show(n), late)
		}
	}
}

// show writes a value for people, and nothing of a secret.
func show(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return ""
	case v.Type() == reflect.TypeFor[observe.Secret]():
		return v.Interface().(observe.Secret).String()
	case plain(v.Type()):
		return literal(v)
	}
	return fmt.Sprint(v.Interface())
}

// sockets compares by address.
func (d *differ) sockets(before, now []Listen) {
	find := func(list []Listen, l Listen) bool {
		return slices.ContainsFunc(list, func(o Listen) bool { return reflect.DeepEqual(o, l) })
	}
	for _, l := range before {
		if !find(now, l) {
			d.add("listen["+l.Address+"]", string(l.Purpose), "", true)
		}
	}
	for _, l := range now {
		if !find(before, l) {
			d.add("listen["+l.Address+"]", "", string(l.Purpose), true)
		}
	}
}

// mods compares the settings of extensions.
func (d *differ) mods(before, now *Config) {
	keys := make(map[[2]string]bool)
	for _, c := range []*Config{before, now} {
		for domain, byName := range c.mods {
			for name := range byName {
				keys[[2]string{domain, name}] = true
			}
		}
	}
	sorted := make([][2]string, 0, len(keys))
	for k := range keys {
		sorted = append(sorted, k)
	}
	slices.SortFunc(sorted, func(a, b [2]string) int {
		return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1])
	})
	for _, k := range sorted {
		b, n := before.Mod(k[0], k[1]), now.Mod(k[0], k[1])
		if b == nil || n == nil {
			continue // no such extension in one of the programs
		}
		key := "mod." + k[1]
		if k[0] != "" {
			key = "host[" + k[0] + "]." + key
		}
		d.compare(key, reflect.ValueOf(b).Elem(), reflect.ValueOf(n).Elem(), false)
	}
}
