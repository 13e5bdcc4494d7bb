-- Versions of the affiliations of a room (XEP-0463). Each change has the next number, affiliation_version of the room; of versions below
-- affiliation_floor nothing is known. In muc_affiliation, version is that of the last change and born that of the first;
-- who is nothing any more (affiliation 0) stays for a while.
ALTER TABLE muc_room ADD COLUMN affiliation_version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE muc_room ADD COLUMN affiliation_floor BIGINT NOT NULL DEFAULT 1;
ALTER TABLE muc_affiliation ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE muc_affiliation ADD COLUMN born BIGINT NOT NULL DEFAULT 1;
CREATE INDEX muc_affiliation_version ON muc_affiliation (room, version);
