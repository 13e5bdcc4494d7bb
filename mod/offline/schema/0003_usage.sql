-- How much waits for an account: no row where nothing does. Kept beside the messages, in the same transactions, so that it need
-- not be counted for each that comes.
CREATE TABLE offline_usage (
    account  TEXT   PRIMARY KEY,
    messages BIGINT NOT NULL,
    bytes    BIGINT NOT NULL
);
INSERT INTO offline_usage (account, messages, bytes) SELECT account, count(*), sum(size) FROM offline_message GROUP BY account;
