// Package csi takes notice of clients whose users do not look (XEP-0352), and spares them what is not urgent: presence and
// chat states, of which the newest of each sender counts, receipts, markers and events. Whatever is urgent brings all of
// that with it, in order. So a phone that sleeps is woken for messages, and finds everything as it should be when it is.
package csi
