-- One row for each client that has said which one it is. id is a keyed hash of what it has sent; password tells whether it
-- has shown the password that is in force.
CREATE TABLE auth_device (
	host TEXT NOT NULL,
	local TEXT NOT NULL,
	id TEXT NOT NULL,
	software TEXT NOT NULL,
	device TEXT NOT NULL,
	first_seen BIGINT NOT NULL,
	last_seen BIGINT NOT NULL,
	password BOOLEAN NOT NULL,
	PRIMARY KEY (host, local, id)
);

CREATE INDEX auth_device_seen ON auth_device (last_seen);

-- The tokens of a client: at most one in use (slot 0) and one that was given and not used yet (slot 1). The token itself
-- follows from the nonce and a key that is not in the database.
CREATE TABLE auth_token (
	host TEXT NOT NULL,
	local TEXT NOT NULL,
	device TEXT NOT NULL,
	slot BIGINT NOT NULL,
	mechanism TEXT NOT NULL,
	nonce BYTEA NOT NULL,
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	count BIGINT NOT NULL,
	PRIMARY KEY (host, local, device, slot)
);

CREATE INDEX auth_token_expires ON auth_token (expires);
