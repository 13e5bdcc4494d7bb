// Package limits tells clients how large a stanza may be and how long they may be silent (XEP-0478).
package limits
