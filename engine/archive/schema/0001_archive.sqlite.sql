-- Archives: who has which message, and the messages. A seq is time * 1024 + opener (see package archive); segment is
-- seq >> 49, some six days. Deleting a segment frees whole pages, because it leads both keys.
CREATE TABLE archive_state (
    id       BIGINT PRIMARY KEY,
    opens    BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    secret   BYTEA  NOT NULL
);
CREATE TABLE archive_owner (
    num   INTEGER PRIMARY KEY AUTOINCREMENT,
    space TEXT    NOT NULL,
    name  TEXT    NOT NULL,
    dead  BIGINT  NOT NULL DEFAULT 0,
    UNIQUE (space, name, dead)
);
CREATE TABLE archive_span (
    owner    BIGINT NOT NULL REFERENCES archive_owner (num),
    segment  BIGINT NOT NULL,
    count    BIGINT NOT NULL,
    low      BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    lead     BIGINT NOT NULL,
    PRIMARY KEY (owner, segment)
) WITHOUT ROWID;
CREATE INDEX archive_span_segment ON archive_span (segment, owner);
CREATE TABLE archive_entry (
    segment   BIGINT NOT NULL,
    owner     BIGINT NOT NULL,
    seq       BIGINT NOT NULL,
    stamp     BIGINT NOT NULL,
    peer      BIGINT NOT NULL,
    resource  TEXT   NOT NULL,
    kind      BIGINT NOT NULL,
    ref       BIGINT NOT NULL,
    tombstone TEXT,
    PRIMARY KEY (segment, owner, seq)
) WITHOUT ROWID;
CREATE INDEX archive_entry_peer ON archive_entry (segment, peer, seq, ref);
CREATE TABLE archive_body (
    seq     INTEGER PRIMARY KEY,
    segment BIGINT NOT NULL,
    owner   BIGINT NOT NULL,
    other   BIGINT NOT NULL,
    wire    TEXT   NOT NULL
);
CREATE TABLE archive_share (
    segment BIGINT NOT NULL,
    seq     BIGINT NOT NULL,
    owner   BIGINT NOT NULL,
    PRIMARY KEY (segment, seq, owner)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE archive_text USING fts5(words, content='', contentless_delete=1, detail=none,
    tokenize="unicode61 remove_diacritics 0 categories 'L* N* M*'");
-- Words of messages that are not in archive_text yet: put there many at a time, they cost a fraction.
CREATE TABLE archive_pending (
    seq   INTEGER PRIMARY KEY,
    words TEXT    NOT NULL
);
