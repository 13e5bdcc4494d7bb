-- Streams that can be resumed (XEP-0198). ours says who has opened one; sm_id is the id with which we resume it, or, of one of
-- a peer, the hash of the id with which it does. local and remote are the pair in whose names it was opened. handled is how many
-- stanzas of the peer were handled.
CREATE TABLE s2s_stream (
	num BIGINT NOT NULL PRIMARY KEY,
	ours BOOLEAN NOT NULL,
	both_ways BOOLEAN NOT NULL,
	sm_id TEXT NOT NULL,
	local TEXT NOT NULL,
	remote TEXT NOT NULL,
	handled BIGINT NOT NULL
);

-- What was written to them and is not acknowledged: for each write with messages in it the number of its first stanza on the
-- stream, and the id in s2s_outgoing of each stanza, 0 for one that has none. A later one is right about numbers that two have.
CREATE TABLE s2s_sent (
	id BIGINT NOT NULL PRIMARY KEY,
	stream BIGINT NOT NULL,
	first BIGINT NOT NULL,
	messages TEXT NOT NULL
);

CREATE INDEX s2s_sent_stream ON s2s_sent (stream);
