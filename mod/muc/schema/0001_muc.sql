-- Rooms, the people who belong to them, and those who are in them.
CREATE TABLE muc_service (
    domain TEXT NOT NULL PRIMARY KEY,
    secret TEXT NOT NULL
);
-- config is room.Config as JSON. subject is the whole <message/> that set it, or ''. hidden and name are those of config.
CREATE TABLE muc_room (
    room       TEXT   NOT NULL PRIMARY KEY,
    service    TEXT   NOT NULL,
    creator    TEXT   NOT NULL,
    created    BIGINT NOT NULL,
    name       TEXT   NOT NULL,
    hidden     BIGINT NOT NULL,
    persistent BIGINT NOT NULL,
    config     TEXT   NOT NULL,
    subject    TEXT   NOT NULL
);
CREATE INDEX muc_room_service ON muc_room (service, hidden, room);
CREATE INDEX muc_room_creator ON muc_room (creator);
CREATE TABLE muc_affiliation (
    room        TEXT   NOT NULL,
    jid         TEXT   NOT NULL,
    affiliation BIGINT NOT NULL,
    nick        TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    PRIMARY KEY (room, jid)
);
CREATE INDEX muc_affiliation_jid ON muc_affiliation (jid);
CREATE TABLE muc_occupant (
    room     TEXT   NOT NULL,
    jid      TEXT   NOT NULL,
    nick     TEXT   NOT NULL,
    role     BIGINT NOT NULL,
    presence TEXT   NOT NULL,
    PRIMARY KEY (room, jid)
);
