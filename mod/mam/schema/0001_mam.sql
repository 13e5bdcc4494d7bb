-- Whose messages an account keeps in its archive (XEP-0441), where it has said so: JIDs, one a line.
CREATE TABLE mam_prefs (
    account TEXT PRIMARY KEY,
    def     TEXT NOT NULL,
    always  TEXT NOT NULL,
    never   TEXT NOT NULL
);
