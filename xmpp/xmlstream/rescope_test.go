package xmlstream

import "testing"

func TestRescope(t *testing.T) {
	const server, client = "jabber:server", "jabber:client"
	for _, c := range []struct{ name, in, want string }{
		{"inherited", `<message to='a'><body>b</body><x xmlns='urn:a'><y/></x></message>`,
			`<message xmlns='jabber:client' to='a'><body>b</body><x xmlns='urn:a'><y/></x></message>`},
		{"declared", `<message xmlns='jabber:server'><body>b</body></message>`, `<message xmlns='jabber:client'><body>b</body></message>`},
		{"declared within", `<message><body xmlns='jabber:server'>b</body></message>`, `<message xmlns='jabber:client'><body>b</body></message>`},
		{"forwarded", `<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:server'/></forwarded></message>`,
			`<message xmlns='jabber:client'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:server'/></forwarded></message>`},
		{"named in text", `<message><body>jabber:server</body></message>`, `<message xmlns='jabber:client'><body>jabber:server</body></message>`},
		{"prefix of the stream", `<message><db:x/><body/></message>`, `<message xmlns='jabber:client'><x xmlns='urn:db'/><body/></message>`},
		{"client in server", `<message xmlns='jabber:client'><body/></message>`, `<message xmlns='jabber:client'><body/></message>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDecoder(Limits{})
			d.Feed([]byte(`<stream:stream xmlns:stream='` + NSStream + `' xmlns='jabber:server' xmlns:db='urn:db'>` + c.in))
			if _, err := d.Next(); err != nil {
				t.Fatal(err)
			}
			ev, err := d.Next()
			if err != nil {
				t.Fatal(err)
			}
			before := ev.Frame.Raw()
			f, err := ev.Frame.Rescope(server, client)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Element().String(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for i := range f.NumChildren() {
				if n := f.ChildName(i); n != f.ChildAt(i).Name {
					t.Errorf("child %d has the names %v and %v", i, n, f.ChildAt(i).Name)
				}
			}
			if ev.Frame.Raw() != before {
				t.Error("the frame was changed")
			}
		})
	}
}
