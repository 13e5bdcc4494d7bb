-- One row for each account. The verifiers are as xmpp/sasl encodes them, '' where there is none.
CREATE TABLE auth_account (
	host TEXT NOT NULL,
	local TEXT NOT NULL,
	created BIGINT NOT NULL,
	disabled BOOLEAN NOT NULL,
	sha1 TEXT NOT NULL,
	sha256 TEXT NOT NULL,
	sha512 TEXT NOT NULL,
	PRIMARY KEY (host, local)
);

-- Secrets of the server itself, such as that of the salts of users who do not exist.
CREATE TABLE auth_secret (
	name TEXT NOT NULL PRIMARY KEY,
	value BYTEA NOT NULL
);
