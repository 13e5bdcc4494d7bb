// Package vcard keeps the electronic business cards of accounts, which anybody may read (XEP-0054).
package vcard
