// Package archive owns an ordered log of stanzas: what personal archives and room archives (XEP-0313) and a journal
// have in common. It keeps, pages, filters, searches and expires; which messages are kept and what a query means on the
// wire is the business of the extension.
//
// # Order and ids
//
// A message has a seq, one number for all the archives that took it at once: microseconds since 1970 (52 bits), or one
// more than the last where the clock has not moved on or went back, then 10 bits that tell apart the Logs that are open
// on a database. It is given inside of the transaction that keeps the message, so that the order of seqs in an archive is
// the order of commits: who has read up to an id never finds something new before it. The table archive_span refuses a
// seq below the archive's last; a Write that lost such a race is run again by the database. What was given out before a
// restart is not given out again: a mark some seconds ahead is stored with the messages.
//
// An id is what others see of a seq: owner and seq as one block of AES under a secret of the database. So it is unique
// among all archives, cannot be predicted (XEP-0313#archives), tells nothing, needs no index, and says by itself whether it is
// of this archive. It is 22 characters of base64url.
//
// # Storage
//
// archive_body has a message once, archive_entry a row for each archive that has it, archive_span the number of them for
// each archive and segment of time. The rows of all Writes of a transaction are written at its end, together; on SQLite words
// wait in archive_pending until Index or a search puts many into the index at once, and rows in archive_fresh until Index puts them
// into archive_talk, by which conversations are found. What waits is in the commit of its message. What is read of an archive is read segment by segment through archive_span, so that
// what an append or a page costs does not grow with what others keep, nor with what is older. See docs/adr/0004-archive-segments.md.
package archive
