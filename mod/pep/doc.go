// Package pep is personal eventing (XEP-0163): every account is a publish-subscribe service (XEP-0060) of its own, whose nodes its
// owner's devices write and which contacts hear of without asking, as far as their clients announce that they want to
// (XEP-0115). Avatars, moods, bookmarks, keys and microblogs live there.
package pep
