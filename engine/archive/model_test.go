package archive

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/xmpp/jid"
)

// TestModel compares an archive with a plain list under random actions: appends to one and two archives, clock jumps,
// restarts, tombstones, removals and queries with random filters.
func TestModel(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, Module, Schema)
		run := 0
		peers := []jid.JID{address(t, "romeo@example.net/a"), address(t, "romeo@example.net/b"), address(t, "nurse@example.org"), address(t, "paris@example.org/x")}
		texts := []string{"", "rose", "rose name", "sweet rose", "name"}
		rapid.Check(t, func(r *rapid.T) {
			run++
			m := &model{r: r, f: &fixture{t: t, d: d, c: newClock()}, space: fmt.Sprint("space ", run), peers: peers, texts: texts}
			m.f.l = m.f.open(m.space)
			for i := range m.archives {
				m.archives[i] = m.f.archive(fmt.Sprintf("owner%d@example.org", i))
			}
			r.Repeat(map[string]func(*rapid.T){
				"append":  m.append,
				"clock":   m.clock,
				"restart": func(*rapid.T) { m.f.l = m.f.open(m.space) },
				"replace": m.replace,
				"remove":  m.remove,
				"merge":   m.merge,
				"query":   m.query,
			})
		})
	})
}

type kept struct {
	Item
	peer jid.JID
	text string
}

type model struct {
	r        *rapid.T
	f        *fixture
	space    string
	peers    []jid.JID
	texts    []string
	n        int
	archives [2]Archive
	lists    [2][]kept
}

func (m *model) append(r *rapid.T) {
	which := rapid.SampledFrom([][]int{{0}, {1}, {0, 1}, {1, 0}}).Draw(r, "archives")
	apart := rapid.Bool().Draw(r, "apart")
	fails := rapid.IntRange(0, 9).Draw(r, "fails") == 0
	count := rapid.IntRange(1, 5).Draw(r, "count")
	var got [2][]kept
	err := m.f.d.Write(ctx, func(tx mod.Tx) error {
		got = [2][]kept{}
		for range count {
			m.n++
			msg := Message{Wire: fmt.Sprint("wire ", m.n), Text: rapid.SampledFrom(m.texts).Draw(r, "text")}
			var rows []Row
			for _, i := range which {
				rows = append(rows, Row{Archive: m.archives[i], Peer: rapid.SampledFrom(m.peers).Draw(r, "peer"), Groupchat: rapid.Bool().Draw(r, "groupchat")})
			}
			var places []Place
			if apart {
				for _, row := range rows {
					p, err := m.f.l.Append(ctx, tx, msg, row)
					if err != nil {
						return err
					}
					places = append(places, p...)
				}
			} else {
				var err error
				if places, err = m.f.l.Append(ctx, tx, msg, rows...); err != nil {
					return err
				}
			}
			for k, i := range which {
				got[i] = append(got[i], kept{Item: Item{Place: places[k], Wire: msg.Wire, Groupchat: rows[k].Groupchat}, peer: rows[k].Peer, text: msg.Text})
			}
		}
		if fails {
			return errors.New("wanted")
		}
		return nil
	})
	if (err != nil) != fails {
		r.Fatal(err)
	}
	if !fails {
		for i := range m.lists {
			m.lists[i] = append(m.lists[i], got[i]...)
		}
	}
}

func (m *model) clock(r *rapid.T) {
	h := rapid.SampledFrom([]int{0, 1, 5, 24, 100, 400, 9000, -1, -30, -400, -9000}).Draw(r, "hours")
	if to := m.f.c.Now().Add(time.Duration(h) * time.Hour); to.Year() > 1980 && to.Year() < 2100 {
		m.f.c.add(time.Duration(h) * time.Hour)
	}
}

func (m *model) replace(r *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(r, "archive")
	if len(m.lists[i]) == 0 {
		r.Skip()
	}
	k := &m.lists[i][rapid.IntRange(0, len(m.lists[i])-1).Draw(r, "item")]
	if err := m.f.d.Write(ctx, func(tx mod.Tx) error { return m.f.l.Replace(ctx, tx, m.archives[i], k.ID, "gone") }); err != nil {
		r.Fatal(err)
	}
	k.Wire, k.text, k.Tombstone = "gone", "", true
}

// merge puts what is fresh into the index of conversations, as it is done when there is more of it.
func (m *model) merge(r *rapid.T) {
	if m.f.d.Dialect() == mod.Postgres {
		r.Skip()
	}
	if err := m.f.l.merge(ctx, rapid.IntRange(0, 3).Draw(r, "least")); err != nil {
		r.Fatal(err)
	}
}

func (m *model) remove(r *rapid.T) {
	if rapid.IntRange(0, 9).Draw(r, "really") > 0 {
		r.Skip()
	}
	i := rapid.IntRange(0, 1).Draw(r, "archive")
	name := m.archives[i].Name()
	if err := m.f.d.Write(ctx, func(tx mod.Tx) error { return m.f.l.Remove(ctx, tx, name) }); err != nil {
		r.Fatal(err)
	}
	if rapid.Bool().Draw(r, "purge") {
		if err := m.f.l.Purge(ctx); err != nil {
			r.Fatal(err)
		}
	}
	m.archives[i], m.lists[i] = m.f.archive(name), nil
}

func (m *model) query(r *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(r, "archive")
	list := m.lists[i]
	id := func(label string) string {
		if len(list) == 0 || rapid.Bool().Draw(r, label+"?") {
			return ""
		}
		return rapid.SampledFrom(list).Draw(r, label).ID
	}
	q := Query{Limit: rapid.IntRange(0, 6).Draw(r, "limit"), Count: true, NoGroupchat: rapid.Bool().Draw(r, "nogroupchat"),
		AfterID: id("after-id"), BeforeID: id("before-id")}
	switch rapid.IntRange(0, 3).Draw(r, "page") {
	case 0:
		q.Last = true
	case 1:
		q.Before = id("before")
	case 2:
		q.After = id("after")
	}
	if rapid.Bool().Draw(r, "with?") {
		if q.With = rapid.SampledFrom(m.peers).Draw(r, "with"); rapid.Bool().Draw(r, "bare") {
			q.With = q.With.Bare()
		}
	}
	if len(list) > 0 && rapid.IntRange(0, 2).Draw(r, "start?") == 0 {
		q.Start = rapid.SampledFrom(list).Draw(r, "start").Stamp
	}
	if len(list) > 0 && rapid.IntRange(0, 2).Draw(r, "end?") == 0 {
		q.End = rapid.SampledFrom(list).Draw(r, "end").Stamp
	}
	if len(list) > 0 && rapid.IntRange(0, 4).Draw(r, "ids?") == 0 {
		for range rapid.IntRange(0, 4).Draw(r, "ids") {
			q.IDs = append(q.IDs, rapid.SampledFrom(list).Draw(r, "id").ID)
		}
	}
	if rapid.IntRange(0, 2).Draw(r, "text?") == 0 {
		q.Text = rapid.SampledFrom([]string{"rose", "name", "ro", "ro*", "name r*", "rose name", "none"}).Draw(r, "text")
	}
	if q.IDs != nil && len(q.IDs) == 0 {
		q.IDs = nil
	}
	want := answer(list, q)
	got, err := m.f.l.Page(ctx, m.archives[i], q)
	if err != nil {
		r.Fatalf("%+v: %v", q, err)
	}
	if !slices.Equal(got.Items, want.Items) || got.Complete != want.Complete || got.Count >= 0 && got.Count != int64(len(list)) {
		r.Fatalf("%+v:\n got %+v\nwant %+v", q, got, want)
	}
	if got.Index >= 0 && list[got.Index].ID != got.Items[0].ID {
		r.Fatalf("%+v: index %d", q, got.Index)
	}
}

// answer is Page on a list.
func answer(list []kept, q Query) Page {
	at := func(id string, none int) int {
		if i := slices.IndexFunc(list, func(k kept) bool { return k.ID == id }); i >= 0 {
			return i
		}
		return none
	}
	var p Page
	for i, k := range list {
		ok := i > at(q.AfterID, -1) && i > at(q.After, -1) && i < at(q.BeforeID, len(list)) && i < at(q.Before, len(list)) &&
			(q.Start.IsZero() || !k.Stamp.Before(q.Start)) && (q.End.IsZero() || !k.Stamp.After(q.End)) &&
			(q.IDs == nil || slices.Contains(q.IDs, k.ID)) && !(q.NoGroupchat && k.Groupchat)
		switch {
		case q.With.IsZero():
		case q.With.IsBare():
			ok = ok && k.peer.Bare() == q.With
		default:
			ok = ok && k.peer == q.With
		}
		terms := strings.Fields(strings.TrimSuffix(q.Text, "*"))
		for n, w := range terms {
			ok = ok && slices.ContainsFunc(strings.Fields(k.text), func(have string) bool {
				return have == w || n == len(terms)-1 && strings.HasSuffix(q.Text, "*") && strings.HasPrefix(have, w)
			})
		}
		if ok {
			p.Items = append(p.Items, k.Item)
		}
	}
	p.Complete = len(p.Items) <= q.Limit
	if n := len(p.Items) - q.Limit; n > 0 {
		if q.Last || q.Before != "" {
			p.Items = p.Items[n:]
		} else {
			p.Items = p.Items[:q.Limit]
		}
	}
	return p
}
