"""Reads a feed with feedparser, twice, and prints what it understood as JSON."""

import json
import sys

import feedparser

url = sys.argv[1]
f = feedparser.parse(url)
again = feedparser.parse(url, etag=f.get("etag"), modified=f.get("modified"))
print(json.dumps({
    "bozo": bool(f.bozo), "version": f.version, "status": f.get("status", 0), "again": again.get("status", 0),
    "hub": [x.href for x in f.feed.get("links", []) if x.rel == "hub"],
    "entries": [{
        "id": e.id, "title": e.title, "link": e.link, "author": str(e.get("author_detail", {})) + e.get("author", ""),
        "content": e.content[0].value if "content" in e else "",
        "tags": [t.term for t in e.get("tags", [])],
        "enclosures": [x.href for x in e.get("enclosures", [])],
    } for e in f.entries],
}))
