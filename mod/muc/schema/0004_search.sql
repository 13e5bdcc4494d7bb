-- What the search looks through (XEP-0433), folded: case and width make no difference. activity is the count of messages by hours (XEP-0502).
ALTER TABLE muc_room ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
ALTER TABLE muc_room ADD COLUMN description_key TEXT NOT NULL DEFAULT '';
UPDATE muc_room SET name_key = lower(name);
CREATE TABLE muc_activity (
    room   TEXT   NOT NULL PRIMARY KEY,
    hour   BIGINT NOT NULL,
    counts TEXT   NOT NULL
);
