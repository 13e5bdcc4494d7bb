-- Messages that wait for an account without a resource that takes them. The ids grow and are never used again. The
-- time of expiry is in microseconds since 1970.
CREATE TABLE offline_message (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT    NOT NULL,
    expires BIGINT  NOT NULL,
    size    BIGINT  NOT NULL,
    stanza  TEXT    NOT NULL
);
CREATE INDEX offline_message_account ON offline_message (account, id, size);
CREATE INDEX offline_message_expires ON offline_message (expires);
