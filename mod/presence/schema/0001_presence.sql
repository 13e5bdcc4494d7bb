-- When the last resource of an account became unavailable, in milliseconds since 1970 (RFC 6121 section 4.3.2).
CREATE TABLE presence_last (
	account TEXT   NOT NULL PRIMARY KEY,
	at      BIGINT NOT NULL
);
