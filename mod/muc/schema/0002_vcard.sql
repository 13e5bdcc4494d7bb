-- The vCard of a room. hash is that of its picture, or ''.
CREATE TABLE muc_vcard (
    room    TEXT NOT NULL PRIMARY KEY,
    content TEXT NOT NULL,
    hash    TEXT NOT NULL
);
