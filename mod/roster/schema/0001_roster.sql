-- The contacts of the accounts (RFC 6121 section 2). state is a set of bits: 1 to, 2 from, 4 pending out, 8 pending in,
-- 16 approved in advance, 32 shown in the roster. item_groups is a JSON array of strings. ver is the version of the
-- roster that the item's last visible change made.
CREATE TABLE roster_items (
	account     TEXT   NOT NULL,
	contact     TEXT   NOT NULL,
	name        TEXT   NOT NULL,
	item_groups TEXT   NOT NULL,
	state       BIGINT NOT NULL,
	ver         BIGINT NOT NULL,
	PRIMARY KEY (account, contact)
);

-- Subscription requests that wait for the account's answer, as they came (RFC 6121 section 3.1.3).
CREATE TABLE roster_requests (
	account TEXT NOT NULL,
	contact TEXT NOT NULL,
	request TEXT NOT NULL,
	PRIMARY KEY (account, contact)
);

-- The version of each roster, and the items removed since the version in floor (RFC 6121 section 2.6).
CREATE TABLE roster_versions (
	account TEXT   NOT NULL PRIMARY KEY,
	ver     BIGINT NOT NULL,
	floor   BIGINT NOT NULL
);

CREATE TABLE roster_removals (
	account TEXT   NOT NULL,
	contact TEXT   NOT NULL,
	ver     BIGINT NOT NULL,
	PRIMARY KEY (account, contact)
);
