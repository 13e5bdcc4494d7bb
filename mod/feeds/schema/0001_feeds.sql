-- WebSub: who is told of what is new in a feed. topic is the URL that was subscribed to, at and node are what it shows; sent
-- is the ETag of what the subscriber was sent last. Times are microseconds.
CREATE TABLE feeds_subscription (
    host     TEXT   NOT NULL,
    callback TEXT   NOT NULL,
    topic    TEXT   NOT NULL,
    at       TEXT   NOT NULL,
    node     TEXT   NOT NULL,
    secret   TEXT   NOT NULL,
    expires  BIGINT NOT NULL,
    sent     TEXT   NOT NULL,
    PRIMARY KEY (host, callback, topic)
);
CREATE INDEX feeds_subscription_node ON feeds_subscription (host, at, node);
-- Requests whose callback was not asked yet whether it means them. lease is in seconds.
CREATE TABLE feeds_request (
    host     TEXT   NOT NULL,
    callback TEXT   NOT NULL,
    topic    TEXT   NOT NULL,
    mode     TEXT   NOT NULL,
    secret   TEXT   NOT NULL,
    lease    BIGINT NOT NULL,
    PRIMARY KEY (host, callback, topic)
);
