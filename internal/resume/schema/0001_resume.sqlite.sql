-- Sessions that can be resumed (XEP-0198). num is the number of a session among those that are open, hash that of its SM-ID.
-- exact says that the server has stopped in good order: then acked is how many stanzas the client has acknowledged, and
-- resume_stanza has all that it has not. Otherwise resume_stanza has the messages that it may not have got. state is JSON.
CREATE TABLE resume_session (
    num     BIGINT  NOT NULL PRIMARY KEY,
    hash    BYTEA   NOT NULL,
    jid     TEXT    NOT NULL,
    seconds BIGINT  NOT NULL,
    handled BIGINT  NOT NULL,
    acked   BIGINT  NOT NULL,
    exact   BOOLEAN NOT NULL,
    state   TEXT    NOT NULL
);

-- What waits for the client of a session, or is not acknowledged. id is num * 2^32 + a number that grows.
CREATE TABLE resume_stanza (
    id     INTEGER PRIMARY KEY,
    queued BIGINT  NOT NULL,
    sent   BOOLEAN NOT NULL,
    stanza TEXT    NOT NULL
);
