// Package feeds shows nodes of publish-subscribe that everybody may read on the web: as Atom (RFC 4287), paged and archived
// (RFC 5005), as RSS 2.0, as JSON Feed 1.1 and as a plain page, each entry with a page of its own, and tells subscribers by
// WebSub (W3C Recommendation of 23 January 2018) of what is new. What is shown of an account are its microblog (XEP-0277) and its social feeds
// (XEP-0472); of the publish-subscribe service all nodes. Items that are no Atom entries are left out.
//
// The paths are below /feeds/ADDRESS/NODE, ADDRESS that of the account or service: see the type place. A node of another
// access model than open is answered exactly as one that does not exist.
//
// What people have written is shown by an allow-list of elements and attributes (html.go); the pages load nothing and run
// nothing, by their Content-Security-Policy.
package feeds
