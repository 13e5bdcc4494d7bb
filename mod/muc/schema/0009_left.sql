-- When a member was in a room last, in microseconds since 1970: what was said since is news (XEP-0437).
CREATE TABLE muc_left (
    room TEXT   NOT NULL,
    jid  TEXT   NOT NULL,
    at   BIGINT NOT NULL,
    PRIMARY KEY (room, jid)
);
CREATE INDEX muc_left_jid ON muc_left (jid);
