-- Messages that were taken in for other servers and have not left yet. The ids grow. The time of expiry is in
-- microseconds since 1970.
CREATE TABLE s2s_outgoing (
	id BIGINT NOT NULL PRIMARY KEY,
	local TEXT NOT NULL,
	remote TEXT NOT NULL,
	expires BIGINT NOT NULL,
	stanza TEXT NOT NULL
);

-- Domains that an administrator has closed by command.
CREATE TABLE s2s_block (
	domain TEXT NOT NULL PRIMARY KEY,
	since BIGINT NOT NULL
);
