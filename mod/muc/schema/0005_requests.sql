-- Who has asked to be registered with a room whose admins approve that.
CREATE TABLE muc_request (
    room  TEXT   NOT NULL,
    jid   TEXT   NOT NULL,
    nick  TEXT   NOT NULL,
    asked BIGINT NOT NULL,
    PRIMARY KEY (room, jid)
);
CREATE INDEX muc_request_jid ON muc_request (jid);
