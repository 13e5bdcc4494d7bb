-- The index of conversations is a table of its own, filled from archive_fresh many rows at a time and in its own order: an
-- index of archive_entry would have a page changed, far from all others, for each row that comes.
CREATE TABLE archive_talk (
    segment BIGINT NOT NULL,
    peer    BIGINT NOT NULL,
    seq     BIGINT NOT NULL,
    ref     BIGINT NOT NULL,
    PRIMARY KEY (segment, peer, seq)
) WITHOUT ROWID;
INSERT OR IGNORE INTO archive_talk (segment, peer, seq, ref) SELECT segment, peer, seq, ref FROM archive_entry ORDER BY segment, peer, seq;
DROP INDEX archive_entry_peer;
-- What is not in archive_talk yet.
CREATE TABLE archive_fresh (
    seq   BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    peer  BIGINT NOT NULL,
    ref   BIGINT NOT NULL,
    PRIMARY KEY (seq, owner)
) WITHOUT ROWID;
