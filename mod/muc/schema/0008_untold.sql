-- Rooms with messages that were committed and of which a session that is resumed may not know, where the server has ended suddenly: from
-- which id in the archive on.
CREATE TABLE muc_untold (
    room    TEXT NOT NULL PRIMARY KEY,
    service TEXT NOT NULL,
    id      TEXT NOT NULL
);
