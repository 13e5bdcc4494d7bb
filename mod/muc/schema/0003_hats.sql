-- The hats of a room, and who wears them.
CREATE TABLE muc_hat (
    room  TEXT NOT NULL,
    uri   TEXT NOT NULL,
    title TEXT NOT NULL,
    hue   TEXT NOT NULL,
    PRIMARY KEY (room, uri)
);
CREATE TABLE muc_hat_worn (
    room TEXT NOT NULL,
    uri  TEXT NOT NULL,
    jid  TEXT NOT NULL,
    PRIMARY KEY (room, uri, jid)
);
CREATE INDEX muc_hat_worn_jid ON muc_hat_worn (jid);
